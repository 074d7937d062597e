//! What is to be done after a grace period, linked in place.

use core::{
    cell::UnsafeCell,
    fmt,
    ptr::{self, NonNull},
};

/// What is called after a grace period, with the head it was given with.
pub type Callback = unsafe fn(NonNull<Head>);

/// A callback's place, in what the callback is about: Linux's `rcu_head`.
pub struct Head(UnsafeCell<Link>);

struct Link {
    next: *mut Head,
    callback: Callback,
}

// SAFETY: the link belongs to the one list that the head is in, whose lock guards it.
unsafe impl Send for Head {}
// SAFETY: as above.
unsafe impl Sync for Head {}

impl Head {
    /// A head that is in no list.
    pub const fn new() -> Self {
        const fn nothing() -> Callback {
            unsafe fn nothing(_: NonNull<Head>) {}
            nothing
        }
        Self(UnsafeCell::new(Link {
            next: ptr::null_mut(),
            callback: nothing(),
        }))
    }
}

impl Default for Head {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head").finish_non_exhaustive()
    }
}

/// Heads in the order in which they were given.
pub(super) struct Callbacks {
    first: *mut Head,
    last: *mut Head,
}

// SAFETY: the list owns its heads, which are `Send`, and what they lead to is the promise of `call`.
unsafe impl Send for Callbacks {}

impl Callbacks {
    pub(super) const fn new() -> Self {
        Self {
            first: ptr::null_mut(),
            last: ptr::null_mut(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    /// Puts a head last.
    ///
    /// # Safety
    /// The head lives until it is popped, in no other list, and nobody else uses it.
    pub(super) unsafe fn push(&mut self, head: NonNull<Head>, callback: Callback) {
        let link = Link {
            next: ptr::null_mut(),
            callback,
        };
        // SAFETY: ours, by the contract.
        unsafe { *head.as_ref().0.get() = link };
        match NonNull::new(self.last) {
            // SAFETY: a listed head lives and is ours.
            Some(last) => unsafe { (*last.as_ref().0.get()).next = head.as_ptr() },
            None => self.first = head.as_ptr(),
        }
        self.last = head.as_ptr();
    }

    /// Takes the first.
    pub(super) fn pop(&mut self) -> Option<(NonNull<Head>, Callback)> {
        let head = NonNull::new(self.first)?;
        // SAFETY: a listed head lives and is ours.
        let (next, callback) = unsafe {
            let link = &*head.as_ref().0.get();
            (link.next, link.callback)
        };
        self.first = next;
        if next.is_null() {
            self.last = ptr::null_mut();
        }
        Some((head, callback))
    }

    /// Puts all of `other` behind, and leaves that empty.
    pub(super) fn append(&mut self, other: &mut Self) {
        if other.is_empty() {
            return;
        }
        match NonNull::new(self.last) {
            // SAFETY: a listed head lives and is ours.
            Some(last) => unsafe { (*last.as_ref().0.get()).next = other.first },
            None => self.first = other.first,
        }
        self.last = other.last;
        *other = Self::new();
    }
}
