//! A count of references and a spinning lock in one word: Linux's lockref.

use core::{
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    sync::atomic::Ordering,
};

use crate::{
    cpu::{self, PreemptGuard},
    facade::{AtomicU64, Cell, const_fn, spin_loop},
};

const LOCKED: u64 = 1;
const DEAD: u64 = 1 << 1;
const ONE: u64 = 1 << 32;

/// Data under a lock, with a count that changes without the lock while nobody holds that.
///
/// Who holds the lock sees a count that stands still, so it can decide that the last reference has gone, and mark the
/// thing dead for those who come by a lookup without lock.
pub struct LockRef<T> {
    /// The count in the upper half, the two flags in the lower.
    word: AtomicU64,
    value: Cell<T>,
}

// SAFETY: the value moves with the lock.
unsafe impl<T: Send> Send for LockRef<T> {}
// SAFETY: the lock hands the value to one CPU at a time.
unsafe impl<T: Send> Sync for LockRef<T> {}

impl<T> LockRef<T> {
    const_fn! {
        /// A value with `count` references.
        pub fn new(value: T, count: u32) -> Self {
            Self { word: AtomicU64::new(count as u64 * ONE), value: Cell::new(value) }
        }
    }

    /// How many references there are, at this moment.
    pub fn count(&self) -> u32 {
        (self.word.load(Ordering::Relaxed) / ONE) as u32
    }

    /// Takes a reference. False if the thing is dead.
    ///
    /// # Context
    /// Task. Spins while somebody holds the lock.
    pub fn get(&self) -> bool {
        self.change(|word| (word & DEAD == 0).then(|| word + ONE))
    }

    /// As [`LockRef::get`], only if there is a reference already.
    pub fn get_unless_zero(&self) -> bool {
        self.change(|word| (word & DEAD == 0 && word >= ONE).then(|| word + ONE))
    }

    /// Gives a reference back; if it is the last, keeps it, and gives the lock instead, for the caller to decide.
    ///
    /// # Panics
    /// In debug builds, if there is none.
    pub fn put_or_lock(&self) -> Option<LockRefGuard<'_, T>> {
        loop {
            if self.change(|word| (word >= 2 * ONE).then(|| word - ONE)) {
                return None;
            }
            let guard = self.lock();
            debug_assert!(self.count() > 0, "a reference is given back twice");
            if self.count() == 1 {
                return Some(guard);
            }
            // Others came in between.
            drop(guard);
        }
    }

    /// Changes the word in one step while nobody holds the lock. False if `to` refuses.
    fn change(&self, to: impl Fn(u64) -> Option<u64>) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & LOCKED != 0 {
                spin_loop();
                word = self.word.load(Ordering::Relaxed);
                continue;
            }
            let Some(new) = to(word) else { return false };
            match self
                .word
                .compare_exchange_weak(word, new, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }

    /// Takes the lock: the count stands still until the guard is dropped.
    ///
    /// # Context
    /// Task.
    pub fn lock(&self) -> LockRefGuard<'_, T> {
        let context = cpu::preempt_disable();
        self.change(|word| Some(word | LOCKED));
        LockRefGuard {
            lock: self,
            _context: context,
            _not_send: PhantomData,
        }
    }
}

impl<T> fmt::Debug for LockRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word.load(Ordering::Relaxed);
        f.debug_struct("LockRef")
            .field("count", &(word / ONE))
            .field("dead", &(word & DEAD != 0))
            .finish_non_exhaustive()
    }
}

/// The hold of a [`LockRef`].
#[must_use = "the lock is given back when the guard is dropped"]
pub struct LockRefGuard<'a, T> {
    lock: &'a LockRef<T>,
    _context: PreemptGuard,
    _not_send: PhantomData<*mut ()>,
}

impl<T> LockRefGuard<'_, T> {
    /// How many references there are.
    pub fn count(&self) -> u32 {
        self.lock.count()
    }

    /// Gives a reference back, and says how many are left.
    ///
    /// # Panics
    /// If there was none.
    pub fn put(&mut self) -> u32 {
        assert!(self.count() > 0, "a reference is given back twice");
        self.lock.word.fetch_sub(ONE, Ordering::Relaxed);
        self.count()
    }

    /// Takes a reference, dead or not.
    pub fn get(&mut self) {
        self.lock.word.fetch_add(ONE, Ordering::Relaxed);
    }

    /// Lets nobody take a reference without the lock any more.
    pub fn mark_dead(&mut self) {
        self.lock.word.fetch_or(DEAD, Ordering::Relaxed);
    }

    /// Whether it was marked dead.
    pub fn is_dead(&self) -> bool {
        self.lock.word.load(Ordering::Relaxed) & DEAD != 0
    }
}

impl<T> Deref for LockRefGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock for as long as the reference can live.
        self.lock.value.with(|v| unsafe { &*v })
    }
}

impl<T> DerefMut for LockRefGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for `deref`, and the guard is borrowed exclusively.
        self.lock.value.with_mut(|v| unsafe { &mut *v })
    }
}

impl<T> Drop for LockRefGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.word.fetch_and(!LOCKED, Ordering::Release);
    }
}

impl<T> fmt::Debug for LockRefGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LockRefGuard").field(self.lock).finish()
    }
}
