//! Waiting for children: `wait4(2)` and `waitid(2)`.

use fs::file::oflag;
use fs::{Errno, Result};

use super::usage::rusage;
use super::{Call, Plain, Stop, SysResult};
use crate::process::family::Life;
use crate::process::wait::{
    self, Found, WALL, WCLONE, WCONTINUED, WEXITED, WNOHANG, WNOTHREAD, WNOWAIT, WSTOPPED, Which,
};
use crate::process::{Pid, pidfd, table};
use crate::usermem;

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[(61, wait4), (247, waitid)];

const P_ALL: u64 = 0;
const P_PID: u64 = 1;
const P_PGID: u64 = 2;
const P_PIDFD: u64 = 3;

fn wait4_args(call: &Call<'_>) -> Result<(Which, u32)> {
    let (pid, options) = (call.int(0), call.arg(2) as u32);
    if options & !(WNOHANG | WSTOPPED | WCONTINUED | WNOTHREAD | WCLONE | WALL) != 0 {
        return Err(Errno::EINVAL);
    }
    let which = match pid {
        i32::MIN => return Err(Errno::ESRCH),
        -1 => Which::Any,
        0 => Which::Group(call.thread.process().group().id),
        group if group < 0 => Which::Group(-group),
        pid => Which::Process(pid),
    };
    Ok((which, options | WEXITED))
}

fn wait4_done(call: &Call<'_>, found: Found) -> Result<u64> {
    let (status, usage) = (call.arg(1), call.arg(3));
    if status != 0 {
        usermem::write(status, &found.change.word())?;
    }
    if usage != 0 {
        usermem::write(usage, &rusage(&found.usage))?;
    }
    Ok(found.pid as u64)
}

fn wait4(call: &mut Call<'_>) -> SysResult {
    let (which, options) = wait4_args(call)?;
    match wait::look(call.thread, which, options)? {
        Some(found) => Ok(wait4_done(call, found)?),
        None if options & WNOHANG != 0 => Ok(0),
        None => Err(Stop::Wait),
    }
}

/// The waiting part of wait4.
pub async fn wait4_wait(call: &mut Call<'_>) -> Result<u64> {
    let (which, options) = wait4_args(call)?;
    let found = wait::wait(call.thread, which, options).await?;
    wait4_done(call, found)
}

fn waitid_args(call: &Call<'_>) -> Result<(Which, u32)> {
    let (kind, id, options) = (call.arg(0), call.int(1), call.arg(3) as u32);
    if options & !(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | WNOTHREAD | WCLONE | WALL)
        != 0
        || options & (WEXITED | WSTOPPED | WCONTINUED) == 0
    {
        return Err(Errno::EINVAL);
    }
    let which = match kind {
        P_ALL => Which::Any,
        P_PID if id > 0 => Which::Process(id),
        P_PGID if id == 0 => Which::Group(call.thread.process().group().id),
        P_PGID if id > 0 => Which::Group(id),
        P_PIDFD if id >= 0 => Which::Process(waited_pidfd(call, id)?),
        _ => return Err(Errno::EINVAL),
    };
    Ok((which, options))
}

/// The number of the process that pidfd `fd` stands for.
fn waited_pidfd(call: &Call<'_>, fd: i32) -> Result<Pid> {
    let process = pidfd::process_of(&*call.thread.file(fd)?)?;
    // Its number may be another's by now.
    let reaped = process.family(&table::lock()).life == Life::Reaped;
    if reaped {
        Err(Errno::ECHILD)
    } else {
        Ok(process.pid)
    }
}

/// Whether the caller waits for a pidfd that is not to be waited for.
fn is_nonblocking_pidfd(call: &Call<'_>) -> bool {
    call.arg(0) == P_PIDFD
        && call
            .thread
            .file(call.int(1))
            .is_ok_and(|file| file.flags() & oflag::O_NONBLOCK != 0)
}

fn waitid_done(call: &Call<'_>, found: Option<Found>) -> Result<u64> {
    let (info, usage) = (call.arg(2), call.arg(4));
    if let Some(found) = &found
        && usage != 0
    {
        usermem::write(usage, &rusage(&found.usage))?;
    }
    if info != 0 {
        // si_signo, si_errno, si_code, padding, si_pid, si_uid, si_status.
        let words = match found {
            Some(found) => {
                let (code, status) = found.change.code_and_status();
                [17, 0, code, 0, found.pid, found.uid as i32, status]
            }
            None => [0; 7],
        };
        usermem::write(info, &words)?;
    }
    Ok(0)
}

fn waitid(call: &mut Call<'_>) -> SysResult {
    let (which, options) = waitid_args(call)?;
    match wait::look(call.thread, which, options)? {
        None if options & WNOHANG == 0 && is_nonblocking_pidfd(call) => Err(Errno::EAGAIN.into()),
        None if options & WNOHANG == 0 => Err(Stop::Wait),
        found => Ok(waitid_done(call, found)?),
    }
}

/// The waiting part of waitid.
pub async fn waitid_wait(call: &mut Call<'_>) -> Result<u64> {
    let (which, options) = waitid_args(call)?;
    let found = wait::wait(call.thread, which, options).await?;
    waitid_done(call, Some(found))
}
