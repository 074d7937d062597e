//! PCI and PCI Express: finding functions, their registers and their interrupts.
//!
//! [`scan`] walks the buses beneath a host bridge and gives a [`Function`] for each that answers; the kernel puts these on a
//! [`Bus`](crate::device::Bus). A driver [maps](Function::map) registers, makes the function a
//! [bus master](Function::set_bus_master), and asks for [interrupts](Function::interrupts), which are MSI-X messages
//! where the function has them, else an MSI message, else the line of its pin.
//!
//! Whatever a function says of itself is checked: capability lists that loop, tables outside their registers, and sizes
//! that make no sense cost the driver an error.
//!
//! Source: PCI Local Bus 3.0, PCI Express Base 3.0 (chapter 7), PCI-to-PCI Bridge 1.2.

mod address;
mod bar;
mod capability;
mod config;
mod function;
mod host;
mod msi;
mod routing;
mod scan;
#[cfg(test)]
mod tests;
mod tree;
mod window;

pub use address::Address;
pub use bar::{Bar, BarKind};
pub use capability::{Capabilities, Capability, id as capability_id};
pub use config::{Config, ConfigSpace, EXPRESS_LEN, LEGACY_LEN, offset};
pub use function::{Command, Function, Identity};
pub use host::{Host, Message, MessageSlot, PinInterrupt};
pub use routing::{Router, swizzle};
pub use scan::{scan, scan_behind};
pub use tree::{add, remove};
pub(crate) use tree::{behind, remove_behind};
pub use window::{Window, place};

/// The bus that functions are on.
pub type PciBus = crate::device::Bus<Function>;
/// A function with its driver.
pub type PciDevice = crate::device::Device<Function>;
/// A driver of PCI functions.
pub type PciDriver = crate::device::Driver<Function>;
