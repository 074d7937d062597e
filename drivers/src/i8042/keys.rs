//! From the bytes of a keyboard to keys.
//!
//! Scan codes are those of set 1, which is what the controller translates to. Numbers of keys are Linux's
//! (`linux/input-event-codes.h`), which are those of set 1 where that has no prefix.

use alloc::vec::Vec;

/// A key that went down or came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// `KEY_*`.
    pub code: u16,
    /// Whether it went down.
    pub down: bool,
    /// What the hardware calls it: the scan code, with bit 7 for a prefix.
    pub scan: i32,
}

/// Keys whose code has the prefix E0.
const EXTENDED: [(u8, u16); 33] = [
    (0x10, 165), // KEY_PREVIOUSSONG
    (0x19, 163), // KEY_NEXTSONG
    (0x1c, 96),  // KEY_KPENTER
    (0x1d, 97),  // KEY_RIGHTCTRL
    (0x20, 113), // KEY_MUTE
    (0x21, 140), // KEY_CALC
    (0x22, 164), // KEY_PLAYPAUSE
    (0x24, 166), // KEY_STOPCD
    (0x2e, 114), // KEY_VOLUMEDOWN
    (0x30, 115), // KEY_VOLUMEUP
    (0x32, 172), // KEY_HOMEPAGE
    (0x35, 98),  // KEY_KPSLASH
    (0x37, 99),  // KEY_SYSRQ
    (0x38, 100), // KEY_RIGHTALT
    (0x46, 119), // KEY_PAUSE, with control
    (0x47, 102), // KEY_HOME
    (0x48, 103), // KEY_UP
    (0x49, 104), // KEY_PAGEUP
    (0x4b, 105), // KEY_LEFT
    (0x4d, 106), // KEY_RIGHT
    (0x4f, 107), // KEY_END
    (0x50, 108), // KEY_DOWN
    (0x51, 109), // KEY_PAGEDOWN
    (0x52, 110), // KEY_INSERT
    (0x53, 111), // KEY_DELETE
    (0x5b, 125), // KEY_LEFTMETA
    (0x5c, 126), // KEY_RIGHTMETA
    (0x5d, 127), // KEY_COMPOSE
    (0x5e, 116), // KEY_POWER
    (0x5f, 142), // KEY_SLEEP
    (0x63, 143), // KEY_WAKEUP
    (0x6b, 157), // KEY_COMPUTER
    (0x6c, 155), // KEY_MAIL
];

/// The last key without a prefix that has its own number: KEY_F12.
const LAST_PLAIN: u8 = 0x58;
/// Alt with the print key.
const ALT_PRINT: u8 = 0x54;
const SYSRQ: u16 = 99;
const PAUSE: u16 = 119;
const RELEASED: u8 = 0x80;

fn plain(scan: u8) -> Option<u16> {
    match scan {
        0 | 0x55 => None,
        ALT_PRINT => Some(SYSRQ),
        ..=LAST_PLAIN => Some(scan.into()),
        _ => None,
    }
}

fn extended(scan: u8) -> Option<u16> {
    let found = EXTENDED.iter().find(|(own, _)| *own == scan);
    found.map(|(_, code)| *code)
}

/// All keys that a keyboard can have.
pub(super) fn all() -> Vec<u16> {
    let mut keys: Vec<_> = (0..=LAST_PLAIN).filter_map(plain).collect();
    keys.extend(EXTENDED.iter().map(|(_, code)| *code));
    keys.sort_unstable();
    keys.dedup();
    keys
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Prefix {
    #[default]
    None,
    /// E0.
    Extended,
    /// E1, which two more bytes follow.
    Pause,
    /// E1 and its first byte.
    PauseHalf(u8),
}

/// Makes keys of bytes, whatever these are.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    prefix: Prefix,
}

impl Decoder {
    /// Takes the next byte; a key if it was a key's last one.
    pub fn feed(&mut self, byte: u8) -> Option<Key> {
        let prefix = core::mem::take(&mut self.prefix);
        let (down, scan) = (byte & RELEASED == 0, byte & !RELEASED);
        let (code, scan) = match (prefix, byte) {
            // It begins anew: what came before it was cut off.
            (_, 0xe0) => {
                self.prefix = Prefix::Extended;
                return None;
            }
            (_, 0xe1) => {
                self.prefix = Prefix::Pause;
                return None;
            }
            (Prefix::None, _) => (plain(scan)?, scan),
            (Prefix::Extended, _) => (extended(scan)?, scan | 0x80),
            (Prefix::Pause, _) => {
                self.prefix = Prefix::PauseHalf(byte);
                return None;
            }
            (Prefix::PauseHalf(first), _) => {
                let whole = first & !RELEASED == 0x1d && scan == 0x45;
                (whole.then_some(PAUSE)?, scan)
            }
        };
        let scan = scan.into();
        Some(Key { code, down, scan })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<(u16, bool)> {
        let mut decoder = Decoder::default();
        let keys = bytes.iter().filter_map(|byte| decoder.feed(*byte));
        keys.map(|key| (key.code, key.down)).collect()
    }

    #[test]
    fn plain_keys_have_the_numbers_of_their_scan_codes() {
        assert_eq!(keys(&[0x1e, 0x9e]), [(30, true), (30, false)]);
        assert_eq!(
            keys(&[0x01, 0x58, 0x54]),
            [(1, true), (88, true), (99, true)]
        );
    }

    #[test]
    fn prefixes_make_other_keys_and_fake_shifts_none() {
        assert_eq!(keys(&[0xe0, 0x48, 0xe0, 0xc8]), [(103, true), (103, false)]);
        // What a keyboard sends for Print: a shift that nobody pressed, and the key.
        assert_eq!(keys(&[0xe0, 0x2a, 0xe0, 0x37]), [(99, true)]);
        let mut decoder = Decoder::default();
        decoder.feed(0xe0);
        assert_eq!(decoder.feed(0x53).map(|key| key.scan), Some(0xd3));
    }

    #[test]
    fn pause_is_six_bytes() {
        let bytes = [0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5];
        assert_eq!(keys(&bytes), [(119, true), (119, false)]);
    }

    #[test]
    fn cut_off_and_unknown_codes_lose_nothing_behind_them() {
        assert_eq!(keys(&[0xe1, 0x1d, 0xe0, 0x48]), [(103, true)]);
        assert_eq!(keys(&[0xe1, 0x1d, 0x46, 0x1e]), [(30, true)]);
        assert_eq!(keys(&[0xe0, 0x7f, 0xfa, 0x00, 0xff, 0x1e]), [(30, true)]);
    }

    #[test]
    fn any_two_bytes_give_keys_that_the_keyboard_says_it_has() {
        let all = all();
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                for (code, _) in keys(&[first, second, 0x45]) {
                    assert!(all.binary_search(&code).is_ok(), "{code}");
                }
            }
        }
    }
}
