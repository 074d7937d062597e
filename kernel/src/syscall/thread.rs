//! What a thread says of itself: number, segment bases, futexes that it may leave locked; and its end.

use core::sync::atomic::Ordering;

use fs::Errno;

use super::{Call, Plain, SysResult};
use crate::arch::user::USER_END;
use crate::process::access::{self, By};
use crate::process::table;
use crate::usermem;

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[
    (60, exit),
    (135, personality),
    (158, arch_prctl),
    (186, gettid),
    (218, set_tid_address),
    (273, set_robust_list),
    (274, get_robust_list),
];

fn gettid(call: &mut Call<'_>) -> SysResult {
    Ok(call.thread.tid() as u64)
}

fn exit(call: &mut Call<'_>) -> SysResult {
    call.thread.leave(call.arg(0) as u8);
    Ok(0)
}

fn set_tid_address(call: &mut Call<'_>) -> SysResult {
    call.thread
        .clear_child_tid
        .store(call.arg(0), Ordering::Relaxed);
    Ok(call.thread.tid() as u64)
}

fn personality(call: &mut Call<'_>) -> SysResult {
    let new = call.arg(0) as u32;
    let old = call.thread.personality.load(Ordering::Relaxed);
    if new != u32::MAX {
        call.thread.personality.store(new, Ordering::Relaxed);
    }
    Ok(u64::from(old))
}

fn arch_prctl(call: &mut Call<'_>) -> SysResult {
    const SET_GS: u64 = 0x1001;
    const SET_FS: u64 = 0x1002;
    const GET_FS: u64 = 0x1003;
    const GET_GS: u64 = 0x1004;
    let machine = &call.thread.machine;
    let (fs, gs) = machine.bases();
    let value = call.arg(1);
    match call.arg(0) {
        SET_FS | SET_GS if value >= USER_END => return Err(Errno::EPERM.into()),
        SET_FS => machine.set_bases(value, gs),
        SET_GS => machine.set_bases(fs, value),
        GET_FS => usermem::write(value, &fs)?,
        GET_GS => usermem::write(value, &gs)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

const ROBUST_HEAD_SIZE: u64 = 24;

fn set_robust_list(call: &mut Call<'_>) -> SysResult {
    if call.arg(1) != ROBUST_HEAD_SIZE {
        return Err(Errno::EINVAL.into());
    }
    call.thread
        .robust_list
        .store(call.arg(0), Ordering::Relaxed);
    Ok(0)
}

fn get_robust_list(call: &mut Call<'_>) -> SysResult {
    let tid = call.int(0);
    let head = if tid == 0 {
        call.thread.robust_list.load(Ordering::Relaxed)
    } else {
        let thread = table::lock().thread(tid).cloned().ok_or(Errno::ESRCH)?;
        access::check(call.thread, &thread, By::RealIds)?;
        thread.robust_list.load(Ordering::Relaxed)
    };
    usermem::write(call.arg(2), &ROBUST_HEAD_SIZE)?;
    usermem::write(call.arg(1), &head)?;
    Ok(0)
}
