//! A timer with a callback.

use alloc::boxed::Box;
use core::{fmt, pin::Pin};

use super::{
    Instant,
    queue::{Action, TimerNode},
};

/// A timer that calls a function from the timer interrupt: for signals and wake-ups that must not wait for a task.
///
/// It is allocated when it is made; arming and disarming allocate nothing.
pub struct HrTimer {
    inner: Pin<Box<Inner<DynCallback>>>,
}

type DynCallback = dyn Fn(Instant) -> Option<Instant> + Send + Sync;

struct Inner<F: ?Sized> {
    node: TimerNode,
    /// What to do, with the type erased; the node is given it when it is first armed.
    call: super::queue::Callback,
    callback: F,
}

unsafe fn call<F: Fn(Instant) -> Option<Instant>>(
    owner: *const (),
    now: Instant,
) -> Option<Instant> {
    // SAFETY: the owner is the `Inner<F>` that armed the timer, and it lives while the callback runs.
    let callback = unsafe { &(*owner.cast::<Inner<F>>()).callback };
    callback(now)
}

impl HrTimer {
    /// A timer that is not armed. When it expires, `callback` is called with the time; the timer is armed again for what
    /// it gives.
    ///
    /// # Context
    /// The callback runs in hard interrupt context: it must not allocate, free, wait, or drop its own timer.
    pub fn new<F>(callback: F) -> Self
    where
        F: Fn(Instant) -> Option<Instant> + Send + Sync + 'static,
    {
        Self {
            inner: Box::pin(Inner {
                node: TimerNode::new(),
                call: call::<F>,
                callback,
            }),
        }
    }

    /// Arms the timer for `deadline` on this CPU, in place of what it was armed for. True if it was.
    ///
    /// # Context
    /// Any, the callback included; what that returns counts for nothing then.
    pub fn arm(&self, deadline: Instant) -> bool {
        let inner = self.inner.as_ref().get_ref();
        let action = Action::Call(inner.call, core::ptr::from_ref(inner).cast());
        // SAFETY: pinned in its box; `drop` cancels.
        unsafe { inner.node.arm(deadline, Some(action)) }
    }

    /// Disarms the timer. True if it was armed. A callback under way on another CPU is over when this returns.
    ///
    /// # Context
    /// Any; within the timer's own callback it takes back an [`HrTimer::arm`], but not what the callback returns.
    /// Spins while the callback runs elsewhere.
    pub fn cancel(&self) -> bool {
        self.inner.node.cancel()
    }

    /// When it expires, if it is armed.
    pub fn deadline(&self) -> Option<Instant> {
        self.inner.node.deadline()
    }
}

impl Drop for HrTimer {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl fmt::Debug for HrTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HrTimer")
            .field("deadline", &self.deadline())
            .finish()
    }
}
