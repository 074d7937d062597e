//! Pointers that are read without a lock, and what they point to.

use alloc::boxed::Box;
use core::{
    fmt,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    sync::atomic::Ordering,
};

use super::{
    callback::Head,
    grace::{ReadGuard, call, read, synchronize},
};
use crate::facade::AtomicPtr;

/// The head first, so that a pointer to it is one to the whole.
#[repr(C)]
struct Node<T> {
    head: Head,
    value: T,
}

/// A value with room for its callback: a box that can be got rid of after a grace period without allocating.
pub struct RcuBox<T>(Box<Node<T>>);

impl<T> RcuBox<T> {
    /// Boxes `value`.
    ///
    /// # Context
    /// Task: allocates.
    pub fn new(value: T) -> Self {
        Self(Box::new(Node {
            head: Head::new(),
            value,
        }))
    }

    /// The value, out of its box.
    pub fn into_inner(self) -> T {
        self.0.value
    }
}

impl<T: Send + 'static> RcuBox<T> {
    /// Drops the value when everybody who reads now has stopped.
    ///
    /// # Context
    /// Any.
    pub fn retire(self) {
        // SAFETY: a leaked box, which is nobody's any more.
        unsafe { retire(NonNull::from(Box::leak(self.0))) };
    }
}

/// Has a node freed after a grace period. Until then it is no box, since others may still refer to it.
///
/// # Safety
/// The node is of a leaked box, and given to nobody else.
unsafe fn retire<T: Send + 'static>(node: NonNull<Node<T>>) {
    unsafe fn free<T>(head: NonNull<Head>) {
        // SAFETY: the head is the first field of a node of a leaked box, and the callback's alone by now.
        drop(unsafe { Box::from_raw(head.cast::<Node<T>>().as_ptr()) });
    }
    // SAFETY: the node lives until the callback frees it; `T` may be dropped elsewhere.
    unsafe { call(node.cast(), free::<T>) };
}

impl<T> Deref for RcuBox<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> DerefMut for RcuBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0.value
    }
}

impl<T: fmt::Debug> fmt::Debug for RcuBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A value that is read without a lock and replaced as a whole.
pub struct RcuCell<T: Send + 'static> {
    node: AtomicPtr<Node<T>>,
}

// SAFETY: the value moves with the cell.
unsafe impl<T: Send + Sync + 'static> Send for RcuCell<T> {}
// SAFETY: readers share the value, and it may be dropped on another CPU than it was made on.
unsafe impl<T: Send + Sync + 'static> Sync for RcuCell<T> {}

impl<T: Send + 'static> RcuCell<T> {
    /// A cell around `value`.
    ///
    /// # Context
    /// Task: allocates.
    pub fn new(value: T) -> Self {
        Self {
            node: AtomicPtr::new(Box::into_raw(RcuBox::new(value).0)),
        }
    }

    /// The value as it is now, for as long as `_reading` lasts.
    ///
    /// # Context
    /// Any.
    #[inline]
    pub fn read<'a>(&'a self, _reading: &'a ReadGuard) -> &'a T {
        let node = self.node.load(Ordering::Acquire);
        // SAFETY: a node that is taken out lives for a grace period, which does not end while the guard lives.
        unsafe { &(*node).value }
    }

    /// Calls `f` with the value as it is now.
    ///
    /// # Context
    /// Any; `f` runs with preemption off.
    pub fn with<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        f(self.read(&read()))
    }

    /// Replaces the value: who begins to read from now on sees `new`. The old one is dropped when nobody reads it.
    ///
    /// # Context
    /// Any.
    pub fn replace(&self, new: RcuBox<T>) {
        // SAFETY: taken out of the cell, so the caller's alone to get rid of.
        unsafe { retire(self.swap(new)) };
    }

    /// Replaces the value, waits until nobody reads the old one, and gives that.
    ///
    /// # Context
    /// Task: allocates.
    /// # Cancel safety
    /// The value is replaced at the first poll; a future dropped after that leaves the old one to be dropped in time.
    pub async fn exchange(&self, new: T) -> T {
        struct Old<T: Send + 'static>(NonNull<Node<T>>);
        impl<T: Send + 'static> Drop for Old<T> {
            fn drop(&mut self) {
                // SAFETY: taken out of the cell, and not given to anybody: who gives it forgets this.
                unsafe { retire(self.0) };
            }
        }
        // SAFETY: as a box of a `T`, which may be dropped elsewhere.
        unsafe impl<T: Send + 'static> Send for Old<T> {}
        let old = Old(self.swap(RcuBox::new(new)));
        synchronize().await;
        let node = core::mem::ManuallyDrop::new(old).0;
        // SAFETY: of a leaked box, and after the grace period nobody else's.
        unsafe { Box::from_raw(node.as_ptr()) }.value
    }

    /// What was in the cell, which others may still read.
    fn swap(&self, new: RcuBox<T>) -> NonNull<Node<T>> {
        let old = self.node.swap(Box::into_raw(new.0), Ordering::AcqRel);
        NonNull::new(old).expect("there is always a node in the cell")
    }
}

impl<T: Send + 'static> Drop for RcuCell<T> {
    fn drop(&mut self) {
        let node = self.node.load(Ordering::Relaxed);
        // SAFETY: the cell is borrowed by nobody, so nobody reads; the pointer is of a leaked box.
        drop(unsafe { Box::from_raw(node) });
    }
}

impl<T: Send + fmt::Debug + 'static> fmt::Debug for RcuCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with(|value| f.debug_tuple("RcuCell").field(value).finish())
    }
}
