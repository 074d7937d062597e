//! Interrupts as streams.

use core::{fmt, sync::atomic::Ordering};

use crate::{facade::AtomicUsize, sync::WaitQueue};

/// An event that a top half raises and a task awaits.
///
/// Events that come while nobody looks are counted, not lost: the next wait gives their number at once.
pub struct IrqEvent {
    pending: AtomicUsize,
    waiters: WaitQueue,
}

impl IrqEvent {
    crate::facade::const_fn! {
        /// An event that has not happened.
        #[track_caller]
        pub fn new() -> Self {
            Self { pending: AtomicUsize::new(0), waiters: WaitQueue::new() }
        }
    }

    /// Notes that the event happened, and wakes one waiter.
    ///
    /// # Context
    /// Any.
    #[inline]
    pub fn raise(&self) {
        self.pending.fetch_add(1, Ordering::Release);
        self.waiters.wake_one();
    }

    /// Takes what has happened: how often since it was last taken. Zero if not at all.
    #[inline]
    pub fn take(&self) -> usize {
        self.pending.swap(0, Ordering::Acquire)
    }

    /// Waits until the event has happened, and gives how often since it was last taken: never zero.
    ///
    /// # Cancel safety
    /// Nothing is taken until the future is ready, so nothing is lost by dropping it.
    pub async fn wait(&self) -> usize {
        self.waiters
            .wait_until(|| Some(self.take()).filter(|n| *n > 0))
            .await
    }
}

impl Default for IrqEvent {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for IrqEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IrqEvent")
            .field("pending", &self.pending.load(Ordering::Relaxed))
            .finish()
    }
}
