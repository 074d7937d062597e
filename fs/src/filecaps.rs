//! The capabilities of a program file: the attribute `security.capability`.
//!
//! Source: capabilities(7), Linux `include/uapi/linux/capability.h`.

use alloc::vec::Vec;

use crate::cred::CAP_ALL;
use crate::{Errno, Result};

/// The name of the attribute.
pub const ATTRIBUTE: &[u8] = b"security.capability";

const EFFECTIVE: u32 = 1;
const REVISION: u32 = 0xff00_0000;
const REVISION_1: u32 = 0x0100_0000;
const REVISION_2: u32 = 0x0200_0000;
const REVISION_3: u32 = 0x0300_0000;
/// Lengths of the three revisions, in bytes.
const LEN_1: usize = 12;
const LEN_2: usize = 20;
const LEN_3: usize = 24;

/// What a program file gives to who executes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FileCaps {
    /// Given to everybody whose bounding set allows it.
    pub permitted: u64,
    /// Given to those who may inherit it.
    pub inheritable: u64,
    /// Whether what is given counts at once.
    pub effective: bool,
}

impl FileCaps {
    /// The attribute's value in any of its three revisions.
    ///
    /// # Errors
    /// `EINVAL` if it is none; `ENODATA` if it is for a user namespace whose root is another user.
    pub fn parse(value: &[u8]) -> Result<FileCaps> {
        let word = |at: usize| {
            let bytes = value.get(at * 4..at * 4 + 4).ok_or(Errno::EINVAL)?;
            Ok(u32::from_le_bytes(bytes.try_into().expect("four bytes")))
        };
        let head = word(0)?;
        let wide = match (head & REVISION, value.len()) {
            (REVISION_1, LEN_1) => false,
            (REVISION_2, LEN_2) => true,
            (REVISION_3, LEN_3) if word(5)? == 0 => true,
            (REVISION_3, LEN_3) => return Err(Errno::ENODATA),
            _ => return Err(Errno::EINVAL),
        };
        // Permitted and inheritable sets take turns, the low halves first.
        let set = |low: usize| {
            let high = if wide { word(low + 2)? } else { 0 };
            Ok((u64::from(word(low)?) | u64::from(high) << 32) & CAP_ALL)
        };
        Ok(FileCaps {
            permitted: set(1)?,
            inheritable: set(2)?,
            effective: head & EFFECTIVE != 0,
        })
    }

    /// Whether a value may be set: of the second or third revision, with no flag that means nothing.
    pub fn is_valid(value: &[u8]) -> bool {
        let head = value
            .first_chunk()
            .map(|head| u32::from_le_bytes(*head) & !EFFECTIVE);
        matches!(
            (head, value.len()),
            (Some(REVISION_2), LEN_2) | (Some(REVISION_3), LEN_3)
        )
    }

    /// The value as getxattr(2) gives it: one of the third revision that is root's here is one of the second.
    pub fn shown(mut value: Vec<u8>) -> Vec<u8> {
        let is_roots = value.len() == LEN_3 && value.ends_with(&[0; 4]);
        if is_roots && FileCaps::parse(&value).is_ok() {
            value.truncate(LEN_2);
            value[3] = (REVISION_2 >> 24) as u8;
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(words: &[u32]) -> alloc::vec::Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn revisions_are_told_apart() {
        let two = value(&[0x0200_0001, 1 << 10, 1 << 3, 1 << 7, 0]);
        let caps = FileCaps {
            permitted: 1 << 10 | 1 << 39,
            inheritable: 1 << 3,
            effective: true,
        };
        assert_eq!(FileCaps::parse(&two), Ok(caps));
        assert!(FileCaps::is_valid(&two));
        let one = value(&[0x0100_0000, 1 << 10, 1 << 3]);
        let caps = FileCaps {
            permitted: 1 << 10,
            inheritable: 1 << 3,
            effective: false,
        };
        assert_eq!(FileCaps::parse(&one), Ok(caps));
        assert!(!FileCaps::is_valid(&one));
        let three = |root| value(&[0x0300_0000, 1, 0, 0, 0, root]);
        assert!(FileCaps::parse(&three(0)).is_ok());
        assert_eq!(FileCaps::parse(&three(1000)), Err(Errno::ENODATA));
        assert_eq!(FileCaps::shown(three(0)), value(&[0x0200_0000, 1, 0, 0, 0]));
        assert_eq!(FileCaps::shown(three(1000)), three(1000));
        assert_eq!(FileCaps::shown(two.clone()), two);
        let (odd, flags) = (
            value(&[0x0400_0000, 0, 0, 0, 0]),
            value(&[0x0200_0002, 0, 0, 0, 0]),
        );
        assert!(!FileCaps::is_valid(&flags));
        for bad in [&two[..19], &[], &odd[..]] {
            assert_eq!(FileCaps::parse(bad), Err(Errno::EINVAL));
            assert!(!FileCaps::is_valid(bad));
        }
    }
}
