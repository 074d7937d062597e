//! An explicit waiter, for poll tables and whoever else waits on many queues at a time.

use alloc::sync::Arc;
use core::{fmt, pin::Pin, task::Waker};

use super::{list::Entry, wait_queue::WaitQueue};

/// A place in a [`WaitQueue`] that is kept, through any number of wake-ups, until the waiter is dropped.
///
/// It keeps its queue alive. Pin it where it is to live: in a future, or in a box.
#[derive(Default)]
pub struct Waiter {
    queue: Option<Arc<WaitQueue>>,
    entry: Entry,
}

impl Waiter {
    crate::facade::const_fn! {
        /// A waiter in no queue.
        pub fn new() -> Self {
            Self { queue: None, entry: Entry::new() }
        }
    }

    /// Joins `queue`, leaving the one it was in: from now on each of its wake-ups wakes `waker`.
    ///
    /// An exclusive waiter counts as one of those that [`WaitQueue::wake`] wakes; the others are woken each time.
    pub fn enqueue(
        mut self: Pin<&mut Self>,
        queue: &Arc<WaitQueue>,
        waker: &Waker,
        exclusive: bool,
    ) {
        if !self.queue.as_ref().is_some_and(|q| Arc::ptr_eq(q, queue)) {
            self.as_mut().dequeue();
            // SAFETY: only the entry needs its place.
            unsafe { self.as_mut().get_unchecked_mut() }.queue = Some(Arc::clone(queue));
        }
        // SAFETY: the entry is pinned, belongs to this queue alone, and `dequeue` takes it out.
        unsafe { queue.enqueue(&self.entry, waker, exclusive, true) };
    }

    /// Leaves the queue.
    pub fn dequeue(self: Pin<&mut Self>) {
        // SAFETY: only the entry needs its place.
        unsafe { self.get_unchecked_mut() }.leave();
    }

    /// Whether it is in a queue.
    pub fn is_enqueued(&self) -> bool {
        self.queue.is_some()
    }

    fn leave(&mut self) {
        if let Some(queue) = self.queue.take() {
            // SAFETY: the entry belongs to this queue alone.
            unsafe { queue.cancel(&self.entry) };
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter")
            .field("enqueued", &self.is_enqueued())
            .finish()
    }
}
