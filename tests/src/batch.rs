//! Runs many tests in one booted machine, and boots again behind a test that took the machine down.
//!
//! Whatever runs the tests in the guest (the kernel itself, or the agent of `tests/user`) writes lines to the second
//! serial port. A test's name goes out before it starts:
//!
//! | line | meaning |
//! | --- | --- |
//! | `begin N` | N tests follow |
//! | `test NAME` | NAME starts |
//! | `panics NAME TEXT` | the one that started is to end the machine, with TEXT on the console |
//! | `>TEXT` | a line of its output |
//! | `.TEXT` | the rest of its output, without a line break at the end |
//! | `ok NAME`, `FAIL NAME WHY`, `skip NAME WHY` | its verdict |
//! | `exit NAME CODE` | its exit code, where the runner judges |
//! | `alive` | nothing, but that the guest is not hung |
//! | `end` | all done |
//!
//! In the text, a backslash starts `\\`, `\r` or `\xHH`.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::postmortem::Postmortem;
use crate::qemu::Qemu;

/// A test that says nothing for so long has hung, even where the host is busy and the guest's clock counts instructions.
pub const SILENCE: Duration = Duration::from_secs(180);
/// So many boots in a row without one good test, and the rest is given up.
const HOPELESS: usize = 5;

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should.
    Ok,
    /// It failed, and says why.
    Failed(String),
    /// It cannot run on this machine, and says why.
    Skipped(String),
    /// A program ended with this code (128 and the signal's number, if a signal ended it).
    Exit(i32),
    /// It took the machine down, or hung.
    Crashed(String),
}

/// A finished test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub name: String,
    /// What it wrote.
    pub output: Vec<u8>,
    /// How it ended.
    pub verdict: Verdict,
}

/// Makes the QEMU command for one boot: all but the serial ports.
///
/// It is given a directory for files, which lives as long as the boot, and the tests that are still to run.
pub type Boot<'a> = dyn FnMut(&Path, &[String]) -> Result<Command> + 'a;

/// Runs `tests`, which the guest runs in this order, and hands each result to `report` as it comes.
///
/// # Errors
/// When a machine cannot be made or started. What happens inside of it is a test's result.
pub fn run(tests: &[String], boot: &mut Boot<'_>, report: &mut dyn FnMut(Record)) -> Result<()> {
    let mut left: VecDeque<String> = tests.iter().cloned().collect();
    let mut in_vain = 0;
    while !left.is_empty() {
        let dir = ScratchDir::new()?;
        let console = dir.path().join("console");
        let mut command = boot(dir.path(), left.make_contiguous())?;
        let postmortem = Postmortem::prepare(&mut command, dir.path());
        command
            .arg("-serial")
            .arg(format!("file:{}", console.display()));
        command.args([
            "-chardev",
            "stdio,id=tests,signal=off",
            "-serial",
            "chardev:tests",
        ]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut one = OneBoot {
            left: &mut left,
            current: None,
            panics: None,
            good: 0,
            output: Vec::new(),
        };
        let end = one.follow(command, &postmortem, report)?;
        let (current, panics, output) = (one.current.take(), one.panics.take(), one.output);
        let as_expected = panics.is_some_and(|text| end.is_as_meant(&text, &console));
        let good = one.good + usize::from(as_expected);
        if left.is_empty() {
            return Ok(());
        }
        in_vain = if good > 0 { 0 } else { in_vain + 1 };
        let why = format!("{}\n{}", end.why, last_lines(&console));
        // Without a test that has started, it is the first one that the machine could not get to.
        let victim = current.unwrap_or_else(|| left[0].clone());
        left.retain(|name| *name != victim);
        report(Record {
            name: victim,
            output,
            verdict: if as_expected {
                Verdict::Ok
            } else {
                Verdict::Crashed(why.clone())
            },
        });
        if in_vain == HOPELESS {
            for name in left.drain(..) {
                let why = format!(
                    "not run: {HOPELESS} boots in a row ended without a good test; the last: {why}"
                );
                report(Record {
                    name,
                    output: Vec::new(),
                    verdict: Verdict::Crashed(why),
                });
            }
        }
    }
    Ok(())
}

/// How a boot ended.
struct End {
    /// By itself.
    reset: bool,
    why: String,
}

impl End {
    /// Whether it ended by itself, with `text` on the console.
    fn is_as_meant(&self, text: &str, console: &Path) -> bool {
        let shown = std::fs::read(console).unwrap_or_default();
        self.reset && String::from_utf8_lossy(&shown).contains(text)
    }
}

struct OneBoot<'a> {
    left: &'a mut VecDeque<String>,
    current: Option<String>,
    /// What the console is to show at the end, which the current test brings about.
    panics: Option<String>,
    good: usize,
    output: Vec<u8>,
}

impl OneBoot<'_> {
    /// Follows one boot until its end and says how it ended.
    fn follow(
        &mut self,
        command: Command,
        postmortem: &Postmortem,
        report: &mut dyn FnMut(Record),
    ) -> Result<End> {
        let mut qemu = Qemu::start(command)?;
        let lines = read_lines(
            qemu.child()
                .stdout
                .take()
                .expect("standard output is piped"),
        );
        let errors = read_lines(qemu.child().stderr.take().expect("standard error is piped"));
        let mut heard = Instant::now();
        let (reset, why) = loop {
            match lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => {
                    heard = Instant::now();
                    if line == b"end" {
                        // All that the guest could run; what is left was unknown to it.
                        qemu.kill();
                        for name in self.left.drain(..) {
                            let verdict = Verdict::Failed("the guest did not run it".into());
                            report(Record {
                                name,
                                output: Vec::new(),
                                verdict,
                            });
                        }
                        let why = String::new();
                        return Ok(End { reset: false, why });
                    }
                    self.line(&line, report);
                }
                Err(RecvTimeoutError::Timeout) if heard.elapsed() > SILENCE => {
                    let report = postmortem.report();
                    break (
                        false,
                        format!("nothing for {} s\n{report}", SILENCE.as_secs()),
                    );
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    break (true, "the machine ended".to_string());
                }
            }
        };
        qemu.kill();
        let errors: Vec<_> = errors.iter().collect();
        let errors = String::from_utf8_lossy(&errors.join(&b'\n'))
            .trim()
            .to_string();
        let why = if errors.is_empty() {
            why
        } else {
            format!("{why}; qemu: {errors}")
        };
        Ok(End { reset, why })
    }

    fn line(&mut self, line: &[u8], report: &mut dyn FnMut(Record)) {
        match line.first() {
            Some(b'>') => {
                unescape(&line[1..], &mut self.output);
                self.output.push(b'\n');
                return;
            }
            Some(b'.') => return unescape(&line[1..], &mut self.output),
            _ => {}
        }
        let text = String::from_utf8_lossy(line);
        let mut words = text.splitn(3, ' ');
        let (Some(word), Some(name)) = (words.next(), words.next()) else {
            return;
        };
        let rest = words.next().unwrap_or("").to_string();
        let verdict = match word {
            "test" => {
                self.current = Some(name.to_string());
                self.panics = None;
                self.output.clear();
                return;
            }
            "panics" => {
                self.panics = Some(rest);
                return;
            }
            "ok" => Verdict::Ok,
            "FAIL" => Verdict::Failed(rest),
            "skip" => Verdict::Skipped(rest),
            "exit" => match rest.trim().parse() {
                Ok(code) => Verdict::Exit(code),
                Err(_) => return,
            },
            _ => return,
        };
        self.current = None;
        self.panics = None;
        self.good += 1;
        if let Some(at) = self.left.iter().position(|known| known == name) {
            self.left.remove(at);
            let output = std::mem::take(&mut self.output);
            report(Record {
                name: name.to_string(),
                output,
                verdict,
            });
        }
    }
}

/// Undoes the escapes of a line.
fn unescape(mut text: &[u8], out: &mut Vec<u8>) {
    while let Some((first, rest)) = text.split_first() {
        let (byte, used) = match (first, rest) {
            (b'\\', [b'\\', ..]) => (b'\\', 1),
            (b'\\', [b'r', ..]) => (b'\r', 1),
            (b'\\', [b'x', high, low, ..]) => {
                let digits = [*high, *low];
                let value = std::str::from_utf8(&digits)
                    .ok()
                    .and_then(|d| u8::from_str_radix(d, 16).ok());
                match value {
                    Some(value) => (value, 3),
                    None => (b'\\', 0),
                }
            }
            (byte, _) => (*byte, 0),
        };
        out.push(byte);
        text = &rest[used..];
    }
}

/// Output as lines of the protocol, safe in a text file.
#[must_use]
pub fn escape(output: &[u8]) -> String {
    let mut text = String::new();
    for line in output.split_inclusive(|byte| *byte == b'\n') {
        let whole = line.last() == Some(&b'\n');
        text.push(if whole { '>' } else { '.' });
        for byte in &line[..line.len() - usize::from(whole)] {
            match byte {
                b'\\' => text.push_str("\\\\"),
                b'\r' => text.push_str("\\r"),
                b' '..=b'~' | b'\t' => text.push(char::from(*byte)),
                byte => {
                    let _ = write!(text, "\\x{byte:02x}");
                }
            }
        }
        text.push('\n');
    }
    text
}

/// The lines of a stream, without their line breaks, read by a thread of its own.
fn read_lines(stream: impl std::io::Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            while line.last().is_some_and(|byte| b"\r\n".contains(byte)) {
                line.pop();
            }
            if sender.send(std::mem::take(&mut line)).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The end of the console's output, for a report: up to 40 lines of it.
#[must_use]
pub fn last_lines(console: &Path) -> String {
    let text = std::fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let from = lines.len().saturating_sub(40);
    let mut out = String::from("console:");
    for line in &lines[from..] {
        out.push_str("\n    ");
        out.push_str(line);
    }
    out
}

/// A directory that goes away with its owner.
#[derive(Debug)]
pub struct ScratchDir(PathBuf);

impl ScratchDir {
    /// A fresh one, under `target/`.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn new() -> Result<Self> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Self(crate::work_dir(&format!(
            "run/{}-{number}",
            std::process::id()
        ))?))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // What cannot be removed lies under target/ and does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scripted(script: &'static [&'static str], tests: &[&str]) -> Vec<Record> {
        let tests: Vec<String> = tests.iter().map(ToString::to_string).collect();
        let mut boots = script.iter();
        let mut seen = Vec::new();
        let mut boot = |_: &Path, left: &[String]| {
            let lines = boots
                .next()
                .unwrap_or_else(|| panic!("no more boots, left: {left:?}"));
            let mut command = Command::new("sh");
            command.args(["-c", &format!("printf '{lines}'")]);
            Ok(command)
        };
        run(&tests, &mut boot, &mut |record| seen.push(record)).expect("sh runs");
        seen
    }

    #[test]
    fn a_machine_that_dies_fails_the_test_it_was_in_and_is_booted_again() {
        let seen = scripted(
            &[
                "test a\\nok a\\ntest b\\n>said\\n",
                "test c\\nexit c 3\\nend\\n",
            ],
            &["a", "b", "c"],
        );
        assert_eq!(
            (seen[0].name.as_str(), &seen[0].verdict),
            ("a", &Verdict::Ok)
        );
        assert!(matches!(seen[1].verdict, Verdict::Crashed(_)));
        assert_eq!(
            (seen[1].name.as_str(), &seen[1].output[..]),
            ("b", &b"said\n"[..]),
            "what it wrote before the machine died is kept"
        );
        assert_eq!(
            (seen[2].name.as_str(), &seen[2].verdict),
            ("c", &Verdict::Exit(3))
        );
    }

    #[test]
    fn machines_that_never_start_a_test_are_given_up() {
        let seen = scripted(&["", "", "", "", ""], &["a", "b", "c", "d", "e", "f", "g"]);
        assert_eq!(seen.len(), 7);
        assert!(
            seen.iter()
                .all(|record| matches!(record.verdict, Verdict::Crashed(_)))
        );
    }

    #[test]
    fn a_test_that_the_guest_does_not_know_fails() {
        let seen = scripted(&["test a\\nok a\\nend\\n"], &["a", "b"]);
        assert_eq!(seen[1].name, "b");
        assert!(matches!(seen[1].verdict, Verdict::Failed(_)));
    }

    #[test]
    fn escapes_are_undone() {
        let mut out = Vec::new();
        unescape(br"a\\b\r\x00\xff\q\x", &mut out);
        assert_eq!(out, b"a\\b\r\0\xff\\q\\x");
    }
}
