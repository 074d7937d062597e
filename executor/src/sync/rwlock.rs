//! A lock of many readers or one writer, whose holders may wait.

use core::{
    cell::UnsafeCell,
    fmt,
    mem::ManuallyDrop,
    ops::{Deref, DerefMut},
};

use super::semaphore::Semaphore;
use crate::facade::const_fn;

/// A reader takes one permit, a writer all of them.
const WRITE: usize = 1 << 29;

/// A reader-writer lock that is held across awaits. Readers and writers are served in order of arrival, so a stream of
/// readers does not keep a writer out.
///
/// # Context
/// Task.
pub struct RwLock<T: ?Sized> {
    semaphore: Semaphore,
    value: UnsafeCell<T>,
}

// SAFETY: the value moves with the lock.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: readers share the value, a writer has it alone.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

impl<T> RwLock<T> {
    const_fn! {
        /// A free lock around `value`.
        #[track_caller]
        pub fn new(value: T) -> Self {
            Self { semaphore: Semaphore::new(WRITE), value: UnsafeCell::new(value) }
        }
    }

    /// The value, the lock being gone.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Shares the value with other readers.
    ///
    /// # Cancel safety
    /// As [`Mutex::lock`](super::Mutex::lock).
    pub async fn read(&self) -> RwLockReadGuard<'_, T> {
        self.semaphore.take(1).await;
        RwLockReadGuard { lock: self }
    }

    /// Takes the value alone.
    ///
    /// # Cancel safety
    /// As [`Mutex::lock`](super::Mutex::lock).
    pub async fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.semaphore.take(WRITE).await;
        RwLockWriteGuard { lock: self }
    }

    /// Shares the value, if no writer has it or waits for it.
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        self.semaphore
            .try_take(1)
            .then(|| RwLockReadGuard { lock: self })
    }

    /// Whether somebody has the value, alone or with others, at this moment.
    pub fn is_locked(&self) -> bool {
        self.semaphore.available() < WRITE
    }

    /// Takes the value alone, if nobody has it.
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        self.semaphore
            .try_take(WRITE)
            .then(|| RwLockWriteGuard { lock: self })
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock")
            .field("readers", &(WRITE - self.semaphore.available()))
            .finish_non_exhaustive()
    }
}

/// A reader's share of an [`RwLock`].
#[must_use = "the share is given back when the guard is dropped"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
}

/// A writer's hold of an [`RwLock`].
#[must_use = "the lock is given back when the guard is dropped"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
}

// SAFETY: a shared guard gives shared access to the value only.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Becomes a reader; other readers come in, writers do not.
    pub fn downgrade(self) -> RwLockReadGuard<'a, T> {
        let lock = ManuallyDrop::new(self).lock;
        lock.semaphore.release(WRITE - 1);
        RwLockReadGuard { lock }
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: a permit is held, so no writer has all of them.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.semaphore.release(1);
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: all permits are held, so nobody else has one.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for `deref`, and the guard is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.semaphore.release(WRITE);
    }
}
