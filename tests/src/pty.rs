//! A program at a terminal of its own, with somebody who reads and types: how the suites meet the runner as its users do.
#![allow(
    unsafe_code,
    reason = "makes a pseudo-terminal a child's controlling one, between fork and exec"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;

/// A program whose terminal is ours to read and type at; killed when dropped.
#[derive(Debug)]
pub struct Session {
    child: Child,
    master: File,
    output: Receiver<Vec<u8>>,
    /// What was written and not yet waited for.
    unread: Vec<u8>,
}

impl Session {
    /// Starts `command` as the leader of a session at a new terminal of this size.
    ///
    /// # Errors
    /// When there is no pseudo-terminal, or the program does not start.
    pub fn start(mut command: Command, rows: u16, columns: u16) -> Result<Self> {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let OpenptyResult { master, slave } = openpty(Some(&size), None)?;
        command
            .stdin(slave.try_clone()?)
            .stdout(slave.try_clone()?)
            .stderr(slave);
        // SAFETY: the closure runs between fork and exec, and makes two async-signal-safe system calls.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                match libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let child = command.spawn().context("starting the program")?;
        // The command holds our copies of the other side, which would keep the terminal from ending with the program.
        drop(command);
        let master = File::from(master);
        let mut reader = master.try_clone()?;
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buf = [0; 4096];
            // A terminal that nobody has open any more gives an error.
            while let Ok(got @ 1..) = reader.read(&mut buf) {
                if sender.send(buf[..got].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            master,
            output,
            unread: Vec::new(),
        })
    }

    /// The terminal's settings as they are now.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn settings(&self) -> Result<Termios> {
        Ok(tcgetattr(&self.master)?)
    }

    /// Types.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn send(&mut self, keys: &str) -> Result<()> {
        Ok(self.master.write_all(keys.as_bytes())?)
    }

    /// Waits until the program has written `text` and gives all up to its end.
    ///
    /// # Errors
    /// When it has not after `limit`; the message has what it wrote instead.
    pub fn expect(&mut self, text: &str, limit: Duration) -> Result<String> {
        let end = Instant::now() + limit;
        loop {
            let found = self
                .unread
                .windows(text.len())
                .position(|bytes| bytes == text.as_bytes());
            if let Some(at) = found {
                let seen: Vec<u8> = self.unread.drain(..at + text.len()).collect();
                return Ok(String::from_utf8_lossy(&seen).into_owned());
            }
            match self
                .output
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(more) => self.unread.extend(more),
                Err(error) => {
                    let why = match error {
                        RecvTimeoutError::Timeout => "in time",
                        RecvTimeoutError::Disconnected => "before it ended",
                    };
                    let unread = String::from_utf8_lossy(&self.unread);
                    bail!("no {text:?} {why}; there is {unread:?}");
                }
            }
        }
    }

    /// Sends the program a signal.
    ///
    /// # Errors
    /// When it has been waited for already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(
            Pid::from_raw(i32::try_from(self.child.id())?),
            signal,
        )?)
    }

    /// Waits for the program's end.
    ///
    /// # Errors
    /// When it has not ended after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            // Its terminal must not fill up meanwhile.
            while let Ok(more) = self.output.try_recv() {
                self.unread.extend(more);
            }
            if Instant::now() > end {
                let unread = String::from_utf8_lossy(&self.unread);
                bail!("the program has not ended; its last words: {unread:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_at_its_terminal_is_read_and_typed_to() {
        let mut command = Command::new("sh");
        command.args(["-c", "stty size; read word; echo got $word; exit 3"]);
        let mut session = Session::start(command, 33, 77).expect("sh starts");
        let limit = Duration::from_secs(10);
        session.expect("33 77", limit).expect("the size is ours");
        session.send("typed\n").expect("it listens");
        session
            .expect("got typed", limit)
            .expect("it has read the line");
        assert_eq!(session.wait(limit).expect("it ends").code(), Some(3));
        let error = session.expect("more", limit).expect_err("it has ended");
        assert!(error.to_string().contains("before it ended"), "{error}");
    }
}
