//! Serial ports.
//!
//! [`Uart16550`] drives the PC's serial port by interrupts, as a future; it reaches the chip through [`Registers`], which
//! the kernel implements with port I/O and the tests with a simulated chip, and its terminal through [`Line`].

mod registers;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
mod uart16550;

pub use registers::{
    InterruptEnable, LineControl, LineStatus, ModemControl, ModemStatus, Register, Registers,
};
pub use uart16550::{CLOCK_HZ, Counters, Line, Uart16550};
