//! How much there may be: `/proc/sys/kernel/{msg*,sem,shm*}`.

use core::sync::atomic::{AtomicU64, Ordering};

use fs::{Errno, Result, Tunable};

use super::table::PLACES;

const INT_MAX: i64 = i32::MAX as i64;

/// Longest message.
pub static MSGMAX: Tunable = Tunable::new(8192, 0, INT_MAX);
/// Bytes that a queue holds unless it is told otherwise.
pub static MSGMNB: Tunable = Tunable::new(16384, 0, INT_MAX);
/// Queues.
pub static MSGMNI: Tunable = Tunable::new(32000, 0, PLACES as i64);
/// Shared segments.
pub static SHMMNI: Tunable = Tunable::new(4096, 0, PLACES as i64);
/// Bytes of a segment: all but a page that memory could be counted in.
pub static SHMMAX: Large = Large::new(u64::MAX - (1 << 24));
/// Pages of all segments.
pub static SHMALL: Large = Large::new(u64::MAX - (1 << 24));
/// Semaphores of a set.
pub static SEMMSL: Tunable = Tunable::new(32000, 0, 65535);
/// Semaphores in all.
pub static SEMMNS: Tunable = Tunable::new(1_024_000_000, 0, INT_MAX);
/// Operations of one call.
pub static SEMOPM: Tunable = Tunable::new(500, 0, INT_MAX);
/// Sets.
pub static SEMMNI: Tunable = Tunable::new(32000, 0, PLACES as i64);
/// A semaphore's greatest value.
pub const SEMVMX: i32 = 32767;

/// A number that takes all 64 bits.
pub struct Large(AtomicU64);

impl Large {
    const fn new(value: u64) -> Large {
        Large(AtomicU64::new(value))
    }

    /// The number as it is now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it to what was written.
    ///
    /// # Errors
    /// `EINVAL` for what is no number.
    pub fn store(&self, text: &[u8]) -> Result<()> {
        let value = words(text)?.next().and_then(|word| word.parse().ok());
        self.0.store(value.ok_or(Errno::EINVAL)?, Ordering::Relaxed);
        Ok(())
    }
}

fn words(text: &[u8]) -> Result<impl Iterator<Item = &str>> {
    let text = core::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
    Ok(text.split_ascii_whitespace())
}

/// The four of `sem`, in their order.
pub fn of_sem() -> [&'static Tunable; 4] {
    [&SEMMSL, &SEMMNS, &SEMOPM, &SEMMNI]
}

/// Sets as many of `sem` as are written.
///
/// # Errors
/// `EINVAL` for what is no number or out of bounds; those before it are set.
pub fn store_sem(text: &[u8]) -> Result<()> {
    let mut words = words(text)?.peekable();
    words.peek().ok_or(Errno::EINVAL)?;
    for (limit, word) in of_sem().into_iter().zip(words) {
        limit.set(word.parse().map_err(|_| Errno::EINVAL)?)?;
    }
    Ok(())
}
