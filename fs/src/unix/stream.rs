//! The bytes that wait in a stream socket.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::gc::InFlight;
use crate::iobuf::{Sink, Source};
use crate::socket::Ucred;
use crate::{Errno, Result};

/// The smallest and largest piece of memory for bytes.
const PIECE: core::ops::RangeInclusive<usize> = 1024..=32 * 1024;

/// Bytes that were sent by one sender, with what came along with the first of them.
struct Piece {
    buf: Vec<u8>,
    start: usize,
    end: usize,
    creds: Option<Ucred>,
    files: Option<InFlight>,
}

/// A queue of bytes.
///
/// Small writes gather in one piece, and the memory of an emptied one is kept for the next, so that a dialogue of
/// short messages allocates once.
#[derive(Default)]
pub(super) struct ByteQueue {
    pieces: VecDeque<Piece>,
    len: usize,
    spare: Vec<u8>,
}

/// What a read took.
#[derive(Default)]
pub(super) struct Taken {
    /// How many bytes.
    pub(super) bytes: usize,
    /// Who sent them.
    pub(super) creds: Option<Ucred>,
    /// What came along.
    pub(super) files: Option<InFlight>,
    /// The next bytes are not to be read together with these.
    pub(super) complete: bool,
    /// The reader's memory was not there.
    pub(super) faulted: bool,
}

impl ByteQueue {
    /// Returns how many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The files that wait with the bytes.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = &InFlight> {
        self.pieces.iter().filter_map(|p| p.files.as_ref())
    }

    /// Appends up to `max` bytes of `data`, sent by `creds`, along with `files`, which are left where nothing is appended.
    ///
    /// # Errors
    /// `EFAULT`, `ENOBUFS` if not even one byte could be.
    pub(super) fn push(
        &mut self,
        data: &mut dyn Source,
        max: usize,
        creds: Option<Ucred>,
        files: &mut Option<InFlight>,
    ) -> Result<usize> {
        let max = max.min(data.remaining());
        let mut done = 0;
        while done < max {
            let joins = files.is_none()
                && self
                    .pieces
                    .back()
                    .is_some_and(|p| p.creds == creds && p.end < p.buf.len());
            if !joins && let Err(error) = self.add_piece(max - done, creds) {
                return if done > 0 { Ok(done) } else { Err(error) };
            }
            let Some(piece) = self.pieces.back_mut() else {
                break;
            };
            let room = (piece.buf.len() - piece.end).min(max - done);
            let took = data.take(&mut piece.buf[piece.end..piece.end + room]);
            piece.end += took;
            done += took;
            self.len += took;
            if took > 0 {
                piece.files = piece.files.take().or_else(|| files.take());
            }
            if piece.start == piece.end {
                self.drop_back();
            }
            if took < room {
                return if done > 0 {
                    Ok(done)
                } else {
                    Err(Errno::EFAULT)
                };
            }
        }
        Ok(done)
    }

    fn add_piece(&mut self, len: usize, creds: Option<Ucred>) -> Result<()> {
        let size = len.clamp(*PIECE.start(), *PIECE.end()).next_power_of_two();
        let mut buf = core::mem::take(&mut self.spare);
        if buf.len() < size {
            let more = size - buf.len();
            buf.try_reserve_exact(more).map_err(|_| Errno::ENOBUFS)?;
            buf.resize(size, 0);
        }
        self.pieces.try_reserve(1).map_err(|_| Errno::ENOBUFS)?;
        self.pieces.push_back(Piece {
            buf,
            start: 0,
            end: 0,
            creds,
            files: None,
        });
        Ok(())
    }

    fn drop_back(&mut self) {
        if let Some(piece) = self.pieces.pop_back() {
            self.keep(piece.buf);
        }
    }

    /// Keeps a small buffer for later.
    fn keep(&mut self, buf: Vec<u8>) {
        if buf.len() <= 4 * PIECE.start() && self.spare.is_empty() {
            self.spare = buf;
        }
    }

    /// Moves bytes to `sink`, with files at most once. With `by_sender`, bytes of one sender only.
    pub(super) fn take(&mut self, sink: &mut dyn Sink, by_sender: bool) -> Taken {
        let mut taken = Taken::default();
        while let Some(piece) = self.pieces.front_mut() {
            if sink.remaining() == 0 {
                break;
            }
            if taken.bytes > 0 && by_sender && piece.creds != taken.creds {
                taken.complete = true;
                break;
            }
            let wanted = (piece.end - piece.start).min(sink.remaining());
            let put = sink.put(&piece.buf[piece.start..piece.start + wanted]);
            if put > 0 {
                taken.creds = piece.creds;
                taken.files = piece.files.take();
            }
            piece.start += put;
            taken.bytes += put;
            self.len -= put;
            taken.faulted = put < wanted;
            taken.complete |= taken.files.is_some();
            if piece.start == piece.end
                && let Some(piece) = self.pieces.pop_front()
            {
                self.keep(piece.buf);
            }
            if taken.faulted || taken.complete {
                break;
            }
        }
        taken
    }

    /// Copies bytes to `sink` as [`take`](ByteQueue::take) does and leaves them; the files of the result are for copying.
    pub(super) fn peek(&self, sink: &mut dyn Sink, by_sender: bool) -> (Taken, Option<&InFlight>) {
        let mut taken = Taken::default();
        let mut files = None;
        for piece in &self.pieces {
            if sink.remaining() == 0 {
                break;
            }
            if taken.bytes > 0 && by_sender && piece.creds != taken.creds {
                break;
            }
            let wanted = (piece.end - piece.start).min(sink.remaining());
            let put = sink.put(&piece.buf[piece.start..piece.start + wanted]);
            taken.bytes += put;
            taken.faulted = put < wanted;
            if put > 0 {
                taken.creds = piece.creds;
                files = piece.files.as_ref();
            }
            if taken.faulted || files.is_some() {
                break;
            }
        }
        taken.complete = true;
        (taken, files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iobuf::{SliceSink, SliceSource};
    use proptest::prelude::*;

    fn take(queue: &mut ByteQueue, len: usize) -> Vec<u8> {
        let mut buf = alloc::vec![0; len];
        let bytes = queue.take(&mut SliceSink::new(&mut buf), false).bytes;
        buf.truncate(bytes);
        buf
    }

    #[test]
    fn bytes_of_two_senders_are_kept_apart_where_it_matters() {
        let mut queue = ByteQueue::default();
        let one = Ucred {
            pid: 1,
            ..Ucred::NOBODY
        };
        for (data, creds) in [(b"ab", None), (b"cd", Some(one)), (b"ef", Some(one))] {
            let mut source = SliceSource::new(data);
            queue.push(&mut source, 99, creds, &mut None).unwrap();
        }
        let mut buf = [0; 8];
        let taken = queue.take(&mut SliceSink::new(&mut buf), true);
        assert_eq!((taken.bytes, taken.creds, taken.complete), (2, None, true));
        let taken = queue.take(&mut SliceSink::new(&mut buf), true);
        assert_eq!((taken.bytes, taken.creds), (4, Some(one)));
        assert!(queue.is_empty());
    }

    proptest! {
        #[test]
        fn bytes_come_out_as_they_went_in(
            steps in prop::collection::vec((any::<bool>(), 0..70_000_usize), 1..40)
        ) {
            let mut queue = ByteQueue::default();
            let mut model = VecDeque::new();
            let mut next = 0_u32;
            for (is_push, len) in steps {
                if is_push {
                    let data: Vec<u8> = (0..len).map(|_| { next += 1; (next % 251) as u8 }).collect();
                    let pushed = queue.push(&mut SliceSource::new(&data), 50_000, None, &mut None).unwrap();
                    prop_assert_eq!(pushed, len.min(50_000));
                    model.extend(&data[..pushed]);
                } else {
                    let mut peeked = alloc::vec![0; len];
                    let (taken, _) = queue.peek(&mut SliceSink::new(&mut peeked), false);
                    let got = take(&mut queue, len);
                    prop_assert_eq!(taken.bytes, got.len());
                    prop_assert_eq!(&peeked[..got.len()], &got[..]);
                    let want: Vec<u8> = model.drain(..len.min(model.len())).collect();
                    prop_assert_eq!(got, want);
                }
                prop_assert_eq!(queue.len(), model.len());
            }
        }
    }
}
