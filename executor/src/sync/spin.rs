//! Locks that spin: for short sections, never across an await.
//!
//! All three test before they set, and say nothing about fairness: sections are short, and on a machine that is itself
//! scheduled a ticket would wait for a CPU that does not run. Who waits for a lock is as he came: preemption, softirqs and
//! interrupts are held off for the attempt only, so that a long wait costs nobody else's latency.

use core::{
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    sync::atomic::Ordering,
};

use crate::{
    cpu::{self, BhGuard, IrqPreemptGuard, PreemptGuard},
    facade::{AtomicBool, Cell, const_fn, spin_loop},
};

/// What the validator knows of a lock; nothing, where it is not built.
#[cfg(not(all(debug_assertions, not(loom))))]
#[derive(Clone, Copy)]
struct Class;

#[cfg(all(debug_assertions, not(loom)))]
use super::validator::Class;

/// For locks under which no other is taken, and of which there are so many that they have no room for a class.
#[derive(Clone, Copy)]
struct NoClass;

/// Nothing to look at, and nothing to note.
macro_rules! no_class {
    ($class:ident) => {
        impl $class {
            const fn here() -> Self {
                Self
            }
            #[inline(always)]
            fn look(self) {}
            #[inline(always)]
            fn taken(self) {}
            #[inline(always)]
            fn given_back(self) {}
        }
    };
}
no_class!(NoClass);
#[cfg(not(all(debug_assertions, not(loom))))]
no_class!(Class);

/// The word of a spinning lock.
struct RawSpin(AtomicBool);

impl RawSpin {
    const_fn! {
        fn new() -> Self {
            Self(AtomicBool::new(false))
        }
    }

    #[inline(always)]
    fn try_lock(&self) -> bool {
        self.0
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Spins until the lock looks free.
    #[cold]
    fn wait(&self) {
        #[cfg(all(debug_assertions, target_os = "none"))]
        let mut patience = 1_u64 << 32;
        while self.0.load(Ordering::Relaxed) {
            spin_loop();
            #[cfg(all(debug_assertions, target_os = "none"))]
            {
                patience -= 1;
                assert!(patience > 0, "a spin lock is not given back");
            }
            // One look is enough for the model: `spin_loop` lets the holder run.
            #[cfg(loom)]
            return;
        }
    }

    #[inline(always)]
    fn unlock(&self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Declares a lock over `RawSpin` whose guard also holds what `$enter` gives.
macro_rules! spin_lock {
    ($(#[$doc:meta])* $lock:ident, $guard:ident, $class:ident, $context:ty, $enter:expr, $check:expr) => {
        $(#[$doc])*
        pub struct $lock<T: ?Sized> {
            class: $class,
            raw: RawSpin,
            value: Cell<T>,
        }

        // SAFETY: the lock hands the value to one CPU at a time, so it must be able to move between them.
        unsafe impl<T: ?Sized + Send> Send for $lock<T> {}
        // SAFETY: as above: no two holders at a time, so `T` need not be `Sync`.
        unsafe impl<T: ?Sized + Send> Sync for $lock<T> {}

        #[allow(dead_code, reason = "the lock that stays in this crate does not need all of them")]
        impl<T> $lock<T> {
            const_fn! {
                /// A free lock around `value`.
                #[track_caller]
                pub fn new(value: T) -> Self {
                    Self { class: $class::here(), raw: RawSpin::new(), value: Cell::new(value) }
                }
            }

            /// The value, without locking: nobody else has the lock.
            pub fn get_mut(&mut self) -> &mut T {
                // SAFETY: the exclusive borrow of the lock is one of the value, and lives as long.
                self.value.with_mut(|value| unsafe { &mut *value })
            }

            /// The value, the lock being gone.
            pub fn into_inner(self) -> T {
                self.value.into_inner()
            }
        }

        #[allow(dead_code, reason = "as above")]
        impl<T: ?Sized> $lock<T> {
            /// Takes the lock, spinning while another CPU holds it.
            ///
            /// The guard is `!Send`: it does not cross an await. Prefer [`Self::with`] for short sections.
            #[inline(always)]
            #[track_caller]
            pub fn lock(&self) -> $guard<'_, T> {
                #[allow(clippy::redundant_closure_call, reason = "the check is a parameter")]
                ($check)();
                let mut looked = false;
                loop {
                    let context = $enter;
                    if !core::mem::replace(&mut looked, true) {
                        self.class.look();
                    }
                    if self.raw.try_lock() {
                        self.class.taken();
                        return $guard { lock: self, _context: context, _not_send: PhantomData };
                    }
                    // Waits as the caller was: preemptible, or open to interrupts, if that is what it was.
                    drop(context);
                    self.raw.wait();
                }
            }

            /// Takes the lock if it is free.
            #[inline]
            pub fn try_lock(&self) -> Option<$guard<'_, T>> {
                let context = $enter;
                self.raw.try_lock().then(|| {
                    self.class.taken();
                    $guard { lock: self, _context: context, _not_send: PhantomData }
                })
            }

            /// Calls `f` with the value under the lock: an await cannot be written in it.
            #[inline(always)]
            #[track_caller]
            pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
                f(&mut self.lock())
            }

            /// Whether somebody holds the lock, at this moment.
            pub fn is_locked(&self) -> bool {
                self.raw.0.load(Ordering::Relaxed)
            }
        }

        impl<T: Default> Default for $lock<T> {
            #[track_caller]
            fn default() -> Self {
                Self::new(T::default())
            }
        }

        impl<T: ?Sized + fmt::Debug> fmt::Debug for $lock<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.try_lock() {
                    Some(guard) => f.debug_tuple(stringify!($lock)).field(&&*guard).finish(),
                    None => f.write_str(concat!(stringify!($lock), "(<locked>)")),
                }
            }
        }

        /// The right to use what a lock guards; dropping it gives the lock back.
        #[must_use = "the lock is given back when the guard is dropped"]
        pub struct $guard<'a, T: ?Sized> {
            lock: &'a $lock<T>,
            // Dropped after `drop` gave the lock back: first the lock, then preemption or interrupts.
            _context: $context,
            _not_send: PhantomData<*mut ()>,
        }

        // SAFETY: a shared guard gives shared access to the value only.
        unsafe impl<T: ?Sized + Sync> Sync for $guard<'_, T> {}

        impl<T: ?Sized> Deref for $guard<'_, T> {
            type Target = T;
            #[inline(always)]
            fn deref(&self) -> &T {
                // SAFETY: the guard holds the lock for as long as the reference can live.
                self.lock.value.with_mut(|v| unsafe { &*v })
            }
        }

        impl<T: ?Sized> DerefMut for $guard<'_, T> {
            #[inline(always)]
            fn deref_mut(&mut self) -> &mut T {
                // SAFETY: as for `deref`, and the guard is borrowed exclusively.
                self.lock.value.with_mut(|v| unsafe { &mut *v })
            }
        }

        impl<T: ?Sized> Drop for $guard<'_, T> {
            #[inline(always)]
            fn drop(&mut self) {
                self.lock.class.given_back();
                self.lock.raw.unlock();
            }
        }

        impl<T: ?Sized + fmt::Debug> fmt::Debug for $guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
    };
}

spin_lock! {
    /// A lock for data that no interrupt handler touches; its holder is not preempted.
    ///
    /// # Context
    /// Task. For softirqs see [`SpinLockBh`], for hard interrupts [`SpinLockIrq`].
    SpinLock, SpinLockGuard, Class, PreemptGuard, cpu::preempt_disable(),
    || debug_assert!(!cpu::in_hardirq(), "a plain spin lock is taken in a hard interrupt")
}

spin_lock! {
    /// A lock for data that softirqs touch; its holder is not preempted, and no softirq runs on its CPU.
    ///
    /// # Context
    /// Task or softirq.
    SpinLockBh, SpinLockBhGuard, Class, BhGuard, cpu::bh_disable(),
    || debug_assert!(!cpu::in_hardirq(), "a bottom-half lock is taken in a hard interrupt")
}

spin_lock! {
    /// A lock for data that interrupt handlers touch; interrupts are masked on its holder's CPU.
    ///
    /// # Context
    /// Any, NMI aside.
    SpinLockIrq, SpinLockIrqGuard, Class, IrqPreemptGuard, cpu::irq_save_preempt_disable(), || ()
}

spin_lock! {
    /// As [`SpinLockIrq`], for a lock under which no other is taken; the validator does not know it.
    LeafLockIrq, LeafLockIrqGuard, NoClass, IrqPreemptGuard, cpu::irq_save_preempt_disable(), || ()
}
