//! Numbers that an administrator may change while the kernel runs: the files of `/proc/sys`.

use core::sync::atomic::{AtomicI64, Ordering};

use crate::{Errno, Result};

/// A number within bounds, kept beside the code that obeys it.
///
/// Any context may read and set it; no lock, no wait.
#[derive(Debug)]
pub struct Tunable {
    value: AtomicI64,
    min: i64,
    max: i64,
}

impl Tunable {
    /// A number that may be set between `min` and `max`, both included.
    pub const fn new(value: i64, min: i64, max: i64) -> Tunable {
        assert!(min <= value && value <= max);
        Tunable {
            value: AtomicI64::new(value),
            min,
            max,
        }
    }

    /// Yes or no, as 1 or 0.
    pub const fn switch(on: bool) -> Tunable {
        Tunable::new(on as i64, 0, 1)
    }

    /// The number as it is now.
    #[inline]
    pub fn get(&self) -> i64 {
        self.value.load(Ordering::Relaxed)
    }

    /// The number as a count or a size.
    #[inline]
    pub fn count(&self) -> usize {
        usize::try_from(self.get()).unwrap_or(0)
    }

    /// Whether it is anything but 0.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.get() != 0
    }

    /// Changes it.
    ///
    /// # Errors
    /// `EINVAL` outside the bounds.
    pub fn set(&self, value: i64) -> Result<()> {
        if !(self.min..=self.max).contains(&value) {
            return Err(Errno::EINVAL);
        }
        self.value.store(value, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold() {
        static LIMIT: Tunable = Tunable::new(5, 0, 10);
        assert_eq!(LIMIT.set(11), Err(Errno::EINVAL));
        assert_eq!(LIMIT.set(-1), Err(Errno::EINVAL));
        assert_eq!(LIMIT.count(), 5);
        assert_eq!(LIMIT.set(0), Ok(()));
        assert!(!LIMIT.is_on());
    }
}
