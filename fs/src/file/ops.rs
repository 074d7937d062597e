//! What an open file can do: [`FileOps`].

use alloc::sync::Arc;
use core::any::Any;
use core::fmt;

use executor::time::Instant;

use super::{File, SlowIo};
use crate::inode::{S_IFBLK, S_IFDIR, S_IFREG};
use crate::iobuf::{Sink, Source, UserMemory};
use crate::mapping::Mapping;
use crate::poll::{PollEvents, PollTable};
use crate::{Errno, Result};

/// `lseek` origins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    /// From the start.
    Set,
    /// From the current position.
    Current,
    /// From the end.
    End,
    /// The next data at or after.
    Data,
    /// The next hole at or after.
    Hole,
}

impl Whence {
    /// Decodes `lseek`'s third argument.
    pub fn from_raw(raw: u32) -> Result<Whence> {
        Ok(match raw {
            0 => Whence::Set,
            1 => Whence::Current,
            2 => Whence::End,
            3 => Whence::Data,
            4 => Whence::Hole,
            _ => return Err(Errno::EINVAL),
        })
    }
}

/// Takes directory entries: the buffer of a `getdents64`.
pub trait DirSink {
    /// Takes one entry; `next` is the position behind it, `kind` a `DT_*` value. `false` means that it did not fit.
    fn emit(&mut self, ino: u64, next: u64, kind: u8, name: &[u8]) -> bool;
}

/// The operations of an open file; each default is what Linux answers for a file without it.
pub trait FileOps: Any + Send + Sync {
    /// Reads at `*pos` and moves it.
    fn read(&self, file: &File, pos: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        let _ = (file, pos, buf);
        Err(Errno::EINVAL)
    }

    /// Returns when a read that has waited since `started` gives up waiting, if it does (a terminal's VTIME).
    ///
    /// Asked again after every attempt: the time may begin with the first byte.
    fn read_deadline(&self, file: &File, started: Instant) -> Option<Instant> {
        let _ = (file, started);
        None
    }

    /// Ends a read whose [`read_deadline`](FileOps::read_deadline) has passed, with what there is.
    fn read_expired(&self, file: &File, buf: &mut dyn Sink) -> Result<usize> {
        let _ = (file, buf);
        Ok(0)
    }

    /// Writes at `*pos` and moves it, taking from `buf` as many bytes as it reports; a file opened with `O_APPEND` moves it to its end first.
    fn write(&self, file: &File, pos: &mut u64, buf: &mut dyn Source) -> Result<usize> {
        let _ = (file, pos, buf);
        Err(Errno::EINVAL)
    }

    /// Tells whether a write that answers `EPIPE` raises `SIGPIPE` as well: not where the bytes are messages.
    fn signals_broken_pipe(&self) -> bool {
        true
    }

    /// Returns the events that hold now and, with a table, registers for the next change.
    ///
    /// Registration comes before the look, so that no change falls between.
    fn poll(&self, file: &File, table: Option<&mut PollTable<'_>>) -> PollEvents {
        let _ = (file, table);
        PollEvents::IN | PollEvents::OUT | PollEvents::RDNORM | PollEvents::WRNORM
    }

    /// Tells whether the file can be waited for, so that an epoll takes it. Files of disks cannot, nor can the devices that
    /// are always ready, which say so.
    fn pollable(&self, file: &File) -> bool {
        !matches!(file.inode().kind(), S_IFREG | S_IFDIR | S_IFBLK)
    }

    /// Does a device-specific request.
    ///
    /// `EAGAIN` means that it has to wait: it is done again when [`poll`](FileOps::poll) may say that there is room to write
    /// (a terminal that waits until its output is sent).
    fn ioctl(&self, file: &File, cmd: u32, arg: u64, mem: &dyn UserMemory) -> Result<u64> {
        let _ = (file, cmd, arg, mem);
        Err(Errno::ENOTTY)
    }

    /// Emits directory entries from `*pos` on and moves it.
    fn readdir(&self, file: &File, pos: &mut u64, sink: &mut dyn DirSink) -> Result<()> {
        let _ = (file, pos, sink);
        Err(Errno::ENOTDIR)
    }

    /// Computes the position `offset` from `whence`; `pos` is the current one.
    fn seek(&self, file: &File, pos: u64, offset: i64, whence: Whence) -> Result<u64> {
        generic_seek(pos, file.inode().size(), offset, whence)
    }

    /// Returns the page cache to map.
    fn mmap(&self, file: &File) -> Result<Arc<Mapping>> {
        let _ = file;
        Err(Errno::ENODEV)
    }

    /// Brings data (and metadata unless `data_only`) to stable storage.
    fn fsync(&self, file: &File, data_only: bool) -> Result<()> {
        let _ = (file, data_only);
        Err(Errno::EINVAL)
    }

    /// Allocates, zeroes or frees a range (`FALLOC_FL_*`).
    fn fallocate(&self, file: &File, mode: u32, offset: u64, len: u64) -> Result<()> {
        let _ = (file, mode, offset, len);
        Err(Errno::EOPNOTSUPP)
    }

    /// Whether `splice` and `sendfile` may read it: whether its file operations on Linux have a `splice_read`.
    fn splices(&self) -> bool {
        false
    }

    /// Returns the operations to wait for, of a file whose plain ones answer `EIOCBQUEUED`.
    fn slow(&self) -> Option<&dyn SlowIo> {
        None
    }

    /// Tells, after `open` without `O_NONBLOCK`, whether the open is complete (a FIFO waits for its peer); with a
    /// table, registers for the change.
    fn open_complete(&self, file: &File, table: Option<&mut PollTable<'_>>) -> bool {
        let _ = (file, table);
        true
    }

    /// Runs when a descriptor is closed, also when others stay.
    fn flush(&self, file: &File) -> Result<()> {
        let _ = file;
        Ok(())
    }

    /// Runs once, when the last reference is gone.
    fn release(&self, file: &File) {
        let _ = file;
    }

    /// Tells that new `flags` were set by `fcntl(F_SETFL)`; may refuse them.
    fn check_flags(&self, file: &File, flags: u32) -> Result<()> {
        let _ = (file, flags);
        Ok(())
    }

    /// Adds lines to `/proc/PID/fdinfo/N`.
    fn show_fdinfo(&self, file: &File, out: &mut dyn fmt::Write) -> fmt::Result {
        let _ = (file, out);
        Ok(())
    }
}

/// Computes a seek in a file of `size` bytes without holes.
pub fn generic_seek(pos: u64, size: u64, offset: i64, whence: Whence) -> Result<u64> {
    let base = match whence {
        Whence::Set => 0,
        Whence::Current => pos as i64,
        Whence::End => size as i64,
        Whence::Data | Whence::Hole => {
            if offset < 0 || offset as u64 >= size {
                return Err(Errno::ENXIO);
            }
            return Ok(if whence == Whence::Data {
                offset as u64
            } else {
                size
            });
        }
    };
    match base.checked_add(offset) {
        Some(to) if to >= 0 => Ok(to as u64),
        Some(_) => Err(Errno::EINVAL),
        None => Err(Errno::EOVERFLOW),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generic_seek_errors() {
        assert_eq!(
            generic_seek(10, 100, -11, Whence::Current),
            Err(Errno::EINVAL)
        );
        assert_eq!(
            generic_seek(10, 100, i64::MAX, Whence::End),
            Err(Errno::EOVERFLOW)
        );
        assert_eq!(generic_seek(10, 100, 5, Whence::End), Ok(105));
        assert_eq!(generic_seek(0, 100, 100, Whence::Data), Err(Errno::ENXIO));
        assert_eq!(generic_seek(0, 100, 99, Whence::Hole), Ok(100));
        assert_eq!(generic_seek(0, 100, 99, Whence::Data), Ok(99));
    }
}
