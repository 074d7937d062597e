//! Cutting formatted text into records: one for each line, and one for each piece of a line that is too long for one.

use super::ring::TEXT_LEN;
use core::fmt;

/// Hands each finished line to a function.
pub struct Lines<F: FnMut(&[u8])> {
    emit: F,
    buffer: [u8; TEXT_LEN],
    len: usize,
    /// Whether anything was written since the last line ended.
    open: bool,
}

impl<F: FnMut(&[u8])> Lines<F> {
    /// Starts with an empty line.
    pub const fn new(emit: F) -> Self {
        Self {
            emit,
            buffer: [0; TEXT_LEN],
            len: 0,
            open: false,
        }
    }

    /// Ends the last line, if it has anything in it.
    pub fn finish(mut self) {
        if self.open {
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        (self.emit)(&self.buffer[..self.len]);
        self.len = 0;
        self.open = false;
    }

    /// Ends a piece that is full, before a character rather than within one.
    fn end_piece(&mut self) {
        let whole = match core::str::from_utf8(&self.buffer[..self.len]) {
            Ok(_) => self.len,
            Err(error) => error.valid_up_to(),
        };
        let cut = if whole == 0 { self.len } else { whole };
        (self.emit)(&self.buffer[..cut]);
        self.buffer.copy_within(cut..self.len, 0);
        self.len -= cut;
    }
}

impl<F: FnMut(&[u8])> fmt::Write for Lines<F> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if byte == b'\n' {
                self.end_line();
                continue;
            }
            if self.len == TEXT_LEN {
                self.end_piece();
            }
            self.buffer[self.len] = byte;
            self.len += 1;
            self.open = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write;

    fn cut(parts: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        let mut lines = Lines::new(|line: &[u8]| {
            found.push(String::from_utf8(line.to_vec()).expect("whole characters"))
        });
        for part in parts {
            lines.write_str(part).expect("writing to memory works");
        }
        lines.finish();
        found
    }

    #[test]
    fn lines_end_at_newlines_and_at_the_end() {
        assert_eq!(cut(&["a", "b\nc\n", "\nd"]), ["ab", "c", "", "d"]);
        assert_eq!(cut(&["a\n"]), ["a"]);
        assert!(cut(&[]).is_empty());
    }

    #[test]
    fn a_long_line_becomes_pieces() {
        let long = "x".repeat(2 * TEXT_LEN + 1);
        let pieces = cut(&[&long]);
        assert_eq!(
            pieces.iter().map(String::len).collect::<Vec<_>>(),
            [TEXT_LEN, TEXT_LEN, 1]
        );
        assert_eq!(cut(&[&"x".repeat(TEXT_LEN)]).len(), 1);
    }

    #[test]
    fn no_character_is_cut_in_two() {
        let mut long = "x".repeat(TEXT_LEN - 1);
        long.push('é');
        assert_eq!(cut(&[&long]).concat(), long);
    }
}
