//! Interrupts by message: MSI and MSI-X.
//!
//! A device that can write to memory needs no line: it writes a [`Message`] that names a CPU and a vector. The driver's
//! bus code says where the device keeps the message ([`Slot`]); here it gets a line with a number, a vector, and a chip of
//! its own.

use super::{apic, irq, smp};
use crate::irq::{self as lines, Chip, CpuSet, Descriptor, Flow, Irq, IrqError, Request, Trigger};
pub use crate::irq_route::Message;
use alloc::sync::Arc;
use core::ops::Deref;

/// Where a device keeps a message: its MSI capability, or one entry of its MSI-X table.
///
/// The operations run with interrupts off and under the line's lock: they allocate nothing and wake nobody.
pub trait Slot: Send + Sync {
    /// Tells the device what to write, and where. The entry is masked, or its vector stays as it is.
    fn write(&self, message: Message);

    /// Holds the message off, or lets it go, where the device can do that.
    fn set_masked(&self, masked: bool);
}

/// One message's chip.
struct MessageChip {
    slot: Arc<dyn Slot>,
    vector: u8,
}

impl Chip for MessageChip {
    fn name(&self) -> &'static str {
        "PCI-MSI"
    }

    fn mask(&self, _: u32) {
        self.slot.set_masked(true);
    }

    fn unmask(&self, _: u32) {
        self.slot.set_masked(false);
    }

    fn ack(&self, _: u32) {
        apic::eoi();
    }

    fn set_affinity(&self, _: u32, cpus: CpuSet) -> Result<u32, IrqError> {
        let (cpu, target) = smp::choose(cpus).ok_or(IrqError::Invalid)?;
        self.slot.write(Message::new(target, self.vector));
        Ok(cpu)
    }

    fn retrigger(&self, _: u32) -> bool {
        smp::send_to_self(self.vector);
        true
    }

    fn oneshot_safe(&self) -> bool {
        true
    }
}

/// A message that one answers. Dropping it masks it and gives its number and vector back.
#[derive(Debug)]
pub struct Msi {
    /// Dropped first: no handler runs any more when the rest goes.
    irq: Option<Irq>,
    line: &'static Descriptor,
    vector: u8,
}

/// Gives the message in `slot` a line, and makes `request` of it. It goes to the first CPU of the default affinity
/// until it is moved.
///
/// `hw` is how `/proc/interrupts` numbers the message; Linux's is the device's number (bus, device, function) times 2048
/// plus the entry's index.
///
/// # Context
/// Task or boot.
/// # Errors
/// [`IrqError::NoVector`], [`IrqError::NoIrq`] if there are none left; else as [`Request::submit`].
pub fn request_msi(hw: u32, slot: Arc<dyn Slot>, request: Request) -> Result<Msi, IrqError> {
    let vector = irq::allocate_vector().ok_or(IrqError::NoVector)?;
    let line = lines::allocate().inspect_err(|_| irq::free_vector(vector))?;
    slot.set_masked(true);
    line.set_up(
        Arc::new(MessageChip { slot, vector }),
        hw,
        Flow::Edge,
        Trigger::Edge,
    );
    irq::bind(vector, line);
    // What goes wrong from here on is cleared up by dropping this.
    let mut msi = Msi {
        irq: None,
        line,
        vector,
    };
    line.set_affinity(lines::default_affinity())?;
    msi.irq = Some(request.submit(line)?);
    Ok(msi)
}

impl Deref for Msi {
    type Target = Irq;

    fn deref(&self) -> &Irq {
        self.irq
            .as_ref()
            .expect("only while it is made or dropped is there none")
    }
}

impl Drop for Msi {
    fn drop(&mut self) {
        self.irq = None;
        irq::free_vector(self.vector);
        lines::retire(self.line);
    }
}
