//! Receiving: flow control, signal characters, translation, errors of the line.

use super::ctype::to_lower;
use super::input_queue::INPUT_SIZE;
use super::ldisc::{Effects, LineDiscipline, Port};
use super::termios::{Cc, InputFlags, LocalFlags};

/// Something the line delivered that is not a good byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The line was held low for longer than a character.
    Break,
    /// A byte with wrong parity or without its stop bit.
    Damaged(u8),
}

impl LineDiscipline {
    /// Takes received bytes and returns how many it took; the rest has to wait for a reader.
    pub fn receive(&mut self, bytes: &[u8], port: &mut dyn Port) -> (usize, Effects) {
        let mut taken = 0;
        if self.raw && !self.literal_next {
            // A full queue keeps one free place, as the byte-wise path does.
            taken = self
                .input
                .put_slice(bytes, (INPUT_SIZE - 1).saturating_sub(self.input.len()));
        } else {
            while taken < bytes.len() && self.make_room() {
                self.receive_byte(bytes[taken], port);
                taken += 1;
            }
        }
        self.after_receive();
        (taken, self.take_effects())
    }

    /// Takes a break or a damaged byte; false if that has to wait for a reader.
    pub fn receive_error(&mut self, what: Received, port: &mut dyn Port) -> (bool, Effects) {
        let taken = self.make_room();
        if taken {
            self.literal_next = false;
            match what {
                Received::Break => self.receive_break(port),
                Received::Damaged(c) => self.receive_damaged(c),
            }
        }
        self.after_receive();
        (taken, self.take_effects())
    }

    fn after_receive(&mut self) {
        if !self.reads_lines() && self.input.len() > 0 {
            self.effects |= Effects::WAKE_READERS;
        }
        self.check_throttle();
    }

    /// Whether one more byte may come in.
    ///
    /// A line that is being edited takes bytes without end, the last one overwritten, so that erasing and ending it
    /// stay possible.
    fn make_room(&mut self) -> bool {
        let mut room = INPUT_SIZE - self.input.len();
        if self.has_i(InputFlags::PARMRK) {
            // Each byte may take three places.
            room = room.div_ceil(3);
        }
        if room > 1 {
            return true;
        }
        if !self.has_l(LocalFlags::ICANON) || self.input.canon_len() > 0 {
            return false;
        }
        if room == 0 {
            self.input.head = self.input.head.wrapping_sub(1);
        }
        true
    }

    fn receive_byte(&mut self, byte: u8, port: &mut dyn Port) {
        let mut c = byte;
        if self.has_i(InputFlags::ISTRIP) {
            c &= 0x7f;
        }
        if self.has_i(InputFlags::IUCLC) && self.has_l(LocalFlags::IEXTEN) {
            c = to_lower(c);
        }
        if core::mem::take(&mut self.literal_next) {
            self.receive_ordinary(c, port);
        } else if self.has_l(LocalFlags::EXTPROC) {
            self.input.put(c);
        } else if self.is_special(c) {
            self.receive_special(c, port);
        } else {
            self.receive_ordinary(c, port);
        }
    }

    fn receive_ordinary(&mut self, c: u8, port: &mut dyn Port) {
        if self.any_byte_starts() {
            self.start(port);
        }
        if self.has_l(LocalFlags::ECHO) {
            self.finish_erasing(port);
            if self.input.editing_len() == 0 {
                self.begin_line_at_cursor();
            }
            self.echo_char(c, port);
        }
        self.store(c);
    }

    fn receive_special(&mut self, byte: u8, port: &mut dyn Port) {
        if self.has_i(InputFlags::IXON) && self.flow_control(byte, port) {
            return;
        }
        if self.has_l(LocalFlags::ISIG) {
            let signals = [
                (Cc::Intr, Effects::SIGINT),
                (Cc::Quit, Effects::SIGQUIT),
                (Cc::Susp, Effects::SIGTSTP),
            ];
            if let Some((_, signal)) = signals
                .into_iter()
                .find(|&(cc, _)| self.termios.is_cc(cc, byte))
            {
                self.signal(signal, port);
                if self.has_i(InputFlags::IXON) {
                    self.start(port);
                }
                if self.has_l(LocalFlags::ECHO) {
                    self.echo_char(byte, port);
                }
                return;
            }
        }
        if self.any_byte_starts() {
            self.start(port);
        }
        let mut c = byte;
        if c == b'\r' {
            if self.has_i(InputFlags::IGNCR) {
                return;
            }
            if self.has_i(InputFlags::ICRNL) {
                c = b'\n';
            }
        } else if c == b'\n' && self.has_i(InputFlags::INLCR) {
            c = b'\r';
        }
        if self.has_l(LocalFlags::ICANON) && self.edit(c, port) {
            return;
        }
        if self.has_l(LocalFlags::ECHO) {
            self.finish_erasing(port);
            if c == b'\n' {
                self.echo_raw(c, port);
            } else {
                if self.input.editing_len() == 0 {
                    self.begin_line_at_cursor();
                }
                self.echo_char(c, port);
            }
        }
        self.store(c);
    }

    /// Handles START and STOP; false for any other byte.
    fn flow_control(&mut self, c: u8, port: &mut dyn Port) -> bool {
        if self.termios.is_cc(Cc::Start, c) {
            self.start(port);
            true
        } else if self.termios.is_cc(Cc::Stop, c) {
            self.stop();
            true
        } else {
            false
        }
    }

    fn signal(&mut self, signal: Effects, port: &mut dyn Port) {
        self.effects |= signal;
        if !self.has_l(LocalFlags::NOFLSH) {
            self.flush_for_signal(port);
        }
    }

    /// Stores a byte, a 0xff twice under `PARMRK` so that it cannot be taken for a mark.
    fn store(&mut self, c: u8) {
        if c == 0xff && self.has_i(InputFlags::PARMRK) {
            self.input.put(c);
        }
        self.input.put(c);
    }

    fn receive_break(&mut self, port: &mut dyn Port) {
        if self.has_i(InputFlags::IGNBRK) {
            return;
        }
        if self.has_i(InputFlags::BRKINT) {
            self.signal(Effects::SIGINT, port);
            return;
        }
        if self.has_i(InputFlags::PARMRK) {
            self.input.put(0xff);
            self.input.put(0);
        }
        self.input.put(0);
    }

    fn receive_damaged(&mut self, c: u8) {
        if !self.has_i(InputFlags::INPCK) {
            self.input.put(c);
        } else if self.has_i(InputFlags::IGNPAR) {
            // Dropped, as asked for.
        } else if self.has_i(InputFlags::PARMRK) {
            self.input.put(0xff);
            self.input.put(0);
            self.input.put(c);
        } else {
            self.input.put(0);
        }
    }
}
