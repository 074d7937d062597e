//! Time in ticks.
//!
//! Nobody counts ticks here: how many there were is read off the clock, so the number is right after any idle time, and its
//! 64 bits are read in one piece. It starts five minutes before its lower half wraps, as Linux's does, so that who cannot
//! cope with that is found early.

use core::fmt;

use super::Instant;

/// Ticks in a second.
pub const HZ: u64 = 250;
/// Nanoseconds between two ticks.
pub const TICK_NS: u64 = NS_PER_SEC / HZ;
/// What [`jiffies_64`] was at boot.
pub const INITIAL_JIFFIES: u64 = (0_u32.wrapping_sub(300 * HZ as u32)) as u64;
/// A length that means "for ever": half of what 64 bits tell apart, so that a comparison with it still has a sign.
pub const MAX_JIFFY_OFFSET: u64 = (i64::MAX as u64 >> 1) - 1;

const NS_PER_SEC: u64 = 1_000_000_000;

/// The ticks so far, and [`INITIAL_JIFFIES`].
///
/// # Context
/// Any.
#[inline]
pub fn jiffies_64() -> u64 {
    at(Instant::now())
}

/// The ticks until `moment`, and [`INITIAL_JIFFIES`].
#[inline]
pub const fn at(moment: Instant) -> u64 {
    INITIAL_JIFFIES + moment.as_ns() / TICK_NS
}

/// When tick `jiffies` of [`jiffies_64`] comes; boot for one that was before it.
#[inline]
pub const fn moment_of(jiffies: u64) -> Instant {
    Instant::from_ns(
        jiffies
            .saturating_sub(INITIAL_JIFFIES)
            .saturating_mul(TICK_NS),
    )
}

/// The lower half of [`jiffies_64`], which wraps every 198 days: points of it are before or after each other as long as they
/// are less than half of that apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Jiffies(pub u32);

impl Jiffies {
    /// The present.
    ///
    /// # Context
    /// Any.
    #[inline]
    pub fn now() -> Self {
        Self(jiffies_64() as u32)
    }

    /// The point `ticks` later.
    #[inline]
    #[must_use]
    pub const fn plus(self, ticks: u32) -> Self {
        Self(self.0.wrapping_add(ticks))
    }

    /// Whether it comes after `other`: Linux's `time_after`.
    #[inline]
    pub const fn is_after(self, other: Self) -> bool {
        (other.0.wrapping_sub(self.0) as i32) < 0
    }

    /// Whether it comes before `other`: `time_before`.
    #[inline]
    pub const fn is_before(self, other: Self) -> bool {
        other.is_after(self)
    }

    /// Whether it does not come before `other`: `time_after_eq`.
    #[inline]
    pub const fn is_at_or_after(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0) as i32 >= 0
    }

    /// Whether it does not come after `other`: `time_before_eq`.
    #[inline]
    pub const fn is_at_or_before(self, other: Self) -> bool {
        other.is_at_or_after(self)
    }
}

impl fmt::Debug for Jiffies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} jiffies", self.0)
    }
}

/// Lengths of time in ticks of a rate, and back. The kernel's own rate is [`Rate`]; the others are those that Linux can be built
/// for, and they take its three ways by themselves: where one rate divides the other, the compiler is left with a product
/// or a quotient by a constant, and with both otherwise.
#[derive(Clone, Copy, Debug)]
pub struct RateOf<const HZ: u64>;

/// The kernel's rate of ticks.
pub type Rate = RateOf<HZ>;

impl<const HZ: u64> RateOf<HZ> {
    /// The milliseconds of `ticks`, rounded up, cut to 64 bits.
    pub const fn to_ms(ticks: u64) -> u64 {
        scale_up(ticks, 1000, HZ)
    }

    /// The microseconds of `ticks`, rounded down as in Linux, cut to 64 bits.
    pub const fn to_us(ticks: u64) -> u64 {
        saturate(ticks as u128 * 1_000_000 / HZ as u128)
    }

    /// The nanoseconds of `ticks`, cut to 64 bits.
    pub const fn to_ns(ticks: u64) -> u64 {
        saturate(ticks as u128 * NS_PER_SEC as u128 / HZ as u128)
    }

    /// The ticks that last `ms` milliseconds at least; [`MAX_JIFFY_OFFSET`] at most.
    pub const fn from_ms(ms: u64) -> u64 {
        bounded(scale_up(ms, HZ, 1000))
    }

    /// The ticks that last `us` microseconds at least; [`MAX_JIFFY_OFFSET`] at most.
    pub const fn from_us(us: u64) -> u64 {
        bounded(scale_up(us, HZ, 1_000_000))
    }

    /// The ticks that last `ns` nanoseconds at least; [`MAX_JIFFY_OFFSET`] at most.
    pub const fn from_ns(ns: u64) -> u64 {
        bounded(scale_up(ns, HZ, NS_PER_SEC))
    }
}

/// `n * by / of`, rounded up, cut to 64 bits. The product fits: each factor has 64 bits.
const fn scale_up(n: u64, by: u64, of: u64) -> u64 {
    saturate((n as u128 * by as u128).div_ceil(of as u128))
}

const fn saturate(n: u128) -> u64 {
    if n > u64::MAX as u128 {
        u64::MAX
    } else {
        n as u64
    }
}

const fn bounded(ticks: u64) -> u64 {
    if ticks > MAX_JIFFY_OFFSET {
        MAX_JIFFY_OFFSET
    } else {
        ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_compared_across_the_wrap() {
        let table = [
            (0, 0, false),
            (1, 0, true),
            (0, 1, false),
            (0, u32::MAX, true),
            (u32::MAX, 0, false),
            (5, u32::MAX - 5, true),
            (i32::MAX as u32, 0, true),
            (u32::MAX, i32::MAX as u32 + 1, true),
            // Half of the circle apart, and neither is later than the other would make it.
            (0, i32::MAX as u32, false),
        ];
        for (a, b, after) in table {
            let (a, b) = (Jiffies(a), Jiffies(b));
            assert_eq!(a.is_after(b), after, "{a:?} after {b:?}");
            assert_eq!(b.is_before(a), after);
            assert_eq!(a.is_at_or_after(b), after || a == b, "{a:?} from {b:?}");
            assert_eq!(b.is_at_or_before(a), after || a == b);
        }
    }

    #[test]
    fn the_lower_half_wraps_five_minutes_after_boot() {
        assert_eq!(at(Instant::ZERO), INITIAL_JIFFIES);
        let just_before = moment_of(u64::from(u32::MAX));
        assert_eq!(just_before.as_ns(), 300 * NS_PER_SEC - TICK_NS);
        let (before, after) = (at(just_before), at(just_before.add_ns(TICK_NS)));
        assert_eq!(after, before + 1);
        let (before, after) = (Jiffies(before as u32), Jiffies(after as u32));
        assert_eq!(after, Jiffies(0));
        assert!(after.is_after(before));
        // The whole number does not: at this rate it would after two thousand million years.
        assert_eq!(moment_of(0), Instant::ZERO);
        assert_eq!(moment_of(u64::MAX), Instant::MAX);
    }

    #[test]
    fn a_tick_begins_where_the_clock_says() {
        for ticks in [0, 1, 2, 1000, u64::from(u32::MAX)] {
            let begin = moment_of(INITIAL_JIFFIES + ticks);
            assert_eq!(at(begin), INITIAL_JIFFIES + ticks);
            assert_eq!(at(begin.add_ns(TICK_NS - 1)), INITIAL_JIFFIES + ticks);
        }
    }

    /// All that must hold of a rate.
    fn check<const RATE: u64>() {
        let lengths = [0, 1, 2, 3, 9, 10, 99, 999, 1000, 1001, 123_457, 86_400_000];
        for length in lengths {
            // Never shorter than asked for, and not by a tick longer.
            let ticks = RateOf::<RATE>::from_ms(length);
            assert!(ticks * 1000 >= length * RATE, "{length} ms at {RATE}");
            assert!(
                ticks == 0 || (ticks - 1) * 1000 < length * RATE,
                "{length} ms at {RATE}"
            );
            let ticks = RateOf::<RATE>::from_us(length);
            assert!(ticks * 1_000_000 >= length * RATE, "{length} us at {RATE}");
            assert!(ticks == 0 || (ticks - 1) * 1_000_000 < length * RATE);
            let ticks = RateOf::<RATE>::from_ns(length);
            assert!(ticks * NS_PER_SEC >= length * RATE, "{length} ns at {RATE}");
            // There and back, where ticks are whole milliseconds.
            if 1000 % RATE == 0 {
                assert_eq!(
                    RateOf::<RATE>::from_ms(RateOf::<RATE>::to_ms(length)),
                    length
                );
            }
            assert_eq!(
                RateOf::<RATE>::to_ms(length),
                (length * 1000).div_ceil(RATE)
            );
            assert_eq!(RateOf::<RATE>::to_us(length), length * 1_000_000 / RATE);
            assert_eq!(RateOf::<RATE>::to_ns(length), length * NS_PER_SEC / RATE);
        }
        assert_eq!(RateOf::<RATE>::from_ms(1000), RATE);
        assert_eq!(RateOf::<RATE>::to_ns(RATE), NS_PER_SEC);
        assert!(RateOf::<RATE>::from_ns(u64::MAX) <= MAX_JIFFY_OFFSET);
        assert!(RateOf::<RATE>::from_ms(u64::MAX) <= MAX_JIFFY_OFFSET);
        assert_eq!(RateOf::<RATE>::to_ns(u64::MAX), u64::MAX);
    }

    #[test]
    fn lengths_are_converted_at_every_rate() {
        // One that divides the milliseconds, ...
        check::<100>();
        check::<250>();
        check::<1000>();
        // ... multiples of them, ...
        check::<2000>();
        check::<12_000>();
        // ... and neither.
        check::<24>();
        check::<48>();
        check::<128>();
        check::<300>();
        check::<1024>();
    }
}
