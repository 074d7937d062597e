//! Waiters linked in place: a doubly linked list of nodes that live in futures.
//!
//! A node is touched only under the lock of the queue it belongs to, its own links included; so the list needs no
//! atomics. It lives in a pinned value whose drop takes it out of the list first.

use core::{
    cell::UnsafeCell,
    marker::PhantomPinned,
    mem::MaybeUninit,
    ptr::{self, NonNull},
    sync::atomic::Ordering,
    task::Waker,
};

use crate::facade::AtomicBool;

/// Where a waiter stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NodeState {
    /// In no list.
    Idle,
    /// In a list.
    Queued,
    /// Taken out by a wake-up that it has not used yet.
    Granted,
    /// Taken out because what it waits for it shall not have.
    Refused,
}

/// A waiter's place in a queue.
pub(super) struct Node {
    prev: *mut Entry,
    next: *mut Entry,
    pub(super) waker: Option<Waker>,
    pub(super) state: NodeState,
    /// Stays in the list when woken.
    pub(super) stays: bool,
    /// Counts as one of those that `wake(n)` wakes.
    pub(super) exclusive: bool,
    /// The queue's wake round that this waiter came after, or was last woken in.
    pub(super) round: u64,
    /// How many permits the waiter lacks yet, for semaphores; its age, for wait/wound mutexes.
    pub(super) need: usize,
}

/// A node in its pinned place.
pub(super) struct Entry {
    node: UnsafeCell<Node>,
    /// Said after the last use of the node by whoever grants: its owner then needs no lock to go on. Cleared by the owner before
    /// it queues again.
    granted: AtomicBool,
    _pinned: PhantomPinned,
}

// SAFETY: the node is used under its queue's lock only.
unsafe impl Send for Entry {}
// SAFETY: as above.
unsafe impl Sync for Entry {}

impl Entry {
    crate::facade::const_fn! {
        pub(super) fn new() -> Self {
            Self {
                node: UnsafeCell::new(Node {
                    prev: ptr::null_mut(),
                    next: ptr::null_mut(),
                    waker: None,
                    state: NodeState::Idle,
                    stays: false,
                    exclusive: true,
                    round: 0,
                    need: 0,
                }),
                granted: AtomicBool::new(false),
                _pinned: PhantomPinned,
            }
        }
    }

    /// Tells the owner that it has what it waits for. The entry must not be used after this: it may be gone.
    #[inline(always)]
    pub(super) fn grant(&self) {
        self.granted.store(true, Ordering::Release);
    }

    /// Whether it was granted: the entry is in no list then, and its owner's alone.
    #[inline(always)]
    pub(super) fn is_granted(&self) -> bool {
        self.granted.load(Ordering::Acquire)
    }

    /// Forgets that it was granted, before it is queued.
    #[inline(always)]
    pub(super) fn reset(&self) {
        self.granted.store(false, Ordering::Relaxed);
    }

    /// The node.
    ///
    /// # Safety
    /// The caller holds the lock of the queue that the entry belongs to, or the entry belongs to none; and it holds no
    /// other reference to the node.
    #[allow(
        clippy::mut_from_ref,
        reason = "the queue's lock stands for the exclusive borrow"
    )]
    pub(super) unsafe fn node(&self) -> &mut Node {
        // SAFETY: by the contract nobody else uses the node.
        unsafe { &mut *self.node.get() }
    }
}

impl Default for Entry {
    fn default() -> Self {
        Self::new()
    }
}

/// A list of entries, first in first out.
pub(super) struct List {
    head: *mut Entry,
    tail: *mut Entry,
}

// SAFETY: the list is used under its queue's lock only, and its entries are `Send`.
unsafe impl Send for List {}

impl List {
    pub(super) const fn new() -> Self {
        Self {
            head: ptr::null_mut(),
            tail: ptr::null_mut(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// The first entry.
    pub(super) fn front(&self) -> Option<NonNull<Entry>> {
        NonNull::new(self.head)
    }

    /// Puts an entry last.
    ///
    /// # Safety
    /// Under the queue's lock; the entry is in no list, and stays where it is until it is taken out.
    pub(super) unsafe fn push_back(&mut self, entry: NonNull<Entry>) {
        // SAFETY: the entry lives and we hold the lock.
        let node = unsafe { entry.as_ref().node() };
        node.prev = self.tail;
        node.next = ptr::null_mut();
        match NonNull::new(self.tail) {
            // SAFETY: a listed entry lives; we hold the lock.
            Some(tail) => unsafe { tail.as_ref().node() }.next = entry.as_ptr(),
            None => self.head = entry.as_ptr(),
        }
        self.tail = entry.as_ptr();
    }

    /// All entries, the first first.
    ///
    /// # Safety
    /// Under the queue's lock for as long as the iterator is used; an entry may be taken out once the iterator gave it.
    pub(super) unsafe fn iter(&self) -> impl Iterator<Item = NonNull<Entry>> + use<> {
        let mut next = self.front();
        core::iter::from_fn(move || {
            let entry = next?;
            // SAFETY: a listed entry lives; the caller holds the lock.
            next = NonNull::new(unsafe { entry.as_ref().node() }.next);
            Some(entry)
        })
    }

    /// Takes an entry out.
    ///
    /// # Safety
    /// Under the queue's lock; the entry is in this list.
    pub(super) unsafe fn remove(&mut self, entry: NonNull<Entry>) {
        // SAFETY: the entry lives and we hold the lock.
        let node = unsafe { entry.as_ref().node() };
        let (prev, next) = (node.prev, node.next);
        match NonNull::new(prev) {
            // SAFETY: a listed entry lives; we hold the lock.
            Some(prev) => unsafe { prev.as_ref().node() }.next = next,
            None => self.head = next,
        }
        match NonNull::new(next) {
            // SAFETY: as above.
            Some(next) => unsafe { next.as_ref().node() }.prev = prev,
            None => self.tail = prev,
        }
    }
}

/// Wakers taken under a lock, to be woken after it (rule 5).
///
/// Its memory is not touched before it is used: most wake-ups find nobody, or one.
pub(crate) struct WakeBatch {
    wakers: [MaybeUninit<Waker>; Self::CAPACITY],
    /// How many of them there are, from the start.
    len: usize,
}

impl WakeBatch {
    #[cfg(not(loom))]
    const CAPACITY: usize = 16;
    #[cfg(loom)]
    const CAPACITY: usize = 2;

    #[inline(always)]
    pub(crate) const fn new() -> Self {
        Self {
            wakers: [const { MaybeUninit::uninit() }; Self::CAPACITY],
            len: 0,
        }
    }

    #[inline(always)]
    pub(crate) fn is_full(&self) -> bool {
        self.len == Self::CAPACITY
    }

    /// Adds a waker, if there is one. The batch must not be full.
    #[inline(always)]
    pub(crate) fn push(&mut self, waker: Option<Waker>) {
        if let Some(waker) = waker {
            self.wakers[self.len].write(waker);
            self.len += 1;
        }
    }

    /// Wakes all, and is empty again. The lock must be given back before.
    #[inline]
    pub(crate) fn wake(&mut self) {
        let len = core::mem::take(&mut self.len);
        for waker in &mut self.wakers[..len] {
            // SAFETY: the first `len` were written, and are taken once, since `len` is zero now.
            unsafe { waker.assume_init_read() }.wake();
        }
    }
}

impl Drop for WakeBatch {
    #[inline(always)]
    fn drop(&mut self) {
        debug_assert!(
            self.len == 0 || cfg!(panic = "unwind"),
            "wakers are woken, not dropped"
        );
    }
}
