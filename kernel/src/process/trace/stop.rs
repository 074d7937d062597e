//! The tracee's side: stopping, and going on.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::poll_fn;
use core::task::Poll;

use super::regs::{self, FLAG_TRAP, orig_rax};
use super::{Kind, Phase, Stopped, event, option, tell_of_stop};
use crate::arch::user::UserRegs;
use crate::process::thread::{
    STATE_STEP, STATE_STOPPED, STATE_TRACE_CALLS, STATE_TRACE_EVENT, STATE_TRACE_STOP,
    STATE_TRACED, WORK_KILLED, WORK_TRACE,
};
use crate::process::{Thread, exit, table};
use crate::signal::info::SI_USER;
use crate::signal::{SigInfo, Signal, deliver};

/// Why a thread stops: what its tracer is shown.
struct Report {
    kind: Kind,
    code: u32,
    info: Option<SigInfo>,
    message: Option<u64>,
    orig_rax: i64,
}

/// How a stop ended.
enum Outcome {
    /// There was no tracer to stop for, or the thread is to end.
    None,
    /// The tracer let it go on, with this signal (or 0) and what comes with it.
    Resumed(i32, SigInfo),
}

/// Stops `thread` until its tracer lets it go on.
///
/// # Context
/// The thread's own poll; nothing held.
async fn stop(thread: &Arc<Thread>, regs: &mut UserRegs, report: Report) -> Outcome {
    if thread.bits() & STATE_STEP != 0 {
        // That one is the tracer's, not the program's.
        regs.rflags &= !FLAG_TRAP;
        thread.clear_bits(STATE_STEP);
    }
    let uid = thread.with_shared(|shared| shared.cred.uid);
    let info = report
        .info
        .unwrap_or_else(|| SigInfo::user(Signal::SIGTRAP, report.code as i32, thread.tid(), uid));
    let stopped = Box::new(Stopped {
        regs: regs.clone(),
        orig_rax: report.orig_rax,
        bases: thread.machine.bases(),
        fpu: thread.machine.fpu.get(),
        regs_changed: false,
        fpu_changed: false,
        kind: report.kind,
        code: report.code,
        info,
        // Without a word from the tracer it goes on as it would have.
        signal: match (report.kind, report.info) {
            (Kind::Signal, Some(info)) => info.signo,
            _ => 0,
        },
        reported: false,
        listening: false,
    });
    {
        let table = table::lock();
        let tracer = {
            let mut guard = thread.trace.lock();
            let Some(trace) = guard.as_mut() else {
                return Outcome::None;
            };
            let Some(link) = &trace.link else {
                return Outcome::None;
            };
            if thread.bits() & WORK_KILLED != 0 {
                return Outcome::None;
            }
            if let Some(message) = report.message {
                trace.message = message;
            }
            let tracer = link.tracer.process().clone();
            trace.phase = Phase::Stopped(stopped);
            thread.set_bits(STATE_TRACE_STOP);
            tracer
        };
        tell_of_stop(&tracer, thread.tid(), uid, report.code, thread.process());
        drop(table);
    }
    let stopped = poll_fn(|_| wait(thread)).await;
    thread.clear_bits(STATE_TRACE_STOP);
    let Some(mut stopped) = stopped else {
        return Outcome::None;
    };
    go_on(thread, regs, &mut stopped);
    Outcome::Resumed(stopped.signal, stopped.info)
}

/// Whether the tracer has let it go on; `None` if it is to end.
fn wait(thread: &Thread) -> Poll<Option<Box<Stopped>>> {
    let mut tell = None;
    let outcome = {
        let mut guard = thread.trace.lock();
        let Some(trace) = guard.as_mut() else {
            return Poll::Ready(None);
        };
        let ended = thread.bits() & WORK_KILLED != 0;
        match core::mem::replace(&mut trace.phase, Phase::Running) {
            Phase::Resumed(stopped) => Poll::Ready(Some(stopped)),
            _ if ended => Poll::Ready(None),
            Phase::Running => Poll::Ready(None),
            Phase::Stopped(mut stopped) => {
                // A listening tracer hears of the group's going on, or of another interruption.
                if stopped.listening && thread.bits() & WORK_TRACE != 0 {
                    thread.clear_bits(WORK_TRACE | STATE_STOPPED);
                    trace.interrupt = false;
                    stopped.listening = false;
                    stopped.reported = false;
                    stopped.kind = Kind::Event(event::STOP);
                    stopped.code = event::STOP << 8 | Signal::SIGTRAP.number() as u32;
                    tell = trace
                        .link
                        .as_ref()
                        .map(|link| link.tracer.process().clone());
                }
                trace.phase = Phase::Stopped(stopped);
                Poll::Pending
            }
        }
    };
    if let Some(tracer) = tell {
        let table = table::lock();
        let uid = thread.with_shared(|shared| shared.cred.uid);
        let code = Signal::SIGTRAP.number() as u32;
        tell_of_stop(&tracer, thread.tid(), uid, code, thread.process());
        drop(table);
    }
    outcome
}

/// Takes the registers back.
fn go_on(thread: &Arc<Thread>, own: &mut UserRegs, stopped: &mut Stopped) {
    if stopped.regs_changed {
        regs::settle(stopped);
        *own = stopped.regs.clone();
        thread.machine.set_bases(stopped.bases.0, stopped.bases.1);
    }
    if stopped.fpu_changed {
        thread.machine.fpu.set(stopped.fpu.clone());
    }
    if thread.bits() & STATE_STEP != 0 {
        own.rflags |= FLAG_TRAP;
    }
    let mut state = thread.process().signals.lock();
    deliver::refresh(&mut state, thread);
}

/// Stops because of a signal that is about to be delivered; gives what is to be delivered instead.
pub async fn for_signal(
    thread: &Arc<Thread>,
    regs: &mut UserRegs,
    info: SigInfo,
) -> Option<SigInfo> {
    let report = Report {
        kind: Kind::Signal,
        code: info.signo as u32,
        info: Some(info),
        message: None,
        orig_rax: orig_rax(regs),
    };
    match stop(thread, regs, report).await {
        // Nobody traces it any more, so it is delivered as it came.
        Outcome::None => Some(info),
        Outcome::Resumed(signal, info) => signal_to_deliver(thread, signal, info),
    }
}

/// What a tracer that resumes with `signal` lets be delivered; `info` is what the stop was about.
fn signal_to_deliver(thread: &Thread, signal: i32, info: SigInfo) -> Option<SigInfo> {
    let wanted = Signal::new(signal)?;
    if info.signo == signal {
        return Some(info);
    }
    let (pid, uid) = match thread.tracer() {
        Some(tracer) => (tracer.process().pid, tracer.with_shared(|s| s.cred.uid)),
        None => (0, 0),
    };
    Some(SigInfo::user(wanted, SI_USER, pid, uid))
}

/// Stops with its process, which `signal` stopped.
pub async fn for_group(thread: &Arc<Thread>, regs: &mut UserRegs, signal: Signal) {
    let seized = thread.link().is_some_and(|link| link.seized);
    let number = signal.number() as u32;
    let (kind, code) = if seized {
        (Kind::Event(event::STOP), event::STOP << 8 | number)
    } else {
        (Kind::Group, number)
    };
    let report = Report {
        kind,
        code,
        info: None,
        message: Some(0),
        orig_rax: orig_rax(regs),
    };
    stop(thread, regs, report).await;
    // Its tracer decides from here on; without one the process's state does again.
    if thread.bits() & STATE_TRACED != 0 {
        thread.clear_bits(STATE_STOPPED);
    }
}

/// Stops where [`super::interrupt`] asked for it.
pub async fn for_interrupt(thread: &Arc<Thread>, regs: &mut UserRegs) {
    thread.clear_bits(WORK_TRACE);
    let asked = thread
        .trace
        .lock()
        .as_mut()
        .is_some_and(|trace| core::mem::take(&mut trace.interrupt));
    if asked {
        let report = Report {
            kind: Kind::Event(event::STOP),
            code: event::STOP << 8 | Signal::SIGTRAP.number() as u32,
            info: None,
            message: Some(0),
            orig_rax: orig_rax(regs),
        };
        stop(thread, regs, report).await;
    }
}

/// Stops for `event` with `message`, where the tracer asked for it. False if it did not.
pub async fn for_event(
    thread: &Arc<Thread>,
    regs: &mut UserRegs,
    event: u32,
    message: u64,
) -> bool {
    if !thread.wants_event(event) {
        return false;
    }
    let report = Report {
        kind: Kind::Event(event),
        code: event << 8 | Signal::SIGTRAP.number() as u32,
        info: None,
        message: Some(message),
        orig_rax: orig_rax(regs),
    };
    stop(thread, regs, report).await;
    true
}

/// Stops before the end, where the tracer asked for it.
pub async fn for_exit(thread: &Arc<Thread>, regs: &mut UserRegs) {
    // That it ends is what the stop is about; a `SIGKILL` from here on sets it anew.
    thread.clear_bits(WORK_KILLED);
    let word = exit::status_word(thread);
    for_event(thread, regs, event::EXIT, word).await;
    thread.set_bits(WORK_KILLED);
}

/// Stops for the event that the system call under way has left, if it has.
pub async fn for_pending_event(thread: &Arc<Thread>, regs: &mut UserRegs) {
    if thread.bits() & STATE_TRACE_EVENT == 0 {
        return;
    }
    thread.clear_bits(STATE_TRACE_EVENT);
    let event = thread
        .trace
        .lock()
        .as_mut()
        .and_then(|trace| trace.event.take());
    if let Some((event, message)) = event {
        for_event(thread, regs, event, message).await;
    }
}

/// Stops at the entry or the end of system call `number`, where the tracer asked for it.
pub async fn for_call(thread: &Arc<Thread>, regs: &mut UserRegs, kind: Kind, number: i64) {
    if thread.bits() & STATE_TRACE_CALLS == 0 {
        return;
    }
    let good = thread
        .link()
        .is_some_and(|link| link.options & option::SYSGOOD != 0);
    let code = Signal::SIGTRAP.number() as u32 | if good { 0x80 } else { 0 };
    let report = Report {
        kind,
        code,
        info: None,
        message: Some(if kind == Kind::Enter { 1 } else { 2 }),
        orig_rax: number,
    };
    if let Outcome::Resumed(signal @ 1.., info) = stop(thread, regs, report).await
        && let Some(info) = signal_to_deliver(thread, signal, info)
        && let Some(signal) = Signal::new(info.signo)
    {
        // As if it had been sent: it is looked at on the way to user mode.
        let target = crate::signal::send::Target::Thread(thread);
        let _ = crate::signal::send::send(target, signal, &info);
    }
}
