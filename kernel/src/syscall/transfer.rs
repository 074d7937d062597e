//! Bytes from one file to another: `sendfile(2)`, `copy_file_range(2)`.

use alloc::sync::Arc;

use fs::file::{Whence, oflag};
use fs::pipe::pipe_of;
use fs::transfer::Parcel;
use fs::{Errno, File, PollEvents, Result};

use super::rw::broken_pipe;
use super::{Call, Plain, Stop, SysResult};
use crate::usermem;

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[(40, sendfile), (326, copy_file_range)];

/// A position given by pointer, or the file's own.
fn position(ptr: u64) -> Result<Option<u64>> {
    if ptr == 0 {
        return Ok(None);
    }
    match usermem::read::<i64>(ptr)? {
        at if at < 0 => Err(Errno::EINVAL),
        at => Ok(Some(at as u64)),
    }
}

/// Copies up to `len` bytes from one file to another; what was copied, also where a later part fails.
///
/// Where the target does not take all that was read, the source's own position goes back by the rest.
fn copy(
    call: &mut Call<'_>,
    (from, mut from_at): (&Arc<File>, Option<u64>),
    (to, mut to_at): (&Arc<File>, Option<u64>),
    len: usize,
) -> core::result::Result<(usize, Option<u64>, Option<u64>), Stop> {
    let read = match Arc::ptr_eq(from.inode(), to.inode()) {
        true => Parcel::copy,
        false => Parcel::read,
    };
    let mut done = 0;
    let stop = loop {
        if done == len {
            break None;
        }
        let mut parcel = match read(from, from_at, len - done) {
            Ok(parcel) if parcel.is_empty() => break None,
            Ok(parcel) => parcel,
            Err(Errno::EAGAIN) if !from.nonblocking() => {
                break Some(Stop::NotReady(from.clone(), PollEvents::IN));
            }
            Err(e) => break Some(e.into()),
        };
        let got = parcel.len();
        let put = match to_at {
            Some(at) => to.pwrite(at, &mut parcel),
            None => to.write(&mut parcel),
        };
        let moved = *put.as_ref().unwrap_or(&0);
        match &mut from_at {
            Some(at) => *at += moved as u64,
            None if moved < got => {
                // A stream cannot take back what could not be written.
                let _ = from.seek(-((got - moved) as i64), Whence::Current);
            }
            None => {}
        }
        if let Some(at) = &mut to_at {
            *at += moved as u64;
        }
        done += moved;
        match put {
            Ok(n) if n == got => {}
            Ok(_) if to.nonblocking() => break None,
            Ok(_) => {}
            Err(Errno::EAGAIN) if !to.nonblocking() => {
                break Some(Stop::NotReady(to.clone(), PollEvents::OUT));
            }
            Err(Errno::EPIPE) => {
                broken_pipe(call, to);
                break Some(Errno::EPIPE.into());
            }
            Err(e) => break Some(e.into()),
        }
        if call.thread.fatal_signal_pending() {
            break None;
        }
    };
    match stop {
        Some(stop) if done == 0 => Err(stop),
        _ => Ok((done, from_at, to_at)),
    }
}

fn sendfile(call: &mut Call<'_>) -> SysResult {
    let to = call.thread.file(call.int(0))?;
    let from = call.thread.file(call.int(1))?;
    let at = position(call.arg(2))?;
    if !from.readable() {
        return Err(Errno::EBADF.into());
    }
    if at.is_some() && !from.is_seekable() {
        return Err(Errno::ESPIPE.into());
    }
    if !to.writable() {
        return Err(Errno::EBADF.into());
    }
    // What comes out of a stream could not be put back if the target did not take it; a pipe's room is known.
    let into_pipe = pipe_of(&to).is_some();
    let append = to.flags() & oflag::O_APPEND != 0;
    if !into_pipe && (append || !from.is_seekable()) || !from.ops().splices() {
        return Err(Errno::EINVAL.into());
    }
    let len = (call.arg(3) as usize).min(usermem::RW_MAX);
    let (done, at, _) = copy(call, (&from, at), (&to, None), len)?;
    if let Some(at) = at {
        usermem::write(call.arg(2), &(at as i64))?;
    }
    Ok(done as u64)
}

fn copy_file_range(call: &mut Call<'_>) -> SysResult {
    let from = call.thread.file(call.int(0))?;
    let to = call.thread.file(call.int(2))?;
    if call.arg(5) != 0 {
        return Err(Errno::EINVAL.into());
    }
    for file in [&from, &to] {
        match file.inode().kind() {
            fs::inode::S_IFREG => {}
            fs::inode::S_IFDIR => return Err(Errno::EISDIR.into()),
            _ => return Err(Errno::EINVAL.into()),
        }
    }
    if !from.readable() || !to.writable() || to.flags() & oflag::O_APPEND != 0 {
        return Err(Errno::EBADF.into());
    }
    let (from_at, to_at) = (position(call.arg(1))?, position(call.arg(3))?);
    let len = (call.arg(4) as usize).min(usermem::RW_MAX);
    if Arc::ptr_eq(from.inode(), to.inode()) {
        let (a, b) = (
            from_at.unwrap_or_else(|| from.pos()),
            to_at.unwrap_or_else(|| to.pos()),
        );
        if a < b.saturating_add(len as u64) && b < a.saturating_add(len as u64) {
            return Err(Errno::EINVAL.into());
        }
    }
    let (done, from_at, to_at) = copy(call, (&from, from_at), (&to, to_at), len)?;
    if let Some(at) = from_at {
        usermem::write(call.arg(1), &(at as i64))?;
    }
    if let Some(at) = to_at {
        usermem::write(call.arg(3), &(at as i64))?;
    }
    Ok(done as u64)
}
