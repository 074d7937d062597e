//! A stack of tasks that any context pushes on and one owner empties.
//!
//! A linked queue whose pusher can be interrupted between its two steps hides every later push. This one has a single
//! step, a compare-and-swap, so it is lock-free from hard interrupts as well; the owner takes all with one swap and
//! reverses what it got, so order is kept (rule 1).

use core::{
    ptr::{self, NonNull},
    sync::atomic::Ordering,
};

use super::header::Header;
use crate::facade::AtomicPtr;

/// Which of a header's links a queue uses.
pub(super) trait Link {
    fn next(header: &Header) -> &AtomicPtr<Header>;
}

/// The link for wake queue, run list and freeing.
pub(super) struct RunLink;
/// The link for messages to the owner.
pub(super) struct MessageLink;

impl Link for RunLink {
    #[inline(always)]
    fn next(header: &Header) -> &AtomicPtr<Header> {
        &header.next
    }
}

impl Link for MessageLink {
    #[inline(always)]
    fn next(header: &Header) -> &AtomicPtr<Header> {
        &header.msg_next
    }
}

/// The stack: pushed by all, emptied by one.
pub(super) struct PushStack<L> {
    head: AtomicPtr<Header>,
    _link: core::marker::PhantomData<fn(L)>,
}

impl<L: Link> PushStack<L> {
    crate::facade::const_fn! {
        pub(super) fn new() -> Self {
            Self { head: AtomicPtr::new(ptr::null_mut()), _link: core::marker::PhantomData }
        }
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.head.load(Ordering::Acquire).is_null()
    }

    /// Pushes `task`. True if the stack was empty.
    ///
    /// # Safety
    /// The task lives until it is popped, and is in no other queue of this link.
    #[inline(always)]
    pub(super) unsafe fn push(&self, task: NonNull<Header>) -> bool {
        // SAFETY: the task lives, by the contract.
        let link = L::next(unsafe { task.as_ref() });
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            link.store(head, Ordering::Relaxed);
            match self.head.compare_exchange_weak(
                head,
                task.as_ptr(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return head.is_null(),
                Err(now) => head = now,
            }
        }
    }

    /// Takes everything, the oldest first.
    #[inline]
    pub(super) fn take(&self) -> Batch<L> {
        if self.is_empty() {
            return Batch {
                head: ptr::null_mut(),
                _link: core::marker::PhantomData,
            };
        }
        let mut stack = self.head.swap(ptr::null_mut(), Ordering::AcqRel);
        let mut head = ptr::null_mut();
        while let Some(task) = NonNull::new(stack) {
            // SAFETY: a pushed task lives until it is popped, and this batch is ours.
            let link = L::next(unsafe { task.as_ref() });
            stack = link.load(Ordering::Relaxed);
            link.store(head, Ordering::Relaxed);
            head = task.as_ptr();
        }
        Batch {
            head,
            _link: core::marker::PhantomData,
        }
    }
}

/// The tasks taken from a stack, oldest first.
pub(super) struct Batch<L> {
    head: *mut Header,
    _link: core::marker::PhantomData<fn(L)>,
}

impl<L: Link> Iterator for Batch<L> {
    type Item = NonNull<Header>;

    #[inline]
    fn next(&mut self) -> Option<NonNull<Header>> {
        let task = NonNull::new(self.head)?;
        // SAFETY: the task is in this batch, so it lives and its link is ours; it is read before the task is given out.
        self.head = L::next(unsafe { task.as_ref() }).load(Ordering::Relaxed);
        Some(task)
    }
}
