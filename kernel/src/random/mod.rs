//! Random numbers: one generator for `getrandom(2)`, `/dev/urandom`, `AT_RANDOM` and the kernel's own needs.
//!
//! A ChaCha20 key, replaced after every use by a part of what it made, so that what was given out cannot be computed from
//! the state (fast key erasure). What the machine has to offer is mixed in at boot ([`init`]) and whenever somebody has some
//! ([`add`]): RDRAND where the CPU has it, else only the low bits of the time stamp counter, of which [`is_seeded`] is told.

mod chacha;

use core::sync::atomic::{AtomicBool, Ordering};

use executor::sync::SpinLockIrq;

use chacha::{BLOCK_LEN, block};

/// Blocks made under one hold of the lock.
const BATCH: u32 = 16;

/// Random bytes after which what comes out cannot be guessed.
const SEED_LEN: usize = 32;

struct Generator {
    key: [u32; 8],
}

static GENERATOR: SpinLockIrq<Generator> = SpinLockIrq::new(Generator { key: [0; 8] });
static SEEDED: AtomicBool = AtomicBool::new(false);

impl Generator {
    /// Makes `key` depend on `words` in a way that cannot be undone.
    fn mix(&mut self, words: [u32; 8]) {
        for (own, new) in self.key.iter_mut().zip(words) {
            *own ^= new;
        }
        self.rekey(&block(&self.key, 0, [1, 0, 0]));
    }

    fn rekey(&mut self, from: &[u8; BLOCK_LEN]) {
        for (word, bytes) in self.key.iter_mut().zip(from.chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
    }

    /// Fills `out`, at most [`BATCH`] blocks, and forgets how.
    fn fill(&mut self, out: &mut [u8]) {
        let key = self.key;
        self.rekey(&block(&key, 0, [0; 3]));
        for (counter, chunk) in (1..).zip(out.chunks_mut(BLOCK_LEN)) {
            chunk.copy_from_slice(&block(&key, counter, [0; 3])[..chunk.len()]);
        }
    }
}

/// Fills `out` with random bytes.
///
/// # Context
/// Any.
pub fn fill(out: &mut [u8]) {
    for chunk in out.chunks_mut(BATCH as usize * BLOCK_LEN) {
        GENERATOR.lock().fill(chunk);
    }
}

/// A random number.
///
/// # Context
/// Any.
pub fn next_u64() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}

/// Mixes `bytes` in; they need not be secret or random, and never make matters worse.
///
/// # Context
/// Any.
pub fn add(bytes: &[u8]) {
    for chunk in bytes.chunks(32) {
        let mut words = [0; 8];
        for (word, bytes) in words.iter_mut().zip(chunk.chunks(4)) {
            let mut raw = [0; 4];
            raw[..bytes.len()].copy_from_slice(bytes);
            *word = u32::from_le_bytes(raw);
        }
        GENERATOR.lock().mix(words);
    }
}

/// As [`add`], for bytes of a source that is random: the generator counts as seeded after them.
///
/// # Context
/// Any.
pub fn add_trusted(bytes: &[u8]) {
    add(bytes);
    if bytes.len() >= SEED_LEN && !SEEDED.swap(true, Ordering::Relaxed) {
        log::info!("random: crng init done");
    }
}

/// Whether a source of real randomness has been mixed in.
pub fn is_seeded() -> bool {
    SEEDED.load(Ordering::Relaxed)
}

/// Mixes in what this machine has to offer.
///
/// # Context
/// Boot, once the time stamp counter may be read.
#[cfg(target_os = "none")]
pub fn init() {
    use x86_64::instructions::random::RdRand;
    let mut words = [0u64; 16];
    let source = RdRand::new();
    for word in &mut words {
        let hardware = source.and_then(|source| (0..10).find_map(|_| source.get_u64()));
        if hardware.is_some() {
            SEEDED.store(true, Ordering::Relaxed);
        }
        *word = hardware.unwrap_or(0).rotate_left(1) ^ crate::arch::tsc::now_ns();
    }
    for word in words {
        add(&word.to_le_bytes());
    }
    if !is_seeded() {
        log::warn!("random: no hardware source, numbers can be guessed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_never_repeats_and_depends_on_what_was_mixed_in() {
        let mut a = Generator { key: [0; 8] };
        let mut b = Generator { key: [0; 8] };
        let (mut x, mut y) = ([0; 100], [0; 100]);
        a.fill(&mut x);
        b.fill(&mut y);
        assert_eq!(x, y);
        a.fill(&mut x);
        assert_ne!(x, y);
        b.mix([1, 0, 0, 0, 0, 0, 0, 0]);
        b.fill(&mut y);
        assert_ne!(x, y);
    }

    #[test]
    fn long_requests_are_filled_to_the_end() {
        let mut out = vec![0; 5000];
        fill(&mut out);
        for chunk in out.chunks(50) {
            assert!(chunk.iter().any(|&b| b != 0));
        }
    }
}
