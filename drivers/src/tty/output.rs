//! Output processing (`OPOST`), with the cursor's column kept so that tabs and erasure come out right.

use super::ctype::{is_control, is_utf8_continuation, to_upper};
use super::ldisc::{Effects, LineDiscipline, Port};
use super::termios::{InputFlags, OutputFlags};

const SPACES: [u8; 8] = [b' '; 8];

impl LineDiscipline {
    /// Written bytes that are sure to fit into a port with `room` bytes, whatever they become.
    pub fn write_limit(&self, room: usize) -> usize {
        if !self.has_o(OutputFlags::OPOST) {
            room
        } else if self.expands_tabs() {
            room / SPACES.len()
        } else {
            room / 2
        }
    }

    /// Writes bytes; the caller offers at most [`LineDiscipline::write_limit`] of the port's room.
    ///
    /// Waiting echo goes first: see [`LineDiscipline::echo_waits`].
    pub fn write(&mut self, bytes: &[u8], port: &mut dyn Port) -> Effects {
        self.flush_echo(port);
        if !self.has_o(OutputFlags::OPOST) {
            port.put(bytes);
        } else {
            let mut rest = bytes;
            while let Some(&first) = rest.first() {
                let plain = self.plain_prefix(rest);
                if plain > 0 {
                    port.put(&rest[..plain]);
                    rest = &rest[plain..];
                } else {
                    let (out, n) = self.process(first);
                    port.put(&out[..n]);
                    rest = &rest[1..];
                }
            }
        }
        if !bytes.is_empty() {
            self.effects |= Effects::OUTPUT;
        }
        self.take_effects()
    }

    /// Length of the run at the start of `bytes` that goes out as it is; the column moves along.
    fn plain_prefix(&mut self, bytes: &[u8]) -> usize {
        let upper = self.has_o(OutputFlags::OLCUC);
        let utf8 = self.has_i(InputFlags::IUTF8);
        let n = bytes
            .iter()
            .position(|&c| is_control(c) || upper)
            .unwrap_or(bytes.len());
        let cells = if utf8 {
            bytes[..n]
                .iter()
                .filter(|&&c| !is_utf8_continuation(c))
                .count()
        } else {
            n
        };
        self.column = self.column.wrapping_add(cells);
        n
    }

    /// What one byte becomes: at most eight bytes, all of them or none.
    pub(super) fn process(&mut self, c: u8) -> ([u8; 8], usize) {
        use OutputFlags as O;
        let mut out = [0; 8];
        out[0] = c;
        let mut len = 1;
        match c {
            b'\n' => {
                if self.has_o(O::ONLRET) {
                    self.column = 0;
                }
                if self.has_o(O::ONLCR) {
                    self.column = 0;
                    out[..2].copy_from_slice(b"\r\n");
                    len = 2;
                }
                self.canon_column = self.column;
            }
            b'\r' => {
                if self.has_o(O::ONOCR) && self.column == 0 {
                    return (out, 0);
                }
                if self.has_o(O::OCRNL) {
                    out[0] = b'\n';
                    if self.has_o(O::ONLRET) {
                        self.column = 0;
                        self.canon_column = 0;
                    }
                } else {
                    self.column = 0;
                    self.canon_column = 0;
                }
            }
            b'\t' => {
                let spaces = 8 - self.column % 8;
                self.column = self.column.wrapping_add(spaces);
                if self.expands_tabs() {
                    out = SPACES;
                    len = spaces;
                }
            }
            0x08 => self.column = self.column.saturating_sub(1),
            _ if !is_control(c) => {
                if self.has_o(O::OLCUC) {
                    out[0] = to_upper(c);
                }
                if !self.is_continuation(c) {
                    self.column = self.column.wrapping_add(1);
                }
            }
            _ => {}
        }
        (out, len)
    }

    fn expands_tabs(&self) -> bool {
        self.termios.oflag & OutputFlags::TABDLY == OutputFlags::XTABS
    }

    pub(super) fn is_continuation(&self, c: u8) -> bool {
        self.has_i(InputFlags::IUTF8) && is_utf8_continuation(c)
    }
}
