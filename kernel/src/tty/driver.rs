//! What a terminal asks of the device behind it.

use drivers::tty::{Effects, Termios};
use fs::{Errno, Result};

use super::Tty;

/// The device behind a [`Tty`]. Called with none of the terminal's locks held.
pub trait Driver: Send + Sync {
    /// The name below `/dev`.
    fn name(&self) -> alloc::string::String;

    /// Carries out what the line discipline caused: new output, flow control, flushes.
    fn react(&self, tty: &Tty, effects: Effects);

    /// Received bytes that waited have been taken in; there is room for more.
    fn input_room(&self) {}

    /// Puts line settings in force.
    fn configure(&self, old: &Termios, new: &Termios) {
        let _ = (old, new);
    }

    /// A file was opened.
    fn opened(&self, termios: &Termios) {
        let _ = termios;
    }

    /// The last file was closed, or the terminal was hung up.
    fn closed(&self) {}

    /// Whether it is the slave end of a pty: what is written counts as sent at once and goes nowhere while output is
    /// stopped; its state outlives its last close and its settings end with a hang-up.
    fn is_pty(&self) -> bool {
        false
    }

    /// Starts or ends a break.
    ///
    /// # Errors
    /// `ENOTTY` where the device has none.
    fn set_break(&self, on: bool) -> Result<()> {
        let _ = on;
        Err(Errno::ENOTTY)
    }

    /// The modem lines (`TIOCM_*`).
    ///
    /// # Errors
    /// `ENOTTY` where the device has none.
    fn modem_lines(&self) -> Result<u32> {
        Err(Errno::ENOTTY)
    }

    /// Raises and drops modem lines.
    ///
    /// # Errors
    /// `ENOTTY` where the device has none.
    fn set_modem_lines(&self, set: u32, clear: u32) -> Result<()> {
        let _ = (set, clear);
        Err(Errno::ENOTTY)
    }

    /// The serial port, if it is one.
    fn serial(&self) -> Option<&super::serial::SerialPort> {
        None
    }
}
