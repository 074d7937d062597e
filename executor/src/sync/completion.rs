//! Something that will be done: Linux's completion.

use core::{fmt, sync::atomic::Ordering};

use super::wait_queue::WaitQueue;
#[cfg(loom)]
use crate::facade::TryUpdate as _;
use crate::facade::{AtomicU32, const_fn};

const ALL: u32 = u32::MAX;

/// Counts what was completed; each waiter takes one, first come first served.
pub struct Completion {
    done: AtomicU32,
    waiters: WaitQueue,
}

impl Completion {
    const_fn! {
        /// Nothing is done yet.
        #[track_caller]
        pub fn new() -> Self {
            Self { done: AtomicU32::new(0), waiters: WaitQueue::new() }
        }
    }

    /// Lets one waiter go on, the first that waits or comes.
    ///
    /// # Context
    /// Any.
    pub fn complete(&self) {
        let _ = self
            .done
            .try_update(Ordering::Release, Ordering::Relaxed, |n| {
                (n < ALL - 1).then(|| n + 1)
            });
        self.waiters.wake_one();
    }

    /// Lets all waiters go on, those to come as well, until [`Completion::reset`].
    ///
    /// # Context
    /// Any.
    pub fn complete_all(&self) {
        self.done.store(ALL, Ordering::Release);
        self.waiters.wake_all();
    }

    /// Takes a completion, if there is one.
    pub fn try_wait(&self) -> bool {
        let take = |n| match n {
            0 => None,
            ALL => Some(ALL),
            n => Some(n - 1),
        };
        self.done
            .try_update(Ordering::Acquire, Ordering::Relaxed, take)
            .is_ok()
    }

    /// Whether a waiter would go on at once.
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire) != 0
    }

    /// Waits for a completion and takes it.
    ///
    /// # Cancel safety
    /// A completion is taken when the future is ready, not before.
    pub async fn wait(&self) {
        self.waiters
            .wait_until(|| self.try_wait().then_some(()))
            .await;
    }

    /// Nothing is done, as at first. Nobody may wait.
    pub fn reset(&self) {
        self.done.store(0, Ordering::Relaxed);
    }
}

impl Default for Completion {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion")
            .field("done", &self.is_done())
            .finish()
    }
}
