//! Polled output on the first serial port, for the console before its driver runs and for panics.

#![allow(unsafe_code, reason = "port I/O")]

use core::fmt;
use uart_16550::SerialPort;

/// I/O port base of COM1.
pub const COM1: u16 = 0x3f8;
/// I/O port base of COM2.
pub const COM2: u16 = 0x2f8;

/// Polls per byte before it is given up for lost: a port that is absent or stuck must not hang the kernel.
const SEND_LIMIT: u32 = 200_000;

/// A 16550 at a legacy I/O port, driven by polling.
pub struct PolledPort(SerialPort);

impl PolledPort {
    /// Makes a handle for the port at `base`, one of [`COM1`] and [`COM2`].
    pub const fn new(base: u16) -> Self {
        assert!(base == COM1 || base == COM2);
        // SAFETY: both addresses belong to the legacy serial ports on every PC; where none answers, reads give all ones.
        Self(unsafe { SerialPort::new(base) })
    }

    /// Sets line parameters and FIFOs.
    pub fn init(&mut self) {
        self.0.init();
    }

    /// Sends one byte as it is. Spins for at most [`SEND_LIMIT`] polls.
    pub fn send(&mut self, byte: u8) {
        for _ in 0..SEND_LIMIT {
            if self.0.try_send_raw(byte).is_ok() {
                return;
            }
            core::hint::spin_loop();
        }
    }
}

impl fmt::Write for PolledPort {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.send(b'\r');
            }
            self.send(byte);
        }
        Ok(())
    }
}
