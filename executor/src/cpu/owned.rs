//! Data that one CPU owns: no lock, a check instead.

use core::cell::UnsafeCell;

use super::{PreemptGuard, imp, preempt_disable};

/// Data that only its owner CPU touches, with preemption off, and never from an interrupt.
///
/// On the host the owner is a thread.
pub struct CpuOwned<T> {
    owner: imp::OwnerToken,
    busy: core::cell::Cell<bool>,
    value: UnsafeCell<T>,
}

// SAFETY: `with` lets only the owner CPU in, one use at a time, so sharing the cell shares nothing of the value; the value
// itself may have been made on another CPU, and is dropped where the cell is, hence `Send`-like care is the owner's: the
// constructor binds it to the CPU that makes it.
unsafe impl<T> Sync for CpuOwned<T> {}

impl<T> CpuOwned<T> {
    /// Gives `value` to the CPU this runs on.
    pub fn new(value: T) -> Self {
        let _stay = preempt_disable();
        Self {
            owner: imp::owner_token(),
            busy: core::cell::Cell::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Calls `f` with the value, preemption off.
    ///
    /// # Panics
    /// On another CPU, or from within `f`.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        self.with_held(&preempt_disable(), f)
    }

    /// As [`CpuOwned::with`], where preemption is off already: the guard may outlast the use.
    ///
    /// # Panics
    /// As [`CpuOwned::with`].
    #[inline(always)]
    pub fn with_held<R>(&self, _stay: &PreemptGuard, f: impl FnOnce(&mut T) -> R) -> R {
        assert!(self.owner == imp::owner_token(), "owned by another CPU");
        assert!(!self.busy.replace(true), "in use further up");
        // SAFETY: this is the owner CPU and stays it, and `busy` shows that no other use is under way on it.
        let result = f(unsafe { &mut *self.value.get() });
        self.busy.set(false);
        result
    }
}

impl<T> core::fmt::Debug for CpuOwned<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CpuOwned")
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}
