//! Open descriptions: [`File`] and what a file can do, [`FileOps`].
//!
//! Every operation is a non-blocking attempt. One that has nothing to do answers `EAGAIN`, whatever `O_NONBLOCK` says;
//! whether to wait then, on what [`FileOps::poll`] registers, is the caller's decision.

mod ops;
mod slow;

use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::epoll;
use crate::inode::{Inode, S_IFMT, S_IFREG};
use crate::iobuf::{LimitedSink, LimitedSource, Sink, Source};
use crate::locks;
use crate::mount::Path;
use crate::notify::{self, NotifyEvents};
use crate::poll::{PollEvents, PollTable};
use crate::sync::SpinLock;
use crate::{Errno, Result, Tunable};

pub use ops::{DirSink, FileOps, Whence, generic_seek};
pub use slow::{Bytes, SlowIo, Transfer};

/// Open flags of `open(2)` on x86-64.
#[allow(missing_docs, reason = "the names are those of open(2)")]
pub mod oflag {
    pub const O_ACCMODE: u32 = 0o3;
    pub const O_RDONLY: u32 = 0o0;
    pub const O_WRONLY: u32 = 0o1;
    pub const O_RDWR: u32 = 0o2;
    pub const O_CREAT: u32 = 0o100;
    pub const O_EXCL: u32 = 0o200;
    pub const O_NOCTTY: u32 = 0o400;
    pub const O_TRUNC: u32 = 0o1000;
    pub const O_APPEND: u32 = 0o2000;
    pub const O_NONBLOCK: u32 = 0o4000;
    pub const O_DSYNC: u32 = 0o10000;
    pub const O_ASYNC: u32 = 0o20000;
    pub const O_DIRECT: u32 = 0o40000;
    pub const O_LARGEFILE: u32 = 0o100000;
    pub const O_DIRECTORY: u32 = 0o200000;
    pub const O_NOFOLLOW: u32 = 0o400000;
    pub const O_NOATIME: u32 = 0o1000000;
    pub const O_CLOEXEC: u32 = 0o2000000;
    pub const O_SYNC: u32 = 0o4010000;
    pub const O_PATH: u32 = 0o10000000;
    pub const O_TMPFILE: u32 = 0o20200000;
    /// What `fcntl(F_SETFL)` may change.
    pub const SETFL_MASK: u32 = O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT | O_NOATIME;
}
use oflag::*;

/// What only the opening itself looks at.
const OPEN_ONLY: u32 = O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC | STRIP_PRIVILEGES;

/// An open flag inside the kernel: the opener may not keep set-id bits on what it writes.
pub(crate) const STRIP_PRIVILEGES: u32 = 1 << 31;

/// How much is moved under one hold of the position lock, so that a huge transfer does not keep preemption off; between two
/// such parts the CPU is offered.
const CHUNK: usize = 64 * 1024;

const MODE_READ: u32 = 1;
const MODE_WRITE: u32 = 2;
const MODE_STREAM: u32 = 4;
const MODE_NOSEEK: u32 = 8;
const MODE_PATH: u32 = 16;
/// Writing takes the set-user-id and set-group-id bits away: the opener lacks `CAP_FSETID`.
const MODE_STRIP: u32 = 32;
/// Counts as a writer of its mount.
const MODE_MOUNT_WRITER: u32 = 64;
/// Counts as a writer of its inode.
const MODE_INODE_WRITER: u32 = 128;

/// What moving bytes in one direction asks of a file, and what its watchers are told.
struct Way {
    mode: u32,
    event: NotifyEvents,
}

const READ: Way = Way {
    mode: MODE_READ,
    event: NotifyEvents::ACCESS,
};
const WRITE: Way = Way {
    mode: MODE_WRITE,
    event: NotifyEvents::MODIFY,
};

/// Tells how a file treats its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positioning {
    /// Has a position that can be moved: regular files, directories, most devices.
    Seekable,
    /// Does not care for its position, which is always 0: `/dev/null` and its like.
    Ignored,
    /// Has no position at all; `lseek` and `pread` answer `ESPIPE`: pipes, sockets, terminals.
    Stream,
}

/// Open descriptions there are.
static OPEN_FILES: AtomicUsize = AtomicUsize::new(0);

/// The most open descriptions of all without `CAP_SYS_ADMIN` (`fs.file-max`).
pub static MAX_FILES: Tunable = Tunable::new(i64::MAX, 0, i64::MAX);

/// Whether another file may be opened; `privileged` says, where it matters, whether by `CAP_SYS_ADMIN`.
///
/// # Errors
/// `ENFILE`.
#[inline]
pub fn admit(privileged: impl FnOnce() -> bool) -> Result<()> {
    if open_count() < MAX_FILES.count() || privileged() {
        Ok(())
    } else {
        Err(Errno::ENFILE)
    }
}

/// Returns how many open descriptions there are (`/proc/sys/fs/file-nr`).
pub fn open_count() -> usize {
    OPEN_FILES.load(Ordering::Relaxed)
}

/// An open description: what `dup` and `fork` share.
pub struct File {
    ops: Arc<dyn FileOps>,
    path: Path,
    inode: Arc<Inode>,
    mode: u32,
    /// `O_*` status flags; the access mode is fixed, the rest changes by `F_SETFL`.
    flags: AtomicU32,
    pos: SpinLock<u64>,
    epolls: epoll::Links,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("ino", &self.inode.ino())
            .field("flags", &self.flags())
            .finish_non_exhaustive()
    }
}

impl File {
    /// Makes an open description of `path` with the operations `ops`.
    ///
    /// `flags` are those of `open(2)`; only the access mode and status flags are kept.
    pub fn new(
        ops: Arc<dyn FileOps>,
        path: Path,
        flags: u32,
        positioning: Positioning,
    ) -> Result<Arc<File>> {
        let inode = path.dentry.inode().cloned().ok_or(Errno::ENOENT)?;
        let mut mode = match flags & O_ACCMODE {
            _ if flags & O_PATH != 0 => MODE_PATH,
            O_RDONLY => MODE_READ,
            O_WRONLY => MODE_WRITE,
            O_RDWR => MODE_READ | MODE_WRITE,
            _ => 0, // Access mode 3 allows ioctl only.
        };
        mode |= match positioning {
            Positioning::Seekable => 0,
            Positioning::Ignored => MODE_STREAM,
            Positioning::Stream => MODE_STREAM | MODE_NOSEEK,
        };
        if mode & MODE_WRITE != 0 && inode.kind() == S_IFREG {
            inode.get_write_access()?;
            mode |= MODE_INODE_WRITER | MODE_MOUNT_WRITER;
            path.mount.add_writer();
        }
        if flags & STRIP_PRIVILEGES != 0 {
            mode |= MODE_STRIP;
        }
        let flags = AtomicU32::new(flags & !OPEN_ONLY);
        OPEN_FILES.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(File {
            ops,
            path,
            inode,
            mode,
            flags,
            pos: SpinLock::new(0),
            epolls: epoll::Links::new(),
        }))
    }

    /// Returns the operations.
    #[inline]
    pub fn ops(&self) -> &Arc<dyn FileOps> {
        &self.ops
    }

    /// Returns the operations as the concrete type `T`, if they are one.
    pub fn ops_as<T: FileOps>(&self) -> Option<&T> {
        let any: &dyn Any = &*self.ops;
        any.downcast_ref()
    }

    /// Returns the path that was opened.
    #[inline]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the inode.
    #[inline]
    pub fn inode(&self) -> &Arc<Inode> {
        &self.inode
    }

    /// Returns the epolls that watch this file.
    #[inline]
    pub(crate) fn epolls(&self) -> &epoll::Links {
        &self.epolls
    }

    /// Returns the status flags with the access mode.
    #[inline]
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }

    /// Sets the flags that `fcntl(F_SETFL)` may set and keeps the others.
    pub fn set_flags(&self, flags: u32) -> Result<()> {
        self.ops.check_flags(self, flags)?;
        let _ = self
            .flags
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |old| {
                Some(old & !SETFL_MASK | flags & SETFL_MASK)
            });
        Ok(())
    }

    /// Tells whether `O_NONBLOCK` is set.
    #[inline]
    pub fn nonblocking(&self) -> bool {
        self.flags() & O_NONBLOCK != 0
    }

    /// Tells whether it is open for reading.
    #[inline]
    pub fn readable(&self) -> bool {
        self.mode & MODE_READ != 0
    }

    /// Tells whether it is open for writing.
    #[inline]
    pub fn writable(&self) -> bool {
        self.mode & MODE_WRITE != 0
    }

    /// Tells whether it was opened with `O_PATH`, so that almost every call on it answers `EBADF`.
    #[inline]
    pub fn is_path(&self) -> bool {
        self.mode & MODE_PATH != 0
    }

    /// Takes capabilities, and unless its opener had `CAP_FSETID` the set-id bits, from a file that is about to change.
    #[inline]
    pub fn strip_privileges(&self) -> Result<()> {
        self.inode.drop_capabilities()?;
        if self.mode & MODE_STRIP != 0 {
            self.inode.strip_privileges()
        } else {
            Ok(())
        }
    }

    /// Reads at the file's position.
    ///
    /// # Errors
    /// `EBADF` if it is not open for reading, `EAGAIN` if there is nothing yet, and the operation's own.
    #[inline]
    pub fn read(&self, buf: &mut dyn Sink) -> Result<usize> {
        let want = buf.remaining();
        self.moved(READ, || {
            self.at_position(want, |pos, most| {
                if most == want {
                    self.ops.read(self, pos, buf)
                } else {
                    self.ops.read(self, pos, &mut LimitedSink::new(buf, most))
                }
            })
        })
    }

    /// Writes at the file's position, or at its end with `O_APPEND`.
    ///
    /// # Errors
    /// `EBADF` if it is not open for writing, `EAGAIN` if there is no room yet, and the operation's own.
    #[inline]
    pub fn write(&self, buf: &mut dyn Source) -> Result<usize> {
        let want = buf.remaining();
        self.moved(WRITE, || {
            self.at_position(want, |pos, most| {
                if most == want {
                    self.ops.write(self, pos, buf)
                } else {
                    let buf = &mut LimitedSource::new(buf, most);
                    self.ops.write(self, pos, buf)
                }
            })
        })
    }

    /// Reads at `pos` and leaves the file's position alone.
    ///
    /// # Errors
    /// `ESPIPE` for a stream, else as [`read`](File::read).
    pub fn pread(&self, mut pos: u64, buf: &mut dyn Sink) -> Result<usize> {
        self.check_seekable()?;
        self.moved(READ, || self.ops.read(self, &mut pos, buf))
    }

    /// Writes at `pos` (at the end with `O_APPEND`, as Linux does) and leaves the file's position alone.
    ///
    /// # Errors
    /// `ESPIPE` for a stream, else as [`write`](File::write).
    pub fn pwrite(&self, mut pos: u64, buf: &mut dyn Source) -> Result<usize> {
        self.check_seekable()?;
        self.moved(WRITE, || self.ops.write(self, &mut pos, buf))
    }

    /// Makes `attempt` to move bytes, if the file is open for that, and tells who watches it.
    #[inline(always)]
    fn moved(&self, way: Way, attempt: impl FnOnce() -> Result<usize>) -> Result<usize> {
        if self.mode & way.mode == 0 {
            return Err(Errno::EBADF);
        }
        let result = attempt();
        self.tell(&result, way.event);
        result
    }

    /// Moves `want` bytes at the file's position by calls of `step`, which is told how many of them it may move.
    #[inline(always)]
    fn at_position(
        &self,
        want: usize,
        mut step: impl FnMut(&mut u64, usize) -> Result<usize>,
    ) -> Result<usize> {
        if self.mode & MODE_STREAM != 0 {
            return step(&mut 0, want);
        }
        if want <= CHUNK {
            return step(&mut self.pos.lock(), want);
        }
        let mut done = 0;
        loop {
            let chunk = CHUNK.min(want - done);
            let result = step(&mut self.pos.lock(), chunk);
            match result {
                Ok(moved) => done += moved,
                Err(_) if done > 0 => return Ok(done),
                Err(error) => return Err(error),
            }
            if result != Ok(chunk) || done == want {
                return Ok(done);
            }
            executor::cpu::point();
        }
    }

    /// Whether it has a position: no pipe, socket, terminal.
    #[inline]
    pub fn is_seekable(&self) -> bool {
        self.mode & MODE_NOSEEK == 0
    }

    #[inline]
    fn check_seekable(&self) -> Result<()> {
        self.is_seekable().then_some(()).ok_or(Errno::ESPIPE)
    }

    /// Tells watchers of bytes that were moved.
    #[inline]
    pub(crate) fn tell(&self, result: &Result<usize>, event: NotifyEvents) {
        if notify::any() && result.is_ok_and(|moved| moved > 0) {
            notify::on_dentry(&self.path.dentry, event);
        }
    }

    /// Moves the position.
    ///
    /// # Errors
    /// `ESPIPE` for a stream, `EINVAL` below zero, `EOVERFLOW`, `ENXIO` for data or hole past the end.
    pub fn seek(&self, offset: i64, whence: Whence) -> Result<u64> {
        self.check_seekable()?;
        let mut pos = self.pos.lock();
        *pos = self.ops.seek(self, *pos, offset, whence)?;
        Ok(*pos)
    }

    /// Does what each close of a descriptor does: gives up the record locks of the process, which it knows by the
    /// descriptor table's number, and lets the operations flush.
    ///
    /// # Errors
    /// Whatever the flush answers; the descriptor is closed all the same.
    pub fn close(&self, table: u64) -> Result<()> {
        if self.is_path() {
            return Ok(());
        }
        locks::release_process(&self.inode, table);
        self.ops.flush(self)
    }

    /// Returns the position.
    pub fn pos(&self) -> u64 {
        *self.pos.lock()
    }

    /// Sets the position, after a transfer that took its time.
    pub fn set_pos(&self, pos: u64) {
        *self.pos.lock() = pos;
    }

    /// Emits directory entries at the file's position.
    ///
    /// # Errors
    /// `ENOTDIR`; `ENOENT` in a directory that was removed.
    pub fn readdir(&self, sink: &mut dyn DirSink) -> Result<()> {
        let mut pos = self.pos.lock();
        self.ops.readdir(self, &mut pos, sink)
    }

    /// Returns the events that hold; registers in `table` for the next change.
    pub fn poll(&self, table: Option<&mut PollTable<'_>>) -> PollEvents {
        self.ops.poll(self, table)
    }

    /// Applies `RLIMIT_FSIZE` to a write of `len` bytes at `pos` (`None`: the file's position): returns how many are allowed.
    ///
    /// # Errors
    /// `EFBIG` if not even one is; the caller then sends `SIGXFSZ`.
    pub fn limit_write(&self, pos: Option<u64>, len: usize, limit: u64) -> Result<usize> {
        if limit == u64::MAX || self.inode.mode() & S_IFMT != S_IFREG {
            return Ok(len);
        }
        let at = if self.flags() & O_APPEND != 0 {
            self.inode.size()
        } else {
            pos.unwrap_or_else(|| self.pos())
        };
        match limit.checked_sub(at) {
            None | Some(0) if len > 0 => Err(Errno::EFBIG),
            left => Ok(len.min(left.unwrap_or(0).min(usize::MAX as u64) as usize)),
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        locks::release_file(self);
        OPEN_FILES.fetch_sub(1, Ordering::Relaxed);
        self.epolls.file_gone(self);
        if self.mode & MODE_PATH == 0 {
            let ops = self.ops.clone();
            ops.release(self);
            let closed = if self.writable() {
                NotifyEvents::CLOSE_WRITE
            } else {
                NotifyEvents::CLOSE_NOWRITE
            };
            notify::on_dentry(&self.path.dentry, closed);
        }
        if self.mode & MODE_INODE_WRITER != 0 {
            self.inode.put_write_access();
        }
        if self.mode & MODE_MOUNT_WRITER != 0 {
            self.path.mount.remove_writer();
        }
        if self.inode.nlink() == 0 {
            crate::dirops::gone(&self.path.dentry);
        }
    }
}
