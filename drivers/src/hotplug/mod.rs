//! Slots of PCI Express whose cards come and go while the machine runs: Linux's `pciehp`.
//!
//! The [`DRIVER`] serves the port above a slot. A card that is put in is given power, places for its registers
//! ([`place`](crate::pci::place)), and drivers. One whose button is pressed goes in good order five seconds later, unless
//! the button is pressed again: its drivers' futures are dropped while it still answers, then the slot loses its power.
//! One that is pulled out without asking goes at once; its drivers find that it reads as all ones.
//!
//! Source: PCI Express Base 3.0, 6.7 and 7.8.9 to 7.8.11.

mod driver;
mod slot;
#[cfg(test)]
mod tests;

pub use driver::DRIVER;
