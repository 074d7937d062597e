//! Tracing: one thread watches and changes another.
//!
//! The tracee stops itself ([`stop`]): it hands a copy of its registers over, and waits until that comes back, perhaps
//! changed. So a tracer never touches what the tracee's own poll owns; it works on the copy ([`Stopped`]).
//!
//! Who traces whom is linked under the task list: [`Trace::link`] of the tracee, and the list of tracees in the
//! tracer's process. A thread's `trace` lock is innermost: it may be taken under the task list and signal locks.
//!
//! Source: ptrace(2).

pub mod regs;
pub mod stop;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use fs::Errno;

use super::table::TaskTable;
use super::thread::{STATE_STEP, STATE_TRACE_CALLS, STATE_TRACED, WORK_SIGNAL, WORK_TRACE};
use super::{ExitStatus, Pid, Process, Thread};
use crate::arch::fpu::FpuArea;
use crate::arch::user::UserRegs;
use crate::signal::action::{SA_NOCLDSTOP, SA_NOCLDWAIT, SIG_IGN};
use crate::signal::info::CLD_TRAPPED;
use crate::signal::send::{self, Target};
use crate::signal::{SigInfo, Signal};

/// `PTRACE_O_*`.
#[expect(missing_docs, reason = "the names are ptrace's")]
pub mod option {
    pub const SYSGOOD: u32 = 1;
    pub const FORK: u32 = 1 << super::event::FORK;
    pub const VFORK: u32 = 1 << super::event::VFORK;
    pub const CLONE: u32 = 1 << super::event::CLONE;
    pub const EXEC: u32 = 1 << super::event::EXEC;
    pub const VFORK_DONE: u32 = 1 << super::event::VFORK_DONE;
    pub const EXIT: u32 = 1 << super::event::EXIT;
    pub const SECCOMP: u32 = 1 << super::event::SECCOMP;
    pub const EXITKILL: u32 = 1 << 20;
    pub const ALL: u32 = 0xff | EXITKILL;
}

/// `PTRACE_EVENT_*`.
#[expect(missing_docs, reason = "the names are ptrace's")]
pub mod event {
    pub const FORK: u32 = 1;
    pub const VFORK: u32 = 2;
    pub const CLONE: u32 = 3;
    pub const EXEC: u32 = 4;
    pub const VFORK_DONE: u32 = 5;
    pub const EXIT: u32 = 6;
    pub const SECCOMP: u32 = 7;
    pub const STOP: u32 = 128;
}

/// Who traces a thread, and how.
#[derive(Clone)]
pub struct Link {
    /// The tracer.
    pub tracer: Arc<Thread>,
    /// By `PTRACE_SEIZE`.
    pub seized: bool,
    /// `PTRACE_O_*`.
    pub options: u32,
}

/// What a thread stopped for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A signal is about to be delivered.
    Signal,
    /// It enters a system call.
    Enter,
    /// It leaves a system call.
    Exit,
    /// `PTRACE_EVENT_*`.
    Event(u32),
    /// Its process is stopped.
    Group,
}

/// A stopped tracee's state, which its tracer reads and changes.
pub struct Stopped {
    /// General registers.
    pub regs: UserRegs,
    /// The number of the system call, or -1: `orig_rax`.
    pub orig_rax: i64,
    /// Bases of FS and GS.
    pub bases: (u64, u64),
    /// Vector registers.
    pub fpu: FpuArea,
    /// General registers were changed.
    pub regs_changed: bool,
    /// Vector registers were changed.
    pub fpu_changed: bool,
    /// What it stopped for.
    pub kind: Kind,
    /// The status word, shifted right by eight.
    pub code: u32,
    /// What `PTRACE_GETSIGINFO` gives.
    pub info: SigInfo,
    /// The signal to be delivered when it goes on, or 0.
    pub signal: i32,
    /// The tracer has been told.
    pub reported: bool,
    /// `PTRACE_LISTEN`: a new event of the group is reported.
    pub listening: bool,
}

/// Whether the copy of the registers is with the tracer.
pub enum Phase {
    /// The tracee runs.
    Running,
    /// The tracee waits.
    Stopped(Box<Stopped>),
    /// The tracee is to take its registers back and go on.
    Resumed(Box<Stopped>),
}

/// A thread's side of being traced.
pub struct Trace {
    /// The tracer, if there is one.
    pub link: Option<Link>,
    /// Stopped or not.
    pub phase: Phase,
    /// What `PTRACE_GETEVENTMSG` gives.
    pub message: u64,
    /// A stop without a reason of its own is to come: `PTRACE_INTERRUPT`, or the start of a seized child.
    pub interrupt: bool,
    /// An event to report at the end of the system call under way, and its message.
    pub event: Option<(u32, u64)>,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trace(..)")
    }
}

/// A traced thread or process that has ended and that its tracer has yet to wait for.
#[derive(Debug)]
pub struct Departed {
    /// Its number.
    pub tid: Pid,
    /// Its real user id.
    pub uid: u32,
    /// How it ended.
    pub status: ExitStatus,
    /// The process, of which the parent is told once the tracer has been.
    pub process: Option<Arc<Process>>,
}

impl Thread {
    /// Who traces it.
    pub fn tracer(&self) -> Option<Arc<Thread>> {
        self.link().map(|link| link.tracer)
    }

    /// Who traces it, and how.
    pub fn link(&self) -> Option<Link> {
        self.trace.lock().as_ref()?.link.clone()
    }

    /// Calls `f` with the stopped state; `None` where it is not in a stop that its tracer knows of.
    pub fn with_stopped<R>(&self, f: impl FnOnce(&mut Stopped) -> R) -> Option<R> {
        match &mut self.trace.lock().as_mut()?.phase {
            Phase::Stopped(stopped) => Some(f(stopped)),
            _ => None,
        }
    }

    /// Whether its tracer asked to be told of `event`.
    pub fn wants_event(&self, event: u32) -> bool {
        self.bits() & STATE_TRACED != 0
            && self
                .link()
                .is_some_and(|link| link.options & 1 << event != 0)
    }
}

/// Lets `tracer` trace `tracee`.
///
/// # Errors
/// `EPERM` if somebody does already; `ENOMEM`.
pub fn link(table: &mut TaskTable, tracee: &Arc<Thread>, link: Link) -> Result<(), Errno> {
    let tracees = &mut link.tracer.process().clone();
    let tracees = &mut tracees.family_mut(table).tracees;
    tracees.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
    let fresh = Box::new(Trace {
        link: None,
        phase: Phase::Running,
        message: 0,
        interrupt: false,
        event: None,
    });
    let mut spare = Some(fresh);
    {
        let mut trace = tracee.trace.lock();
        if trace.is_none() {
            *trace = spare.take();
        }
        let Some(trace) = trace.as_mut() else {
            return Err(Errno::ENOMEM);
        };
        if trace.link.is_some() {
            return Err(Errno::EPERM);
        }
        trace.link = Some(link);
        trace.event = None;
        trace.interrupt = false;
        tracee.set_bits(STATE_TRACED);
    }
    tracees.push(tracee.clone());
    Ok(())
}

/// Ends the tracing of `tracee`, which goes on where it is stopped. Answers who traced it.
pub fn unlink(table: &mut TaskTable, tracee: &Arc<Thread>) -> Option<Link> {
    let link = {
        let mut guard = tracee.trace.lock();
        let trace = guard.as_mut()?;
        let link = trace.link.take()?;
        trace.interrupt = false;
        trace.event = None;
        if let Phase::Stopped(stopped) = core::mem::replace(&mut trace.phase, Phase::Running) {
            trace.phase = Phase::Resumed(stopped);
        }
        tracee.clear_bits(STATE_TRACED | STATE_TRACE_CALLS | STATE_STEP);
        link
    };
    let process = link.tracer.process().clone();
    let tracees = &mut process.family_mut(table).tracees;
    tracees.retain(|other| !Arc::ptr_eq(other, tracee));
    // It looks at its signals, and whether its process is stopped.
    tracee.set_bits(WORK_SIGNAL);
    tracee.wake();
    Some(link)
}

/// The tracer of `parent` traces `child`, which has not run yet, as well: where `event` is one that it asked for.
pub fn inherit(
    table: &mut TaskTable,
    parent: &Thread,
    child: &Arc<Thread>,
    event: u32,
    wanted: bool,
) -> Result<(), Errno> {
    let Some(of_parent) = parent.link() else {
        return Ok(());
    };
    let asked = of_parent.options & 1 << event != 0;
    if !asked && !wanted {
        return Ok(());
    }
    let seized = of_parent.seized;
    link(table, child, of_parent)?;
    if seized {
        interrupt(child);
    } else {
        let state = &mut *child.process().signals.lock();
        let pending = &mut child.signals.get_mut(&mut state.token).pending;
        pending.push_bare(Signal::SIGSTOP);
        child.set_bits(WORK_SIGNAL);
    }
    if asked && let Some(trace) = parent.trace.lock().as_mut() {
        trace.event = Some((event, child.tid() as u64));
        parent.set_bits(super::thread::STATE_TRACE_EVENT);
    }
    Ok(())
}

/// Makes `tracee` stop as soon as it can.
pub fn interrupt(tracee: &Thread) {
    if let Some(trace) = tracee.trace.lock().as_mut() {
        trace.interrupt = true;
    }
    tracee.set_bits(WORK_TRACE);
    tracee.wake();
}

/// Tells `tracer` that thread `tid` of user `uid` has stopped.
pub(super) fn tell_of_stop(
    tracer: &Arc<Process>,
    tid: Pid,
    uid: u32,
    code: u32,
    process: &Process,
) {
    let action = {
        let state = tracer.signals.lock();
        *state.sighand.actions.lock().get(Signal::SIGCHLD)
    };
    if action.handler != SIG_IGN && action.flags & SA_NOCLDSTOP == 0 {
        let (user, system) = process.ticks();
        let status = (code & 0x7f) as i32;
        let info = SigInfo::child(Signal::SIGCHLD, CLD_TRAPPED, tid, uid, status, user, system);
        // `SIGCHLD` continues nobody, so nothing is left to do.
        let _ = send::send_locked(Target::Process(tracer), Signal::SIGCHLD, &info);
    }
    tracer.child_wait.wake_all();
}

/// `thread` ends. A tracer is told of the end of a thread that is not its process's first; the first one's is told with
/// the end of the process.
pub(super) fn thread_ends(table: &mut TaskTable, thread: &Arc<Thread>, status: ExitStatus) {
    let Some(link) = unlink(table, thread) else {
        return;
    };
    let tracer = link.tracer.process().clone();
    let process = thread.process();
    if thread.tid() == process.pid {
        process.family_mut(table).tracer = Some(tracer);
        return;
    }
    let departed = Departed {
        tid: thread.tid(),
        uid: thread.with_shared(|shared| shared.cred.uid),
        status,
        process: None,
    };
    // One that does not care is not told.
    let _ = depart(table, &tracer, departed);
}

/// Leaves word of an end with `tracer`. False if it would not take it.
pub(super) fn depart(table: &mut TaskTable, tracer: &Arc<Process>, departed: Departed) -> bool {
    let action = {
        let state = tracer.signals.lock();
        *state.sighand.actions.lock().get(Signal::SIGCHLD)
    };
    let alive = tracer.leader().is_some();
    let unwanted = action.handler == SIG_IGN || action.flags & SA_NOCLDWAIT != 0;
    let list = &mut tracer.family_mut(table).departed;
    if !alive || unwanted || list.try_reserve(1).is_err() {
        return false;
    }
    let (code, value) = super::Change::Ended(departed.status).code_and_status();
    let info = SigInfo::child(
        Signal::SIGCHLD,
        code,
        departed.tid,
        departed.uid,
        value,
        0,
        0,
    );
    list.push(departed);
    let _ = send::send_locked(Target::Process(tracer), Signal::SIGCHLD, &info);
    tracer.child_wait.wake_all();
    true
}

/// `tracer` ends: what it traces goes on without it, or is killed where it asked for that. Processes of which word was left
/// with it are given back, their parents being next.
pub(super) fn tracer_ends(
    table: &mut TaskTable,
    tracer: &Arc<Thread>,
    last: bool,
) -> Vec<Arc<Process>> {
    let process = tracer.process().clone();
    let tracees = process.family(table).tracees.clone();
    for tracee in tracees {
        let Some(link) = tracee.link() else { continue };
        if !Arc::ptr_eq(&link.tracer, tracer) {
            continue;
        }
        unlink(table, &tracee);
        if link.options & option::EXITKILL != 0 {
            let _ = send::send_locked(
                Target::Thread(&tracee),
                Signal::SIGKILL,
                &SigInfo::kernel(Signal::SIGKILL),
            );
        }
    }
    if !last {
        return Vec::new();
    }
    let departed = core::mem::take(&mut process.family_mut(table).departed);
    departed.into_iter().filter_map(|d| d.process).collect()
}
