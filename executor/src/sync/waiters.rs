//! Any number of waiters in one place.

use alloc::vec::Vec;
use core::{fmt, pin::Pin};

use super::waiter::Waiter;

/// How many waiters need no allocation.
const INLINE: usize = 2;
/// How many waiters the largest block holds.
const LARGEST: usize = 64;

/// A set of [`Waiter`]s that grows: what waits for one of several things.
///
/// The first two live in the set itself, so that waiting for a single file does not allocate; more come in blocks, which stay for
/// later use when the set is cleared.
#[derive(Default)]
pub struct Waiters {
    inline: [Waiter; INLINE],
    /// Each block is filled when made and never grows, so its waiters stay in place.
    blocks: Vec<Vec<Waiter>>,
    used: usize,
    /// How many of the waiters in `blocks` come before the block that the next one is in, and which block that is.
    passed: (usize, usize),
}

impl Waiters {
    crate::facade::const_fn! {
        /// An empty set.
        pub fn new() -> Self {
            Self {
                #[cfg(not(loom))]
                inline: [const { Waiter::new() }; INLINE],
                #[cfg(loom)]
                inline: core::array::from_fn(|_| Waiter::new()),
                blocks: Vec::new(),
                used: 0,
                passed: (0, 0),
            }
        }
    }

    /// Adds a waiter, in no queue yet. `None` if that needs memory and there is none.
    pub fn add(self: Pin<&mut Self>) -> Option<Pin<&mut Waiter>> {
        // SAFETY: no waiter is moved: the arrays and blocks they are in stay as they are.
        let this = unsafe { self.get_unchecked_mut() };
        let place = if this.used < INLINE {
            &mut this.inline[this.used]
        } else {
            let nth = this.used - INLINE;
            if this
                .blocks
                .get(this.passed.1)
                .is_some_and(|b| nth - this.passed.0 == b.len())
            {
                this.passed.0 = nth;
                this.passed.1 += 1;
            }
            if this.passed.1 == this.blocks.len() {
                this.grow()?;
            }
            &mut this.blocks[this.passed.1][nth - this.passed.0]
        };
        this.used += 1;
        // SAFETY: the inline ones are pinned with the set; those of a block stay in its heap memory, which is given back only
        // after they were dropped.
        Some(unsafe { Pin::new_unchecked(place) })
    }

    /// Takes every waiter out of its queue and the set.
    pub fn clear(self: Pin<&mut Self>) {
        // SAFETY: as in `add`.
        let this = unsafe { self.get_unchecked_mut() };
        let all = this
            .inline
            .iter_mut()
            .chain(this.blocks.iter_mut().flatten());
        for waiter in all.take(this.used) {
            // SAFETY: as in `add`.
            unsafe { Pin::new_unchecked(waiter) }.dequeue();
        }
        this.used = 0;
        this.passed = (0, 0);
    }

    /// How many waiters it has.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Adds a block, larger than the last.
    #[cold]
    fn grow(&mut self) -> Option<()> {
        let len = self.blocks.last().map_or(4, |b| (b.len() * 2).min(LARGEST));
        let mut block = Vec::new();
        block.try_reserve_exact(len).ok()?;
        block.resize_with(len, Waiter::new);
        self.blocks.try_reserve(1).ok()?;
        self.blocks.push(block);
        Some(())
    }
}

impl fmt::Debug for Waiters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiters").field("len", &self.used).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::WaitQueue;
    use alloc::{sync::Arc, task::Wake};
    use core::{
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering},
        task::Waker,
    };

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn every_waiter_is_woken_and_clear_takes_all_out() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let queues: Vec<_> = (0..300).map(|_| Arc::new(WaitQueue::new())).collect();
        let mut set = pin!(Waiters::new());
        for len in [1, 2, 3, 7, 300, 5] {
            for queue in &queues[..len] {
                set.as_mut().add().unwrap().enqueue(queue, &waker, false);
            }
            assert_eq!(set.len(), len);
            let before = count.0.load(Ordering::Relaxed);
            for queue in &queues {
                queue.wake_all();
            }
            assert_eq!(count.0.load(Ordering::Relaxed) - before, len);
            set.as_mut().clear();
            assert!(set.is_empty() && queues.iter().all(|q| q.is_empty()));
        }
    }
}
