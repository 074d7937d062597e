//! Canonical line editing: erase, word erase, kill, literal next, reprint, and the ends of lines.

use super::ctype::{is_alphanumeric, is_control};
use super::ldisc::{Effects, LineDiscipline, Port};
use super::termios::{Cc, DISABLED_CHAR, InputFlags, LocalFlags};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Erase {
    Char,
    Word,
    Line,
}

impl LineDiscipline {
    /// Handles a byte that edits or ends a line; false if it does neither.
    pub(super) fn edit(&mut self, c: u8, port: &mut dyn Port) -> bool {
        let extended = self.has_l(LocalFlags::IEXTEN);
        let echo = self.has_l(LocalFlags::ECHO);
        let is = |cc| self.termios.is_cc(cc, c);
        if is(Cc::Erase) {
            self.erase(Erase::Char, port);
        } else if is(Cc::Werase) && extended {
            self.erase(Erase::Word, port);
        } else if is(Cc::Kill) {
            self.kill(port);
        } else if is(Cc::Lnext) && extended {
            self.literal_next = true;
            if echo {
                self.finish_erasing(port);
                if self.has_l(LocalFlags::ECHOCTL) {
                    self.echo_raw(b'^', port);
                    self.echo_raw(0x08, port);
                }
            }
        } else if is(Cc::Reprint) && extended && echo {
            self.reprint(c, port);
        } else if c == b'\n' {
            if echo || self.has_l(LocalFlags::ECHONL) {
                self.echo_raw(b'\n', port);
            }
            self.end_line(c);
        } else if is(Cc::Eof) {
            self.end_line(DISABLED_CHAR);
        } else if is(Cc::Eol) || (is(Cc::Eol2) && extended) {
            if echo {
                if self.input.editing_len() == 0 {
                    self.begin_line_at_cursor();
                }
                self.echo_char(c, port);
            }
            if c == 0xff && self.has_i(InputFlags::PARMRK) {
                self.input.put(c);
            }
            self.end_line(c);
        } else {
            return false;
        }
        true
    }

    fn end_line(&mut self, c: u8) {
        self.input.end_line(c);
        self.effects |= Effects::WAKE_READERS;
    }

    fn reprint(&mut self, c: u8, port: &mut dyn Port) {
        self.finish_erasing(port);
        self.echo_char(c, port);
        self.echo_raw(b'\n', port);
        for i in 0..self.input.editing_len() {
            let byte = self.input.byte(self.input.canon.wrapping_add(i));
            self.echo_char(byte, port);
        }
    }

    fn kill(&mut self, port: &mut dyn Port) {
        use LocalFlags as L;
        if self.input.editing_len() == 0 {
            return;
        }
        if self.has_l(L::ECHO) && self.has_l(L::ECHOK | L::ECHOKE | L::ECHOE) {
            self.erase(Erase::Line, port);
            return;
        }
        self.input.head = self.input.canon;
        if self.has_l(L::ECHO) {
            self.finish_erasing(port);
            self.echo_char(self.termios.cc(Cc::Kill), port);
            if self.has_l(L::ECHOK) {
                self.echo_raw(b'\n', port);
            }
        }
    }

    fn erase(&mut self, what: Erase, port: &mut dyn Port) {
        if self.input.editing_len() == 0 {
            return;
        }
        let echo = self.has_l(LocalFlags::ECHO);
        let mut in_word = false;
        while self.input.editing_len() > 0 {
            // One character, which may be several bytes.
            let mut start = self.input.head.wrapping_sub(1);
            while self.is_continuation(self.input.byte(start)) && start != self.input.canon {
                start = start.wrapping_sub(1);
            }
            let c = self.input.byte(start);
            if self.is_continuation(c) {
                break;
            }
            if what == Erase::Word {
                if is_alphanumeric(c) || c == b'_' {
                    in_word = true;
                } else if in_word {
                    break;
                }
            }
            let len = self.input.head.wrapping_sub(start);
            self.input.head = start;
            if echo {
                self.echo_erased(c, start, len, what, port);
            }
            if what == Erase::Char {
                break;
            }
        }
        if self.input.editing_len() == 0 && echo {
            self.finish_erasing(port);
        }
    }

    /// Shows that the character `c` of `len` bytes at `start` is gone.
    fn echo_erased(&mut self, c: u8, start: usize, len: usize, what: Erase, port: &mut dyn Port) {
        use LocalFlags as L;
        if self.has_l(L::ECHOPRT) {
            if !self.erasing {
                self.echo_raw(b'\\', port);
                self.erasing = true;
            }
            self.echo_char(c, port);
            for i in 1..len {
                let byte = self.input.byte(start.wrapping_add(i));
                self.echo_raw(byte, port);
                if !self.is_continuation(byte) {
                    self.column = self.column.saturating_sub(1);
                }
            }
        } else if what == Erase::Char && !self.has_l(L::ECHOE) {
            self.echo_char(self.termios.cc(Cc::Erase), port);
        } else if c == b'\t' {
            let (cells, after_tab) = self.cells_since_tab();
            self.echo_erase_tab(cells, after_tab, port);
        } else {
            let visible_control = is_control(c) && self.has_l(L::ECHOCTL);
            if visible_control {
                self.echo_rubout(port);
            }
            if !is_control(c) || visible_control {
                self.echo_rubout(port);
            }
        }
    }

    /// Width of the edited line after its last tab, and whether it has a tab.
    fn cells_since_tab(&self) -> (usize, bool) {
        let mut cells = 0;
        for i in 1..=self.input.editing_len() {
            let c = self.input.byte(self.input.head.wrapping_sub(i));
            if c == b'\t' {
                return (cells, true);
            }
            if is_control(c) {
                if self.has_l(LocalFlags::ECHOCTL) {
                    cells += 2;
                }
            } else if !self.is_continuation(c) {
                cells += 1;
            }
        }
        (cells, false)
    }
}
