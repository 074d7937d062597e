//! Devices without hardware, for tests on the host: memory that they reach, registers, interrupt lines, and whole functions
//! on a PCI bus with faults to inject.
//!
//! A driver runs against these unchanged. What a model does on a register access it does at once, in the accessing
//! thread; what takes time it does when the test says so.

mod edu;
mod line;
mod memory;
mod pci;
mod slot;
mod virtio;

pub use edu::{EduFaults, SimulatedEdu};
pub use line::{LineFaults, SimulatedLine};
pub use memory::{Fault, Memory, SimulatedMemory};
pub use pci::{Closures, Sender, SimulatedFunction, SimulatedPci};
pub use slot::{SimulatedSlot, SlotFaults};
pub use virtio::{Asked, SimulatedVirtio, VirtioFaults};
