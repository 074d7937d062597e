//! The ready list of an epoll, and who waits for it.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use crate::sync::{SpinLockIrq, WaitQueue};
use crate::{Errno, Result};

use super::item::Item;

/// The items that may have events, oldest first.
pub(super) struct Ready {
    /// Has capacity for every item of the epoll. An item's `queued` and `retired` change under this lock only.
    list: SpinLockIrq<VecDeque<Arc<Item>>>,
    /// Who calls `epoll_wait`.
    waiters: Arc<WaitQueue>,
    /// Who polls the epoll's own descriptor.
    pollers: Arc<WaitQueue>,
}

impl Ready {
    pub(super) fn new() -> Ready {
        Ready {
            list: SpinLockIrq::new(VecDeque::new()),
            waiters: Arc::new(WaitQueue::new()),
            pollers: Arc::new(WaitQueue::new()),
        }
    }

    pub(super) fn waiters(&self) -> &Arc<WaitQueue> {
        &self.waiters
    }

    pub(super) fn pollers(&self) -> &Arc<WaitQueue> {
        &self.pollers
    }

    /// Makes room for `count` items. The caller orders calls of this.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn reserve(&self, count: usize) -> Result<()> {
        if self.list.with(|list| list.capacity()) >= count {
            return Ok(());
        }
        // Allocated, and the old memory freed, with interrupts on.
        let mut larger = VecDeque::new();
        larger
            .try_reserve(count.next_power_of_two().max(8))
            .map_err(|_| Errno::ENOMEM)?;
        let old = self.list.with(|list| {
            larger.append(list);
            core::mem::replace(list, larger)
        });
        drop(old);
        Ok(())
    }

    /// How many items are on the list.
    pub(super) fn len(&self) -> usize {
        self.list.with(|list| list.len())
    }

    /// Puts an item on the list, unless it is there or retired, and wakes who waits.
    ///
    /// # Context
    /// Any.
    pub(super) fn push(&self, item: &Arc<Item>) {
        let fresh = self.list.with(|list| {
            let fresh = item.may_queue();
            if fresh {
                list.push_back(item.clone());
            }
            fresh
        });
        if fresh {
            self.waiters.wake_one();
        }
        // Edge-triggered epolls that watch this one hear of every wake-up.
        self.pollers.wake_all();
    }

    /// Takes the oldest item off the list. From here on a wake-up puts it there again.
    pub(super) fn pop(&self) -> Option<Arc<Item>> {
        self.list.with(|list| {
            let item = list.pop_front()?;
            item.queued.store(false, Ordering::Relaxed);
            Some(item)
        })
    }

    /// Puts back an item that was popped, unless a wake-up did; wakes nobody.
    pub(super) fn put_back(&self, item: Arc<Item>, front: bool) {
        let refused = self.list.with(|list| {
            if !item.may_queue() {
                return Some(item);
            }
            if front {
                list.push_front(item);
            } else {
                list.push_back(item);
            }
            None
        });
        drop(refused);
    }

    /// Keeps an item off the list for good.
    pub(super) fn retire(&self, item: &Arc<Item>) {
        let gone = self.list.with(|list| {
            item.retired.store(true, Ordering::Relaxed);
            if !item.queued.swap(false, Ordering::Relaxed) {
                return None;
            }
            let at = list.iter().position(|i| Arc::ptr_eq(i, item))?;
            list.remove(at)
        });
        drop(gone);
    }

    /// Wakes one more `epoll_wait` if items are left.
    pub(super) fn wake_next(&self) {
        if self.len() > 0 {
            self.waiters.wake_one();
        }
    }
}
