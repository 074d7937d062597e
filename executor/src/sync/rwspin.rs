//! Spinning locks of many readers or one writer.
//!
//! A writer that waits keeps no reader out, so that a reader may read again what it reads already, also from an interrupt
//! that came meanwhile: these locks are for data that is seldom written, and a stream of readers starves writers.

use core::{
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    sync::atomic::Ordering,
};

use crate::{
    cpu::{self, BhGuard, IrqPreemptGuard, PreemptGuard},
    facade::{AtomicU32, Cell, const_fn, spin_loop},
};

const WRITER: u32 = 1 << 31;

mod context {
    /// What a holder holds off besides other holders.
    pub trait Context {
        /// Ends with it.
        type Held;
        /// Begins to hold it off.
        fn enter() -> Self::Held;
        /// Whether the lock may be taken here.
        fn allowed() -> bool;
    }
}
use context::Context;

/// Holders are not preempted.
#[derive(Debug)]
pub struct HoldsPreemption;
/// Holders are not preempted, and no softirq runs on their CPU.
#[derive(Debug)]
pub struct HoldsBottomHalves;
/// Interrupts are masked on the holders' CPUs.
#[derive(Debug)]
pub struct HoldsInterrupts;

impl Context for HoldsPreemption {
    type Held = PreemptGuard;
    #[inline(always)]
    fn enter() -> PreemptGuard {
        cpu::preempt_disable()
    }
    fn allowed() -> bool {
        !cpu::in_hardirq()
    }
}

impl Context for HoldsBottomHalves {
    type Held = BhGuard;
    #[inline(always)]
    fn enter() -> BhGuard {
        cpu::bh_disable()
    }
    fn allowed() -> bool {
        !cpu::in_hardirq()
    }
}

impl Context for HoldsInterrupts {
    type Held = IrqPreemptGuard;
    #[inline(always)]
    fn enter() -> IrqPreemptGuard {
        cpu::irq_save_preempt_disable()
    }
    fn allowed() -> bool {
        !cpu::in_nmi()
    }
}

/// A spinning lock of many readers or one writer, by what its holders hold off besides; see its aliases.
pub struct RwSpin<T: ?Sized, C> {
    /// The number of readers, or [`WRITER`].
    state: AtomicU32,
    _context: PhantomData<fn() -> C>,
    value: Cell<T>,
}

/// A reader-writer lock for data that no interrupt handler touches: Linux's `read_lock`, `write_lock`.
///
/// # Context
/// Task.
pub type RwSpinLock<T> = RwSpin<T, HoldsPreemption>;

/// A reader-writer lock for data that softirqs touch: Linux's `read_lock_bh`, `write_lock_bh`.
///
/// # Context
/// Task or softirq.
pub type RwSpinLockBh<T> = RwSpin<T, HoldsBottomHalves>;

/// A reader-writer lock for data that interrupt handlers touch: Linux's `read_lock_irqsave`, `write_lock_irqsave`.
///
/// # Context
/// Any, NMI aside.
pub type RwSpinLockIrq<T> = RwSpin<T, HoldsInterrupts>;

// SAFETY: the value moves with the lock.
unsafe impl<T: ?Sized + Send, C> Send for RwSpin<T, C> {}
// SAFETY: readers share the value, a writer has it alone.
unsafe impl<T: ?Sized + Send + Sync, C> Sync for RwSpin<T, C> {}

impl<T, C> RwSpin<T, C> {
    const_fn! {
        /// A free lock around `value`.
        pub fn new(value: T) -> Self {
            Self { state: AtomicU32::new(0), _context: PhantomData, value: Cell::new(value) }
        }
    }

    /// The value, the lock being gone.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

#[allow(
    private_bounds,
    reason = "the contexts are the three above and no others"
)]
impl<T: ?Sized, C: Context> RwSpin<T, C> {
    /// Shares the value with other readers, spinning while a writer has it.
    #[inline]
    pub fn read(&self) -> RwSpinReadGuard<'_, T, C> {
        loop {
            if let Some(guard) = self.try_read() {
                return guard;
            }
            self.wait(|state| state & WRITER == 0);
        }
    }

    /// Takes the value alone, spinning while others have it.
    #[inline]
    pub fn write(&self) -> RwSpinWriteGuard<'_, T, C> {
        loop {
            if let Some(guard) = self.try_write() {
                return guard;
            }
            self.wait(|state| state == 0);
        }
    }

    /// Shares the value, if no writer has it.
    #[inline]
    pub fn try_read(&self) -> Option<RwSpinReadGuard<'_, T, C>> {
        debug_assert!(C::allowed(), "a lock is taken in a context above its own");
        let context = C::enter();
        let mut state = self.state.load(Ordering::Relaxed);
        while state & WRITER == 0 {
            match self.state.compare_exchange_weak(
                state,
                state + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    return Some(RwSpinReadGuard {
                        lock: self,
                        _context: context,
                        _not_send: PhantomData,
                    });
                }
                Err(now) => state = now,
            }
        }
        None
    }

    /// Takes the value alone, if nobody has it.
    #[inline]
    pub fn try_write(&self) -> Option<RwSpinWriteGuard<'_, T, C>> {
        debug_assert!(C::allowed(), "a lock is taken in a context above its own");
        let context = C::enter();
        let taken = self
            .state
            .compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok().then(|| RwSpinWriteGuard {
            lock: self,
            _context: context,
            _not_send: PhantomData,
        })
    }

    /// Spins, in the caller's own context, until the lock looks as `free` wants it.
    #[cold]
    fn wait(&self, free: impl Fn(u32) -> bool) {
        // The model lets the holder run, once, whatever it sees: what it sees may be old.
        #[cfg(loom)]
        spin_loop();
        #[cfg(not(loom))]
        while !free(self.state.load(Ordering::Relaxed)) {
            spin_loop();
        }
        #[cfg(loom)]
        let _ = free;
    }
}

impl<T: Default, C> Default for RwSpin<T, C> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized, C> fmt::Debug for RwSpin<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.load(Ordering::Relaxed);
        f.debug_struct("RwSpin")
            .field("readers", &(state & !WRITER))
            .field("writer", &(state & WRITER != 0))
            .finish_non_exhaustive()
    }
}

/// A reader's share of a [`RwSpin`].
#[must_use = "the share is given back when the guard is dropped"]
#[allow(private_bounds, reason = "as for the lock")]
pub struct RwSpinReadGuard<'a, T: ?Sized, C: Context = HoldsPreemption> {
    lock: &'a RwSpin<T, C>,
    _context: C::Held,
    _not_send: PhantomData<*mut ()>,
}

/// A writer's hold of a [`RwSpin`].
#[must_use = "the lock is given back when the guard is dropped"]
#[allow(private_bounds, reason = "as for the lock")]
pub struct RwSpinWriteGuard<'a, T: ?Sized, C: Context = HoldsPreemption> {
    lock: &'a RwSpin<T, C>,
    _context: C::Held,
    _not_send: PhantomData<*mut ()>,
}

impl<T: ?Sized, C: Context> Deref for RwSpinReadGuard<'_, T, C> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: no writer holds the lock while a reader does.
        self.lock.value.with(|v| unsafe { &*v })
    }
}

impl<T: ?Sized, C: Context> Drop for RwSpinReadGuard<'_, T, C> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.state.fetch_sub(1, Ordering::Release);
    }
}

impl<T: ?Sized, C: Context> Deref for RwSpinWriteGuard<'_, T, C> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the writer is alone.
        self.lock.value.with(|v| unsafe { &*v })
    }
}

impl<T: ?Sized, C: Context> DerefMut for RwSpinWriteGuard<'_, T, C> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the writer is alone, and the guard is borrowed exclusively.
        self.lock.value.with_mut(|v| unsafe { &mut *v })
    }
}

impl<T: ?Sized, C: Context> Drop for RwSpinWriteGuard<'_, T, C> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.state.store(0, Ordering::Release);
    }
}
