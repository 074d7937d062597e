//! Making processes and threads: `fork(2)`, `vfork(2)`, `clone(2)`; and sharing less afterwards: `unshare(2)`.

use alloc::sync::Arc;

use executor::sync::SpinLock;
use fs::{Cap, Errno, Result};

use super::{Call, Plain, Stop, SysResult};
use crate::arch::user::USER_END;
use crate::ipc::sem::undo;
use crate::process::clone::{self, CloneArgs, flag};
use crate::process::trace::{event, stop};
use crate::signal::Signal;
use crate::usermem;

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[
    (56, clone),
    (57, fork),
    (58, vfork),
    (272, unshare),
    (435, clone3),
];

fn start(call: &mut Call<'_>, args: &CloneArgs) -> SysResult {
    let made = clone::clone(call.thread, call.regs, args)?;
    match made.vfork {
        None => Ok(made.tid as u64),
        Some(vfork) => {
            *call.thread.vfork_wait.lock() = Some((made.tid, vfork));
            Err(Stop::Wait)
        }
    }
}

fn fork(call: &mut Call<'_>) -> SysResult {
    start(
        call,
        &CloneArgs {
            exit_signal: Signal::SIGCHLD.number(),
            ..CloneArgs::default()
        },
    )
}

fn vfork(call: &mut Call<'_>) -> SysResult {
    start(
        call,
        &CloneArgs {
            flags: flag::VFORK | flag::VM,
            exit_signal: Signal::SIGCHLD.number(),
            ..CloneArgs::default()
        },
    )
}

fn clone(call: &mut Call<'_>) -> SysResult {
    const CSIGNAL: u64 = 0xff;
    let flags = call.arg(0) & 0xffff_ffff;
    // Here the low byte is the exit signal, so `CLONE_NEWTIME` cannot be asked for.
    let args = CloneArgs {
        flags: flags & !CSIGNAL,
        exit_signal: (flags & CSIGNAL) as i32,
        stack: call.arg(1),
        parent_tid: call.arg(2),
        pidfd: call.arg(2),
        child_tid: call.arg(3),
        tls: call.arg(4),
    };
    if flags & flag::PIDFD != 0 && flags & flag::PARENT_SETTID != 0 {
        return Err(Errno::EINVAL.into());
    }
    start(call, &args)
}

fn clone3(call: &mut Call<'_>) -> SysResult {
    const SIZE_VER0: u64 = 64;
    const WORDS: usize = 11;
    let (at, size) = (call.arg(0), call.arg(1));
    if size > 4096 {
        return Err(Errno::E2BIG.into());
    }
    if size < SIZE_VER0 {
        return Err(Errno::EINVAL.into());
    }
    let mut bytes = [0; WORDS * 8];
    let known = (size as usize).min(bytes.len());
    usermem::read_bytes(at, &mut bytes[..known])?;
    // A newer structure is fine as long as what we do not know is zero.
    for offset in known as u64..size {
        if usermem::read::<u8>(at + offset)? != 0 {
            return Err(Errno::E2BIG.into());
        }
    }
    let word =
        |n: usize| u64::from_le_bytes(bytes[n * 8..n * 8 + 8].try_into().expect("eight bytes"));
    let (flags, exit_signal, stack, stack_size) = (word(0), word(4), word(5), word(6));
    let (set_tid, set_tid_size) = (word(8), word(9));
    let bad_stack = if stack == 0 {
        stack_size != 0
    } else {
        stack_size == 0
            || stack
                .checked_add(stack_size)
                .is_none_or(|end| end > USER_END)
    };
    const KNOWN: u64 = 0x3_ffff_ffff & !0xff | 0x80;
    if flags & !KNOWN != 0
        || flags & flag::DETACHED != 0
        || exit_signal > 64
        || flags & (flag::THREAD | flag::PARENT) != 0 && exit_signal != 0
        || bad_stack
        || (set_tid == 0) != (set_tid_size == 0)
        || set_tid_size > 32
    {
        return Err(Errno::EINVAL.into());
    }
    if set_tid_size > 0 {
        // Choosing numbers is for checkpoint and restore.
        return Err(if call.thread.cred().capable(Cap::SysAdmin) {
            Errno::EINVAL
        } else {
            Errno::EPERM
        }
        .into());
    }
    let args = CloneArgs {
        flags,
        exit_signal: exit_signal as i32,
        stack: if stack == 0 { 0 } else { stack + stack_size },
        parent_tid: word(3),
        pidfd: word(1),
        child_tid: word(2),
        tls: word(7),
    };
    start(call, &args)
}

/// The waiting part of vfork: until the child has let go of the memory.
pub async fn vfork_wait(call: &mut Call<'_>) -> Result<u64> {
    let waiting = call.thread.vfork_wait.lock().take();
    let Some((tid, vfork)) = waiting else {
        return Err(Errno::EINVAL);
    };
    stop::for_pending_event(call.thread, call.regs).await;
    // A parent that is killed meanwhile does not wait for the child.
    let _ = call.thread.killable(vfork.wait()).await;
    stop::for_event(call.thread, call.regs, event::VFORK_DONE, tid as u64).await;
    Ok(tid as u64)
}

fn unshare(call: &mut Call<'_>) -> SysResult {
    let flags = call.arg(0);
    const HERE: u64 = flag::FS | flag::FILES | flag::SYSVSEM;
    const ALONE: u64 = flag::THREAD | flag::SIGHAND | flag::VM;
    if flags & !(HERE | ALONE | flag::NAMESPACES) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & ALONE != 0 && call.thread.process().threads().len() > 1 {
        return Err(Errno::EINVAL.into());
    }
    if flags & flag::NAMESPACES != 0 {
        let privileged =
            call.thread.cred().capable(Cap::SysAdmin) || flags & flag::NAMESPACES == flag::NEWUSER;
        return Err(if privileged {
            Errno::EINVAL
        } else {
            Errno::EPERM
        }
        .into());
    }
    if flags & flag::FILES != 0 {
        let own = Arc::new(call.thread.files().duplicate()?);
        let old = call.thread.with_shared(|shared| shared.files.replace(own));
        drop(old);
    }
    if flags & flag::SYSVSEM != 0 {
        undo::leave(call.thread);
    }
    if flags & flag::FS != 0 {
        let context = call.thread.fs().lock().clone();
        let own = Arc::new(SpinLock::new(context));
        let old = call.thread.with_shared(|shared| shared.fs.replace(own));
        drop(old);
    }
    Ok(0)
}
