//! A point on the monotonic clock.

use core::{
    fmt,
    ops::{Add, AddAssign, Sub},
    time::Duration,
};

use crate::platform;

/// Nanoseconds on the monotonic clock, which starts at boot and never goes back.
///
/// Arithmetic saturates at [`Instant::MAX`], which means "never": 2^64 ns are 584 years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// Boot.
    pub const ZERO: Self = Self(0);
    /// Never.
    pub const MAX: Self = Self(u64::MAX);

    /// Reads the clock.
    ///
    /// # Context
    /// Any.
    #[inline]
    pub fn now() -> Self {
        platform::get().now()
    }

    /// The point `ns` nanoseconds after boot.
    #[inline]
    pub const fn from_ns(ns: u64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since boot.
    #[inline]
    pub const fn as_ns(self) -> u64 {
        self.0
    }

    /// The point `ns` nanoseconds later.
    #[inline]
    pub const fn add_ns(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// Nanoseconds since `earlier`; zero if that is not earlier.
    #[inline]
    pub const fn ns_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The time since `earlier`; zero if that is not earlier.
    #[inline]
    pub const fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.ns_since(earlier))
    }

    /// The time since this point, now.
    pub fn elapsed(self) -> Duration {
        Self::now().duration_since(self)
    }
}

/// The nanoseconds of `d`, saturated to 64 bits.
#[inline]
pub(crate) fn duration_ns(d: Duration) -> u64 {
    d.as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(d.subsec_nanos().into())
}

impl Add<Duration> for Instant {
    type Output = Self;
    #[inline]
    fn add(self, d: Duration) -> Self {
        self.add_ns(duration_ns(d))
    }
}

impl AddAssign<Duration> for Instant {
    #[inline]
    fn add_assign(&mut self, d: Duration) {
        *self = *self + d;
    }
}

impl Sub for Instant {
    type Output = Duration;
    #[inline]
    fn sub(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    #[inline]
    fn sub(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(duration_ns(d)))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{:09}s",
            self.0 / 1_000_000_000,
            self.0 % 1_000_000_000
        )
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Instant::MAX + Duration::from_secs(1), Instant::MAX);
        assert_eq!(Instant::from_ns(5) + Duration::MAX, Instant::MAX);
        assert_eq!(Instant::from_ns(5) - Instant::from_ns(9), Duration::ZERO);
        assert_eq!(Instant::from_ns(5) - Duration::from_secs(1), Instant::ZERO);
    }
}
