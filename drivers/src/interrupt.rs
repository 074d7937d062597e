//! A device's interrupt, as its driver holds it.

use alloc::boxed::Box;
use core::fmt;

use executor::irq::IrqEvent;

/// One line or message of a device, routed to an event. Dropping it takes the routing back.
///
/// Implemented by the kernel for I/O APIC lines, MSI and MSI-X, and by
/// [simulated lines](crate::simulated).
pub trait Line: Send + Sync {
    /// What the top half raises.
    fn event(&self) -> &IrqEvent;

    /// The device has had what it wanted: a level line, which was held off when it fired, is let through again.
    ///
    /// # Context
    /// Any.
    fn answered(&self) {}
}

/// A driver's interrupt: a stream of what the device wanted to tell.
///
/// ```
/// use drivers::interrupt::Interrupt;
///
/// /// Serves a device whose interrupt is answered by `serve`.
/// async fn bottom_half(interrupt: &Interrupt, mut serve: impl FnMut()) {
///     loop {
///         interrupt.wait().await;
///         serve();
///         interrupt.answered();
///     }
/// }
/// ```
pub struct Interrupt(Box<dyn Line>);

impl Interrupt {
    /// The interrupt of a line that the caller has routed.
    pub fn new(line: impl Line + 'static) -> Self {
        Self(Box::new(line))
    }

    /// Waits until the device has interrupted, and gives how often since this was last asked: never zero.
    ///
    /// # Cancel safety
    /// Nothing is taken until the future is ready.
    pub async fn wait(&self) -> usize {
        self.0.event().wait().await
    }

    /// How often the device has interrupted since this was last asked; does not wait.
    pub fn take(&self) -> usize {
        self.0.event().take()
    }

    /// Lets a level line through again, once the device has had what it wanted. Edges and messages need nothing.
    ///
    /// # Context
    /// Any.
    pub fn answered(&self) {
        self.0.answered();
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Interrupt").field(self.0.event()).finish()
    }
}
