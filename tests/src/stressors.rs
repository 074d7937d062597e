//! `stress-ng` on Wake and on Linux: which stressors end well, kept as a list with a column for each.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::batch::{ScratchDir, last_lines};
use crate::debian;
use crate::image::{self, Flavour};
use crate::initramfs::Session;
use crate::machine::Machine;
use crate::qemu::{End, Qemu};
use crate::setup::{self, Need};
use crate::terminal;

/// How long all of them may take, in seconds, unless the machine has a limit of its own.
const LIMIT: u64 = 3600;

/// What a stressor came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran its time, and verified what it did.
    Passed,
    /// It found that it cannot run here, or is of no use.
    Skipped,
    /// It found something wrong, or did not end.
    Failed,
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Passed, Self::Skipped, Self::Failed];

    /// From the exit code of `stress-ng`, as its manual has them under "EXIT STATUS".
    const fn of(code: i32) -> Self {
        match code {
            0 => Self::Passed,
            1 | 3 | 4 => Self::Skipped,
            _ => Self::Failed,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Passed => "passed",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        })
    }
}

/// What each stressor came to, by name: on Linux, and on Wake.
pub type List = BTreeMap<String, [Outcome; 2]>;

/// Where the list is.
#[must_use]
pub fn list_file() -> PathBuf {
    crate::root().join("tests/stress-ng.list")
}

/// Reads a list: a name and two outcomes a line, in the order of names; lines that begin with `#` are comments.
///
/// # Errors
/// When a line is malformed or out of order.
pub fn parse(text: &str) -> Result<List> {
    let mut list = List::new();
    let outcome = |word: &str| Outcome::ALL.into_iter().find(|o| o.to_string() == word);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, linux, wake] = words[..] else {
            bail!("{line:?} is not a name and two outcomes");
        };
        let (Some(linux), Some(wake)) = (outcome(linux), outcome(wake)) else {
            bail!("{line:?}: an outcome is passed, skipped or failed");
        };
        if list
            .last_key_value()
            .is_some_and(|(last, _)| &**last >= name)
        {
            bail!("{name} is out of order");
        }
        list.insert(name.to_string(), [linux, wake]);
    }
    Ok(list)
}

fn show(list: &List) -> String {
    let mut text = format!("# {:<18} {:<8} Wake\n", "stressor", "Linux");
    for (name, [linux, wake]) in list {
        let _ = writeln!(text, "{name:<20} {linux:<8} {wake}");
    }
    text
}

/// Runs the stressors `names`, or all of the list, for two seconds each; `record` writes down what they came to.
///
/// # Errors
/// When one that passed by the list does not any more, or the machine does not come to its end.
pub fn run(machine: &Machine, names: &[String], record: bool) -> Result<()> {
    let file = list_file();
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let mut list = parse(&text).with_context(|| file.display().to_string())?;
    if let Some(unknown) = names.iter().find(|name| !list.contains_key(*name)) {
        bail!("{unknown} is not in {}", file.display());
    }
    let names: Vec<String> = match names {
        [] => list.keys().cloned().collect(),
        some => some.to_vec(),
    };
    let column = usize::from(machine.kernel.is_none());
    let mut worse = Vec::new();
    let mut done = 0;
    boot(machine, &names, &mut |name, outcome| {
        let Some(row) = list.get_mut(name) else {
            return;
        };
        let before = std::mem::replace(&mut row[column], outcome);
        println!("{name:<20} {outcome:<8} ({} on Linux)", row[0]);
        if before == Outcome::Passed && outcome != before {
            worse.push(name.to_string());
        }
        done += 1;
    })?;
    if record {
        std::fs::write(&file, show(&list))?;
    }
    if done < names.len() {
        bail!("only {done} of {} came to an end", names.len());
    }
    if !worse.is_empty() {
        bail!("passed before, and does not now: {}", worse.join(" "));
    }
    Ok(())
}

/// Boots Debian and runs the stressors one after the other; tells `report` what each came to as soon as it has.
fn boot(machine: &Machine, names: &[String], report: &mut dyn FnMut(&str, Outcome)) -> Result<()> {
    machine.check_files()?;
    setup::ensure(Need::Boot)?;
    let kernel = match &machine.kernel {
        Some(kernel) => kernel.clone(),
        None => image::build(Flavour::Release)?,
    };
    let base = debian::archive(&["stress-ng".to_string()])?;
    let machine = debian::with_memory(machine);
    terminal::catch_signals();
    let scratch = ScratchDir::new()?;
    let (console, initrd) = (
        scratch.path().join("console"),
        scratch.path().join("initrd"),
    );
    let session = Session::Script(script(names).into_bytes());
    debian::write_initrd(&base, &session, &initrd)?;
    let mut command = machine.command(&kernel, Some(&initrd), &["panic=-1".to_string()]);
    command
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .args(["-serial", "null"]);
    command.stdin(Stdio::null());
    let limit = Duration::from_secs(machine.timeout.unwrap_or(LIMIT));
    let mut lines = Lines::default();
    let mut look = || lines.read(&console, &mut |line| tell(line, report));
    let end = Qemu::start(command)?.wait(Some(limit), || {
        look();
        terminal::interrupted()
    })?;
    look();
    match end {
        End::Exited(status) if status.success() => Ok(()),
        _ => bail!("{end:?}\n{}", last_lines(&console)),
    }
}

/// What runs them. A stressor that does not end is ended, and counts as failed.
fn script(names: &[String]) -> String {
    format!(
        "cd /tmp; for s in {}; do timeout -k 5 60 stress-ng --$s 1 --timeout 2 --verify > /tmp/out 2>&1; \
         echo; echo stressor $s $?; done\n",
        names.join(" ")
    )
}

fn tell(line: &str, report: &mut dyn FnMut(&str, Outcome)) {
    let words: Vec<&str> = line.split_whitespace().collect();
    if let ["stressor", name, code] = words[..]
        && let Ok(code) = code.parse()
    {
        report(name, Outcome::of(code));
    }
}

/// The lines of a file that grows.
#[derive(Default)]
struct Lines {
    file: Option<File>,
    rest: Vec<u8>,
}

impl Lines {
    /// Gives what lines came since the last time.
    fn read(&mut self, path: &std::path::Path, each: &mut dyn FnMut(&str)) {
        if self.file.is_none() {
            self.file = File::open(path).ok();
        }
        let Some(file) = &mut self.file else {
            return;
        };
        // What cannot be read now can be later: the end of the machine is what counts.
        let _ = file.read_to_end(&mut self.rest);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            each(&String::from_utf8_lossy(&line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many passed on Wake when the list was last recorded.
    const PASSED: usize = 270;

    #[test]
    fn the_list_is_what_the_command_would_write() {
        let text = std::fs::read_to_string(list_file()).expect("it is there");
        let list = parse(&text).expect("it is well-formed");
        assert_eq!(show(&list), text);
        let passed = list.values().filter(|row| row[1] == Outcome::Passed);
        assert!(passed.count() >= PASSED, "the list only grows");
    }

    #[test]
    fn malformed_lists_are_refused() {
        for bad in [
            "a passed",
            "a passed good",
            "b passed passed\na passed passed",
            "a passed passed\na passed passed",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_the_console_says_is_understood() {
        let mut told = Vec::new();
        for line in [
            "stressor cpu 0\r\n",
            "stressor x\n",
            "[ 1.0] stressor y 0\n",
            "stressor z 124\n",
        ] {
            tell(line, &mut |name, outcome| {
                told.push((name.to_string(), outcome))
            });
        }
        assert_eq!(
            told,
            [
                ("cpu".into(), Outcome::Passed),
                ("z".into(), Outcome::Failed)
            ]
        );
    }
}
