//! Moving bytes: `read(2)`, `write(2)` and their relatives.

use alloc::sync::Arc;
use alloc::vec::Vec;

use executor::time::Instant;
use fs::file::Whence;
use fs::socket::SocketFile;
use fs::{Errno, File, PollEvents, Result, Sink, Source, UserMemory};

use super::{Call, Plain, Stop, SysResult};
use crate::arch::uaccess;
use crate::signal::{self, Signal};
use crate::usermem::{self, IOV_MAX, IoVec, UserRange, UserSink, UserSource};

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[
    (0, read),
    (1, write),
    (8, lseek),
    (17, pread64),
    (18, pwrite64),
    (19, readv),
    (20, writev),
    (295, preadv),
    (296, pwritev),
    (327, preadv2),
    (328, pwritev2),
];

/// One attempt of a read at a file.
type ReadOp<'a> = &'a dyn Fn(&File, &mut dyn Sink) -> Result<usize>;
/// One attempt of a write to a file.
type WriteOp<'a> = &'a dyn Fn(&File, &mut dyn Source) -> Result<usize>;

/// What follows an attempt that moved nothing, or not all.
enum Next {
    Again,
    Return(SysResult),
}

/// Sorts out an error: a missing page is faulted in, a file that is not ready is waited for, a part is a result.
#[cold]
fn on_error(
    call: &mut Call<'_>,
    file: &Arc<File>,
    range: &mut UserRange<'_>,
    e: Errno,
    events: PollEvents,
) -> Next {
    if range.faulted() {
        return match range.resolve(events.contains(PollEvents::IN)) {
            Ok(()) => Next::Again,
            Err(_) if range.done() > 0 => Next::Return(Ok(range.done() as u64)),
            Err(e) => Next::Return(Err(e.into())),
        };
    }
    let reading = events.contains(PollEvents::IN);
    let expired = || call.deadline.is_some_and(|end| Instant::now() >= end);
    Next::Return(match e {
        Errno::EIOCBQUEUED => Err(Stop::Wait),
        // The file said how long it waits for more (a terminal's VTIME), and that is over.
        Errno::EAGAIN if reading && !file.nonblocking() && range.done() == 0 && expired() => file
            .ops()
            .read_expired(file, &mut UserSink(range))
            .map(|n| n as u64)
            .map_err(Stop::from),
        // A setting that cannot be changed yet: nobody is told when it can.
        Errno::EAGAIN if !reading && file.inode().kind() == fs::inode::S_IFREG => Err(e.into()),
        Errno::EAGAIN if !(file.nonblocking() || reading && range.done() > 0) => {
            call.done = range.done();
            set_socket_deadline(call, file, reading);
            Err(Stop::NotReady(file.clone(), events))
        }
        _ if range.done() > 0 => Ok(range.done() as u64),
        e => Err(e.into()),
    })
}

/// Bounds the wait for a socket that has a timeout (`SO_RCVTIMEO`, `SO_SNDTIMEO`).
#[cold]
pub fn set_socket_deadline(call: &mut Call<'_>, file: &File, reading: bool) {
    if call.deadline.is_none()
        && let Ok(socket) = SocketFile::of(file)
    {
        let options = socket.options();
        let timeout = if reading {
            options.receive_timeout()
        } else {
            options.send_timeout()
        };
        call.deadline = timeout.map(|ns| Instant::now().add_ns(ns));
    }
}

/// Reads into `parts`: what there is, waiting only for the first byte.
#[inline]
fn read_into(call: &mut Call<'_>, file: &Arc<File>, parts: &[IoVec], op: ReadOp<'_>) -> SysResult {
    let mut range = UserRange::new(parts)?;
    loop {
        let start = range.clone();
        let outcome = op(file, &mut UserSink(&mut range));
        let e = match outcome {
            Ok(_) if range.faulted() => Errno::EFAULT,
            Ok(_) => return Ok(range.done() as u64),
            // A message of which a part was copied before a page was missing is still there, and copied again.
            Err(e) => {
                range.rewind(start);
                e
            }
        };
        if let Next::Return(result) = on_error(call, file, &mut range, e, PollEvents::IN) {
            return result;
        }
    }
}

/// Writes `parts`: all of them, waiting where the file blocks.
#[inline]
fn write_from(
    call: &mut Call<'_>,
    file: &Arc<File>,
    parts: &[IoVec],
    op: WriteOp<'_>,
) -> SysResult {
    let mut range = UserRange::new(parts)?;
    range.advance(call.done);
    loop {
        let start = range.clone();
        let outcome = op(file, &mut UserSource(&mut range));
        let e = match outcome {
            Ok(_) if range.faulted() => Errno::EFAULT,
            Ok(0) => return Ok(range.done() as u64),
            Ok(_) if range.remaining() == 0 => return Ok(range.done() as u64),
            Ok(_) => continue,
            Err(e) => {
                range.rewind(start);
                e
            }
        };
        if e == Errno::EPIPE {
            broken_pipe(call, file);
        }
        if let Next::Return(result) = on_error(call, file, &mut range, e, PollEvents::OUT) {
            return result;
        }
    }
}

/// Raises what follows a write that nobody will read, where the file says so.
pub(super) fn broken_pipe(call: &Call<'_>, file: &File) {
    if file.ops().signals_broken_pipe() {
        signal::send::send_to_self(call.thread, Signal::SIGPIPE);
    }
}

/// Cuts the parts of a write off where `RLIMIT_FSIZE` ends; at the limit itself the caller gets `SIGXFSZ`.
fn limit_size(call: &Call<'_>, file: &File, pos: Option<u64>, parts: &mut [IoVec]) -> Result<()> {
    let limit = call
        .thread
        .process()
        .limit(crate::process::rlimit::Resource::FileSize);
    if limit == u64::MAX {
        return Ok(());
    }
    // The lengths have not been checked yet; what is too long is refused later.
    let total = parts
        .iter()
        .fold(0usize, |sum, p| sum.saturating_add(p.len as usize));
    let mut left = match file.limit_write(pos, total, limit) {
        Ok(len) => len as u64,
        Err(e) => {
            signal::send::send_to_self(call.thread, Signal::SIGXFSZ);
            return Err(e);
        }
    };
    for part in parts {
        part.len = part.len.min(left);
        left -= part.len;
    }
    Ok(())
}

/// The single part of a plain call. `EFAULT` where it does not lie in the user half, whatever its length.
pub(super) fn one(call: &Call<'_>) -> Result<[IoVec; 1]> {
    let (base, len) = (call.arg(1), call.arg(2));
    match uaccess::in_user_half(base, len as usize) {
        true => Ok([IoVec { base, len }]),
        false => Err(Errno::EFAULT),
    }
}

/// The parts that a vectored call names. `EINVAL` for more than [`IOV_MAX`].
pub(super) fn many(call: &Call<'_>) -> Result<Vec<IoVec>> {
    let count = call.arg(2) as usize;
    if count > IOV_MAX {
        return Err(Errno::EINVAL);
    }
    usermem::read_vec(call.arg(1), count)
}

fn read(call: &mut Call<'_>) -> SysResult {
    let file = call.thread.file(call.int(0))?;
    let parts = one(call)?;
    read_into(call, &file, &parts, &|file, sink| file.read(sink))
}

fn write(call: &mut Call<'_>) -> SysResult {
    let file = call.thread.file(call.int(0))?;
    let mut parts = one(call)?;
    limit_size(call, &file, None, &mut parts)?;
    write_from(call, &file, &parts, &|file, source| file.write(source))
}

fn readv(call: &mut Call<'_>) -> SysResult {
    let file = call.thread.file(call.int(0))?;
    let parts = many(call)?;
    read_into(call, &file, &parts, &|file, sink| file.read(sink))
}

fn writev(call: &mut Call<'_>) -> SysResult {
    let file = call.thread.file(call.int(0))?;
    let mut parts = many(call)?;
    limit_size(call, &file, None, &mut parts)?;
    write_from(call, &file, &parts, &|file, source| file.write(source))
}

/// The offset argument of a positioned call, which must not be negative.
pub(super) fn offset(call: &Call<'_>) -> Result<u64> {
    match call.arg(3) {
        at if (at as i64) < 0 => Err(Errno::EINVAL),
        at => Ok(at),
    }
}

fn pread(call: &mut Call<'_>, file: &Arc<File>, parts: &[IoVec], at: u64) -> SysResult {
    let done = core::cell::Cell::new(0);
    read_into(call, file, parts, &|file, sink| {
        let n = file.pread(at + done.get(), sink)?;
        done.set(done.get() + n as u64);
        Ok(n)
    })
}

fn pwrite(call: &mut Call<'_>, file: &Arc<File>, parts: &mut [IoVec], at: u64) -> SysResult {
    limit_size(call, file, Some(at), parts)?;
    let done = core::cell::Cell::new(0);
    write_from(call, file, parts, &|file, source| {
        let n = file.pwrite(at + done.get(), source)?;
        done.set(done.get() + n as u64);
        Ok(n)
    })
}

fn pread64(call: &mut Call<'_>) -> SysResult {
    let at = offset(call)?;
    let file = call.thread.file(call.int(0))?;
    let parts = one(call)?;
    pread(call, &file, &parts, at)
}

fn pwrite64(call: &mut Call<'_>) -> SysResult {
    let at = offset(call)?;
    let file = call.thread.file(call.int(0))?;
    let mut parts = one(call)?;
    pwrite(call, &file, &mut parts, at)
}

fn preadv(call: &mut Call<'_>) -> SysResult {
    let at = offset(call)?;
    let file = call.thread.file(call.int(0))?;
    let parts = many(call)?;
    pread(call, &file, &parts, at)
}

fn pwritev(call: &mut Call<'_>) -> SysResult {
    let at = offset(call)?;
    let file = call.thread.file(call.int(0))?;
    let mut parts = many(call)?;
    pwrite(call, &file, &mut parts, at)
}

/// Flags of `preadv2(2)` that have an effect here: none is needed where all files are in memory, so the hints pass.
const RWF_HIPRI: u64 = 1;
const RWF_DSYNC: u64 = 2;
const RWF_SYNC: u64 = 4;

fn check_rwf(call: &Call<'_>) -> Result<()> {
    match call.arg(5) & !(RWF_HIPRI | RWF_DSYNC | RWF_SYNC) {
        0 => Ok(()),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

fn preadv2(call: &mut Call<'_>) -> SysResult {
    check_rwf(call)?;
    if call.arg(3) == u64::MAX {
        readv(call)
    } else {
        preadv(call)
    }
}

fn pwritev2(call: &mut Call<'_>) -> SysResult {
    check_rwf(call)?;
    if call.arg(3) == u64::MAX {
        writev(call)
    } else {
        pwritev(call)
    }
}

fn lseek(call: &mut Call<'_>) -> SysResult {
    let file = call.thread.file(call.int(0))?;
    if file.is_path() {
        return Err(Errno::EBADF.into());
    }
    Ok(file.seek(call.arg(1) as i64, Whence::from_raw(call.arg(2) as u32)?)?)
}

/// The caller's memory, for `ioctl` and the like.
pub struct CallerMemory;

impl UserMemory for CallerMemory {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<()> {
        usermem::read_bytes(addr, buf)
    }

    fn write(&self, addr: u64, bytes: &[u8]) -> Result<()> {
        usermem::write_bytes(addr, bytes)
    }
}
