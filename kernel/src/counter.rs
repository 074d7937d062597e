//! Arithmetic on counters that wrap.

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

#[cfg(test)]
mod tests {
    use super::extend;

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
