//! Changing the settings of a terminal.

use drivers::tty::Termios;
use drivers::tty::termios::TERMIOS_LEN;
use fs::{Errno, Result};

use super::Tty;
use super::terminal::WindowSize;
use crate::signal::Signal;

/// When new settings take effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// At once (`TCSANOW`).
    Now,
    /// When all output is sent (`TCSADRAIN`).
    Drained,
    /// When all output is sent, and unread input is dropped (`TCSAFLUSH`).
    Flushed,
}

impl Tty {
    /// Puts `new` in force.
    ///
    /// # Errors
    /// `EAGAIN` while output is still to be sent.
    pub fn change_settings(&self, when: When, new: Termios) -> Result<()> {
        if when != When::Now && !self.is_drained() {
            return Err(Errno::EAGAIN);
        }
        if when == When::Flushed {
            self.flush_input();
        }
        self.set_termios(new);
        Ok(())
    }

    /// Puts `new` in force at once, but for what is locked.
    pub fn set_termios(&self, new: Termios) {
        let locked = self.locked();
        let (old, new) = self.with_ldisc(|ldisc, port| {
            let old = *ldisc.termios();
            let new = new.keeping(&old, &locked);
            ((old, new), ldisc.set_termios(new, port))
        });
        self.driver.configure(&old, &new);
    }

    /// What of the settings nobody may change, as `struct termios`.
    pub fn locked(&self) -> [u8; TERMIOS_LEN] {
        self.state.lock().locked
    }

    /// Drops what was received and not read.
    pub fn flush_input(&self) {
        let effects = {
            let mut state = self.state.lock();
            state.forget_backlog();
            state.ldisc.flush_input()
        };
        self.carry_out(effects);
    }

    /// The window size.
    pub fn window(&self) -> WindowSize {
        self.state.lock().window
    }

    /// Sets the window size; the foreground group hears of a change.
    pub fn set_window(&self, size: WindowSize) {
        let old = core::mem::replace(&mut self.state.lock().window, size);
        if old != size {
            self.signal_foreground(Signal::SIGWINCH);
        }
    }
}
