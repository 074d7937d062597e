//! Sets of CPUs as text: as a mask in hexadecimal digits, and as a list of ranges.
//!
//! Source: Linux's lib/bitmap.c, `%*pb` and `%*pbl`.

use core::fmt;

use fs::Errno;

use super::chip::CpuSet;

/// Shows a set as a mask, as wide as `cpus` CPUs need, with a comma between words of 32.
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    /// The set.
    pub set: CpuSet,
    /// How many CPUs there are.
    pub cpus: u32,
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = |cpus: u32| cpus.div_ceil(4) as usize;
        if self.cpus > 32 {
            write!(
                f,
                "{:0w$x},{:08x}",
                self.set >> 32,
                self.set as u32,
                w = digits(self.cpus - 32)
            )
        } else {
            write!(f, "{:0w$x}", self.set, w = digits(self.cpus))
        }
    }
}

/// Shows a set as a list: `0-2,5`.
#[derive(Clone, Copy, Debug)]
pub struct List(pub CpuSet);

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0;
        let mut separator = "";
        while left != 0 {
            let first = left.trailing_zeros();
            let len = (left >> first).trailing_ones();
            let last = first + len - 1;
            if len == 1 {
                write!(f, "{separator}{first}")?;
            } else {
                write!(f, "{separator}{first}-{last}")?;
            }
            separator = ",";
            left &= u64::MAX.checked_shl(last + 1).unwrap_or(0);
        }
        Ok(())
    }
}

/// Reads a mask of up to `cpus` CPUs.
///
/// # Errors
/// `EINVAL` if it is none; `EOVERFLOW` for a word or a CPU too many.
pub fn parse_mask(text: &[u8], cpus: u32) -> Result<CpuSet, Errno> {
    let text = core::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
    let mut set: u128 = 0;
    for word in text.trim().split(',') {
        if word.is_empty() || !word.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Errno::EINVAL);
        }
        let word = u32::from_str_radix(word, 16).map_err(|_| Errno::EOVERFLOW)?;
        set = set << 32 | u128::from(word);
        if set >> cpus.min(64) != 0 {
            return Err(Errno::EOVERFLOW);
        }
    }
    Ok(set as CpuSet)
}

/// Reads a list of CPUs below `cpus`.
///
/// # Errors
/// `EINVAL` if it is none; `ERANGE` for a CPU too many.
pub fn parse_list(text: &[u8], cpus: u32) -> Result<CpuSet, Errno> {
    let text = core::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
    let number = |text: &str| text.parse::<u32>().map_err(|_| Errno::EINVAL);
    let mut set = 0;
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(Errno::EINVAL);
        }
        if last >= cpus.min(64) {
            return Err(Errno::ERANGE);
        }
        set |= u64::MAX >> (63 - last) & u64::MAX << first;
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shown_as_linux_shows_them() {
        let mask = |set, cpus| Mask { set, cpus }.to_string();
        assert_eq!(mask(1, 1), "1");
        assert_eq!(mask(3, 6), "03");
        assert_eq!(mask(0x1_0000_0002, 40), "01,00000002");
        assert_eq!(List(0b1011).to_string(), "0-1,3");
        assert_eq!(List(u64::MAX).to_string(), "0-63");
        assert_eq!(List(0).to_string(), "");
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(parse_mask(b"f\n", 4), Ok(15));
        assert_eq!(parse_mask(b"1f", 4), Err(Errno::EOVERFLOW));
        assert_eq!(parse_mask(b"100000000", 64), Err(Errno::EOVERFLOW));
        assert_eq!(parse_mask(b"", 4), Err(Errno::EINVAL));
        assert_eq!(parse_mask(b"+1", 4), Err(Errno::EINVAL));
        assert_eq!(parse_mask(b"0x1", 4), Err(Errno::EINVAL));
        assert_eq!(parse_list(b"0,2-3\n", 4), Ok(0b1101));
        assert_eq!(parse_list(b"4", 4), Err(Errno::ERANGE));
        assert_eq!(parse_list(b"2-1", 4), Err(Errno::EINVAL));
        assert_eq!(parse_list(b"-1", 4), Err(Errno::EINVAL));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(set: u64, cpus in 1..=64u32) {
            let set = set & u64::MAX >> (64 - cpus);
            prop_assert_eq!(parse_mask(Mask { set, cpus }.to_string().as_bytes(), cpus), Ok(set));
            if set != 0 {
                prop_assert_eq!(parse_list(List(set).to_string().as_bytes(), cpus), Ok(set));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text: Vec<u8>, cpus in 1..=64u32) {
            for read in [parse_mask(&text, cpus), parse_list(&text, cpus)] {
                prop_assert!(read.unwrap_or(0) & !(u64::MAX >> (64 - cpus)) == 0);
            }
        }
    }
}
