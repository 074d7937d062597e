//! What is read without a lock and written under one: Linux's seqlock.

use core::{fmt, marker::PhantomData, sync::atomic::Ordering};

use super::spin::{SpinLockIrq, SpinLockIrqGuard};
use crate::facade::{AtomicU64, const_fn, fence, spin_loop};

/// A count of writes, and the lock of the writers.
///
/// A reader begins, reads what the writers write, which has to be in atomics, and asks whether it must read again; it never
/// keeps a writer waiting. A reader that cannot afford to try again locks the writers out instead. For plain words there
/// is [`SeqCell`], which does all of this.
pub struct SeqLock {
    /// Odd while a writer is at work.
    sequence: AtomicU64,
    writer: SpinLockIrq<()>,
}

/// A read that has begun; [`SeqLock::retry`] ends it.
#[derive(Clone, Copy, Debug)]
#[must_use = "what was read counts only if `retry` says no"]
pub struct SeqRead(u64);

impl SeqLock {
    const_fn! {
        /// A lock that nobody has written under.
        #[track_caller]
        pub fn new() -> Self {
            Self { sequence: AtomicU64::new(0), writer: SpinLockIrq::new(()) }
        }
    }

    /// Begins to read.
    ///
    /// # Context
    /// Any but a writer of the same CPU. Spins while a writer is at work.
    #[inline]
    pub fn begin(&self) -> SeqRead {
        loop {
            let sequence = self.sequence.load(Ordering::Acquire);
            if sequence & 1 == 0 {
                return SeqRead(sequence);
            }
            spin_loop();
        }
    }

    /// Whether a writer came in between, so that what was read since `read` began is to be thrown away and read again.
    #[inline]
    #[must_use]
    pub fn retry(&self, read: SeqRead) -> bool {
        fence(Ordering::Acquire);
        self.sequence.load(Ordering::Relaxed) != read.0
    }

    /// Reads by `read`, again if a writer came in between.
    #[inline]
    pub fn read<R>(&self, mut read: impl FnMut() -> R) -> R {
        loop {
            let begun = self.begin();
            let result = read();
            if !self.retry(begun) {
                return result;
            }
            spin_loop();
        }
    }

    /// Keeps writers, and others who lock, out, without being one: who reads like this does so once.
    ///
    /// # Context
    /// Any, NMI aside; interrupts are masked until the guard is dropped.
    pub fn lock(&self) -> SeqReadGuard<'_> {
        SeqReadGuard {
            _writer: self.writer.lock(),
        }
    }

    /// Turns readers away. The writers' lock is held.
    #[inline]
    fn open(&self) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence + 1, Ordering::Relaxed);
        // The odd number is seen before anything that is written after it.
        fence(Ordering::Release);
    }

    /// Lets readers in again. The writers' lock is held.
    #[inline]
    fn close(&self) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence + 1, Ordering::Release);
    }

    /// Begins to write: readers try again until the guard is dropped.
    ///
    /// # Context
    /// As [`SeqLock::lock`].
    pub fn write(&self) -> SeqWriteGuard<'_> {
        let writer = self.writer.lock();
        self.open();
        SeqWriteGuard {
            lock: self,
            _writer: writer,
            _not_send: PhantomData,
        }
    }
}

impl Default for SeqLock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SeqLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeqLock")
            .field("sequence", &self.sequence.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

/// Keeps writers out of a [`SeqLock`].
#[derive(Debug)]
#[must_use = "the lock is given back when the guard is dropped"]
pub struct SeqReadGuard<'a> {
    _writer: SpinLockIrqGuard<'a, ()>,
}

/// A write under a [`SeqLock`]; dropping it ends it.
#[must_use = "the write ends when the guard is dropped"]
pub struct SeqWriteGuard<'a> {
    lock: &'a SeqLock,
    _writer: SpinLockIrqGuard<'a, ()>,
    _not_send: PhantomData<*mut ()>,
}

impl Drop for SeqWriteGuard<'_> {
    fn drop(&mut self) {
        self.lock.close();
    }
}

impl fmt::Debug for SeqWriteGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SeqWriteGuard").field(self.lock).finish()
    }
}

/// `N` words that readers see together, as some writer left them.
///
/// A reader that meets a writer tries again, so it is for what is written seldom and read often, such as the clock.
/// (H.-J. Boehm: Can seqlocks get along with programming language memory models?, MSPC 2012.)
pub struct SeqCell<const N: usize> {
    lock: SeqLock,
    words: [AtomicU64; N],
}

impl<const N: usize> SeqCell<N> {
    /// The words, all zero.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self {
            lock: SeqLock::new(),
            words: [const { AtomicU64::new(0) }; N],
        }
    }

    /// The words, all zero.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self {
            lock: SeqLock::new(),
            words: core::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    fn load(&self) -> [u64; N] {
        core::array::from_fn(|i| self.words[i].load(Ordering::Relaxed))
    }

    /// Reads all words together.
    ///
    /// # Context
    /// Any but a writer of the same CPU. Spins while a writer is at work, which takes it `N` stores.
    #[inline]
    pub fn read(&self) -> [u64; N] {
        self.lock.read(|| self.load())
    }

    /// Changes the words, with other writers shut out.
    ///
    /// # Context
    /// Any but NMI.
    pub fn update(&self, change: impl FnOnce(&mut [u64; N])) {
        let writer = self.lock.lock();
        let mut words = self.load();
        change(&mut words);
        // Readers are turned away for the stores only, not for the computation.
        self.lock.open();
        for (word, new) in self.words.iter().zip(words) {
            word.store(new, Ordering::Relaxed);
        }
        self.lock.close();
        drop(writer);
    }
}

impl<const N: usize> Default for SeqCell<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Debug for SeqCell<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SeqCell").field(&self.read()).finish()
    }
}
