//! What PCI needs of the machine.

use alloc::sync::Arc;

use super::{Address, Bar};
use crate::dma::DmaMemory;
use crate::interrupt::Interrupt;
use crate::io::Io;

/// A message that a function sends to interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it writes.
    pub address: u64,
    /// What it writes.
    pub data: u32,
}

/// The interrupt pin of a function, as the root bus sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinInterrupt {
    /// The function whose slot on the root bus the pin arrives at.
    pub root: Address,
    /// The pin there: 0 for INTA to 3 for INTD.
    pub pin: u8,
    /// The line of the legacy controllers that the firmware has routed the function to.
    pub firmware_line: u8,
}

/// The machine around the buses: the kernel's, or a simulated one.
pub trait Host: Send + Sync + 'static {
    /// Makes a block of registers reachable.
    ///
    /// # Context
    /// Task.
    fn map(&self, bar: &Bar) -> Option<Arc<dyn Io>>;

    /// Memory that functions can reach.
    fn memory(&self) -> Arc<dyn DmaMemory>;

    /// A message of its own and the interrupt that it raises; `None` if there is none left.
    ///
    /// # Context
    /// Task.
    fn message(&self, name: &'static str) -> Option<(Message, Interrupt)>;

    /// The interrupt of a pin, which may be shared with others.
    ///
    /// # Context
    /// Task.
    fn pin(&self, pin: PinInterrupt, name: &'static str) -> Option<Interrupt>;
}
