//! The ring that keeps the newest records of the log.
//!
//! Writing takes no lock, allocates nothing and never waits, so any context may do it, NMI included. A writer takes the
//! next sequence number, marks the slot that belongs to it as being written, fills it, and marks it as ready. A reader
//! copies a slot and looks again whether it is still the record it wanted.
//!
//! Limits: a record has up to [`TEXT_LEN`] bytes. A writer that is held up while [`SLOTS`] more records are written keeps
//! its slot until it is done, so that no record is ever mixed of two: its own record and those that would have taken the
//! slot meanwhile are lost.

use core::sync::atomic::{AtomicU64, Ordering, fence};

/// Records that are kept.
pub const SLOTS: usize = 512;
/// Bytes of a record's text.
pub const TEXT_LEN: usize = TEXT_WORDS * 8;
const TEXT_WORDS: usize = 29;

/// One record: 256 bytes.
struct Slot {
    /// `4 * (sequence number + 1)` and one of the four conditions below. 0 at first.
    state: AtomicU64,
    time_ns: AtomicU64,
    /// Length of the text in the lower half, priority in the upper.
    meta: AtomicU64,
    text: [AtomicU64; TEXT_WORDS],
}

impl Slot {
    /// Ends the writing of record `seq`. Newer records that would have taken the slot meanwhile stay lost.
    fn leave(&self, seq: u64) {
        let done = |now| {
            Some(if now == state(seq, WRITING) {
                state(seq, READY)
            } else {
                now - OVERTAKEN + LOST
            })
        };
        let _ = self
            .state
            .fetch_update(Ordering::Release, Ordering::Relaxed, done);
    }
}

/// What a record is besides its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number; consecutive, from 0.
    pub seq: u64,
    /// When it was written, in nanoseconds since boot.
    pub time_ns: u64,
    /// Facility times 8 plus level, as in syslog.
    pub priority: u32,
    /// Length of the text.
    pub len: usize,
}

impl Record {
    /// How urgent it is: 0 (the end is near) to 7 (debugging).
    pub const fn level(self) -> u8 {
        (self.priority & 7) as u8
    }

    /// Who wrote it: 0 is the kernel, 1 user space.
    pub const fn facility(self) -> u32 {
        self.priority >> 3
    }
}

/// What reading a record gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The record; its text is in the buffer.
    Record(Record),
    /// It is gone; the oldest record that may still be there has this number.
    Lost(u64),
    /// It has not been written yet, or is being written.
    NotYet,
}

/// The ring.
pub struct Ring {
    next: AtomicU64,
    slots: [Slot; SLOTS],
}

/// The record is lost; nobody writes to the slot.
const LOST: u64 = 0;
/// The record can be read; nobody writes to the slot.
const READY: u64 = 1;
/// The record is being written.
const WRITING: u64 = 2;
/// The record is lost; the writer of an older one is still at the slot.
const OVERTAKEN: u64 = 3;
/// In the conditions with a writer at the slot.
const BUSY: u64 = 2;

const fn state(seq: u64, condition: u64) -> u64 {
    (seq + 1) * 4 + condition
}

impl Ring {
    /// An empty ring.
    pub const fn new() -> Self {
        Self {
            next: AtomicU64::new(0),
            slots: [const {
                Slot {
                    state: AtomicU64::new(0),
                    time_ns: AtomicU64::new(0),
                    meta: AtomicU64::new(0),
                    text: [const { AtomicU64::new(0) }; TEXT_WORDS],
                }
            }; SLOTS],
        }
    }

    fn slot(&self, seq: u64) -> &Slot {
        &self.slots[(seq % SLOTS as u64) as usize]
    }

    /// The number that the next record will have.
    pub fn next_seq(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// The number of the oldest record that may still be there.
    pub fn first_seq(&self) -> u64 {
        self.next_seq().saturating_sub(SLOTS as u64)
    }

    /// Appends a record and returns its number. Text beyond [`TEXT_LEN`] bytes is cut off.
    ///
    /// # Context
    /// Any.
    pub fn write(&self, time_ns: u64, priority: u32, text: &[u8]) -> u64 {
        let text = &text[..text.len().min(TEXT_LEN)];
        let seq = self.next.fetch_add(1, Ordering::AcqRel);
        let slot = self.slot(seq);
        // Release what was there: a reader of the old record that sees any store below sees this one as well.
        let mut old = slot.state.load(Ordering::Relaxed);
        loop {
            if old >= state(seq, 0) {
                // Held up for a whole round: somebody newer has the slot.
                return seq;
            }
            let overtakes = old & BUSY != 0;
            let condition = if overtakes { OVERTAKEN } else { WRITING };
            match slot.state.compare_exchange_weak(
                old,
                state(seq, condition),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) if overtakes => return seq,
                Ok(_) => break,
                Err(now) => old = now,
            }
        }
        fence(Ordering::Release);
        slot.time_ns.store(time_ns, Ordering::Relaxed);
        slot.meta.store(
            u64::from(priority) << 32 | text.len() as u64,
            Ordering::Relaxed,
        );
        for (word, bytes) in slot.text.iter().zip(text.chunks(8)) {
            let mut value = [0; 8];
            value[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(value), Ordering::Relaxed);
        }
        slot.leave(seq);
        seq
    }

    /// Reads record `seq` and copies its text into `text`.
    ///
    /// # Context
    /// Any.
    pub fn read(&self, seq: u64, text: &mut [u8; TEXT_LEN]) -> Read {
        let slot = self.slot(seq);
        let found = slot.state.load(Ordering::Acquire);
        if found != state(seq, READY) {
            let first = self.first_seq();
            let gone = found > state(seq, WRITING) || found == state(seq, LOST) || first > seq;
            return if gone {
                Read::Lost(first.max(seq + 1))
            } else {
                Read::NotYet
            };
        }
        let time_ns = slot.time_ns.load(Ordering::Relaxed);
        let meta = slot.meta.load(Ordering::Relaxed);
        let len = (meta as u32 as usize).min(TEXT_LEN);
        for (word, bytes) in slot
            .text
            .iter()
            .zip(text.chunks_exact_mut(8))
            .take(len.div_ceil(8))
        {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        fence(Ordering::Acquire);
        if slot.state.load(Ordering::Relaxed) != found {
            return Read::Lost(self.first_seq().max(seq + 1));
        }
        Read::Record(Record {
            seq,
            time_ns,
            priority: (meta >> 32) as u32,
            len,
        })
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ring: &Ring, seq: u64) -> Option<String> {
        let mut buffer = [0; TEXT_LEN];
        match ring.read(seq, &mut buffer) {
            Read::Record(record) => {
                Some(String::from_utf8_lossy(&buffer[..record.len]).into_owned())
            }
            _ => None,
        }
    }

    #[test]
    fn records_come_back_in_order() {
        let ring = Box::new(Ring::new());
        assert_eq!(ring.write(7, 6, b"first"), 0);
        assert_eq!(ring.write(8, 11, b""), 1);
        let mut buffer = [0; TEXT_LEN];
        assert_eq!(
            ring.read(0, &mut buffer),
            Read::Record(Record {
                seq: 0,
                time_ns: 7,
                priority: 6,
                len: 5
            })
        );
        assert_eq!(&buffer[..5], b"first");
        let Read::Record(second) = ring.read(1, &mut buffer) else {
            panic!("the record is there")
        };
        assert_eq!((second.level(), second.facility(), second.len), (3, 1, 0));
        assert_eq!(ring.read(2, &mut buffer), Read::NotYet);
    }

    #[test]
    fn old_records_give_way() {
        let ring = Box::new(Ring::new());
        for n in 0..SLOTS as u64 + 3 {
            ring.write(n, 6, n.to_string().as_bytes());
        }
        let mut buffer = [0; TEXT_LEN];
        assert_eq!(ring.first_seq(), 3);
        assert_eq!(ring.read(0, &mut buffer), Read::Lost(3));
        assert_eq!(text(&ring, 3).as_deref(), Some("3"));
        assert_eq!(text(&ring, SLOTS as u64 + 2).as_deref(), Some("514"));
    }

    #[test]
    fn a_long_text_is_cut() {
        let ring = Box::new(Ring::new());
        ring.write(0, 6, &[b'x'; TEXT_LEN + 1]);
        assert_eq!(text(&ring, 0).map(|text| text.len()), Some(TEXT_LEN));
    }

    #[test]
    fn a_writer_held_up_for_rounds_keeps_its_slot_and_mixes_no_record() {
        let ring = Box::new(Ring::new());
        let rounds = |rounds: u64| {
            for n in 0..rounds * SLOTS as u64 {
                ring.write(n, 6, b"other");
            }
        };
        // What a writer does up to the moment it is held up.
        let seq = ring.next.fetch_add(1, Ordering::AcqRel);
        ring.slot(seq)
            .state
            .store(state(seq, WRITING), Ordering::Relaxed);
        let mut buffer = [0; TEXT_LEN];
        assert_eq!(ring.read(seq, &mut buffer), Read::NotYet);
        rounds(2);
        let newest = 2 * SLOTS as u64;
        assert_eq!(
            ring.read(seq, &mut buffer),
            Read::Lost(newest + 1 - SLOTS as u64)
        );
        assert_eq!(ring.read(newest, &mut buffer), Read::Lost(newest + 1));
        assert_eq!(text(&ring, newest - 1).as_deref(), Some("other"));
        // And how it ends.
        ring.slot(seq).leave(seq);
        assert_eq!(ring.read(newest, &mut buffer), Read::Lost(newest + 1));
        rounds(1);
        assert_eq!(text(&ring, 3 * SLOTS as u64).as_deref(), Some("other"));
    }

    #[test]
    fn concurrent_writers_and_a_reader_see_whole_records() {
        const EACH: u64 = 5_000;
        let ring = Box::new(Ring::new());
        std::thread::scope(|scope| {
            for writer in 0..3_u8 {
                let ring = &ring;
                scope.spawn(move || {
                    for n in 0..EACH {
                        let text = [b'a' + writer; 100];
                        ring.write(n, u32::from(writer), &text[..(n % 100) as usize]);
                    }
                });
            }
            let mut seq = 0;
            let mut buffer = [0; TEXT_LEN];
            while seq < 3 * EACH {
                match ring.read(seq, &mut buffer) {
                    Read::Record(record) => {
                        let expected = b'a' + record.priority as u8;
                        assert_eq!(record.len as u64, record.time_ns % 100);
                        assert!(buffer[..record.len].iter().all(|byte| *byte == expected));
                        seq += 1;
                    }
                    Read::Lost(first) => {
                        assert!(first > seq);
                        seq = first;
                    }
                    Read::NotYet => std::thread::yield_now(),
                }
            }
        });
    }
}
