//! Job control: stopping and continuing processes, and telling their parents.

use alloc::sync::Arc;

use super::action::SA_NOCLDSTOP;
use super::info::SigInfo;
use super::send::{self, Target};
use super::state::SignalState;
use super::{SigSet, Signal};
use crate::process::thread::{STATE_STOPPED, STATE_TRACE_STOP, WORK_SIGNAL, WORK_STOP, WORK_TRACE};
use crate::process::{Change, Process, Thread, table};

/// What sending `signal` does before anybody looks at it: a stop takes back a pending continue, and the other way round;
/// `SIGCONT` sets a stopped process going even where it is blocked or ignored.
pub(super) fn prepare(state: &mut SignalState, signal: Signal) -> send::Followup {
    if state.exit.is_some() {
        return send::Followup::None;
    }
    if SigSet::STOP.contains(signal) {
        flush(state, Signal::SIGCONT.set());
    } else if signal == Signal::SIGCONT {
        flush(state, SigSet::STOP);
        return resume(state);
    }
    send::Followup::None
}

/// Drops pending signals of `set` from all queues of the process.
pub(crate) fn flush(state: &mut SignalState, set: SigSet) {
    state.shared.flush(set);
    let SignalState { token, threads, .. } = state;
    for thread in threads {
        thread.signals.get_mut(token).pending.flush(set);
    }
}

fn resume(state: &mut SignalState) -> send::Followup {
    let stopped = state.stop.stopped;
    let stopping = state.stop.signal.is_some();
    state.stop.signal = None;
    state.stop.remaining = 0;
    state.stop.stopped = false;
    state.stop.continued = true;
    for thread in &state.threads {
        thread.clear_bits(WORK_STOP);
        if thread.bits() & STATE_TRACE_STOP != 0 && (stopped || stopping) {
            // A tracer that listens hears of it.
            thread.set_bits(WORK_TRACE);
            thread.wake();
        }
        if thread.bits() & STATE_STOPPED != 0 {
            thread.clear_bits(STATE_STOPPED);
            // It looks again at what is pending before it goes on.
            thread.set_bits(WORK_SIGNAL);
            thread.wake();
        }
    }
    if stopped || stopping {
        // A stop that was still under way never finished, but the parent is told of a continue all the same.
        send::set_report(state, Change::Continued);
        return send::Followup::TellParent;
    }
    send::Followup::None
}

/// Starts a stop of the process because of `signal`, with `thread`, which took it, stopping first. Answers whether that
/// was the last thread, so that the parent is to be told.
pub(super) fn begin_stop(state: &mut SignalState, thread: &Thread, signal: Signal) -> bool {
    if state.stop.signal.is_none() {
        state.stop.signal = Some(signal);
        state.stop.remaining = 0;
        for other in &state.threads {
            if other.bits() & STATE_STOPPED == 0 {
                state.stop.remaining += 1;
                other.set_bits(WORK_STOP | WORK_SIGNAL);
                if !core::ptr::eq(Arc::as_ptr(other), thread) {
                    other.wake();
                }
            }
        }
    }
    take_part(state, thread)
}

/// `thread` stops, as its process is stopping. Answers whether it was the last one.
pub(super) fn take_part(state: &mut SignalState, thread: &Thread) -> bool {
    thread.clear_bits(WORK_STOP);
    let Some(signal) = state.stop.signal else {
        return false;
    };
    thread.set_bits(STATE_STOPPED);
    finish_one(state, signal)
}

/// A thread that was to stop has stopped or left.
fn finish_one(state: &mut SignalState, signal: Signal) -> bool {
    state.stop.remaining = state.stop.remaining.saturating_sub(1);
    let last = state.stop.remaining == 0 && !state.stop.stopped;
    if last {
        state.stop.stopped = true;
        send::set_report(state, Change::Stopped(signal));
    }
    last
}

/// A thread ends while its process may be stopping. Answers whether the others have all stopped now.
pub(crate) fn thread_left(state: &mut SignalState, thread: &Thread) -> bool {
    let pending = thread.bits() & WORK_STOP != 0;
    thread.clear_bits(WORK_STOP);
    match state.stop.signal {
        Some(signal) if pending && !state.threads.is_empty() => finish_one(state, signal),
        _ => false,
    }
}

/// Tells the parent that `child` stopped or continued, whichever is news.
///
/// # Context
/// Task; takes the task list and signal locks, one after the other.
pub fn tell_parent(child: &Arc<Process>) {
    let table = table::lock();
    let Some(parent) = child.family(&table).parent.clone() else {
        return;
    };
    let Some(change) = child.signals.lock().stop.report else {
        return;
    };
    let (code, status) = change.code_and_status();
    let quiet = {
        let state = parent.signals.lock();
        let action = *state.sighand.actions.lock().get(Signal::SIGCHLD);
        action.handler == super::action::SIG_IGN || action.flags & SA_NOCLDSTOP != 0
    };
    if !quiet {
        let uid = child.leader().map_or(0, |leader| leader.cred().uid);
        let (user, system) = child.ticks();
        let info = SigInfo::child(Signal::SIGCHLD, code, child.pid, uid, status, user, system);
        // `SIGCHLD` continues nobody, so nothing is left to do.
        let _ = send::send_locked(Target::Process(&parent), Signal::SIGCHLD, &info);
    }
    parent.child_wait.wake_all();
}
