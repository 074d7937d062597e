//! From a controller's own numbers to the numbers of lines.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use executor::sync::SpinLock;

use super::chip::{Chip, Trigger};
use super::descriptor::Descriptor;
use super::request::IrqError;
use super::table;

/// The lines of one controller, or of one kind of message.
pub struct Domain {
    name: &'static str,
    chip: Arc<dyn Chip>,
    lines: SpinLock<BTreeMap<u32, &'static Descriptor>>,
}

impl Domain {
    /// A domain without lines, whose lines `chip` looks after.
    pub fn new(name: &'static str, chip: Arc<dyn Chip>) -> Self {
        Self {
            name,
            chip,
            lines: SpinLock::new(BTreeMap::new()),
        }
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The line of the controller's number `hw`, if it is mapped.
    pub fn find(&self, hw: u32) -> Option<&'static Descriptor> {
        self.lines.lock().get(&hw).copied()
    }

    /// The line of the controller's number `hw`: the one it has, or number `irq`, or any free one.
    ///
    /// # Context
    /// Task or boot.
    /// # Errors
    /// [`IrqError::NoIrq`] if none is free; [`IrqError::Busy`] if number `irq` is another's.
    pub fn map(
        &self,
        hw: u32,
        irq: Option<u32>,
        trigger: Trigger,
    ) -> Result<&'static Descriptor, IrqError> {
        if let Some(line) = self.find(hw) {
            return Ok(line);
        }
        let line = match irq {
            Some(irq) => table::reserve(irq)?,
            None => table::allocate()?,
        };
        let flow = self.chip.flow(trigger);
        line.set_up(self.chip.clone(), hw, flow, trigger);
        self.lines.lock().insert(hw, line);
        Ok(line)
    }

    /// Gives a line's number back, which has no actions any more.
    ///
    /// # Errors
    /// [`IrqError::Busy`] if it has; [`IrqError::Invalid`] if `hw` is not mapped.
    pub fn unmap(&self, hw: u32) -> Result<(), IrqError> {
        let line = self.find(hw).ok_or(IrqError::Invalid)?;
        line.tear_down()?;
        self.lines.lock().remove(&hw);
        table::release(line);
        Ok(())
    }
}
