//! The requests that programs make of terminals.
//!
//! A request that has to wait for output to be sent answers `EAGAIN`; the system call waits as for room to write and asks
//! again. Source: ioctl_tty(2).

use alloc::sync::Arc;

use drivers::tty::Effects;
use drivers::tty::termios::{
    Cc, ControlFlags, DISABLED_CHAR, TERMIO_LEN, TERMIOS_LEN, TERMIOS2_LEN,
};
use executor::time::Instant;
use fs::{Cap, Errno, File, Result, UserMemory};

use super::pty::Master;
use super::settings::When;
use super::{Tty, modem};
use crate::process::Thread;

/// Sets the foreground group; the one request that a hung-up terminal answers by another error.
pub const TIOCSPGRP: u32 = 0x5410;
const TCGETS: u32 = 0x5401;
const TCSETS: u32 = 0x5402;
const TCSETSW: u32 = 0x5403;
const TCSETSF: u32 = 0x5404;
const TCGETA: u32 = 0x5405;
const TCSETA: u32 = 0x5406;
const TCSETAW: u32 = 0x5407;
const TCSETAF: u32 = 0x5408;
const TCSBRK: u32 = 0x5409;
const TCXONC: u32 = 0x540a;
const TCFLSH: u32 = 0x540b;
const TIOCEXCL: u32 = 0x540c;
const TIOCNXCL: u32 = 0x540d;
const TIOCSCTTY: u32 = 0x540e;
const TIOCGPGRP: u32 = 0x540f;
const TIOCOUTQ: u32 = 0x5411;
const TIOCSTI: u32 = 0x5412;
const TIOCGWINSZ: u32 = 0x5413;
const TIOCSWINSZ: u32 = 0x5414;
const TIOCGSOFTCAR: u32 = 0x5419;
const TIOCSSOFTCAR: u32 = 0x541a;
/// Bytes that could be read; pipes and sockets have it as well.
pub const FIONREAD: u32 = 0x541b;
const TIOCNOTTY: u32 = 0x5422;
const TIOCSETD: u32 = 0x5423;
const TIOCGETD: u32 = 0x5424;
const TCSBRKP: u32 = 0x5425;
const TIOCSBRK: u32 = 0x5427;
const TIOCCBRK: u32 = 0x5428;
const TIOCGSID: u32 = 0x5429;
const TCGETS2: u32 = 0x802c_542a;
const TCSETS2: u32 = 0x402c_542b;
const TCSETSW2: u32 = 0x402c_542c;
const TCSETSF2: u32 = 0x402c_542d;
const TIOCGDEV: u32 = 0x8004_5432;
const TIOCVHANGUP: u32 = 0x5437;
const TIOCGEXCL: u32 = 0x8004_5440;
const TIOCGLCKTRMIOS: u32 = 0x5456;
const TIOCSLCKTRMIOS: u32 = 0x5457;

/// How long a break of `TCSBRK` lasts, in milliseconds.
const BREAK_MS: u64 = 250;

/// One request.
pub struct Request<'a> {
    /// The terminal; for a pty's master, its slave.
    pub tty: &'a Arc<Tty>,
    /// Who asks.
    pub thread: &'a Arc<Thread>,
    /// On which file.
    pub file: &'a File,
    /// What.
    pub cmd: u32,
    /// With which argument.
    pub arg: u64,
    /// The caller's memory.
    pub mem: &'a dyn UserMemory,
    /// The master, if the request came through it.
    pub master: Option<&'a Master>,
}

impl Request<'_> {
    /// Answers the request.
    ///
    /// # Errors
    /// `ENOTTY` for one that terminals do not have; `EAGAIN` for one that has to wait; else as ioctl_tty(2).
    pub fn run(&self) -> Result<u64> {
        match self.cmd {
            TCGETS | TCGETA | TCGETS2 => self.get_settings(),
            TCSETS | TCSETSW | TCSETSF | TCSETA | TCSETAW | TCSETAF | TCSETS2 | TCSETSW2
            | TCSETSF2 => self.set_settings(),
            TIOCGLCKTRMIOS => self.mem.write(self.arg, &self.tty.locked()).map(|()| 0),
            TIOCSLCKTRMIOS => {
                self.privileged()?;
                self.tty.state.lock().locked = self.get()?;
                Ok(0)
            }
            TCSBRK | TCSBRKP | TIOCSBRK | TIOCCBRK => self.send_break(),
            TCXONC => self.flow(),
            TCFLSH => self.flush(),
            TIOCEXCL | TIOCNXCL => {
                self.tty.state.lock().exclusive = self.cmd == TIOCEXCL;
                Ok(0)
            }
            TIOCGEXCL => self.put_int(i32::from(self.tty.state.lock().exclusive)),
            TIOCSCTTY => self
                .tty
                .set_controlling(self.thread, self.file.readable(), self.arg == 1)
                .map(|()| 0),
            TIOCNOTTY => self.tty.give_up(self.thread).map(|()| 0),
            TIOCGPGRP => self.put_int(
                self.tty
                    .foreground_number(self.thread, self.master.is_some())?,
            ),
            TIOCSPGRP => {
                let group = self.get_int()?;
                self.tty.set_foreground(self.thread, group).map(|()| 0)
            }
            TIOCGSID => self.put_int(
                self.tty
                    .session_number(self.thread, self.master.is_some())?,
            ),
            TIOCOUTQ => self.put_int(self.tty.unsent() as i32),
            FIONREAD => self.put_int(match self.master {
                Some(master) => master.readable_len() as i32,
                None => self.tty.state.lock().ldisc.input_len() as i32,
            }),
            TIOCSTI => self.simulate_input(),
            TIOCGWINSZ => self.put_words(self.tty.window()),
            TIOCSWINSZ => {
                let raw: [u8; 8] = self.get()?;
                let word = |i: usize| u16::from_ne_bytes([raw[2 * i], raw[2 * i + 1]]);
                self.tty.set_window([word(0), word(1), word(2), word(3)]);
                Ok(0)
            }
            TIOCGSOFTCAR => self.put_int(i32::from(
                self.tty.termios().cflag.contains(ControlFlags::CLOCAL),
            )),
            TIOCSSOFTCAR => {
                self.tty.check_change(self.thread)?;
                let mut new = self.tty.termios();
                new.cflag.set(ControlFlags::CLOCAL, self.get_int()? != 0);
                self.tty.set_termios(new);
                Ok(0)
            }
            TIOCGETD => self.put_int(0),
            TIOCSETD => match self.get_int()? {
                0 => Ok(0),
                _ => Err(Errno::EINVAL),
            },
            TIOCGDEV => self.put_int(self.tty.device() as i32),
            TIOCVHANGUP => {
                self.privileged()?;
                self.tty.hang_up();
                Ok(0)
            }
            _ => modem::request(self),
        }
    }

    /// # Errors
    /// `EPERM` unless the caller administers the system.
    fn privileged(&self) -> Result<()> {
        if self.thread.cred().capable(Cap::SysAdmin) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }

    fn get_settings(&self) -> Result<u64> {
        let termios = self.tty.termios();
        match self.cmd {
            TCGETA => self.mem.write(self.arg, &termios.to_termio())?,
            TCGETS2 => self.mem.write(self.arg, &termios.to_termios2())?,
            _ => self.mem.write(self.arg, &termios.to_termios())?,
        }
        Ok(0)
    }

    fn set_settings(&self) -> Result<u64> {
        let when = match self.cmd {
            TCSETS | TCSETA | TCSETS2 => When::Now,
            TCSETSW | TCSETAW | TCSETSW2 => When::Drained,
            _ => When::Flushed,
        };
        self.check_change()?;
        let old = self.tty.termios();
        let new = match self.cmd {
            TCSETA | TCSETAW | TCSETAF => old.with_termio(&self.get::<TERMIO_LEN>()?),
            TCSETS2 | TCSETSW2 | TCSETSF2 => old.with_termios2(&self.get::<TERMIOS2_LEN>()?),
            _ => old.with_termios(&self.get::<TERMIOS_LEN>()?),
        };
        self.tty.change_settings(when, new).map(|()| 0)
    }

    fn send_break(&self) -> Result<u64> {
        self.check_change()?;
        match self.cmd {
            TIOCSBRK | TIOCCBRK => {
                return self.tty.driver.set_break(self.cmd == TIOCSBRK).map(|()| 0);
            }
            TCSBRK if self.arg != 0 => {
                // tcdrain(3)
                return if self.tty.is_drained() {
                    Ok(0)
                } else {
                    Err(Errno::EAGAIN)
                };
            }
            _ => {}
        }
        let tenths = if self.cmd == TCSBRKP { self.arg } else { 0 };
        let length = if tenths == 0 {
            BREAK_MS
        } else {
            tenths.saturating_mul(100).min(25_000)
        };
        self.tty.timed_break(length)
    }

    /// `TCXONC`: stops and starts output, or asks the other side to.
    fn flow(&self) -> Result<u64> {
        self.check_change()?;
        match self.arg {
            0 => self.tty.with_ldisc(|ldisc, _| ((), ldisc.suspend_output())),
            1 => self
                .tty
                .with_ldisc(|ldisc, port| ((), ldisc.resume_output(port))),
            2 => self.tty.send_urgent(self.tty.termios().cc(Cc::Stop)),
            3 => self.tty.send_urgent(self.tty.termios().cc(Cc::Start)),
            _ => return Err(Errno::EINVAL),
        }
        Ok(0)
    }

    fn flush(&self) -> Result<u64> {
        self.check_change()?;
        let (input, output) = match self.arg {
            0 => (true, false),
            1 => (false, true),
            2 => (true, true),
            _ => return Err(Errno::EINVAL),
        };
        // What the master reads is the slave's output, and the other way round.
        let (input, output) = if self.master.is_some() {
            (output, input)
        } else {
            (input, output)
        };
        if input {
            self.tty.flush_input();
        }
        if output {
            self.tty
                .with_ldisc(|ldisc, port| ((), ldisc.flush_output(port)));
        }
        Ok(0)
    }

    /// `TIOCSTI`: a byte as if it had been typed.
    fn simulate_input(&self) -> Result<u64> {
        if !self.tty.controls(self.thread) && !self.thread.cred().capable(Cap::SysAdmin) {
            return Err(Errno::EPERM);
        }
        let byte: [u8; 1] = self.get()?;
        self.tty.receive(&byte);
        Ok(0)
    }

    /// A change through the master is not subject to job control.
    fn check_change(&self) -> Result<()> {
        match self.master {
            Some(_) => Ok(()),
            None => self.tty.check_change(self.thread),
        }
    }

    /// Reads the structure that the argument points at.
    pub fn get<const N: usize>(&self) -> Result<[u8; N]> {
        let mut raw = [0; N];
        self.mem.read(self.arg, &mut raw)?;
        Ok(raw)
    }

    /// Reads the integer that the argument points at.
    pub fn get_int(&self) -> Result<i32> {
        self.get().map(i32::from_ne_bytes)
    }

    /// Answers by an integer.
    pub fn put_int(&self, value: i32) -> Result<u64> {
        self.mem.write(self.arg, &value.to_ne_bytes())?;
        Ok(0)
    }

    fn put_words(&self, words: [u16; 4]) -> Result<u64> {
        let mut raw = [0; 8];
        for (to, word) in raw.chunks_exact_mut(2).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        self.mem.write(self.arg, &raw)?;
        Ok(0)
    }
}

impl Tty {
    /// Sends a break of `length_ms`; `EAGAIN` until it is over.
    fn timed_break(&self, length_ms: u64) -> Result<u64> {
        let now = Instant::now();
        let until = self.state.lock().break_until;
        match until {
            None => {
                if self.driver.set_break(true).is_err() {
                    // A pty has no line to hold low; Linux says that it worked.
                    return Ok(0);
                }
                let until = now + core::time::Duration::from_millis(length_ms);
                self.state.lock().break_until = Some(until);
                let writers = self.writers.clone();
                executor::spawn("tty-break", async move {
                    executor::time::sleep_until(until).await;
                    writers.wake_all();
                })
                .detach();
                Err(Errno::EAGAIN)
            }
            Some(until) if now < until => Err(Errno::EAGAIN),
            Some(_) => {
                self.state.lock().break_until = None;
                self.driver.set_break(false).map(|()| 0)
            }
        }
    }

    /// Sends a flow-control character before all other output.
    pub(super) fn send_urgent(&self, byte: u8) {
        if byte != DISABLED_CHAR {
            self.state.lock().urgent = Some(byte);
            self.driver.react(self, Effects::OUTPUT);
        }
    }
}
