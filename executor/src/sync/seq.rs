//! Words that are read without a lock and written under one: Linux's seqlock.

use core::{fmt, sync::atomic::Ordering};

use super::spin::SpinLockIrq;
use crate::facade::{AtomicU64, fence, spin_loop};

/// `N` words that readers see together, as some writer left them.
///
/// A reader that meets a writer tries again, so it is for what is written seldom and read often, such as the clock.
/// (H.-J. Boehm: Can seqlocks get along with programming language memory models?, MSPC 2012.)
pub struct SeqCell<const N: usize> {
    /// Odd while a writer is at work.
    sequence: AtomicU64,
    words: [AtomicU64; N],
    writer: SpinLockIrq<()>,
}

impl<const N: usize> SeqCell<N> {
    /// The words, all zero.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            words: [const { AtomicU64::new(0) }; N],
            writer: SpinLockIrq::new(()),
        }
    }

    /// The words, all zero.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            words: core::array::from_fn(|_| AtomicU64::new(0)),
            writer: SpinLockIrq::new(()),
        }
    }

    /// Reads all words together.
    ///
    /// # Context
    /// Any but a writer of the same CPU. Spins while a writer is at work, which takes it `N` stores.
    #[inline]
    pub fn read(&self) -> [u64; N] {
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            if before & 1 == 0 {
                let words = core::array::from_fn(|i| self.words[i].load(Ordering::Relaxed));
                fence(Ordering::Acquire);
                if self.sequence.load(Ordering::Relaxed) == before {
                    return words;
                }
            }
            spin_loop();
        }
    }

    /// Changes the words, with other writers shut out.
    ///
    /// # Context
    /// Any but NMI.
    pub fn update(&self, change: impl FnOnce(&mut [u64; N])) {
        let _writer = self.writer.lock();
        let mut words = core::array::from_fn(|i| self.words[i].load(Ordering::Relaxed));
        change(&mut words);
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        for (word, new) in self.words.iter().zip(words) {
            word.store(new, Ordering::Relaxed);
        }
        self.sequence.store(sequence + 2, Ordering::Release);
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
