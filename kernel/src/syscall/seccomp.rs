//! seccomp(2), and the two requests of prctl(2) that came before it.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use fs::{Cap, Errno, Result};

use super::{Call, Plain, SysResult};
use crate::process::Thread;
use crate::process::thread::STATE_SECCOMP;
use crate::seccomp::bpf::{self, Instruction, Program};
use crate::seccomp::{Filter, Mode, action};
use crate::usermem;

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[(317, seccomp)];

mod flag {
    pub const TSYNC: u64 = 1;
    pub const LOG: u64 = 2;
    pub const SPEC_ALLOW: u64 = 4;
    pub const TSYNC_ESRCH: u64 = 16;
    pub const ALL: u64 = TSYNC | LOG | SPEC_ALLOW | TSYNC_ESRCH;
}

fn seccomp(call: &mut Call<'_>) -> SysResult {
    const SET_MODE_STRICT: u64 = 0;
    const SET_MODE_FILTER: u64 = 1;
    const GET_ACTION_AVAIL: u64 = 2;
    let (flags, at) = (call.arg(1) & 0xffff_ffff, call.arg(2));
    match call.arg(0) & 0xffff_ffff {
        SET_MODE_STRICT if flags == 0 && at == 0 => set_strict(call.thread),
        SET_MODE_FILTER => set_filter(call.thread, flags, at),
        GET_ACTION_AVAIL if flags == 0 => {
            let wanted = usermem::read::<u32>(at)?;
            if action::ALL.contains(&wanted) {
                Ok(0)
            } else {
                Err(Errno::EOPNOTSUPP.into())
            }
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `PR_SET_SECCOMP`.
pub fn set_by_prctl(thread: &Arc<Thread>, mode: u64, at: u64) -> SysResult {
    match mode {
        1 => set_strict(thread),
        2 => set_filter(thread, 0, at),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn set_strict(thread: &Thread) -> SysResult {
    let mut mode = thread.seccomp.lock();
    match *mode {
        Mode::Filtered(_) => Err(Errno::EINVAL.into()),
        _ => {
            *mode = Mode::Strict;
            thread.set_bits(STATE_SECCOMP);
            Ok(0)
        }
    }
}

/// Reads the `struct sock_fprog` at `at`.
fn read_program(at: u64) -> Result<Program> {
    let [len, code] = usermem::read::<[u64; 2]>(at)?;
    let len = usize::from(len as u16);
    if len == 0 || len > bpf::MAX {
        return Err(Errno::EINVAL);
    }
    let words = usermem::read_vec::<[u32; 2]>(code, len)?;
    let mut instructions = Vec::new();
    instructions
        .try_reserve_exact(len)
        .map_err(|_| Errno::ENOMEM)?;
    instructions.extend(words.iter().map(|[head, k]| Instruction {
        code: *head as u16,
        jt: (head >> 16) as u8,
        jf: (head >> 24) as u8,
        k: *k,
    }));
    Program::new(instructions)
}

fn set_filter(thread: &Arc<Thread>, flags: u64, at: u64) -> SysResult {
    let sync = flags & flag::TSYNC != 0;
    if flags & !flag::ALL != 0 || flags & flag::TSYNC_ESRCH != 0 && !sync {
        return Err(Errno::EINVAL.into());
    }
    let program = read_program(at)?;
    let confined = thread.no_new_privs.load(Ordering::Relaxed) != 0;
    if !confined && !thread.cred().capable(Cap::SysAdmin) {
        return Err(Errno::EACCES.into());
    }
    crate::mm::admit()?;
    // No thread of the process is made or changes its filters while this is held.
    let state = thread.process().signals.lock();
    let older = match &*thread.seccomp.lock() {
        Mode::Strict => return Err(Errno::EINVAL.into()),
        mode => mode.filter().cloned(),
    };
    if sync {
        let stray = state.threads.iter().find(|other| {
            let mode = other.seccomp.lock();
            matches!(*mode, Mode::Strict) || !Filter::descends(older.as_ref(), mode.filter())
        });
        if let Some(stray) = stray {
            return if flags & flag::TSYNC_ESRCH != 0 {
                Err(Errno::ESRCH.into())
            } else {
                Ok(stray.tid() as u64)
            };
        }
    }
    let filter = Arc::new(Filter::new(program, flags & flag::LOG != 0, older)?);
    for other in &state.threads {
        if Arc::ptr_eq(other, thread) || sync {
            let previous =
                core::mem::replace(&mut *other.seccomp.lock(), Mode::Filtered(filter.clone()));
            // Part of the new chain, so this frees nothing.
            drop(previous);
            other.set_bits(STATE_SECCOMP);
            if confined {
                other.no_new_privs.store(1, Ordering::Relaxed);
            }
        }
    }
    Ok(0)
}
