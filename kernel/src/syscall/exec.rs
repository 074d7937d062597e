//! Replacing the program: `execve(2)` and `execveat(2)`.

use fs::namei::{LookupFlags, at};
use fs::{Errno, Result};

use super::signal::own_info;
use super::{Call, Plain, Stop};
use crate::exec::{self, Request, Vector};
use crate::process::trace::{event, stop};
use crate::signal::Signal;
use crate::signal::info::SI_USER;
use crate::signal::send::{self, Target};
use crate::usermem;

const EXECVEAT: u16 = 322;

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[(59, |_| Err(Stop::Wait)), (EXECVEAT, |_| Err(Stop::Wait))];

/// execve and execveat.
pub async fn wait(call: &mut Call<'_>) -> Result<u64> {
    let request = if call.number() == usize::from(EXECVEAT) {
        at_request(call)?
    } else {
        request(call, 0)?
    };
    let thread = call.thread;
    let old_tid = thread.tid();
    exec::execute(thread, call.regs, request).await?;
    let seized = thread.link().map(|link| link.seized);
    let told = stop::for_event(thread, call.regs, event::EXEC, old_tid as u64).await;
    if !told && seized == Some(false) {
        // Tracers of old know a new program by this.
        let info = own_info(call, Some(Signal::SIGTRAP), SI_USER);
        send::send(Target::Thread(thread), Signal::SIGTRAP, &info)?;
    }
    Ok(0)
}

fn request(call: &Call<'_>, first: usize) -> Result<Request> {
    let path = usermem::PathBuf::read(call.arg(first))?.as_bytes().to_vec();
    Ok(Request {
        path,
        start: None,
        flags: LookupFlags::FOLLOW,
        shown: None,
        args: Vector::User(call.arg(first + 1)),
        env: Vector::User(call.arg(first + 2)),
    })
}

fn at_request(call: &Call<'_>) -> Result<Request> {
    let (fd, flags) = (call.int(0), call.arg(4) as u32);
    if flags & !(at::EMPTY_PATH | at::SYMLINK_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let mut request = request(call, 1)?;
    request.flags = LookupFlags::from_at(flags);
    if request.path.first() == Some(&b'/') || fd == at::FDCWD {
        return Ok(request);
    }
    request.start = Some(call.thread.file(fd)?.path().clone());
    let mut shown = alloc::format!("/dev/fd/{fd}").into_bytes();
    if !request.path.is_empty() {
        shown.push(b'/');
        shown.extend_from_slice(&request.path);
    }
    request.shown = Some(shown);
    Ok(request)
}
