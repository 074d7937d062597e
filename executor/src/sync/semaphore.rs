//! A counting semaphore, first come first served: under the async mutex and reader-writer lock as well.
//!
//! The word holds the free permits and a bit that says that somebody waits. While the bit is clear, taking and giving back
//! are one compare-and-swap; while it is set, the word changes under the lock only, and permits given back go straight
//! to the first waiter, so nobody overtakes.

use core::{
    fmt,
    future::Future,
    pin::Pin,
    ptr::NonNull,
    sync::atomic::Ordering,
    task::{Context, Poll},
};

use super::{
    list::{Entry, List, NodeState, WakeBatch},
    spin::SpinLockIrq,
};
use crate::facade::{AtomicUsize, const_fn, mutant};

const WAITERS: usize = 1;
const PERMIT: usize = 2;

/// A number of permits that tasks take and give back.
pub struct Semaphore {
    word: AtomicUsize,
    waiters: SpinLockIrq<List>,
}

impl Semaphore {
    /// The most permits there can be.
    pub const MAX: usize = usize::MAX / PERMIT;

    const_fn! {
        /// A semaphore with `permits` free.
        #[track_caller]
        pub fn new(permits: usize) -> Self {
            assert!(permits <= Self::MAX, "too many permits");
            Self { word: AtomicUsize::new(permits * PERMIT), waiters: SpinLockIrq::new(List::new()) }
        }
    }

    /// How many permits are free, at this moment.
    pub fn available(&self) -> usize {
        self.word.load(Ordering::Relaxed) / PERMIT
    }

    /// Takes `n` permits if they are free and nobody waits.
    ///
    /// # Context
    /// Any.
    #[inline]
    pub fn try_acquire(&self, n: usize) -> Option<Permits<'_>> {
        self.try_take(n).then(|| Permits { semaphore: self, n })
    }

    /// Takes `n` permits, waiting until they are free and those who came before have theirs.
    ///
    /// # Cancel safety
    /// Permits already set aside for a future that is dropped go to the next waiter.
    pub async fn acquire(&self, n: usize) -> Permits<'_> {
        self.take(n).await;
        Permits { semaphore: self, n }
    }

    /// Gives `n` permits back, or new ones.
    ///
    /// # Context
    /// Any.
    #[inline]
    pub fn release(&self, n: usize) {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & WAITERS == 0 {
            debug_assert!(
                word / PERMIT + n <= Self::MAX,
                "more permits than there can be"
            );
            match self.word.compare_exchange_weak(
                word,
                word + n * PERMIT,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
        self.release_to_waiters(n);
    }

    #[inline]
    pub(super) fn try_take(&self, n: usize) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & WAITERS == 0 && word >= n * PERMIT {
            match self.word.compare_exchange_weak(
                word,
                word - n * PERMIT,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Whether somebody waits, at this moment.
    pub(super) fn has_waiters(&self) -> bool {
        self.word.load(Ordering::Relaxed) & WAITERS != 0
    }

    /// Calls `f` while nobody can enter or leave the queue.
    #[cfg(all(test, not(loom)))]
    pub(super) fn with_queue_held<R>(&self, f: impl FnOnce() -> R) -> R {
        self.waiters.with(|_| f())
    }

    /// Takes `n` permits without a guard.
    pub(super) fn take(&self, n: usize) -> Take<'_> {
        Take {
            semaphore: self,
            entry: Entry::new(),
            n,
            queued: false,
        }
    }

    #[cold]
    fn release_to_waiters(&self, mut n: usize) {
        let mut batch = WakeBatch::new();
        loop {
            let more = self.waiters.with(|list| {
                while n > 0 && !batch.is_full() {
                    let Some(entry) = list.front() else { break };
                    // SAFETY: a listed entry lives, and the lock is held.
                    let node = unsafe { entry.as_ref().node() };
                    let given = n.min(node.need);
                    node.need -= given;
                    n -= given;
                    if node.need > 0 {
                        break;
                    }
                    node.state = NodeState::Granted;
                    batch.push(node.waker.take());
                    // SAFETY: the first of this list; the node is not used after this.
                    unsafe { list.remove(entry) };
                    // SAFETY: the entry lives until it knows.
                    unsafe { entry.as_ref() }.grant();
                }
                if list.is_empty() {
                    // With the bit set only we change the word; the others see it clear and the permits at once. With it
                    // clear the last waiter left in the meantime, and others may have come by.
                    self.word.fetch_and(!WAITERS, Ordering::Relaxed);
                    self.word.fetch_add(n * PERMIT, Ordering::Release);
                    n = 0;
                }
                n > 0 && !list.is_empty() && batch.is_full()
            });
            batch.wake();
            if !more {
                return;
            }
        }
    }

    /// Takes what it can for `entry`, and queues it for the rest. True if it has all.
    ///
    /// # Safety
    /// The entry is pinned, in no list, belongs to this semaphore, and is cancelled before it goes.
    unsafe fn take_or_queue(&self, entry: &Entry, n: usize, cx: &Context<'_>) -> bool {
        let waker = cx.waker().clone();
        let left = self.waiters.with(|list| {
            let mut word = self.word.load(Ordering::Relaxed);
            loop {
                let free = word / PERMIT;
                // Free permits with waiters about are those that came while the first of them was being served.
                let taken = if list.is_empty() { free.min(n) } else { 0 };
                let waits = taken < n;
                let rest = (free - taken) * PERMIT;
                let new = rest
                    | if waits || !list.is_empty() {
                        WAITERS
                    } else {
                        0
                    };
                match self.word.compare_exchange_weak(
                    word,
                    new,
                    Ordering::Acquire,
                    Ordering::Relaxed,
                ) {
                    Err(now) => word = now,
                    Ok(_) if !waits => return Some(waker),
                    Ok(_) => {
                        // SAFETY: the entry is this semaphore's, whose lock we hold.
                        let node = unsafe { entry.node() };
                        node.state = NodeState::Queued;
                        node.need = n - taken;
                        node.waker = Some(waker);
                        // SAFETY: in no list, pinned, by the contract.
                        unsafe { list.push_back(NonNull::from(entry)) };
                        return None;
                    }
                }
            }
        });
        left.is_some()
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("available", &self.available())
            .finish()
    }
}

/// Permits taken; dropping them gives them back.
#[derive(Debug)]
#[must_use = "permits are given back when they are dropped"]
pub struct Permits<'a> {
    semaphore: &'a Semaphore,
    n: usize,
}

impl Permits<'_> {
    /// How many these are.
    pub fn count(&self) -> usize {
        self.n
    }

    /// Never gives them back.
    pub fn forget(self) {
        core::mem::forget(self);
    }
}

impl Drop for Permits<'_> {
    fn drop(&mut self) {
        self.semaphore.release(self.n);
    }
}

/// Waits for permits.
pub(super) struct Take<'a> {
    semaphore: &'a Semaphore,
    entry: Entry,
    n: usize,
    queued: bool,
}

impl Future for Take<'_> {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: nothing is moved out of the pinned value.
        let this = unsafe { self.get_unchecked_mut() };
        if !this.queued {
            if this.semaphore.try_take(this.n) {
                return Poll::Ready(());
            }
            // SAFETY: the entry is pinned with this future, in no list, and cancelled by `drop`.
            if unsafe { this.semaphore.take_or_queue(&this.entry, this.n, cx) } {
                return Poll::Ready(());
            }
            this.queued = true;
            return Poll::Pending;
        }
        if this.entry.is_granted() {
            this.queued = false;
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        let (granted, old) = this.semaphore.waiters.with(|_| {
            // SAFETY: the entry is this semaphore's, whose lock we hold.
            let node = unsafe { this.entry.node() };
            match node.state {
                NodeState::Queued => (false, node.waker.replace(waker)),
                _ => (true, Some(waker)),
            }
        });
        drop(old);
        if granted {
            this.queued = false;
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Drop for Take<'_> {
    fn drop(&mut self) {
        if !self.queued {
            return;
        }
        let (back, waker) = self.semaphore.waiters.with(|list| {
            // SAFETY: the entry is this semaphore's, whose lock we hold.
            let node = unsafe { self.entry.node() };
            let (need, state, waker) = (node.need, node.state, node.waker.take());
            if state == NodeState::Queued {
                // SAFETY: queued means in this list; the node is not used after this.
                unsafe { list.remove(NonNull::from(&self.entry)) };
            }
            (self.n - need, waker)
        });
        drop(waker);
        if mutant!(KeepGrantedPermits) {
            return;
        }
        // Also without permits to give back: with this waiter gone, the next may have all it needs, or nobody waits.
        self.semaphore.release_to_waiters(back);
    }
}
