//! How records look to programs: `/dev/kmsg` and `syslog(2)`.

use super::ring::Record;
use core::fmt::{self, Write};

/// A record as `/dev/kmsg` gives it: `priority,sequence,microseconds,-;text`, with unprintable bytes as `\xNN`.
///
/// Source: Linux, Documentation/ABI/testing/dev-kmsg.
pub struct Kmsg<'a>(pub Record, pub &'a [u8]);

impl fmt::Display for Kmsg<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(record, text) = self;
        write!(
            f,
            "{},{},{},-;",
            record.priority,
            record.seq,
            record.time_ns / 1000
        )?;
        for &byte in *text {
            match byte {
                b'\\' => f.write_str("\\x5c")?,
                b' '..=b'~' => f.write_char(char::from(byte))?,
                // Linux escapes all that is not printable ASCII.
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        f.write_char('\n')
    }
}

/// A record as `syslog(2)` gives it: `<priority>[seconds.microseconds] text`. Text that is not UTF-8 is shown as far as it is.
pub struct Syslog<'a>(pub Record, pub &'a [u8]);

impl fmt::Display for Syslog<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(record, text) = self;
        writeln!(
            f,
            "<{}>{}{}",
            record.priority,
            Stamp(record.time_ns),
            utf8(text)
        )
    }
}

/// A time as the console shows it, `[    1.234567] `.
pub struct Stamp(pub u64);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0 / 1000;
        write!(f, "[{:5}.{:06}] ", micros / 1_000_000, micros % 1_000_000)
    }
}

/// The part of `text` that is UTF-8.
pub fn utf8(text: &[u8]) -> &str {
    match core::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => core::str::from_utf8(&text[..error.valid_up_to()]).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Record = Record {
        seq: 17,
        time_ns: 12_345_678_901,
        priority: 14,
        len: 0,
    };

    #[test]
    fn kmsg_lines_are_escaped() {
        let line = Kmsg(RECORD, b"a\\b\tc\xff").to_string();
        assert_eq!(line, "14,17,12345678,-;a\\x5cb\\x09c\\xff\n");
    }

    #[test]
    fn syslog_lines_have_priority_and_time() {
        assert_eq!(
            Syslog(RECORD, b"text").to_string(),
            "<14>[   12.345678] text\n"
        );
    }

    #[test]
    fn broken_text_is_shown_as_far_as_it_goes() {
        assert_eq!(utf8(b"ab\xffcd"), "ab");
    }
}
