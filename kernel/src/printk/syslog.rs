//! The log as text lines, as syslog(2) and `/proc/kmsg` give it.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering};

use super::format::Syslog;
use super::{LOG, Read, Record, TEXT_LEN};

/// Longest line: the text, and what stands before and after it.
pub const LINE_LEN: usize = TEXT_LEN + 48;

/// One line.
pub struct Line {
    bytes: [u8; LINE_LEN],
    len: usize,
}

impl Line {
    fn new(record: Record, text: &[u8]) -> Line {
        let mut line = Line {
            bytes: [0; LINE_LEN],
            len: 0,
        };
        // There is room for all of it.
        let _ = write!(line, "{}", Syslog(record, text));
        line
    }

    /// The bytes of the line.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, bytes: &[u8]) {
        let n = bytes.len().min(LINE_LEN - self.len);
        self.bytes[self.len..self.len + n].copy_from_slice(&bytes[..n]);
        self.len += n;
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

/// The record that the next reader of `/proc/kmsg` or of `SYSLOG_ACTION_READ` takes, whoever that is.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Whether somebody may take a record.
pub fn is_unread() -> bool {
    NEXT.load(Ordering::Relaxed) < LOG.next_seq()
}

/// Offers unread records to `take`, one by one, until it refuses one or none is left; those it took are read.
pub fn take_unread(mut take: impl FnMut(&[u8]) -> bool) {
    let end = each_from(NEXT.load(Ordering::Relaxed), |line| take(line.as_bytes()));
    NEXT.store(end, Ordering::Relaxed);
}

/// Bytes that unread records have as lines.
pub fn unread_len() -> usize {
    len_from(NEXT.load(Ordering::Relaxed))
}

/// Gives the newest records since the last clear that fit into `room` bytes, oldest first, to `put`.
pub fn newest(room: usize, mut put: impl FnMut(&[u8])) {
    let first = super::cleared_seq();
    let mut too_much = len_from(first).saturating_sub(room);
    let mut left = room;
    each_from(first, |line| {
        let bytes = line.as_bytes();
        if too_much > 0 {
            too_much = too_much.saturating_sub(bytes.len());
        } else if bytes.len() <= left {
            left -= bytes.len();
            put(bytes);
        }
        true
    });
}

fn len_from(seq: u64) -> usize {
    let mut len = 0;
    each_from(seq, |line| {
        len += line.as_bytes().len();
        true
    });
    len
}

/// Calls `f` for each record from `seq` on until it answers false; gives the first record that it did not take.
fn each_from(mut seq: u64, mut f: impl FnMut(&Line) -> bool) -> u64 {
    let mut text = [0; TEXT_LEN];
    while seq < LOG.next_seq() {
        match LOG.read(seq, &mut text) {
            Read::NotYet => break,
            Read::Lost(first) => seq = first,
            Read::Record(record) => {
                if !f(&Line::new(record, &text[..record.len])) {
                    break;
                }
                seq += 1;
            }
        }
    }
    seq
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_lines_fit_and_taken_ones_are_gone() {
        for i in 0..3 {
            crate::printk::emit(6, format_args!("line {i}"));
        }
        let mut all = Vec::new();
        newest(usize::MAX, |line| all.extend_from_slice(line));
        let text = String::from_utf8(all.clone()).unwrap();
        assert!(text.ends_with("<6>[    0.000000] line 2\n"), "{text}");
        let last = text.lines().next_back().unwrap().len() + 1;
        let mut one = Vec::new();
        newest(last + 3, |line| one.extend_from_slice(line));
        assert_eq!(one.len(), last, "only whole lines");
        assert!(is_unread());
        let before = unread_len();
        let mut taken = 0;
        take_unread(|line| {
            taken = line.len();
            false
        });
        assert_eq!(unread_len(), before, "a refused line stays");
        take_unread(|_| true);
        assert_eq!(unread_len(), 0);
        assert!(taken > 0);
    }
}
