//! I/O priorities: kept and inherited; no disk orders its requests by them yet. Source: ioprio_set(2).

use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use alloc::sync::Arc;
use fs::{Cap, Errno, Result};

use super::sched::by_kind;
use super::{Call, Plain, SysResult};
use crate::process::Thread;

/// The calls of this area.
pub const CALLS: &[(u16, Plain)] = &[(251, ioprio_set), (252, ioprio_get)];

/// `ioprio_get(2)` counts its kinds from 1, `getpriority(2)` from 0.
fn io_priority_kind(call: &Call<'_>) -> Result<Vec<Arc<Thread>>> {
    match call.int(0) {
        kind @ 1..=3 => by_kind(call, kind - 1, call.int(1)),
        _ => Err(Errno::EINVAL),
    }
}

fn ioprio_get(call: &mut Call<'_>) -> SysResult {
    let threads = io_priority_kind(call)?;
    let best = threads
        .iter()
        .map(|thread| thread.io_priority.load(Ordering::Relaxed))
        .min();
    Ok(u64::from(best.unwrap_or(0)))
}

fn ioprio_set(call: &mut Call<'_>) -> SysResult {
    const CLASS_NONE: u32 = 0;
    const CLASS_REALTIME: u32 = 1;
    const CLASS_BEST_EFFORT: u32 = 2;
    const CLASS_IDLE: u32 = 3;
    const LEVELS: u32 = 8;
    let value = call.arg(2) as u32;
    let (class, level) = (value >> 13 & 7, value & 0x1fff);
    let mine = call.thread.cred();
    match class {
        CLASS_REALTIME if !mine.capable(Cap::SysNice) && !mine.capable(Cap::SysAdmin) => {
            return Err(Errno::EPERM.into());
        }
        CLASS_REALTIME | CLASS_BEST_EFFORT if level >= LEVELS => return Err(Errno::EINVAL.into()),
        CLASS_REALTIME | CLASS_BEST_EFFORT | CLASS_IDLE => {}
        CLASS_NONE if level == 0 => {}
        _ => return Err(Errno::EINVAL.into()),
    }
    for thread in io_priority_kind(call)? {
        let theirs = thread.cred();
        if theirs.uid != mine.euid && theirs.uid != mine.uid && !mine.capable(Cap::SysNice) {
            return Err(Errno::EPERM.into());
        }
        thread.io_priority.store(value, Ordering::Relaxed);
    }
    Ok(0)
}
