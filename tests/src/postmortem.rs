//! Where each CPU of a machine that hangs is: asked of QEMU's monitor, with the names of the kernel's functions.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::symbols::Functions;

/// Frames of a backtrace.
const DEPTH: usize = 16;
/// How long the monitor may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is needed to ask a machine later: its monitor and its kernel.
#[derive(Debug)]
pub struct Postmortem {
    monitor: PathBuf,
    kernel: Option<PathBuf>,
}

impl Postmortem {
    /// Gives the machine of `command` a monitor in the directory `dir`.
    pub fn prepare(command: &mut Command, dir: &Path) -> Self {
        let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let kernel = args
            .windows(2)
            .find(|pair| pair[0] == "-kernel")
            .map(|pair| pair[1].clone().into());
        let monitor = dir.join("monitor");
        let socket = format!("unix:{},server,nowait", monitor.display());
        command.arg("-monitor").arg(socket);
        Self { monitor, kernel }
    }

    /// A line for each frame of each CPU; says why not, if it cannot be had.
    #[must_use]
    pub fn report(&self) -> String {
        self.examine()
            .unwrap_or_else(|error| format!("no state of the CPUs: {error:#}"))
    }

    fn examine(&self) -> Result<String> {
        let kernel = self.kernel.as_ref().context("no kernel was given")?;
        let functions = Functions::read(kernel)?;
        let mut monitor = Monitor::connect(&self.monitor)?;
        monitor.ask("stop")?;
        let cpus = monitor.ask("info cpus")?;
        let count = cpus.lines().filter(|line| line.contains("CPU #")).count();
        let mut report = String::new();
        for cpu in 0..count {
            monitor.ask(&format!("cpu {cpu}"))?;
            let registers = monitor.ask("info registers")?;
            let value = |name: &str| field(&registers, name).unwrap_or(0);
            let (rip, mut frame) = (value("RIP="), value("RBP="));
            let halted = if registers.contains("HLT=1") {
                ", halted"
            } else {
                ""
            };
            let flags = value("RFL=");
            let _ = writeln!(report, "CPU {cpu}{halted}, flags {flags:#x}:");
            let _ = writeln!(report, "    {}", functions.describe(rip));
            for _ in 0..DEPTH {
                let Some((next, back)) = monitor.two_words(frame)? else {
                    break;
                };
                let _ = writeln!(report, "    {}", functions.describe(back));
                if next <= frame {
                    break;
                }
                frame = next;
            }
        }
        Ok(report)
    }
}

/// The hexadecimal number behind `name` in a dump of registers.
fn field(text: &str, name: &str) -> Option<u64> {
    let at = text.find(name)? + name.len();
    let digits = text[at..].split(|c: char| !c.is_ascii_hexdigit()).next()?;
    u64::from_str_radix(digits, 16).ok()
}

/// A connection to QEMU's monitor for people.
struct Monitor(UnixStream);

impl Monitor {
    fn connect(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path).context("QEMU's monitor")?;
        stream.set_read_timeout(Some(Duration::from_millis(200)))?;
        let mut monitor = Self(stream);
        monitor.answer()?;
        Ok(monitor)
    }

    fn ask(&mut self, question: &str) -> Result<String> {
        writeln!(self.0, "{question}")?;
        self.answer()
    }

    /// Everything up to the next prompt.
    fn answer(&mut self) -> Result<String> {
        let start = Instant::now();
        let mut text = Vec::new();
        while !text.ends_with(b"(qemu) ") {
            let mut piece = [0; 4096];
            match self.0.read(&mut piece) {
                Ok(0) => anyhow::bail!("QEMU's monitor closed"),
                Ok(len) => text.extend_from_slice(&piece[..len]),
                Err(_) if start.elapsed() < PATIENCE => {}
                Err(error) => return Err(error).context("QEMU's monitor"),
            }
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The two words at `at`, if that is memory: a saved frame pointer and a return address.
    fn two_words(&mut self, at: u64) -> Result<Option<(u64, u64)>> {
        let answer = self.ask(&format!("x /2gx {at:#x}"))?;
        let mut words = answer
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("0x"))
            .filter(|word| word.len() == 16)
            .filter_map(|word| u64::from_str_radix(word, 16).ok());
        Ok(words.next().zip(words.next()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_found_in_a_dump() {
        let dump = "RIP=ffffffff80100123 RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1";
        assert_eq!(field(dump, "RIP="), Some(0xffff_ffff_8010_0123));
        assert_eq!(field(dump, "RFL="), Some(0x246));
        assert_eq!(field(dump, "RBP="), None);
    }
}
