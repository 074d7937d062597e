//! A boot for a user: a shell on this terminal, or a script from standard input.
//!
//! Standard input that is no terminal is a script. If it ends before the machine is ready to boot, it travels in the
//! initramfs and is the shell's standard input, as with `sh < script`. If it goes on longer, somebody is typing through
//! a pipe: then it is typed to the shell line by line, and its end is an end-of-file at the prompt.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::batch::ScratchDir;
use crate::image::{self, Flavour};
use crate::initramfs::{self, Session};
use crate::machine::Machine;
use crate::qemu::{End, Qemu};
use crate::setup::{self, Need};
use crate::terminal::{self, Terminal};

/// The exit code of a run that was cut off at its bound in time, as `timeout(1)` has it.
const TIMED_OUT: u8 = 124;
/// The exit code of a run whose guest ended without having said how its script went.
const NO_REPORT: u8 = 125;

/// Boots `machine` for the user and gives the exit code.
///
/// # Errors
/// When something is missing, does not build, or QEMU does not start.
pub fn run(machine: &Machine) -> Result<u8> {
    setup::ensure(Need::Boot)?;
    run_with(machine, None, &|path, session| {
        std::fs::write(path, initramfs::build(session)?.bytes()).context("writing the initramfs")
    })
}

/// Writes the initramfs for a session to a path.
pub type WriteInitrd<'a> = dyn Fn(&Path, &Session) -> Result<()> + 'a;

/// Boots `machine` with an initramfs of `write`'s, and gives the exit code. `script` takes the place of standard input.
///
/// # Errors
/// When something is missing, does not build, or QEMU does not start.
pub fn run_with(machine: &Machine, script: Option<Vec<u8>>, write: &WriteInitrd<'_>) -> Result<u8> {
    machine.check_files()?;
    let piped = script.is_none() && !std::io::stdin().is_terminal() && machine.initrd.is_none();
    let input = piped.then(Input::start);
    let kernel = match &machine.kernel {
        Some(kernel) => kernel.clone(),
        None => image::build(Flavour::Release)?,
    };
    terminal::catch_signals();
    if machine.gdb {
        eprintln!(
            "wake: waiting for gdb; in another terminal: gdb {} -ex 'target remote :1234'",
            kernel.display()
        );
    }
    if let Some(script) = script {
        return run_script(machine, &kernel, write, script);
    }
    match input {
        Some(input) => match input.whole() {
            Some(script) => run_script(machine, &kernel, write, script),
            None => run_typed(machine, &kernel, write, input),
        },
        None => run_attached(machine, &kernel, write),
    }
}

/// Writes the initramfs for `session` into `scratch`.
fn write_initrd(
    scratch: &ScratchDir,
    write: &WriteInitrd<'_>,
    session: &Session,
) -> Result<PathBuf> {
    let path = scratch.path().join("initramfs.cpio");
    write(&path, session)?;
    Ok(path)
}

/// A shell on this terminal, or another initramfs with our standard input as its console.
fn run_attached(machine: &Machine, kernel: &Path, write: &WriteInitrd<'_>) -> Result<u8> {
    let scratch = ScratchDir::new()?;
    let interactive = std::io::stdin().is_terminal();
    let initrd = match &machine.initrd {
        Some(initrd) => initrd.clone(),
        None => write_initrd(&scratch, write, &Session::Shell)?,
    };
    let mut words = vec!["panic=-1".to_string()];
    words.extend(terminal::guest_words());
    let mut cmd = machine.command(kernel, Some(&initrd), &words);
    let limit = if interactive {
        eprintln!("wake: booting; leave with `poweroff`, or at any time with Ctrl-A X");
        cmd.args(["-serial", "mon:stdio"]);
        machine.timeout.map(Duration::from_secs)
    } else {
        cmd.args([
            "-chardev",
            "stdio,id=console,signal=off",
            "-serial",
            "chardev:console",
        ]);
        Some(machine.bound())
    };
    let _terminal = Terminal::save();
    let end = Qemu::start(cmd)?.wait(limit, terminal::interrupted)?;
    Ok(exit_code(end, None))
}

/// A script that is known in full.
fn run_script(
    machine: &Machine,
    kernel: &Path,
    write: &WriteInitrd<'_>,
    script: Vec<u8>,
) -> Result<u8> {
    let scratch = ScratchDir::new()?;
    let initrd = write_initrd(&scratch, write, &Session::Script(script))?;
    let status = scratch.path().join("status");
    let mut cmd = machine.command(kernel, Some(&initrd), &script_words());
    // Not QEMU's stdio: the guest gets no input from the console, and ours stays untouched.
    cmd.args([
        "-chardev",
        "stdio,id=console,signal=off",
        "-serial",
        "chardev:console",
    ]);
    cmd.arg("-serial").arg(format!("file:{}", status.display()));
    cmd.stdin(Stdio::null());
    let end = Qemu::start(cmd)?.wait(Some(machine.bound()), terminal::interrupted)?;
    Ok(exit_code(
        end,
        Some(&std::fs::read_to_string(&status).unwrap_or_default()),
    ))
}

/// Input that arrives bit by bit: typed to the guest's shell at the pace the guest can take.
fn run_typed(
    machine: &Machine,
    kernel: &Path,
    write: &WriteInitrd<'_>,
    input: Input,
) -> Result<u8> {
    let scratch = ScratchDir::new()?;
    let initrd = write_initrd(&scratch, write, &Session::OneShell)?;
    let mut cmd = machine.command(kernel, Some(&initrd), &script_words());
    cmd.args([
        "-chardev",
        "stdio,id=console,signal=off",
        "-serial",
        "chardev:console",
    ]);
    cmd.stdin(Stdio::piped()).stdout(Stdio::piped());
    let status = scratch.path().join("status");
    cmd.arg("-serial").arg(format!("file:{}", status.display()));
    let end = run_with_typist(cmd, machine.bound(), input, status.clone())?;
    Ok(exit_code(
        end,
        Some(&std::fs::read_to_string(&status).unwrap_or_default()),
    ))
}

fn script_words() -> Vec<String> {
    let mut words = vec!["panic=-1".to_string(), "quiet".to_string()];
    words.extend(terminal::guest_words());
    words
}

/// When the guest last wrote something, in milliseconds since the start.
#[derive(Default)]
struct LastOutput(AtomicU64);

fn run_with_typist(cmd: Command, bound: Duration, input: Input, status: PathBuf) -> Result<End> {
    let start = Instant::now();
    let mut qemu = Qemu::start(cmd)?;
    let mut to_guest = qemu.child().stdin.take().expect("standard input is piped");
    let mut from_guest = qemu
        .child()
        .stdout
        .take()
        .expect("standard output is piped");
    let last = Arc::new(LastOutput::default());
    let seen = Arc::clone(&last);
    let copier = std::thread::spawn(move || {
        let mut buf = [0; 4096];
        while let Ok(n @ 1..) = from_guest.read(&mut buf) {
            let mut out = std::io::stdout().lock();
            if out.write_all(&buf[..n]).and_then(|()| out.flush()).is_err() {
                break;
            }
            seen.0
                .store(start.elapsed().as_millis() as u64, Ordering::Relaxed);
        }
    });
    let quiet_for = move || start.elapsed().as_millis() as u64 - last.0.load(Ordering::Relaxed);
    std::thread::spawn(move || {
        // What is typed before the shell has its terminal is lost. A guest that cannot report gets half a minute.
        let ready = || std::fs::read_to_string(&status).is_ok_and(|text| text.contains("ready"));
        while !ready() && start.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(20));
        }
        // The terminal holds 4095 bytes: never more than a line ahead, and that only after a pause in the output.
        while let Some(line) = input.next_line() {
            while quiet_for() < 100 {
                std::thread::sleep(Duration::from_millis(10));
            }
            if to_guest.write_all(&line).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        // An end-of-file is lost on a program that does not read: say it again until the machine powers off.
        loop {
            std::thread::sleep(Duration::from_millis(100));
            if quiet_for() > 1000 {
                if to_guest.write_all(b"\x04").is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_secs(2));
            }
        }
    });
    let end = qemu.wait(Some(bound), terminal::interrupted)?;
    // It ends with QEMU's standard output; a panic there would only mean lost output.
    let _ = copier.join();
    Ok(end)
}

/// The code for the user's shell; `report` is what the script session wrote, if there was one.
fn exit_code(end: End, report: Option<&str>) -> u8 {
    match end {
        End::TimedOut => {
            eprintln!("wake: the machine did not end in time and was stopped");
            TIMED_OUT
        }
        End::Stopped => 130,
        End::Exited(status) if !status.success() => {
            u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)
        }
        End::Exited(_) => match report {
            None => 0,
            Some(text) => reported_code(text).unwrap_or_else(|| {
                eprintln!("wake: the machine ended before the script did");
                NO_REPORT
            }),
        },
    }
}

/// The exit code in the lines that a session reports.
fn reported_code(report: &str) -> Option<u8> {
    report
        .lines()
        .find_map(|line| line.trim().strip_prefix("exit ")?.parse().ok())
}

/// Standard input, read by a thread of its own.
struct Input {
    shared: Arc<Mutex<Buffer>>,
}

#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    ended: bool,
}

impl Input {
    fn start() -> Self {
        let shared = Arc::new(Mutex::new(Buffer::default()));
        let writer = Arc::clone(&shared);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            loop {
                let got = std::io::stdin().read(&mut chunk).unwrap_or(0);
                let mut buffer = writer.lock().expect("nobody panics with this lock");
                buffer.bytes.extend_from_slice(&chunk[..got]);
                if got == 0 {
                    buffer.ended = true;
                    return;
                }
            }
        });
        Self { shared }
    }

    /// All of it, if it ends within half a second.
    fn whole(&self) -> Option<Vec<u8>> {
        for _ in 0..50 {
            let mut buffer = self.shared.lock().expect("nobody panics with this lock");
            if buffer.ended {
                return Some(std::mem::take(&mut buffer.bytes));
            }
            drop(buffer);
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// The next line, or what there is after a moment without a new one; `None` at the end.
    fn next_line(&self) -> Option<Vec<u8>> {
        let mut waited = 0;
        loop {
            let mut buffer = self.shared.lock().expect("nobody panics with this lock");
            let len = match buffer.bytes.iter().position(|b| *b == b'\n') {
                Some(at) => at + 1,
                None if buffer.ended || waited > 10 => buffer.bytes.len(),
                None => 0,
            };
            if len > 0 {
                return Some(buffer.bytes.drain(..len).collect());
            }
            if buffer.ended {
                return None;
            }
            drop(buffer);
            waited += 1;
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::reported_code;

    #[test]
    fn the_exit_code_is_found_in_the_report() {
        assert_eq!(reported_code("ready\r\nexit 7\r\n"), Some(7));
        assert_eq!(reported_code("exit 0\n"), Some(0));
        assert_eq!(reported_code("ready\r\n"), None);
        assert_eq!(reported_code(""), None);
    }
}
