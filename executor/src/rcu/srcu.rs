//! RCU for readers that wait: Linux's SRCU.

use core::{fmt, sync::atomic::Ordering};

use crate::{
    facade::{AtomicUsize, const_fn, fence, mutant},
    sync::{Mutex, WaitQueue},
};

/// A domain of readers that may wait. Writers wait for the readers of their own domain only.
///
/// A reader counts itself in and out, with two atomic steps on shared memory: dearer than [`read`](super::read), so each user
/// has a domain of its own.
pub struct Srcu {
    /// Which of the two counts new readers go to.
    phase: AtomicUsize,
    readers: [AtomicUsize; 2],
    /// Woken when a count gets to zero.
    none: WaitQueue,
    /// One writer waits at a time; the others' waits come after.
    writer: Mutex<()>,
}

impl Srcu {
    const_fn! {
        /// A domain without readers.
        pub fn new() -> Self {
            Self {
                phase: AtomicUsize::new(0),
                readers: [AtomicUsize::new(0), AtomicUsize::new(0)],
                none: WaitQueue::new(),
                writer: Mutex::new(()),
            }
        }
    }

    /// Begins to read.
    ///
    /// # Context
    /// Any.
    pub fn read(&self) -> SrcuGuard<'_> {
        // The phase may have changed when we are counted. That only makes a writer wait for us that need not: writers look at
        // both counts.
        let phase = self.phase.load(Ordering::Relaxed) & 1;
        self.readers[phase].fetch_add(1, Ordering::Relaxed);
        // Either a writer that looks at the count sees us in it, or we see what it did before it looked.
        if !mutant!(SrcuReadsUncounted) {
            fence(Ordering::SeqCst);
        }
        SrcuGuard {
            domain: self,
            phase,
        }
    }

    fn leave(&self, phase: usize) {
        if self.readers[phase].fetch_sub(1, Ordering::AcqRel) == 1 {
            self.none.wake_all();
        }
    }

    /// Waits until everybody who reads now, in this domain, has stopped.
    ///
    /// # Context
    /// Task; not while reading in this domain.
    /// # Cancel safety
    /// Nothing is lost but the wait.
    pub async fn synchronize(&self) {
        let _alone = self.writer.lock().await;
        fence(Ordering::SeqCst);
        // Who counted itself in late, or was left by a writer that was cancelled, goes first; then nobody joins the old ones.
        let old = self.phase.load(Ordering::Relaxed);
        self.drained(old + 1).await;
        self.phase.fetch_add(1, Ordering::Relaxed);
        self.drained(old).await;
    }

    async fn drained(&self, phase: usize) {
        let readers = &self.readers[phase & 1];
        self.none
            .wait_until(|| (readers.load(Ordering::Acquire) == 0).then_some(()))
            .await;
    }
}

impl Default for Srcu {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Srcu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let readers = self.readers.each_ref().map(|n| n.load(Ordering::Relaxed));
        f.debug_struct("Srcu").field("readers", &readers).finish()
    }
}

/// Keeps what it reads from going away; it may cross awaits.
#[derive(Debug)]
#[must_use = "what was read may go when the guard is dropped"]
pub struct SrcuGuard<'a> {
    domain: &'a Srcu,
    phase: usize,
}

impl Drop for SrcuGuard<'_> {
    fn drop(&mut self) {
        self.domain.leave(self.phase);
    }
}
