//! Ranges of bytes that locks cover.

use crate::{Errno, Result};

/// The last byte a file can have.
const LAST: u64 = i64::MAX as u64;

/// Bytes from `start` to `end`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// Last byte; the greatest there is means to the end, wherever it comes to be.
    pub end: u64,
}

impl Range {
    /// Makes a range; `start` is not above `end`.
    pub const fn new(start: u64, end: u64) -> Range {
        debug_assert!(start <= end && end <= LAST);
        Range { start, end }
    }

    /// Every byte.
    pub const ALL: Range = Range {
        start: 0,
        end: LAST,
    };

    pub(super) fn overlaps(self, other: Range) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    /// Overlaps, or is next to the other.
    pub(super) fn touches(self, other: Range) -> bool {
        // Neither addition can overflow: the last byte is below 2^63.
        self.start <= other.end + 1 && other.start <= self.end + 1
    }

    /// Returns the smallest range with both.
    pub(super) fn join(self, other: Range) -> Range {
        Range {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }

    /// Returns what is left before and behind `hole`, which overlaps.
    pub(super) fn without(self, hole: Range) -> (Option<Range>, Option<Range>) {
        let before = (self.start < hole.start).then(|| Range::new(self.start, hole.start - 1));
        let after = (self.end > hole.end).then(|| Range::new(hole.end + 1, self.end));
        (before, after)
    }

    /// Returns `l_len` of `struct flock`: zero for a range without end.
    pub fn flock_len(self) -> i64 {
        if self.end == LAST {
            0
        } else {
            (self.end - self.start + 1) as i64
        }
    }
}

/// Turns `l_whence`, `l_start` and `l_len` of `struct flock` into a range; `pos` is the file's position, `size` its size.
///
/// # Errors
/// `EINVAL` for a bad origin or a range that begins before the file; `EOVERFLOW` past its greatest size.
pub fn from_flock(whence: i16, start: i64, len: i64, pos: u64, size: u64) -> Result<Range> {
    let base = match whence {
        0 => 0,
        1 => pos as i64,
        2 => size as i64,
        _ => return Err(Errno::EINVAL),
    };
    let start = base.checked_add(start).ok_or(Errno::EOVERFLOW)?;
    if start < 0 {
        return Err(Errno::EINVAL);
    }
    let (first, last) = match len {
        0 => (start, i64::MAX),
        1.. => (start, start.checked_add(len - 1).ok_or(Errno::EOVERFLOW)?),
        _ => (start.checked_add(len).ok_or(Errno::EINVAL)?, start - 1),
    };
    if first < 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Range::new(first as u64, last as u64))
}
