//! Handing input to readers: a line at a time, or as VMIN says.

use super::ldisc::{Effects, LineDiscipline};
use super::termios::{Cc, DISABLED_CHAR};

/// What a read attempt found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// So many bytes were handed over; none at a canonical end of file.
    Done(usize),
    /// Nothing the reader may have yet.
    NotYet,
}

impl LineDiscipline {
    /// Whether a read that waits for no more than it must would be answered now; `polling` judges as `poll(2)` does.
    pub fn readable(&self, polling: bool) -> bool {
        if self.reads_lines() {
            return self.input.canon_len() > 0;
        }
        let (min, time) = (self.termios.cc(Cc::Min), self.termios.cc(Cc::Time));
        let wanted = if polling && time == 0 && min > 0 {
            min.into()
        } else {
            1
        };
        self.input.len() >= wanted
    }

    /// Bytes a reader could have now (`FIONREAD`): whole lines without their end-of-file marks, or everything.
    pub fn input_len(&self) -> usize {
        if !self.reads_lines() {
            return self.input.len();
        }
        let marks = (0..self.input.canon_len())
            .map(|i| self.input.tail.wrapping_add(i))
            .filter(|&at| self.input.is_end(at) && self.input.byte(at) == DISABLED_CHAR)
            .count();
        self.input.canon_len() - marks
    }

    /// How many bytes a read of `want` waits for outside canonical mode: VMIN, at least 1, at most what it asks for.
    fn minimum(&self, want: usize) -> usize {
        usize::from(self.termios.cc(Cc::Min)).clamp(1, want.max(1))
    }

    /// Whether a read waits only so long: VTIME in tenths of a second, and whether it runs from the start of the read
    /// (VMIN 0) or from each byte, once there is one.
    pub fn read_timeout(&self) -> Option<ReadTimeout> {
        let tenths = self.termios.cc(Cc::Time);
        if self.reads_lines() {
            return None;
        }
        match (self.termios.cc(Cc::Min), tenths) {
            (0, tenths) => Some(ReadTimeout::FromStart { tenths }),
            (_, 0) => None,
            (_, tenths) => (self.input.len() > 0).then_some(ReadTimeout::BetweenBytes { tenths }),
        }
    }

    /// Hands up to `want` bytes to `emit`, which returns how many it took; one that takes fewer ends the read.
    ///
    /// `eager` asks for whatever there is, without regard to VMIN (a reader that does not wait, or waited long enough).
    pub fn read(
        &mut self,
        want: usize,
        eager: bool,
        emit: &mut dyn FnMut(&[u8]) -> usize,
    ) -> (ReadOutcome, Effects) {
        let outcome = if want == 0 {
            ReadOutcome::Done(0)
        } else if self.reads_lines() {
            self.read_line(want, emit)
        } else if self.input.len() >= if eager { 1 } else { self.minimum(want) } {
            ReadOutcome::Done(self.hand_over(want.min(self.input.len()), emit))
        } else {
            ReadOutcome::NotYet
        };
        self.check_unthrottle();
        (outcome, self.take_effects())
    }

    fn read_line(&mut self, want: usize, emit: &mut dyn FnMut(&[u8]) -> usize) -> ReadOutcome {
        let available = self.input.canon_len();
        if available == 0 {
            return ReadOutcome::NotYet;
        }
        // One place further than wanted, so that an end-of-file mark right behind a full buffer goes with it.
        let end = self.input.find_end(available.min(want.saturating_add(1)));
        let mark =
            end.filter(|&at| self.input.byte(self.input.tail.wrapping_add(at)) == DISABLED_CHAR);
        let len = match (mark, end) {
            (Some(at), _) => at,
            (None, Some(at)) => (at + 1).min(want),
            (None, None) => available.min(want),
        };
        let done = self.hand_over(len, emit);
        if done == len && mark.is_some() {
            self.input.consume(1);
        }
        ReadOutcome::Done(done)
    }

    /// Hands over up to `len` bytes from the tail.
    fn hand_over(&mut self, len: usize, emit: &mut dyn FnMut(&[u8]) -> usize) -> usize {
        let mut done = 0;
        while done < len {
            let run = self.input.run(len - done);
            let offered = run.len();
            let took = emit(run).min(offered);
            self.input.consume(took);
            done += took;
            if took < offered {
                break;
            }
        }
        done
    }
}

/// How long a raw read waits; a tenth of a second is termios' unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadTimeout {
    /// From the start of the read; it then ends with nothing.
    FromStart {
        /// Tenths of a second; zero never waits.
        tenths: u8,
    },
    /// From the last byte received; it then ends with what there is.
    BetweenBytes {
        /// Tenths of a second.
        tenths: u8,
    },
}
