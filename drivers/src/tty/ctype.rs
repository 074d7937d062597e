//! Character classes as the line discipline sees them: Latin-1, which is what Linux's own tables are.

/// A control character that echoes as `^X`.
pub(super) const fn is_control(c: u8) -> bool {
    c < 0x20 || c == 0x7f
}

/// A letter or digit of Latin-1.
pub(super) const fn is_alphanumeric(c: u8) -> bool {
    c.is_ascii_alphanumeric() || (c >= 0xc0 && c != 0xd7 && c != 0xf7)
}

pub(super) const fn to_lower(c: u8) -> u8 {
    match c {
        b'A'..=b'Z' | 0xc0..=0xd6 | 0xd8..=0xde => c + 32,
        _ => c,
    }
}

pub(super) const fn to_upper(c: u8) -> u8 {
    match c {
        b'a'..=b'z' | 0xdf..=0xf6 | 0xf8..=0xff => c - 32,
        _ => c,
    }
}

/// A byte inside a UTF-8 sequence, after its first.
pub(super) const fn is_utf8_continuation(c: u8) -> bool {
    c & 0xc0 == 0x80
}
