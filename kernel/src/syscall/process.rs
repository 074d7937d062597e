//! Processes: their numbers, groups and sessions, and their end.

use alloc::sync::Arc;

use fs::{Errno, Result};

use super::{Call, Plain, SysResult};
use crate::process::{Pid, Process, exit, session, table};

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[
    (39, getpid),
    (109, setpgid),
    (110, getppid),
    (111, getpgrp),
    (112, setsid),
    (121, getpgid),
    (124, getsid),
    (231, exit_group),
];

fn getpid(call: &mut Call<'_>) -> SysResult {
    Ok(call.thread.process().pid as u64)
}

fn getppid(call: &mut Call<'_>) -> SysResult {
    Ok(call.thread.process().ppid() as u64)
}

fn exit_group(call: &mut Call<'_>) -> SysResult {
    exit::exit_group(call.thread, call.arg(0) as u8);
    Ok(0)
}

fn setpgid(call: &mut Call<'_>) -> SysResult {
    session::set_group(call.thread, call.int(0), call.int(1))?;
    Ok(0)
}

/// The process with number `pid`, or the caller's own for 0.
pub(super) fn process_of(call: &Call<'_>, pid: Pid) -> Result<Arc<Process>> {
    if pid == 0 {
        return Ok(call.thread.process().clone());
    }
    let table = table::lock();
    table
        .process(pid)
        .or_else(|| table.thread(pid).map(|t| t.process()))
        .cloned()
        .ok_or(Errno::ESRCH)
}

fn getpgid(call: &mut Call<'_>) -> SysResult {
    Ok(process_of(call, call.int(0))?.group().id as u64)
}

fn getpgrp(call: &mut Call<'_>) -> SysResult {
    Ok(call.thread.process().group().id as u64)
}

fn getsid(call: &mut Call<'_>) -> SysResult {
    Ok(process_of(call, call.int(0))?.session().id as u64)
}

fn setsid(call: &mut Call<'_>) -> SysResult {
    Ok(session::set_session(call.thread.process())? as u64)
}
