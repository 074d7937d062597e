//! Arithmetic on counters: those that wrap, and what their ticks are in time.

/// Extends a reading `raw` of a counter of `mask`'s width to 64 bits, given an extended value seen before.
///
/// Right as long as less than half a period lies between the two, in either direction: a reading that is older than
/// `last` by a little (another CPU's was newer) yields a value a little less, not a period more.
pub const fn extend(last: u64, raw: u64, mask: u64) -> u64 {
    let ahead = raw.wrapping_sub(last) & mask;
    if ahead <= mask / 2 {
        last.wrapping_add(ahead)
    } else {
        last.wrapping_sub((last.wrapping_sub(raw)) & mask)
    }
}

/// Nanoseconds per tick of a counter that makes `hz` ticks a second, times 2^32: rounded down, so too slow by less than
/// `hz / 2^32` in a thousand million.
pub const fn mult(hz: u64) -> u64 {
    let hz = if hz == 0 { 1 } else { hz };
    (1_000_000_000 << 32) / hz
}

/// `value` times `factor` / 2^32. The product has 128 bits and so does not overflow; what does not fit then is cut off
/// above, which a clock of 64 bits of ns gets to after 584 years.
#[inline]
pub const fn scale(value: u64, factor: u64) -> u64 {
    ((value as u128 * factor as u128) >> 32) as u64
}

#[cfg(test)]
mod tests {
    use super::{extend, mult, scale};

    #[test]
    fn ticks_of_the_machines_counters_become_time_within_the_bound() {
        for hz in [
            1_193_182,
            3_579_545,
            10_000_000,
            100_000_000,
            1_000_000_000,
            5_000_000_000,
        ] {
            let factor = mult(hz);
            for seconds in [1, 60, 86_400, 365 * 86_400] {
                let exact = seconds * 1_000_000_000;
                let ns = scale(hz * seconds, factor);
                // By at most one part in 2^32 for each tick, and one ns for the rounding at the end.
                let bound = (u128::from(hz * seconds) >> 32) as u64 + 1;
                assert!(
                    ns <= exact && exact - ns <= bound,
                    "{hz} Hz: {ns} of {exact}"
                );
            }
        }
        assert_eq!(mult(1_000_000_000), 1 << 32);
        assert_eq!(mult(0), 1_000_000_000 << 32);
    }

    #[test]
    fn a_counter_that_ran_for_years_does_not_overflow() {
        // 5 GHz for a hundred years.
        let ticks = 5_000_000_000 * 86_400 * 365 * 100;
        let years = scale(ticks, mult(5_000_000_000)) / 1_000_000_000 / 86_400 / 365;
        assert!((99..=100).contains(&years), "{years}");
        assert_eq!(scale(u64::MAX, 1 << 32), u64::MAX);
        assert_eq!(scale(u64::MAX, u64::MAX >> 32), u64::MAX - (1 << 32));
    }

    #[test]
    fn a_wrap_goes_on() {
        assert_eq!(extend(0x12ff_fff0, 0x10, 0xff_ffff), 0x1300_0010);
        assert_eq!(extend(5, 5, 0xff_ffff), 5);
        assert_eq!(extend(0xffff_fff0, 0, 0xffff_ffff), 0x1_0000_0000);
    }

    #[test]
    fn an_older_reading_is_a_little_less() {
        assert_eq!(extend(0x1300_0010, 0xff_fff0, 0xff_ffff), 0x12ff_fff0);
    }

    #[test]
    fn a_full_width_counter_is_itself() {
        assert_eq!(extend(10, 7, u64::MAX), 7);
        assert_eq!(extend(10, 70, u64::MAX), 70);
    }
}
