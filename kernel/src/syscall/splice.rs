//! Bytes moved without a copy to the program: `splice(2)`, `tee(2)`.

use alloc::sync::Arc;

use fs::file::oflag;
use fs::pipe::pipe_of;
use fs::{Errno, File, PollEvents, splice as pipes};

use super::rw::broken_pipe;
use super::{Call, Plain, Stop, SysResult};
use crate::usermem;

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[(275, splice), (276, tee)];

const SPLICE_F_NONBLOCK: u32 = 2;
const SPLICE_F_ALL: u32 = 15;

/// Turns an attempt's answer into the call's: waits for whichever side held it up.
fn answer(
    call: &Call<'_>,
    result: fs::Result<usize>,
    from: &Arc<File>,
    to: &Arc<File>,
    nonblocking: bool,
) -> SysResult {
    match result {
        Ok(moved) => Ok(moved as u64),
        Err(Errno::EAGAIN) if !nonblocking => {
            // The side that is a pipe knows whether it was the one; a full pipe is waited for first.
            let full = pipe_of(to).is_some() && !to.poll(None).intersects(PollEvents::OUT);
            Err(if full {
                Stop::NotReady(to.clone(), PollEvents::OUT)
            } else {
                Stop::NotReady(from.clone(), PollEvents::IN)
            })
        }
        Err(Errno::EPIPE) => {
            broken_pipe(call, to);
            Err(Errno::EPIPE.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// The two files of a call, open for reading and for writing.
fn files(call: &Call<'_>, from: usize, to: usize) -> fs::Result<(Arc<File>, Arc<File>)> {
    let from = call.thread.file(call.int(from))?;
    let to = call.thread.file(call.int(to))?;
    if !from.readable() || !to.writable() {
        return Err(Errno::EBADF);
    }
    Ok((from, to))
}

/// The offset at a user address, if there is one.
fn offset(at: u64) -> fs::Result<Option<u64>> {
    if at == 0 {
        return Ok(None);
    }
    let offset = usermem::read::<i64>(at)?;
    u64::try_from(offset).map(Some).map_err(|_| Errno::EINVAL)
}

fn splice(call: &mut Call<'_>) -> SysResult {
    let flags = call.arg(5) as u32;
    if flags & !SPLICE_F_ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let len = (call.arg(4) as usize).min(usermem::RW_MAX);
    if len == 0 {
        return Ok(0);
    }
    let (from, to) = files(call, 0, 2)?;
    let (from_at, to_at) = (call.arg(1), call.arg(3));
    let nonblocking = flags & SPLICE_F_NONBLOCK != 0;
    match (pipe_of(&from), pipe_of(&to)) {
        (None, None) => Err(Errno::EINVAL.into()),
        (Some(_), _) if from_at != 0 => Err(Errno::ESPIPE.into()),
        (_, Some(_)) if to_at != 0 => Err(Errno::ESPIPE.into()),
        (Some(source), Some(sink)) => {
            let nonblocking = nonblocking || from.nonblocking() || to.nonblocking();
            let result = pipes::between(source, sink, len, true);
            answer(call, result, &from, &to, nonblocking)
        }
        (None, Some(pipe)) => {
            let mut at = offset(from_at)?;
            let result = pipes::to_pipe(&from, at.as_mut(), pipe, len);
            let moved = answer(call, result, &from, &to, nonblocking || to.nonblocking())?;
            if let Some(at) = at {
                usermem::write(from_at, &(at as i64))?;
            }
            Ok(moved)
        }
        (Some(pipe), None) => {
            if to.flags() & oflag::O_APPEND != 0 {
                return Err(Errno::EINVAL.into());
            }
            let mut at = offset(to_at)?;
            let result = pipes::from_pipe(pipe, &to, at.as_mut(), len);
            let moved = answer(call, result, &from, &to, nonblocking || from.nonblocking())?;
            if let Some(at) = at {
                usermem::write(to_at, &(at as i64))?;
            }
            Ok(moved)
        }
    }
}

fn tee(call: &mut Call<'_>) -> SysResult {
    let flags = call.arg(3) as u32;
    if flags & !SPLICE_F_ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let len = (call.arg(2) as usize).min(usermem::RW_MAX);
    if len == 0 {
        return Ok(0);
    }
    let (from, to) = files(call, 0, 1)?;
    let (Some(source), Some(sink)) = (pipe_of(&from), pipe_of(&to)) else {
        return Err(Errno::EINVAL.into());
    };
    let nonblocking = flags & SPLICE_F_NONBLOCK != 0 || from.nonblocking() || to.nonblocking();
    let result = pipes::between(source, sink, len, false);
    answer(call, result, &from, &to, nonblocking)
}
