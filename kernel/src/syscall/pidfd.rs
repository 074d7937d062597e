//! Calls on descriptors that stand for processes.

use fs::file::oflag;
use fs::{Errno, Result};

use super::signal::{foreign_info, own_info, send_to_process, signal_or_zero};
use super::{Call, Plain, SysResult, fd};
use crate::process::access::{self, By};
use crate::process::family::Life;
use crate::process::{Process, pidfd, table};
use crate::signal::info::SI_USER;

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[
    (424, pidfd_send_signal),
    (434, pidfd_open),
    (438, pidfd_getfd),
];

fn pidfd_open(call: &mut Call<'_>) -> SysResult {
    let (pid, flags) = (call.int(0), call.arg(1) as u32);
    if flags & !oflag::O_NONBLOCK != 0 || pid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let process = {
        let table = table::lock();
        match (table.process(pid), table.thread(pid)) {
            (Some(process), _) => process.clone(),
            // A thread that is not its process's first one.
            (None, Some(_)) => return Err(Errno::EINVAL.into()),
            (None, None) => return Err(Errno::ESRCH.into()),
        }
    };
    crate::mm::admit()?;
    fd::install(call, pidfd::open(&process, flags)?, true)
}

/// The process that descriptor `fd` of the caller stands for.
fn process_of(call: &Call<'_>, fd: i32) -> Result<alloc::sync::Arc<Process>> {
    pidfd::process_of(&*call.thread.file(fd)?)
}

fn pidfd_send_signal(call: &mut Call<'_>) -> SysResult {
    if call.arg(3) as u32 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let process = process_of(call, call.int(0))?;
    let (number, info) = (call.int(1), call.arg(2));
    let (signal, info) = if info == 0 {
        let signal = signal_or_zero(number)?;
        (signal, own_info(call, signal, SI_USER))
    } else {
        let given = crate::usermem::read::<i32>(info)?;
        if given != number {
            return Err(Errno::EINVAL.into());
        }
        foreign_info(call, info, number, process.pid)?
    };
    if process.family(&table::lock()).life == Life::Reaped {
        return Err(Errno::ESRCH.into());
    }
    send_to_process(call, &process, signal, &info)?;
    Ok(0)
}

fn pidfd_getfd(call: &mut Call<'_>) -> SysResult {
    if call.arg(2) as u32 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let process = process_of(call, call.int(0))?;
    let leader = process.leader().ok_or(Errno::ESRCH)?;
    access::check(call.thread, &leader, By::RealIds)?;
    let file = leader.try_files().ok_or(Errno::ESRCH)?.get(call.int(1))?;
    fd::install(call, file, true)
}
