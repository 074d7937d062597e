//! Calls on signals.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

use executor::time::{Instant, sleep_until};
use fs::{Errno, Result};

use super::{Call, Plain, Stop, SysResult};
use crate::process::thread::WORK_RESTORE_MASK;
use crate::process::{Pid, Process, Thread, table};
use crate::signal::frame::{self, UserStack};
use crate::signal::info::{SI_TKILL, SI_USER, SIGINFO_SIZE};
use crate::signal::send::{self, Target};
use crate::signal::state::{AltStack, SS_AUTODISARM, SS_DISABLE, SS_ONSTACK};
use crate::signal::{SigAction, SigInfo, SigSet, Signal, deliver, job};
use crate::usermem::{self, Plain as PlainData};

/// The calls of this area.
pub const CALLS: &[(u16, Plain)] = &[
    (13, rt_sigaction),
    (14, rt_sigprocmask),
    (15, rt_sigreturn),
    (34, pause),
    (62, kill),
    (127, rt_sigpending),
    (128, rt_sigtimedwait),
    (129, rt_sigqueueinfo),
    (130, rt_sigsuspend),
    (131, sigaltstack),
    (200, tkill),
    (219, restart_syscall),
    (234, tgkill),
    (297, rt_tgsigqueueinfo),
];

#[expect(
    unsafe_code,
    reason = "plain structures that programs share with the kernel"
)]
mod plain_data {
    use super::{PlainData, SigAction, SigSet};
    // SAFETY: four words of integers, without padding.
    unsafe impl PlainData for SigAction {}
    // SAFETY: one word.
    unsafe impl PlainData for SigSet {}
}

/// Signal sets are passed with their size, which is always this.
fn check_size(size: u64) -> Result<()> {
    if size == 8 {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// A signal number that may be 0, for a mere check of permissions.
pub(super) fn signal_or_zero(number: i32) -> Result<Option<Signal>> {
    if number == 0 {
        Ok(None)
    } else {
        Signal::new(number).map(Some).ok_or(Errno::EINVAL)
    }
}

fn rt_sigaction(call: &mut Call<'_>) -> SysResult {
    check_size(call.arg(3))?;
    let (new, old) = (call.arg(1), call.arg(2));
    let new = if new == 0 {
        None
    } else {
        Some(usermem::read::<SigAction>(new)?.sanitized())
    };
    let signal = Signal::new(call.int(0)).ok_or(Errno::EINVAL)?;
    if new.is_some() && SigSet::UNBLOCKABLE.contains(signal) {
        return Err(Errno::EINVAL.into());
    }
    let was = {
        let mut state = call.thread.process().signals.lock();
        let was = {
            let mut actions = state.sighand.actions.lock();
            let action = actions.get_mut(signal);
            let was = *action;
            if let Some(new) = new {
                *action = new;
            }
            was
        };
        // Pending signals that would do nothing any more are dropped.
        if new.is_some_and(|new| new.ignores(signal)) {
            job::flush(&mut state, signal.set());
            deliver::refresh(&mut state, call.thread);
        }
        was
    };
    if old != 0 {
        usermem::write(old, &was)?;
    }
    Ok(0)
}

fn rt_sigprocmask(call: &mut Call<'_>) -> SysResult {
    const BLOCK: i32 = 0;
    const UNBLOCK: i32 = 1;
    const SETMASK: i32 = 2;
    check_size(call.arg(3))?;
    let (how, new, old) = (call.int(0), call.arg(1), call.arg(2));
    let new = if new == 0 {
        None
    } else {
        Some(usermem::read::<SigSet>(new)?)
    };
    let was = {
        let mut state = call.thread.process().signals.lock();
        let was = call.thread.signals.get(&state.token).blocked;
        if let Some(new) = new {
            let mask = match how {
                BLOCK => was | new,
                UNBLOCK => was.without(new),
                SETMASK => new,
                _ => return Err(Errno::EINVAL.into()),
            };
            deliver::set_mask(&mut state, call.thread, mask);
        }
        was
    };
    if old != 0 {
        usermem::write(old, &was)?;
    }
    Ok(0)
}

fn rt_sigpending(call: &mut Call<'_>) -> SysResult {
    let size = call.arg(1);
    if size > 8 {
        return Err(Errno::EINVAL.into());
    }
    let pending = deliver::pending_blocked(call.thread).0.to_ne_bytes();
    usermem::write_bytes(call.arg(0), &pending[..size as usize])?;
    Ok(0)
}

/// Lets `mask` be the caller's until a signal has been delivered, or the call has come back.
///
/// # Context
/// The thread's own call. The old mask is put back on the way to user mode.
pub fn set_mask_for_wait(thread: &Thread, mask: SigSet) {
    let mut state = thread.process().signals.lock();
    let signals = thread.signals.get_mut(&mut state.token);
    if signals.saved_mask.is_none() {
        signals.saved_mask = Some(signals.blocked);
    }
    deliver::set_mask(&mut state, thread, mask);
    thread.set_bits(WORK_RESTORE_MASK);
}

/// Puts back at once the mask that [`set_mask_for_wait`] replaced: the call did not end because of a signal.
pub fn restore_mask(thread: &Thread) {
    let mut state = thread.process().signals.lock();
    if let Some(mask) = thread.signals.get_mut(&mut state.token).saved_mask.take() {
        deliver::set_mask(&mut state, thread, mask);
    }
    thread.clear_bits(WORK_RESTORE_MASK);
}

fn pause(_: &mut Call<'_>) -> SysResult {
    Err(Stop::Wait)
}

fn rt_sigsuspend(call: &mut Call<'_>) -> SysResult {
    check_size(call.arg(1))?;
    let mask = usermem::read::<SigSet>(call.arg(0))?;
    set_mask_for_wait(call.thread, mask);
    Err(Stop::Wait)
}

/// The waiting part of pause and rt_sigsuspend.
pub async fn suspend(call: &mut Call<'_>) -> Result<u64> {
    let never = core::future::pending::<()>();
    let _ = call.thread.interruptible(never).await;
    Err(Errno::ERESTARTNOHAND)
}

fn rt_sigtimedwait(call: &mut Call<'_>) -> SysResult {
    check_size(call.arg(3))?;
    let set = usermem::read::<SigSet>(call.arg(0))?.blockable();
    let timeout = call.arg(2);
    if timeout != 0 {
        let [sec, nsec] = usermem::read::<[i64; 2]>(timeout)?;
        if sec < 0 || !(0..1_000_000_000).contains(&nsec) {
            return Err(Errno::EINVAL.into());
        }
        let ns = (sec as u64)
            .saturating_mul(1_000_000_000)
            .saturating_add(nsec as u64);
        call.deadline = Some(Instant::now().add_ns(ns));
        if ns == 0 {
            return match deliver::take_pending(call.thread, set) {
                Some(info) => Ok(timedwait_done(call, &info)?),
                None => Err(Errno::EAGAIN.into()),
            };
        }
    }
    match deliver::take_pending(call.thread, set) {
        Some(info) => Ok(timedwait_done(call, &info)?),
        None => Err(Stop::Wait),
    }
}

fn timedwait_done(call: &Call<'_>, info: &SigInfo) -> Result<u64> {
    if call.arg(1) != 0 {
        usermem::write_bytes(call.arg(1), &info.to_bytes())?;
    }
    Ok(info.signo as u64)
}

/// The waiting part of rt_sigtimedwait.
pub async fn timedwait(call: &mut Call<'_>) -> Result<u64> {
    let thread = call.thread;
    let set = usermem::read::<SigSet>(call.arg(0))?.blockable();
    set_awaited(thread, set);
    let info = {
        let taken =
            poll_fn(|_| deliver::take_pending(thread, set).map_or(Poll::Pending, Poll::Ready));
        let mut taken = pin!(thread.interruptible(taken));
        match call.deadline {
            None => taken.await,
            Some(deadline) => {
                let mut timer = pin!(sleep_until(deadline));
                poll_fn(|cx| match taken.as_mut().poll(cx) {
                    Poll::Pending => timer.as_mut().poll(cx).map(|()| Err(Errno::EAGAIN)),
                    ready => ready,
                })
                .await
            }
        }
    };
    set_awaited(thread, SigSet::EMPTY);
    match info {
        Ok(info) => timedwait_done(call, &info),
        Err(Errno::EAGAIN) => Err(Errno::EAGAIN),
        Err(_) => Err(Errno::EINTR),
    }
}

/// Says which blocked signals the thread waits for.
fn set_awaited(thread: &Thread, set: SigSet) {
    let mut state = thread.process().signals.lock();
    thread.signals.get_mut(&mut state.token).awaited = set;
    deliver::refresh(&mut state, thread);
}

fn sigaltstack(call: &mut Call<'_>) -> SysResult {
    let (new, old, sp) = (call.arg(0), call.arg(1), call.regs.rsp);
    let new = if new == 0 {
        None
    } else {
        Some(usermem::read::<UserStack>(new)?)
    };
    let was = set_altstack(call.thread, sp, new)?;
    if old != 0 {
        usermem::write(old, &was)?;
    }
    Ok(0)
}

/// Sets the alternate stack; gives the old one.
fn set_altstack(thread: &Thread, sp: u64, new: Option<UserStack>) -> Result<UserStack> {
    const MINSIGSTKSZ: u64 = 2048;
    let mut state = thread.process().signals.lock();
    let current = &mut thread.signals.get_mut(&mut state.token).altstack;
    let was = UserStack::new(
        current.base,
        current.state(sp) | current.flags & SS_AUTODISARM,
        current.size,
    );
    if let Some(new) = new {
        if current.size != 0 && current.is_on(sp) {
            return Err(Errno::EPERM);
        }
        let mode = new.flags & !SS_AUTODISARM;
        if ![0, SS_ONSTACK, SS_DISABLE].contains(&mode) {
            return Err(Errno::EINVAL);
        }
        *current = if mode == SS_DISABLE {
            AltStack {
                base: 0,
                size: 0,
                flags: new.flags,
            }
        } else {
            if new.size < MINSIGSTKSZ {
                return Err(Errno::ENOMEM);
            }
            AltStack {
                base: new.sp,
                size: new.size,
                flags: new.flags & SS_AUTODISARM,
            }
        };
    }
    Ok(was)
}

fn rt_sigreturn(call: &mut Call<'_>) -> SysResult {
    match frame::pop(call.thread, call.regs) {
        Ok(popped) => {
            let mut state = call.thread.process().signals.lock();
            deliver::set_mask(&mut state, call.thread, popped.mask);
            drop(state);
            // As on Linux, what does not fit is not restored.
            let _ = set_altstack(call.thread, call.regs.rsp, Some(popped.stack));
            Ok(call.regs.rax)
        }
        Err(_) => {
            deliver::bad_frame(call.thread, 0);
            Ok(0)
        }
    }
}

fn restart_syscall(_: &mut Call<'_>) -> SysResult {
    Err(Stop::Wait)
}

// Sending.

/// Whether the caller may send `signal` to `thread`'s process.
fn check(
    call: &Call<'_>,
    target: &Arc<Process>,
    thread: &Thread,
    signal: Option<Signal>,
) -> Result<()> {
    if Arc::ptr_eq(target, call.thread.process()) {
        return Ok(());
    }
    let (mine, theirs) = (call.thread.cred(), thread.cred());
    let same_session = signal == Some(Signal::SIGCONT)
        && call.thread.process().session().id == target.session().id;
    if send::may_signal(&mine, &theirs, signal, same_session) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// Sends to one process, found by its number.
pub(super) fn send_to_process(
    call: &Call<'_>,
    process: &Arc<Process>,
    signal: Option<Signal>,
    info: &SigInfo,
) -> Result<()> {
    // A zombie is there, and that is all.
    let Some(leader) = process.leader() else {
        return Ok(());
    };
    check(call, process, &leader, signal)?;
    match signal {
        Some(signal) => send::send(Target::Process(process), signal, info),
        None => Ok(()),
    }
}

/// Sends to all of `processes`: success if one could be reached, else the last error.
fn send_to_all(
    call: &Call<'_>,
    processes: &[Arc<Process>],
    signal: Option<Signal>,
    info: &SigInfo,
) -> Result<()> {
    let mut outcome = Err(Errno::ESRCH);
    for process in processes {
        let sent = send_to_process(call, process, signal, info);
        if outcome.is_err() {
            outcome = sent;
        }
    }
    outcome
}

/// What kill and tkill say about their sender.
pub(super) fn own_info(call: &Call<'_>, signal: Option<Signal>, code: i32) -> SigInfo {
    let uid = call.thread.with_shared(|shared| shared.cred.uid);
    SigInfo::user(
        signal.unwrap_or(Signal::SIGHUP),
        code,
        call.thread.process().pid,
        uid,
    )
}

/// Members of a group, without holding the task list while they are sent to.
fn members(id: Pid) -> Vec<Arc<Process>> {
    let table = table::lock();
    table
        .group(id)
        .map_or(Vec::new(), |group| group.members(&table).to_vec())
}

fn kill(call: &mut Call<'_>) -> SysResult {
    let pid = call.int(0);
    let signal = signal_or_zero(call.int(1))?;
    let info = own_info(call, signal, SI_USER);
    match pid {
        i32::MIN => return Err(Errno::ESRCH.into()),
        -1 => {
            let me = call.thread.process();
            let all: Vec<_> = table::lock()
                .processes()
                .filter(|process| process.pid > 1 && !process.kernel && !Arc::ptr_eq(process, me))
                .cloned()
                .collect();
            send_to_all(call, &all, signal, &info)?;
        }
        group if group <= 0 => {
            let id = if group == 0 {
                call.thread.process().group().id
            } else {
                -group
            };
            send_to_all(call, &members(id), signal, &info)?;
        }
        pid => {
            let process = find_process(pid)?;
            send_to_process(call, &process, signal, &info)?;
        }
    }
    Ok(0)
}

/// The process with number `pid`, or the one that has a thread with that number.
fn find_process(pid: Pid) -> Result<Arc<Process>> {
    let table = table::lock();
    table
        .process(pid)
        .or_else(|| table.thread(pid).map(|t| t.process()))
        .cloned()
        .ok_or(Errno::ESRCH)
}

/// Sends to thread `tid`, of process `tgid` if that is positive.
fn send_to_thread(
    call: &Call<'_>,
    tgid: Pid,
    tid: Pid,
    signal: Option<Signal>,
    info: &SigInfo,
) -> Result<()> {
    let thread = table::lock().thread(tid).cloned().ok_or(Errno::ESRCH)?;
    if tgid > 0 && thread.process().pid != tgid {
        return Err(Errno::ESRCH);
    }
    check(call, thread.process(), &thread, signal)?;
    match signal {
        Some(signal) => send::send(Target::Thread(&thread), signal, info),
        None => Ok(()),
    }
}

fn tkill(call: &mut Call<'_>) -> SysResult {
    let tid = call.int(0);
    let signal = signal_or_zero(call.int(1));
    if tid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let signal = signal?;
    send_to_thread(call, 0, tid, signal, &own_info(call, signal, SI_TKILL))?;
    Ok(0)
}

fn tgkill(call: &mut Call<'_>) -> SysResult {
    let (tgid, tid) = (call.int(0), call.int(1));
    if tgid <= 0 || tid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let signal = signal_or_zero(call.int(2))?;
    send_to_thread(call, tgid, tid, signal, &own_info(call, signal, SI_TKILL))?;
    Ok(0)
}

/// What a program wants to send with `signal` to process `pid`. To others it may not pretend to be the kernel or kill.
pub(super) fn foreign_info(
    call: &Call<'_>,
    at: u64,
    number: i32,
    pid: Pid,
) -> Result<(Option<Signal>, SigInfo)> {
    let bytes = usermem::read::<[u8; SIGINFO_SIZE]>(at)?;
    let mut info = SigInfo::from_bytes(&bytes).ok_or(Errno::E2BIG)?;
    info.signo = number;
    if (info.code >= 0 || info.code == SI_TKILL) && call.thread.process().pid != pid {
        return Err(Errno::EPERM);
    }
    Ok((signal_or_zero(number)?, info))
}

fn rt_sigqueueinfo(call: &mut Call<'_>) -> SysResult {
    let pid = call.int(0);
    let (signal, info) = foreign_info(call, call.arg(2), call.int(1), pid)?;
    let process = find_process(pid)?;
    send_to_process(call, &process, signal, &info)?;
    Ok(0)
}

fn rt_tgsigqueueinfo(call: &mut Call<'_>) -> SysResult {
    let (tgid, tid) = (call.int(0), call.int(1));
    let (signal, info) = foreign_info(call, call.arg(3), call.int(2), tgid)?;
    if tgid <= 0 || tid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    send_to_thread(call, tgid, tid, signal, &info)?;
    Ok(0)
}
