//! Single bits of shared words, each changed in one step: Linux's `set_bit` and its kin, and locks of one bit.
//!
//! The words are an array of 64 bits each: bit `n` is bit `n % 64` of word `n / 64`. The neighbours of a bit are never
//! disturbed. The forms on `&mut [u64]`, Linux's with two underscores, are for words that nobody shares.

use core::{fmt, marker::PhantomData, sync::atomic::Ordering};

use crate::{
    cpu::{self, PreemptGuard},
    facade::{AtomicU64, spin_loop},
};

/// Bits that CPUs share.
///
/// Those that give the old bit order what was before them before what comes after (`AcqRel`); the others order nothing.
///
/// # Panics
/// All, if there is no such bit.
pub trait AtomicBits {
    /// The word that bit `n` is in.
    fn word(&self, n: usize) -> &AtomicU64;

    /// Whether bit `n` is set.
    fn test_bit(&self, n: usize) -> bool {
        self.word(n).load(Ordering::Acquire) & mask(n) != 0
    }

    /// Sets bit `n`.
    fn set_bit(&self, n: usize) {
        self.word(n).fetch_or(mask(n), Ordering::Relaxed);
    }

    /// Clears bit `n`.
    fn clear_bit(&self, n: usize) {
        self.word(n).fetch_and(!mask(n), Ordering::Relaxed);
    }

    /// Turns bit `n` over.
    fn change_bit(&self, n: usize) {
        self.word(n).fetch_xor(mask(n), Ordering::Relaxed);
    }

    /// Sets bit `n`, and gives what it was.
    fn test_and_set_bit(&self, n: usize) -> bool {
        self.word(n).fetch_or(mask(n), Ordering::AcqRel) & mask(n) != 0
    }

    /// Clears bit `n`, and gives what it was.
    fn test_and_clear_bit(&self, n: usize) -> bool {
        self.word(n).fetch_and(!mask(n), Ordering::AcqRel) & mask(n) != 0
    }

    /// Turns bit `n` over, and gives what it was.
    fn test_and_change_bit(&self, n: usize) -> bool {
        self.word(n).fetch_xor(mask(n), Ordering::AcqRel) & mask(n) != 0
    }

    /// Spins until bit `n` is clear, and sets it until the guard is dropped: a lock in a word that has a bit to spare.
    ///
    /// # Context
    /// Task: the holder is not preempted.
    fn lock_bit(&self, n: usize) -> BitGuard<'_> {
        loop {
            let context = cpu::preempt_disable();
            if !self.test_and_set_bit(n) {
                return BitGuard {
                    word: self.word(n),
                    mask: mask(n),
                    _context: context,
                    _not_send: PhantomData,
                };
            }
            drop(context);
            while self.word(n).load(Ordering::Relaxed) & mask(n) != 0 {
                spin_loop();
                #[cfg(loom)]
                break;
            }
        }
    }
}

const fn mask(n: usize) -> u64 {
    1 << (n % 64)
}

impl AtomicBits for AtomicU64 {
    fn word(&self, n: usize) -> &AtomicU64 {
        assert!(n < 64, "a word has 64 bits");
        self
    }
}

impl AtomicBits for [AtomicU64] {
    fn word(&self, n: usize) -> &AtomicU64 {
        &self[n / 64]
    }
}

impl<const N: usize> AtomicBits for [AtomicU64; N] {
    fn word(&self, n: usize) -> &AtomicU64 {
        &self[n / 64]
    }
}

/// Bits that nobody shares.
///
/// # Panics
/// All, if there is no such bit.
pub trait Bits {
    /// Whether bit `n` is set.
    fn get_bit(&self, n: usize) -> bool;

    /// Makes bit `n` what `to` says, and gives what it was.
    fn put_bit(&mut self, n: usize, to: bool) -> bool;
}

impl Bits for [u64] {
    fn get_bit(&self, n: usize) -> bool {
        self[n / 64] & mask(n) != 0
    }

    fn put_bit(&mut self, n: usize, to: bool) -> bool {
        let was = self.get_bit(n);
        if to {
            self[n / 64] |= mask(n);
        } else {
            self[n / 64] &= !mask(n);
        }
        was
    }
}

/// The hold of a lock of one bit; made by [`AtomicBits::lock_bit`].
#[must_use = "the bit is cleared when the guard is dropped"]
pub struct BitGuard<'a> {
    word: &'a AtomicU64,
    mask: u64,
    _context: PreemptGuard,
    _not_send: PhantomData<*mut ()>,
}

impl Drop for BitGuard<'_> {
    fn drop(&mut self) {
        self.word.fetch_and(!self.mask, Ordering::Release);
    }
}

impl fmt::Debug for BitGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BitGuard")
            .field("bit", &self.mask.trailing_zeros())
            .finish()
    }
}
