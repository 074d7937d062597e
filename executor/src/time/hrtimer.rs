//! A timer with a callback.

use alloc::boxed::Box;
use core::fmt;

use super::Instant;

/// A timer that calls a function from the timer interrupt.
pub struct HrTimer {
    _callback: Box<dyn Fn(Instant) -> Option<Instant> + Send + Sync>,
}

impl HrTimer {
    /// A timer that is not armed. When it expires, `callback` is called with the time, in hard interrupt context; the
    /// timer is armed again for what it gives.
    ///
    /// The callback must not allocate, free, wait, or drop its own timer.
    pub fn new(callback: impl Fn(Instant) -> Option<Instant> + Send + Sync + 'static) -> Self {
        Self {
            _callback: Box::new(callback),
        }
    }

    /// Arms the timer for `deadline`, in place of what it was armed for. True if it was.
    ///
    /// # Context
    /// Any.
    pub fn arm(&self, deadline: Instant) -> bool {
        let _ = deadline;
        unimplemented!()
    }

    /// Disarms the timer, waiting for a callback under way on another CPU. True if it was armed.
    ///
    /// # Context
    /// Any but its own callback.
    pub fn cancel(&self) -> bool {
        unimplemented!()
    }

    /// When it expires, if it is armed.
    pub fn deadline(&self) -> Option<Instant> {
        unimplemented!()
    }
}

impl fmt::Debug for HrTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HrTimer").finish_non_exhaustive()
    }
}
