//! Restartable sequences: a program's critical sections that are begun anew when their thread was preempted, moved to
//! another CPU, or given a signal in their midst.
//!
//! What may concern a section is noted where it happens ([`note`]): where a program was preempted or stopped, where the
//! kernel was preempted while it did something for it ([`resumed`]), and where a thread changes its CPU. Before user mode
//! [`attend`] then tells the area the CPU and, where the thread stands in a critical section, sends it to the section's
//! abort handler. A system call that waits and goes on on its CPU is no such thing: none may be made in a section. So nothing
//! is paid where threads wait and wake, area or not.
//!
//! Source: Linux 6.1 `kernel/rseq.c`, `include/uapi/linux/rseq.h`.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use fs::{Errno, Result};

use super::Thread;
use super::thread::WORK_RSEQ;
use crate::arch::uaccess;
use crate::arch::user::{RESTORE_ALL, USER_END, UserRegs};
use crate::signal::{SigInfo, Signal, send};
use crate::usermem;

/// Bytes of an area (`struct rseq`), and its alignment.
pub const AREA_SIZE: u64 = 32;
/// `cpu_id` of an area that is not registered.
const UNINITIALIZED: u32 = u32::MAX;

/// Offsets in `struct rseq`, behind `cpu_id_start` and `cpu_id`.
const SECTION: u64 = 8;
const FLAGS: u64 = 16;

/// What a thread has registered.
///
/// Written by the thread itself, or before it runs.
#[derive(Default, Debug)]
pub struct Area {
    /// Address, or 0 for none.
    addr: AtomicU64,
    /// The word that stands before each abort handler.
    signature: AtomicU32,
}

impl Area {
    /// Address and signature of what is registered.
    pub fn get(&self) -> Option<(u64, u32)> {
        match self.addr.load(Ordering::Relaxed) {
            0 => None,
            addr => Some((addr, self.signature.load(Ordering::Relaxed))),
        }
    }

    /// Forgets it: the memory that it lay in is gone.
    pub fn clear(&self) {
        self.addr.store(0, Ordering::Relaxed);
    }
}

/// Registers the area at `addr` for `thread`.
///
/// # Errors
/// `EBUSY` if it is registered already, `EINVAL` and `EPERM` if another one is; `EINVAL` where size or alignment is wrong,
/// `EFAULT` where it is no place for user memory; `ENOMEM`.
pub fn register(thread: &Thread, addr: u64, len: u64, signature: u32) -> Result<()> {
    if let Some(known) = thread.rseq.get() {
        check(known, addr, len, signature)?;
        return Err(Errno::EBUSY);
    }
    if !addr.is_multiple_of(AREA_SIZE) || len != AREA_SIZE {
        return Err(Errno::EINVAL);
    }
    if addr == 0 || !uaccess::in_user_half(addr, len as usize) {
        return Err(Errno::EFAULT);
    }
    crate::mm::admit()?;
    set(thread, addr, signature);
    Ok(())
}

fn set(thread: &Thread, addr: u64, signature: u32) {
    thread.rseq.signature.store(signature, Ordering::Relaxed);
    thread.rseq.addr.store(addr, Ordering::Relaxed);
    thread.set_bits(WORK_RSEQ);
}

/// Takes the area at `addr` back.
///
/// # Errors
/// `EINVAL` and `EPERM` unless this is the one that is registered; `EFAULT`.
pub fn unregister(thread: &Thread, addr: u64, len: u64, signature: u32) -> Result<()> {
    let known = thread.rseq.get().ok_or(Errno::EINVAL)?;
    check(known, addr, len, signature)?;
    usermem::write(addr, &[0, UNINITIALIZED])?;
    thread.rseq.clear();
    Ok(())
}

fn check(known: (u64, u32), addr: u64, len: u64, signature: u32) -> Result<()> {
    match known {
        (at, _) if at != addr || len != AREA_SIZE => Err(Errno::EINVAL),
        (_, sign) if sign != signature => Err(Errno::EPERM),
        _ => Ok(()),
    }
}

/// Gives `child`, which has memory of its own, the area of `parent`.
///
/// # Context
/// Before the child runs.
pub(super) fn inherit(child: &Thread, parent: &Thread) {
    if let Some((addr, signature)) = parent.rseq.get() {
        set(child, addr, signature);
    }
}

/// `thread` has been preempted or stopped since it was last in user mode, or moved.
///
/// # Context
/// Any; while the thread is in no user code.
#[inline]
pub fn note(thread: &Thread) {
    if thread.rseq.get().is_some() {
        thread.set_bits(WORK_RSEQ);
    }
}

/// A poll that was suspended goes on.
///
/// # Context
/// Its stack, preemption off.
pub fn resumed() {
    super::current::with_current(note);
}

/// Brings the area of `thread` up to date, and begins its critical section anew if it is in one. A thread whose area or
/// section makes no sense gets `SIGSEGV`.
///
/// # Context
/// The thread's own poll, before it goes to user mode; no lock held.
pub fn attend(thread: &Arc<Thread>, regs: &mut UserRegs) {
    // First: what happens from here on is noted again.
    thread.clear_bits(WORK_RSEQ);
    if update(thread, regs).is_err() {
        send::force(thread, Signal::SIGSEGV, &SigInfo::kernel(Signal::SIGSEGV));
    }
}

fn update(thread: &Thread, regs: &mut UserRegs) -> Result<()> {
    let Some((addr, _)) = thread.rseq.get() else {
        return Ok(());
    };
    restart(thread, regs)?;
    let cpu = executor::cpu::id();
    usermem::write(addr, &[cpu, cpu])
}

/// `struct rseq_cs`, as words.
struct Section {
    start: u64,
    len: u64,
    abort: u64,
    flags: u32,
}

impl Section {
    /// Reads the section at `at`, and checks it.
    fn read(at: u64, signature: u32) -> Result<Section> {
        if at >= USER_END {
            return Err(Errno::EINVAL);
        }
        let [head, start, len, abort] = usermem::read::<[u64; 4]>(at)?;
        let (version, flags) = (head as u32, (head >> 32) as u32);
        let end = start.checked_add(len).ok_or(Errno::EINVAL)?;
        let outside = start >= USER_END || end >= USER_END || abort >= USER_END;
        if outside || version > 0 || abort.wrapping_sub(start) < len {
            return Err(Errno::EINVAL);
        }
        // So that nobody who can write an area only can make the thread go anywhere.
        let sign_at = abort.checked_sub(4).ok_or(Errno::EINVAL)?;
        if usermem::read::<u32>(sign_at)? != signature {
            return Err(Errno::EINVAL);
        }
        Ok(Section {
            start,
            len,
            abort,
            flags,
        })
    }
}

/// Sends a thread that is in a critical section to its abort handler; the section is over then, or where it was left.
///
/// # Context
/// As [`attend`]; before a signal's handler is entered as well.
/// # Errors
/// `EFAULT` and `EINVAL` for areas and sections that make no sense.
pub fn restart(thread: &Thread, regs: &mut UserRegs) -> Result<()> {
    let Some((area, signature)) = thread.rseq.get() else {
        return Ok(());
    };
    let at = usermem::read::<u64>(area + SECTION)?;
    if at == 0 {
        return Ok(());
    }
    let section = Section::read(at, signature)?;
    if regs.rip.wrapping_sub(section.start) < section.len {
        if section.flags != 0 || usermem::read::<u32>(area + FLAGS)? != 0 {
            return Err(Errno::EINVAL);
        }
        usermem::write(area + SECTION, &0u64)?;
        regs.rip = section.abort;
        regs.vector = RESTORE_ALL;
        return Ok(());
    }
    usermem::write(area + SECTION, &0u64)
}
