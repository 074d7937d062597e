//! What an interrupt controller can be told.

use super::flow::Flow;
use super::request::IrqError;

/// A set of CPUs, a bit each.
pub type CpuSet = u64;

/// How a device says that it wants something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Once, by a change.
    Edge,
    /// For as long as it wants it.
    Level,
}

/// An interrupt controller, as far as lines are concerned. `hw` is the controller's own number of the line.
///
/// Every operation runs with interrupts off and under the line's lock, from any context: it allocates nothing and wakes
/// nobody. Only `mask` and `unmask` have no default; what a controller need not be told, it is not.
pub trait Chip: Send + Sync {
    /// What `/proc/interrupts` calls it.
    fn name(&self) -> &'static str;

    /// Holds the line off.
    fn mask(&self, hw: u32);

    /// Lets the line through.
    fn unmask(&self, hw: u32);

    /// Takes note of an edge, so that the next one is seen.
    fn ack(&self, hw: u32) {
        let _ = hw;
    }

    /// Both at once, for controllers that can.
    fn mask_ack(&self, hw: u32) {
        self.mask(hw);
        self.ack(hw);
    }

    /// The interrupt in service is over.
    fn eoi(&self, hw: u32) {
        let _ = hw;
    }

    /// Makes the line ready and lets it through: it has got its first action.
    fn startup(&self, hw: u32) {
        self.unmask(hw);
    }

    /// The line has lost its last action.
    fn shutdown(&self, hw: u32) {
        self.mask(hw);
    }

    /// Sends the line to a CPU of `cpus` from now on, and says which.
    ///
    /// # Errors
    /// [`IrqError::NotSupported`] if the controller has no choice; [`IrqError::Invalid`] if none of the CPUs is there.
    fn set_affinity(&self, hw: u32, cpus: CpuSet) -> Result<u32, IrqError> {
        let _ = (hw, cpus);
        Err(IrqError::NotSupported)
    }

    /// Makes the line's interrupt happen again, for one that came while the line was disabled. False if it cannot.
    fn retrigger(&self, hw: u32) -> bool {
        let _ = hw;
        false
    }

    /// How a line of this controller is dealt with.
    fn flow(&self, trigger: Trigger) -> Flow {
        match trigger {
            Trigger::Edge => Flow::Edge,
            Trigger::Level => Flow::FastEoi,
        }
    }

    /// Whether a line of this controller cannot storm while its thread has not answered, as with messages.
    fn oneshot_safe(&self) -> bool {
        false
    }
}
