//! A lock whose holder may wait.
//!
//! The mutex knows which task holds it and on which CPU that was. Who finds it held looks whether its holder is being polled
//! at this moment: then it will be given back sooner than a wait takes, so the comer spins for it (rule 25). It stops when the
//! holder leaves its CPU, when its own CPU is wanted by another task, and when somebody waits already, since nobody overtakes
//! those; then it waits as well. One task spins at a time for a mutex.

use core::{
    cell::UnsafeCell,
    fmt,
    ops::{Deref, DerefMut},
    sync::atomic::Ordering,
};

use super::semaphore::Semaphore;
#[cfg(loom)]
use crate::facade::TryUpdate as _;
use crate::{
    cpu,
    facade::{AtomicBool, AtomicU32, AtomicUsize, const_fn, spin_loop},
    raw::CpuShared,
};

/// Nobody holds the mutex, or somebody who is about to say so.
const FREE: usize = 0;
/// The holder is no task of this crate.
const UNKNOWN: usize = 1;

/// How often a comer looks, at most, before it waits: on a host, a CPU that polls may itself not run.
const LOOKS: u32 = if cfg!(loom) { 2 } else { 4096 };

/// A lock that is held across awaits; those who want it wait in order.
///
/// # Context
/// Task. For data that is never held across an await, [`SpinLock`](super::SpinLock) costs less.
pub struct Mutex<T: ?Sized> {
    semaphore: Semaphore,
    /// The number of the task that holds it, or one of the two above. A hint: guards may be given to other tasks.
    owner: AtomicUsize,
    /// Where the holder was when it took it.
    owner_cpu: AtomicU32,
    /// Somebody spins for it.
    spinning: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value moves with the mutex.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: one holder at a time has the value.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    const_fn! {
        /// A free mutex around `value`.
        #[track_caller]
        pub fn new(value: T) -> Self {
            Self {
                semaphore: Semaphore::new(1),
                owner: AtomicUsize::new(FREE),
                owner_cpu: AtomicU32::new(0),
                spinning: AtomicBool::new(false),
                value: UnsafeCell::new(value),
            }
        }
    }

    /// The value, the mutex being gone.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Takes the mutex: at once if it is free, spinning if its holder is at work at this moment, or else waiting in order
    /// of arrival.
    ///
    /// # Cancel safety
    /// A mutex granted to a future that is dropped goes to the next waiter; the place in the order is lost.
    #[inline]
    pub async fn lock(&self) -> MutexGuard<'_, T> {
        if !self.semaphore.try_take(1) && !self.spin() {
            self.semaphore.take(1).await;
        }
        self.taken()
    }

    /// Takes the mutex if it is free and nobody waits for it.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.semaphore.try_take(1).then(|| self.taken())
    }

    /// Takes one off `count`, and gives the mutex if that was the last: the count does not get to zero but under it.
    /// Linux: `atomic_dec_and_mutex_lock`.
    ///
    /// # Cancel safety
    /// That of [`Mutex::lock`]; nothing is taken off the count by a future that is not ready.
    pub async fn lock_for_last(&self, count: &AtomicUsize) -> Option<MutexGuard<'_, T>> {
        let above_one = |n| (n > 1).then(|| n - 1);
        let try_dec = || count.try_update(Ordering::AcqRel, Ordering::Relaxed, above_one);
        if try_dec().is_ok() {
            return None;
        }
        let guard = self.lock().await;
        (count.fetch_sub(1, Ordering::AcqRel) == 1).then_some(guard)
    }

    /// Whether somebody holds it, at this moment.
    pub fn is_locked(&self) -> bool {
        self.semaphore.available() == 0
    }

    /// The number of the task that took it, as [`TaskRef::id`](crate::TaskRef::id) gives it, if it is held, and by a task.
    pub fn owner(&self) -> Option<usize> {
        match self.owner.load(Ordering::Relaxed) {
            FREE | UNKNOWN => None,
            owner => Some(owner),
        }
    }

    /// Notes the new holder, who is the caller.
    #[inline]
    fn taken(&self) -> MutexGuard<'_, T> {
        // Read without a guard: a caller that is moved in between is looked for where it is not, and not spun for.
        self.owner_cpu.store(cpu::id(), Ordering::Relaxed);
        let owner = match cpu::current().addr() {
            0 => UNKNOWN,
            task => task,
        };
        self.owner.store(owner, Ordering::Relaxed);
        MutexGuard { mutex: self }
    }

    /// Spins for the mutex while that promises to be quick. True if it was taken.
    #[cold]
    fn spin(&self) -> bool {
        if self.spinning.swap(true, Ordering::Relaxed) {
            return false;
        }
        let taken = self.spin_alone();
        self.spinning.store(false, Ordering::Relaxed);
        taken
    }

    fn spin_alone(&self) -> bool {
        for _ in 0..LOOKS {
            if self.semaphore.try_take(1) {
                return true;
            }
            let owner = self.owner.load(Ordering::Relaxed);
            let at_work = owner == FREE
                || CpuShared::of(self.owner_cpu.load(Ordering::Relaxed))
                    .is_some_and(|cpu| cpu.polls(owner));
            if !at_work || cpu::need_resched() || self.semaphore.has_waiters() {
                return false;
            }
            spin_loop();
        }
        false
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.try_lock() {
            Some(guard) => f.debug_tuple("Mutex").field(&&*guard).finish(),
            None => f.write_str("Mutex(<locked>)"),
        }
    }
}

/// The right to use what a [`Mutex`] guards. It may cross awaits and CPUs.
#[must_use = "the mutex is given back when the guard is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
}

// SAFETY: a shared guard gives shared access to the value only.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the mutex.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the mutex and is borrowed exclusively.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.owner.store(FREE, Ordering::Relaxed);
        self.mutex.semaphore.release(1);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use core::{
        future::Future,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    #[test]
    fn a_free_mutex_is_taken_and_given_back_without_its_queue() {
        let mutex = Mutex::new(0);
        let cx = &mut Context::from_waker(Waker::noop());
        // Who wanted the queue now would spin for ever.
        mutex.semaphore.with_queue_held(|| {
            let mut locking = pin!(mutex.lock());
            let Poll::Ready(mut guard) = locking.as_mut().poll(cx) else {
                panic!("a free mutex was not given at once");
            };
            *guard += 1;
            assert!(mutex.is_locked() && mutex.try_lock().is_none());
            drop(guard);
            *mutex.try_lock().expect("it was given back") += 1;
        });
        assert_eq!(mutex.into_inner(), 2);
    }
}
