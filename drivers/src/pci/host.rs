//! What PCI needs of the machine.

use alloc::sync::Arc;

use super::{Address, Bar, PciDevice};
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

    /// Has the function interrupt by the message that it keeps in `slot`; `None` if there is no message left. `index` is
    /// the message's number among the function's.
    ///
    /// # Context
    /// Task.
    fn message(
        &self,
        function: Address,
        index: usize,
        slot: Arc<dyn MessageSlot>,
        name: &'static str,
    ) -> Option<Interrupt>;

    /// A function was put on its bus: the machine shows what only functions have.
    ///
    /// # Context
    /// Task.
    fn added(&self, device: &Arc<PciDevice>) {
        let _ = device;
    }

    /// The interrupt of a pin, which may be shared with others.
    ///
    /// # Context
    /// Task.
    fn pin(&self, pin: PinInterrupt, name: &'static str) -> Option<Interrupt>;
}

/// Where a function keeps a message: its MSI capability, or an entry of its MSI-X table.
pub trait MessageSlot: Send + Sync + 'static {
    /// Tells the function what to write, and where.
    ///
    /// # Context
    /// Any; interrupts may be off.
    fn write(&self, message: Message);

    /// Holds the message off, or lets it go.
    ///
    /// # Context
    /// Any; interrupts may be off.
    fn set_masked(&self, masked: bool);
}
