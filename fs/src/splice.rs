//! `splice` and `tee`: bytes between a pipe and a file, or two pipes, that no program sees.
//!
//! Attempts, as all file operations: `EAGAIN` means that the pipe has nothing, or no room, yet. Between pipes pages change hands
//! uncopied; from and to a file each byte is copied once.

use alloc::sync::Arc;

use crate::file::File;
use crate::iobuf::{Sink, Source};
use crate::page::{PAGE_SIZE, Page};
use crate::pipe::{Pipe, RingSlot, pipe_of};
use crate::{Errno, Result};

/// A [`Sink`] over a page.
#[derive(Debug)]
pub(crate) struct PageSink<'a> {
    page: &'a Page,
    done: usize,
    limit: usize,
}

impl<'a> PageSink<'a> {
    /// Takes up to `limit` bytes into the front of `page`.
    pub(crate) fn new(page: &'a Page, limit: usize) -> Self {
        Self {
            page,
            done: 0,
            limit: limit.min(PAGE_SIZE),
        }
    }
}

impl Sink for PageSink<'_> {
    fn remaining(&self) -> usize {
        self.limit - self.done
    }

    fn put(&mut self, bytes: &[u8]) -> usize {
        let step = bytes.len().min(self.remaining());
        self.page.write_at(self.done, &bytes[..step]);
        self.done += step;
        step
    }
}

/// A [`Source`] over the first slot of a pipe, which keeps what is not taken.
struct SlotSource<'a> {
    slot: &'a mut RingSlot,
    limit: usize,
}

impl Source for SlotSource<'_> {
    fn remaining(&self) -> usize {
        self.slot.len().min(self.limit)
    }

    fn take(&mut self, bytes: &mut [u8]) -> usize {
        let want = bytes.len().min(self.remaining());
        let moved = self
            .slot
            .put_to(want, &mut crate::SliceSink::new(&mut bytes[..want]));
        self.limit -= moved;
        moved
    }
}

/// Pipes go through [`between`]: here their locks could meet in a circle. And a place needs a file that has places.
fn check(file: &File, pos: Option<&u64>) -> Result<()> {
    if pipe_of(file).is_some() || pos.is_some() && !file.is_seekable() {
        Err(Errno::EINVAL)
    } else {
        Ok(())
    }
}

/// Moves up to `len` bytes by `step`, which moves up to so many, at the position it is given, until it moves none.
///
/// An error counts only where nothing was moved: what was moved is moved.
fn repeat(
    mut pos: Option<&mut u64>,
    len: usize,
    mut step: impl FnMut(Option<u64>, usize) -> Result<usize>,
) -> Result<usize> {
    let mut done = 0;
    while done < len {
        match step(pos.as_deref().copied(), len - done) {
            Ok(0) => break,
            Ok(moved) => {
                done += moved;
                if let Some(pos) = pos.as_deref_mut() {
                    *pos += moved as u64;
                }
            }
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(done)
}

/// Moves up to `len` bytes from `file`, at `*pos` or else at its own position, into `pipe`.
///
/// # Errors
/// `EPIPE` without readers (the caller sends `SIGPIPE`), `EAGAIN` without room, `EINVAL` if `file` is a pipe, or is not read
/// like this, or has no positions, and its own.
pub fn to_pipe(file: &File, pos: Option<&mut u64>, pipe: &Pipe, len: usize) -> Result<usize> {
    check(file, pos.as_deref())?;
    if !file.ops().splices() {
        return Err(Errno::EINVAL);
    }
    repeat(pos, len, |at, limit| {
        if !pipe.ends().0 {
            return Err(Errno::EPIPE);
        }
        let page = Page::alloc().ok_or(Errno::ENOMEM)?;
        // Under the pipe's lock, so that the room is still there when the bytes are: a stream could not take them back.
        pipe.with_ring(|ring| {
            if ring.is_full() {
                return Err(Errno::EAGAIN);
            }
            let mut sink = PageSink::new(&page, limit);
            let moved = match at {
                Some(at) => file.pread(at, &mut sink)?,
                None => file.read(&mut sink)?,
            };
            if moved > 0 {
                ring.push_back(RingSlot::new(page.clone(), moved, false));
            }
            Ok(moved)
        })
    })
}

/// Moves up to `len` bytes from `pipe` into `file`, at `*pos` or else at its own position.
///
/// # Errors
/// `EAGAIN` while the pipe is empty and has writers, and the file's own; what the file did not take stays in the pipe.
pub fn from_pipe(pipe: &Pipe, file: &File, pos: Option<&mut u64>, len: usize) -> Result<usize> {
    check(file, pos.as_deref())?;
    repeat(pos, len, |at, limit| {
        let writers = pipe.ends().1;
        pipe.with_ring(|ring| {
            let Some(slot) = ring.front_mut() else {
                return if writers { Err(Errno::EAGAIN) } else { Ok(0) };
            };
            let mut source = SlotSource { slot, limit };
            let moved = match at {
                Some(at) => file.pwrite(at, &mut source)?,
                None => file.write(&mut source)?,
            };
            if ring.front_mut().is_some_and(|slot| slot.is_empty()) {
                drop(ring.pop());
            }
            Ok(moved)
        })
    })
}

/// Shares up to `len` bytes of `from` with `to`; with `consume` (`splice`) they leave `from`, else (`tee`) they stay.
///
/// # Errors
/// `EINVAL` for one and the same pipe, `EPIPE` if nobody reads `to`, `EAGAIN`.
pub fn between(from: &Arc<Pipe>, to: &Arc<Pipe>, len: usize, consume: bool) -> Result<usize> {
    if Arc::ptr_eq(from, to) {
        return Err(Errno::EINVAL);
    }
    if !to.ends().0 {
        return Err(Errno::EPIPE);
    }
    let writers = from.ends().1;
    // The two locks are taken in the order of the pipes' addresses, whichever way the bytes go.
    let mut done = 0;
    let result = Pipe::with_rings(from, to, |source, sink| {
        let mut at = 0;
        while done < len {
            let Some(slot) = source.get_mut(at) else {
                return if writers { Err(Errno::EAGAIN) } else { Ok(()) };
            };
            if sink.is_full() {
                return Err(Errno::EAGAIN);
            }
            let step = slot.len().min(len - done);
            sink.push_back(slot.share(step));
            done += step;
            if !consume {
                at += 1;
            } else if step == slot.len() {
                drop(source.pop());
            } else {
                slot.advance(step);
            }
        }
        Ok(())
    });
    if done > 0 {
        Ok(done)
    } else {
        result.map(|()| 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iobuf::{SliceSink, SliceSource};
    use crate::pipe::pipe;
    use crate::tmpfs::memfd;
    use alloc::vec;
    use alloc::vec::Vec;

    fn read(file: &File, len: usize) -> Result<Vec<u8>> {
        let mut buf = vec![0; len];
        let n = file.read(&mut SliceSink::new(&mut buf))?;
        buf.truncate(n);
        Ok(buf)
    }

    #[test]
    fn a_file_goes_through_a_pipe() {
        let bytes: Vec<u8> = (0..200_000u32).map(|n| (n / 7) as u8).collect();
        let (from, to) = (
            memfd(b"a", 0, 0, 0, 0).unwrap(),
            memfd(b"b", 0, 0, 0, 0).unwrap(),
        );
        from.write(&mut SliceSource::new(&bytes)).unwrap();
        let (r, w) = pipe(0, 0, 0).unwrap();
        let pipe = pipe_of(&w).unwrap().clone();
        assert_eq!(from_pipe(&pipe, &to, None, 10), Err(Errno::EAGAIN));
        let mut at = 100;
        assert_eq!(to_pipe(&from, Some(&mut at), &pipe, usize::MAX), Ok(65_536));
        assert_eq!(to_pipe(&from, Some(&mut at), &pipe, 1), Err(Errno::EAGAIN));
        assert_eq!(at, 65_636);
        assert_eq!(from_pipe(&pipe, &to, None, 5000), Ok(5000));
        assert_eq!(from_pipe(&pipe, &to, None, usize::MAX), Ok(60_536));
        let mut copy = vec![0; 65_536];
        to.pread(0, &mut SliceSink::new(&mut copy)).unwrap();
        assert_eq!(copy, bytes[100..65_636]);
        at = bytes.len() as u64 - 3;
        assert_eq!(to_pipe(&from, Some(&mut at), &pipe, 100), Ok(3));
        assert_eq!(to_pipe(&from, Some(&mut at), &pipe, 100), Ok(0));
        assert_eq!(read(&r, 9).unwrap(), bytes[bytes.len() - 3..]);
        drop(w);
        assert_eq!(from_pipe(&pipe, &to, None, 10), Ok(0));
        drop(r);
        at = 0;
        assert_eq!(to_pipe(&from, Some(&mut at), &pipe, 10), Err(Errno::EPIPE));
    }

    #[test]
    fn tee_shares_and_splice_moves() {
        let ((r1, w1), (r2, w2)) = (pipe(0, 0, 0).unwrap(), pipe(0, 0, 0).unwrap());
        let (a, b) = (pipe_of(&w1).unwrap().clone(), pipe_of(&w2).unwrap().clone());
        w1.write(&mut SliceSource::new(b"hello")).unwrap();
        assert_eq!(between(&a, &a, 5, true), Err(Errno::EINVAL));
        assert_eq!(between(&a, &b, 3, false), Ok(3));
        assert_eq!(between(&a, &b, 2, true), Ok(2));
        // What is shared is not written behind.
        w1.write(&mut SliceSource::new(b" world")).unwrap();
        w2.write(&mut SliceSource::new(b"!")).unwrap();
        assert_eq!(read(&r1, 20).unwrap(), b"llo world");
        assert_eq!(read(&r2, 20).unwrap(), b"helhe!");
        assert_eq!(between(&a, &b, 3, true), Err(Errno::EAGAIN));
        drop(r2);
        assert_eq!(between(&a, &b, 3, true), Err(Errno::EPIPE));
    }
}
