//! Echo: what the user sees of received bytes.
//!
//! Echo is processed like output, at once, so that the column is known. Bytes that find the port full wait in a ring of
//! their own and go out before anything that is written later; a full ring loses what comes next.

use super::ctype::is_control;
use super::ldisc::{Effects, LineDiscipline, Port};
use super::termios::{LocalFlags, OutputFlags};

impl LineDiscipline {
    /// Whether echo still waits for room in the port; writers wait behind it.
    pub fn echo_waits(&self) -> bool {
        !self.echo.is_empty()
    }

    /// Moves waiting echo to the port as far as that has room.
    pub(super) fn flush_echo(&mut self, port: &mut dyn Port) {
        while !self.echo.is_empty() && port.room() > 0 {
            let run = self.echo.front();
            let n = run.len().min(port.room());
            port.put(&run[..n]);
            self.echo.consume(n);
            self.effects |= Effects::OUTPUT;
        }
    }

    /// Echoes a received byte: control characters as `^X` under `ECHOCTL`, tabs and newlines as they are only raw.
    pub(super) fn echo_char(&mut self, c: u8, port: &mut dyn Port) {
        if self.has_l(LocalFlags::ECHOCTL) && is_control(c) && c != b'\t' {
            self.emit(&[b'^', c ^ 0o100], port);
            self.column = self.column.wrapping_add(2);
        } else {
            self.echo_raw(c, port);
        }
    }

    /// Echoes a byte as if a program had written it.
    pub(super) fn echo_raw(&mut self, c: u8, port: &mut dyn Port) {
        if self.has_o(OutputFlags::OPOST) {
            let (out, n) = self.process(c);
            self.emit(&out[..n], port);
        } else {
            self.emit(&[c], port);
        }
    }

    /// Rubs out one cell.
    pub(super) fn echo_rubout(&mut self, port: &mut dyn Port) {
        for c in *b"\x08 \x08" {
            self.echo_raw(c, port);
        }
    }

    /// Moves the cursor back over an erased tab.
    ///
    /// `cells` is the width between the tab and the tab before it (`after_tab`) or the beginning of the line.
    pub(super) fn echo_erase_tab(&mut self, cells: usize, after_tab: bool, port: &mut dyn Port) {
        let column = if after_tab {
            cells
        } else {
            self.canon_column.wrapping_add(cells)
        };
        for _ in 0..8 - column % 8 {
            self.emit(b"\x08", port);
            self.column = self.column.saturating_sub(1);
        }
    }

    /// Notes that the line being edited begins at the cursor.
    pub(super) fn begin_line_at_cursor(&mut self) {
        self.canon_column = self.column;
    }

    /// Closes the `\...` of `ECHOPRT`.
    pub(super) fn finish_erasing(&mut self, port: &mut dyn Port) {
        if core::mem::take(&mut self.erasing) {
            self.echo_raw(b'/', port);
        }
    }

    fn emit(&mut self, bytes: &[u8], port: &mut dyn Port) {
        self.flush_echo(port);
        let now = if self.echo.is_empty() {
            bytes.len().min(port.room())
        } else {
            0
        };
        if now > 0 {
            port.put(&bytes[..now]);
        }
        self.echo.push(&bytes[now..]);
        self.effects |= Effects::OUTPUT;
    }
}
