//! An open terminal.

use alloc::sync::Arc;
use core::fmt;

use drivers::tty::termios::LocalFlags;
use executor::time::Instant;
use fs::{Cap, Errno, File, FileOps, PollEvents, PollTable, Result, Sink, Source, UserMemory};

use super::{Tty, ioctl};
use crate::process::current;
use crate::signal::Signal;

/// A file that has a terminal open: a serial port, the slave of a pty, or whichever is the console.
pub struct TtyFile {
    tty: Arc<Tty>,
    /// Which [`Tty::generation`] it belongs to.
    generation: u32,
    /// Opened as `/dev/console`: not subject to job control, and no hang-up ends it.
    is_console: bool,
}

impl TtyFile {
    /// Opens `tty`.
    ///
    /// # Errors
    /// `EBUSY` if another has it open exclusively.
    pub fn open(tty: &Arc<Tty>, is_console: bool) -> Result<Arc<TtyFile>> {
        {
            let mut state = tty.state.lock();
            if state.exclusive && !current().cred().capable(Cap::SysAdmin) {
                return Err(Errno::EBUSY);
            }
            state.opens += 1;
        }
        tty.driver.opened(&tty.termios());
        Ok(Arc::new(TtyFile {
            tty: tty.clone(),
            generation: tty.generation(),
            is_console,
        }))
    }

    /// The terminal.
    pub fn tty(&self) -> &Arc<Tty> {
        &self.tty
    }

    fn is_hung_up(&self) -> bool {
        !self.is_console && self.generation != self.tty.generation()
    }
}

impl FileOps for TtyFile {
    fn splices(&self) -> bool {
        true
    }

    fn read(&self, file: &File, _: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        if self.is_hung_up() {
            return Ok(0);
        }
        if !self.is_console {
            self.tty.check_foreground(&current(), Signal::SIGTTIN)?;
        }
        self.tty.read(file.nonblocking(), buf)
    }

    fn read_deadline(&self, _: &File, started: Instant) -> Option<Instant> {
        self.tty.read_deadline(started)
    }

    fn read_expired(&self, _: &File, buf: &mut dyn Sink) -> Result<usize> {
        if self.is_hung_up() {
            return Ok(0);
        }
        match self.tty.read(true, buf) {
            Err(Errno::EAGAIN) => Ok(0),
            other => other,
        }
    }

    fn write(&self, _: &File, _: &mut u64, buf: &mut dyn Source) -> Result<usize> {
        if self.is_hung_up() {
            return Err(Errno::EIO);
        }
        if !self.is_console && self.tty.termios().lflag.contains(LocalFlags::TOSTOP) {
            self.tty.check_change(&current())?;
        }
        self.tty.write(buf)
    }

    fn poll(&self, _: &File, table: Option<&mut PollTable<'_>>) -> PollEvents {
        if let Some(table) = table {
            table.register_rw(&self.tty.readers, &self.tty.writers);
        }
        if self.is_hung_up() {
            return PollEvents::READ | PollEvents::WRITE | PollEvents::ERR | PollEvents::HUP;
        }
        let mut events = PollEvents::empty();
        if self.tty.is_readable() {
            events |= PollEvents::READ;
        }
        if self.tty.is_writable() {
            events |= PollEvents::WRITE;
        }
        events
    }

    fn ioctl(&self, file: &File, cmd: u32, arg: u64, mem: &dyn UserMemory) -> Result<u64> {
        if self.is_hung_up() {
            return Err(if cmd == ioctl::TIOCSPGRP {
                Errno::ENOTTY
            } else {
                Errno::EIO
            });
        }
        let request = ioctl::Request {
            tty: &self.tty,
            thread: &current(),
            file,
            cmd,
            arg,
            mem,
            master: None,
        };
        request.run()
    }

    fn release(&self, _: &File) {
        let last = {
            let mut state = self.tty.state.lock();
            state.opens -= 1;
            state.opens == 0
        };
        if last {
            if !self.tty.driver.is_pty() {
                self.tty.reset();
            }
            self.tty.driver.closed();
        }
    }
}

impl fmt::Debug for TtyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TtyFile({:?})", self.tty)
    }
}
