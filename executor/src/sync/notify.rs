//! A note from one task to another that there is something to look at.

use core::{fmt, sync::atomic::Ordering};

use super::wait_queue::WaitQueue;
use crate::facade::{AtomicU64, const_fn};

/// One note is kept for a task that comes late; more than one are one.
pub struct Notify {
    /// Bit 0: a note is kept. The rest counts the calls of `notify_all`.
    word: AtomicU64,
    waiters: WaitQueue,
}

const NOTE: u64 = 1;
const ROUND: u64 = 2;

impl Notify {
    const_fn! {
        /// No note.
        #[track_caller]
        pub fn new() -> Self {
            Self { word: AtomicU64::new(0), waiters: WaitQueue::new() }
        }
    }

    /// Lets one waiter go on, the first that waits or comes.
    ///
    /// # Context
    /// Any.
    pub fn notify_one(&self) {
        self.word.fetch_or(NOTE, Ordering::Release);
        self.waiters.wake_one();
    }

    /// Lets all who wait now go on, and nobody who comes later.
    ///
    /// # Context
    /// Any.
    pub fn notify_all(&self) {
        self.word.fetch_add(ROUND, Ordering::Release);
        self.waiters.wake_all();
    }

    /// Waits for a note: one kept, or one that comes after this call.
    ///
    /// # Cancel safety
    /// A note stays until a future that took it is ready.
    pub fn notified(&self) -> impl Future<Output = ()> + '_ {
        let round = self.word.load(Ordering::Acquire) & !NOTE;
        self.waiters.wait_until(move || {
            let word = self.word.load(Ordering::Acquire);
            if word & !NOTE != round {
                return Some(());
            }
            (word & NOTE != 0 && self.word.fetch_and(!NOTE, Ordering::AcqRel) & NOTE != 0)
                .then_some(())
        })
    }
}

impl Default for Notify {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notify").finish_non_exhaustive()
    }
}
