//! Generation: how a signal gets to a process or a thread.
//!
//! Everything here is called in tasks, with no signal lock held. [`send`] may tell the parent of a continued process, so
//! the task list is not held either; [`send_locked`] leaves that to its caller and may be used under the task list.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use fs::{Cap, Credentials, Errno};

use super::info::{SI_KERNEL, SI_TIMER, SI_USER};
use super::pending::{self, Pushed};
use super::state::SignalState;
use super::{DefaultAction, SigAction, SigInfo, SigSet, Signal, job};
use crate::process::rlimit::Resource;
use crate::process::thread::{
    STATE_EXITING, STATE_STOPPED, STATE_TRACE_STOP, STATE_TRACED, WORK_KILLED, WORK_SIGNAL,
    WORK_STOP,
};
use crate::process::user::User;
use crate::process::{Change, ExitStatus, Process, Thread};

/// Whom a signal is for.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// Any thread of a process.
    Process(&'a Arc<Process>),
    /// One thread.
    Thread(&'a Arc<Thread>),
}

impl<'a> Target<'a> {
    fn process(self) -> &'a Arc<Process> {
        match self {
            Target::Process(process) => process,
            Target::Thread(thread) => thread.process(),
        }
    }
}

/// What is left to do once the task list is free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Followup {
    /// Nothing.
    None,
    /// [`job::tell_parent`] for this process.
    TellParent,
}

/// Sends `signal` with `info`.
///
/// # Context
/// Task; takes the signal lock, and the task list where the process goes on because of it.
/// # Errors
/// `EAGAIN` if a real-time signal with information cannot be queued.
pub fn send(target: Target<'_>, signal: Signal, info: &SigInfo) -> Result<(), Errno> {
    if send_locked(target, signal, info)? == Followup::TellParent {
        job::tell_parent(target.process());
    }
    Ok(())
}

/// Sends `signal` to a process in the kernel's name.
pub fn send_kernel(process: &Arc<Process>, signal: Signal) {
    let _ = send(Target::Process(process), signal, &SigInfo::kernel(signal));
}

/// Sends `signal` to the thread that runs, in its own name: what a system call of its own brings on it.
pub fn send_to_self(thread: &Arc<Thread>, signal: Signal) {
    let _ = send(Target::Thread(thread), signal, &SigInfo::kernel(signal));
}

/// As [`send`], also with the task list held.
pub fn send_locked(target: Target<'_>, signal: Signal, info: &SigInfo) -> Result<Followup, Errno> {
    let process = target.process();
    // Both are dropped after the lock: they may free memory.
    let mut account = None;
    let mut store = None;
    let mut state = process.signals.lock();
    let Some(first) = state.threads.first().cloned() else {
        return Ok(Followup::None);
    };
    let thread = match target {
        Target::Process(_) => &first,
        Target::Thread(thread) => thread,
    };
    let followup = job::prepare(&mut state, signal);
    if state.exit.is_some() && signal == Signal::SIGKILL {
        // Threads that wait for their tracers before they end wait no longer.
        for thread in &state.threads {
            thread.set_bits(WORK_KILLED);
            thread.wake();
        }
    }
    if state.exit.is_some() || is_ignored(&mut state, thread, signal, info.code == SI_KERNEL) {
        return Ok(followup);
    }
    let wants = queue(&mut state, target).wants();
    if wants > 0 && signal != Signal::SIGKILL {
        drop(state);
        store = pending::store(wants);
        state = process.signals.lock();
        if state.threads.is_empty() || state.exit.is_some() {
            return Ok(followup);
        }
    }
    if let Some(new) = store.take() {
        store = Some(queue(&mut state, target).grow(new));
    }
    if signal != Signal::SIGKILL {
        account = account_of(process, thread, signal, info);
    }
    let must_queue = signal.is_realtime() && info.code != SI_USER && info.code != SI_KERNEL;
    let pushed = match signal {
        Signal::SIGKILL => {
            queue(&mut state, target).push_bare(signal);
            Pushed::Queued
        }
        _ => queue(&mut state, target).push(signal, info, &mut account, must_queue),
    };
    match pushed {
        Pushed::Merged => return Ok(followup),
        Pushed::Refused => return Err(Errno::EAGAIN),
        Pushed::Queued | Pushed::WithoutInfo => {}
    }
    complete(&mut state, target, signal);
    drop(state);
    process.signal_wait.wake_all();
    drop((account, store));
    Ok(followup)
}

/// Keeps a slot in the queue of `target` for a timer.
///
/// # Errors
/// `EAGAIN` if there is no memory for it.
pub fn reserve(target: Target<'_>) -> Result<(), Errno> {
    let mut store: Option<pending::Store> = None;
    loop {
        let mut state = target.process().signals.lock();
        let queue = queue(&mut state, target);
        let retired = store.take().map(|new| queue.grow(new));
        let done = queue.reserve();
        let wants = queue.wants();
        drop(state);
        // Freed only now that nothing is locked.
        drop(retired);
        if done {
            return Ok(());
        }
        store = Some(pending::store(wants).ok_or(Errno::EAGAIN)?);
    }
}

/// Gives back the slot of timer `id`, and takes its signal out of the queue.
pub fn unreserve(target: Target<'_>, id: i32) {
    let mut state = target.process().signals.lock();
    queue(&mut state, target).unreserve(|info| info.code == SI_TIMER && info.pid() == id);
}

/// Sends the signal of timer `id`, which has expired `passed` times and holds a reserved slot. While an earlier one is
/// still queued, that one counts for all.
///
/// # Context
/// Task; takes the signal lock. Does not allocate.
pub fn send_timer(target: Target<'_>, signal: Signal, id: i32, value: u64, passed: u64) {
    let process = target.process();
    let mut state = process.signals.lock();
    let Some(first) = state.threads.first().cloned() else {
        return;
    };
    let thread = match target {
        Target::Process(_) => &first,
        Target::Thread(thread) => thread,
    };
    let followup = job::prepare(&mut state, signal);
    if state.exit.is_none() && !is_ignored(&mut state, thread, signal, false) {
        let passed = i32::try_from(passed).unwrap_or(i32::MAX);
        let queue = queue(&mut state, target);
        let more = |info: &mut SigInfo| {
            let overrun = ((info.fields[0] >> 32) as i32).saturating_add(passed);
            *info = SigInfo::timer(signal, id, overrun, value);
        };
        let queued = queue.update(|info| info.code == SI_TIMER && info.pid() == id, more);
        let merged = !signal.is_realtime() && queue.set().contains(signal);
        if !queued && !merged {
            queue.push_reserved(signal, &SigInfo::timer(signal, id, passed - 1, value));
            complete(&mut state, target, signal);
        }
    }
    drop(state);
    process.signal_wait.wake_all();
    if followup == Followup::TellParent {
        job::tell_parent(process);
    }
}

/// The queue that signals for `target` go to.
fn queue<'a>(state: &'a mut SignalState, target: Target<'a>) -> &'a mut super::Pending {
    match target {
        Target::Process(_) => &mut state.shared,
        Target::Thread(thread) => &mut thread.signals.get_mut(&mut state.token).pending,
    }
}

/// Whose `RLIMIT_SIGPENDING` pays for the entry; `None` if the limit is reached. Standard signals from the kernel or
/// from kill(2) are let through.
fn account_of(
    process: &Process,
    thread: &Thread,
    signal: Signal,
    info: &SigInfo,
) -> Option<Arc<User>> {
    let user = thread.with_shared(|shared| shared.user.clone());
    let beyond = !signal.is_realtime() && info.code >= 0;
    let limit = process.limit(Resource::SigPending);
    (beyond || u64::from(user.sigpending.load(Ordering::Relaxed)) < limit).then_some(user)
}

/// Whether `signal`, sent to a process of which `thread` is a thread, would do nothing. A blocked signal never is: it may
/// get a handler before it is unblocked. Nor is one of a traced thread: its tracer is to see it.
fn is_ignored(state: &mut SignalState, thread: &Thread, signal: Signal, from_kernel: bool) -> bool {
    let traced = thread.bits() & STATE_TRACED != 0 && signal != Signal::SIGKILL;
    if traced || thread.signals.get(&state.token).blocked.contains(signal) {
        return false;
    }
    let action = *state.sighand.actions.lock().get(signal);
    if state.unkillable
        && !action.is_handler()
        && !(from_kernel && SigSet::UNBLOCKABLE.contains(signal))
    {
        return true;
    }
    action.ignores(signal)
}

/// Finds a thread that takes `signal`, just queued, and wakes it; starts the end of the process if that is what the
/// signal means.
fn complete(state: &mut SignalState, target: Target<'_>, signal: Signal) {
    let Some(thread) = choose(state, target, signal) else {
        return;
    };
    let action = *state.sighand.actions.lock().get(signal);
    let blocked = thread.signals.get(&state.token).blocked.contains(signal);
    let fatal = action.handler == super::action::SIG_DFL
        && matches!(signal.default_action(), DefaultAction::Terminate)
        && !(state.unkillable && signal != Signal::SIGKILL)
        // A tracer looks at it first.
        && (signal == Signal::SIGKILL || thread.bits() & STATE_TRACED == 0)
        && !blocked;
    if fatal {
        begin_exit(
            state,
            ExitStatus::Signalled {
                signal,
                core: false,
            },
        );
    } else {
        thread.set_bits(WORK_SIGNAL);
        thread.wake();
    }
}

/// The thread that is to take `signal`: the one it is for, or the first, or the next in turn that does not block it.
fn choose(state: &mut SignalState, target: Target<'_>, signal: Signal) -> Option<Arc<Thread>> {
    if let Target::Thread(thread) = target {
        return wants(state, thread, signal).then(|| thread.clone());
    }
    let first = state.threads.first()?;
    if wants(state, first, signal) {
        return Some(first.clone());
    }
    let count = state.threads.len();
    let at = (0..count)
        .map(|i| (state.next_target + i) % count)
        .find(|i| wants(state, &state.threads[*i], signal))?;
    state.next_target = at;
    Some(state.threads[at].clone())
}

/// `thread` blocks `newly` from now on: the process's signals among them go to other threads.
pub(super) fn retarget(state: &mut SignalState, thread: &Thread, newly: SigSet) {
    let mut left = state.shared.set() & newly;
    while let Some(signal) = left.next() {
        left.remove(signal);
        let other = state.threads.iter().find(|other| {
            !core::ptr::eq(Arc::as_ptr(other), thread) && wants(state, other, signal)
        });
        if let Some(other) = other {
            other.set_bits(WORK_SIGNAL);
            other.wake();
        }
    }
}

/// Whether `thread` is one to take `signal` now.
fn wants(state: &SignalState, thread: &Thread, signal: Signal) -> bool {
    let signals = thread.signals.get(&state.token);
    let bits = thread.bits();
    if signals.blocked.without(signals.awaited).contains(signal) || bits & STATE_EXITING != 0 {
        return false;
    }
    signal == Signal::SIGKILL || bits & (STATE_STOPPED | STATE_TRACE_STOP) == 0
}

/// Makes all threads of the process leave; the first reason given stands.
pub fn begin_exit(state: &mut SignalState, status: ExitStatus) {
    state.exit.get_or_insert(status);
    state.stop.signal = None;
    state.stop.remaining = 0;
    state.stop.stopped = false;
    for thread in &state.threads {
        thread.clear_bits(STATE_STOPPED | WORK_STOP);
        thread.set_bits(WORK_SIGNAL | WORK_KILLED);
        thread.wake();
    }
}

/// Raises `signal` in `thread` in a way that it can neither block nor ignore: what its own instructions do to it.
///
/// # Context
/// Task; takes the signal lock.
pub fn force(thread: &Arc<Thread>, signal: Signal, info: &SigInfo) {
    {
        let mut state = thread.process().signals.lock();
        let signals = thread.signals.get_mut(&mut state.token);
        let blocked = signals.blocked.contains(signal);
        signals.blocked.remove(signal);
        let sighand = state.sighand.clone();
        let mut actions = sighand.actions.lock();
        let action = actions.get_mut(signal);
        if blocked || action.handler == super::action::SIG_IGN {
            action.handler = super::action::SIG_DFL;
        }
        if action.handler == super::action::SIG_DFL {
            state.unkillable = false;
        }
    }
    let _ = send(Target::Thread(thread), signal, info);
}

/// Ends `thread`'s process by `signal` whatever it has set up for it.
pub fn force_fatal(thread: &Arc<Thread>, signal: Signal) {
    force_end(thread, signal, &SigInfo::kernel(signal));
}

/// Ends `thread`'s process by `signal` with `info`, which says why, whatever it has set up for it.
pub fn force_end(thread: &Arc<Thread>, signal: Signal, info: &SigInfo) {
    {
        let state = thread.process().signals.lock();
        *state.sighand.actions.lock().get_mut(signal) = SigAction::default();
    }
    force(thread, signal, info);
}

/// Whether a process with credentials `sender` may send `signal` to `target`.
///
/// Source: kill(2).
pub fn may_signal(
    sender: &Credentials,
    target: &Credentials,
    signal: Option<Signal>,
    same_session: bool,
) -> bool {
    sender.euid == target.suid
        || sender.euid == target.uid
        || sender.uid == target.suid
        || sender.uid == target.uid
        || sender.capable(Cap::Kill)
        || signal == Some(Signal::SIGCONT) && same_session
}

/// The change of state to report to a parent, for [`job`].
pub(super) fn set_report(state: &mut SignalState, change: Change) {
    state.stop.report = Some(change);
}
