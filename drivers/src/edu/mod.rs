//! QEMU's `edu` device: the driver to read first.
//!
//! The device computes factorials and copies memory, and interrupts when it is through. Programs see it as `/dev/edu0`: a number
//! that is written comes back as its factorial, any other text comes back as it is, after a trip through the device's own
//! memory by DMA both ways.
//!
//! ```console
//! # echo 10 > /dev/edu0; head -n 1 /dev/edu0
//! 3628800
//! ```
//!
//! Source: QEMU's docs/specs/edu.rst.

mod driver;
mod node;
#[cfg(test)]
mod tests;

pub use driver::{BUFFER_LEN, DRIVER, Edu};
