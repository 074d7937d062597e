//! The end of threads and processes.
//!
//! A thread ends itself: its loop is told by `WORK_KILLED` and calls [`finish`]. The last one of a process ends that, too:
//! children find a new parent, the parent is told, and what is left is a zombie until it is waited for.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use super::family::Life;
use super::table::{self, TaskTable};
use super::thread::STATE_EXITING;
use super::trace::{self, Departed};
use super::{Change, ExitStatus, Process, Thread, session};
use crate::cgroup;
use crate::futex;
use crate::ipc;
use crate::signal::action::{SA_NOCLDWAIT, SIG_IGN};
use crate::signal::send::{self, Followup, Target};
use crate::signal::{SigInfo, Signal, job};

/// Ends `thread`: the last thing its future does.
///
/// # Context
/// The thread's own future; nothing held.
pub async fn finish(thread: &Arc<Thread>) {
    let process = thread.process().clone();
    thread.set_bits(STATE_EXITING);
    futex::thread_exit(thread);
    if let Some(vfork) = thread.vfork.lock().take() {
        vfork.complete();
    }
    // Closing files may take a while; it is done before anybody is told.
    let (files, context) = thread.with_shared(|shared| (shared.files.take(), shared.fs.take()));
    if let Some(files) = files.and_then(Arc::into_inner) {
        files.close_range(0, u32::MAX, |file| {
            let _ = crate::syscall::fd::close_file(file, files.id());
        });
    }
    drop(context);
    ipc::sem::undo::leave(thread);
    if let Some(space) = process.mm() {
        let peak = space.stats().rss_peak * (crate::mm::PAGE_SIZE as u64 / 1024);
        let mut accounts = process.accounts.lock();
        accounts.threads.max_rss_kib = accounts.threads.max_rss_kib.max(peak);
    }
    thread.leave_deadline();
    cgroup::leave(thread);
    let task = thread.task().expect("a thread that runs has a task");
    task.set_tag(core::ptr::null_mut());
    crate::task::leave_space();
    if process.pid == 1 && process.live.load(Ordering::Acquire) == 1 {
        // The machine panics below; what init wrote last, often why, is shown first.
        crate::tty::serial::drain().await;
    }
    if process.live.fetch_sub(1, Ordering::AcqRel) == 1 {
        // The leader's terminal is told before the task list is taken, which it needs itself.
        let session = process.session();
        if session.id == process.pid {
            match session.set_terminal(None) {
                Some(terminal) => terminal.disassociate(&session),
                None => session::tell_last_foreground(&session),
            }
        }
        drop(process.replace_mm(None));
        // Whoever waits for the end may write to the program at once.
        let exe = process.image.lock().exe.take();
        drop(exe);
        process.timers.end();
    }
    leave(&process, thread);
}

/// Undoes the making of a thread that never ran.
pub(super) fn abandon(thread: &Arc<Thread>) {
    let process = thread.process().clone();
    cgroup::leave(thread);
    drop(thread.with_shared(|shared| (shared.files.take(), shared.fs.take())));
    let alone = process.live.fetch_sub(1, Ordering::AcqRel) == 1;
    if alone {
        drop(process.replace_mm(None));
        // The parent never learns of it.
        process.family_mut(&mut table::lock()).exit_signal = None;
    }
    leave(&process, thread);
    if alone {
        release(&mut table::lock(), &process);
    }
}

/// Takes `thread` out of its process, and ends the process if it was the last.
fn leave(process: &Arc<Process>, thread: &Arc<Thread>) {
    let mut news = Vec::new();
    // Dropped after the locks.
    let mut gone: Vec<Arc<Process>> = Vec::new();
    {
        let mut table = table::lock();
        let (last, all_stopped) = {
            let mut state = process.signals.lock();
            state.threads.retain(|other| !Arc::ptr_eq(other, thread));
            process.accounts.lock().threads.add(thread);
            if thread.tid() == process.pid {
                state.leader_code = thread.exit_code();
            }
            (
                state.threads.is_empty(),
                job::thread_left(&mut state, thread),
            )
        };
        end_tracing(&mut table, process, thread, last, &mut gone);
        if all_stopped {
            news.push(process.clone());
        }
        let uid = thread.with_shared(|shared| {
            shared.user.processes.fetch_sub(1, Ordering::Relaxed);
            shared.cred.uid
        });
        process.last_uid.store(uid, Ordering::Relaxed);
        *process.last_comm.lock() = thread.comm();
        pass_on_children(&mut table, process, thread, last, &mut news, &mut gone);
        if last {
            end_process(&mut table, process, thread, &mut news, &mut gone);
        }
        table.remove_thread(thread.tid());
    }
    process.thread_left.wake_all();
    session::tell_all(news);
    drop(gone);
}

/// Children of a thread that ends go to another thread, or, when the process ends, to another process. Those that asked for
/// it get their signal.
fn pass_on_children(
    table: &mut TaskTable,
    process: &Arc<Process>,
    thread: &Thread,
    last: bool,
    news: &mut Vec<Arc<Process>>,
    gone: &mut Vec<Arc<Process>>,
) {
    if process.family(table).children.is_empty() {
        return;
    }
    let children = if last {
        core::mem::take(&mut process.family_mut(table).children)
    } else {
        process.family(table).children.clone()
    };
    let heir = if last {
        Some(reaper(table, process))
    } else {
        None
    };
    let sibling = process.leader().map_or(process.pid, |first| first.tid());
    for child in children {
        let made_by_it = child.family(table).parent_tid == thread.tid() || last;
        if !made_by_it {
            continue;
        }
        for theirs in child.threads() {
            let signal = Signal::new(i32::from(
                theirs.parent_death_signal.load(Ordering::Relaxed),
            ));
            if let Some(signal) = signal
                && send::send_locked(Target::Process(&child), signal, &SigInfo::kernel(signal))
                    == Ok(Followup::TellParent)
            {
                news.push(child.clone());
            }
        }
        let Some(heir) = &heir else {
            child.family_mut(table).parent_tid = sibling;
            continue;
        };
        let tid = heir.leader().map_or(heir.pid, |first| first.tid());
        let family = child.family_mut(table);
        family.parent = Some(heir.clone());
        family.parent_tid = tid;
        // Whatever it was to send, a foster parent expects `SIGCHLD`.
        family.exit_signal = Some(Signal::SIGCHLD);
        child.set_ppid(heir.pid);
        heir.family_mut(table).children.push(child.clone());
        if let Life::Zombie(status) = child.family(table).life
            && child.family(table).tracer.is_none()
        {
            announce(table, &child, status, gone);
        }
        session::release_orphans(table, &child, process, false, news);
    }
}

/// Who takes over the children of a process that ends: the nearest ancestor that asked to, or init.
fn reaper(table: &TaskTable, process: &Process) -> Arc<Process> {
    let mut ancestor = process.family(table).parent.clone();
    while let Some(candidate) = ancestor {
        if candidate.subreaper.load(Ordering::Relaxed) && candidate.leader().is_some() {
            return candidate;
        }
        ancestor = candidate.family(table).parent.clone();
    }
    table.process(1).expect("init does not end").clone()
}

fn end_process(
    table: &mut TaskTable,
    process: &Arc<Process>,
    thread: &Thread,
    news: &mut Vec<Arc<Process>>,
    gone: &mut Vec<Arc<Process>>,
) {
    let status = {
        let state = process.signals.lock();
        let code = state
            .leader_code
            .or_else(|| thread.exit_code())
            .unwrap_or(0);
        state.exit.unwrap_or(ExitStatus::Exited(code))
    };
    if process.pid == 1 {
        panic!("Attempted to kill init! exitcode=0x{:08x}", status.word());
    }
    if let Some(parent) = process.family(table).parent.clone() {
        session::release_orphans(table, process, &parent, true, news);
    }
    process.family_mut(table).life = Life::Zombie(status);
    process.exit_wait.wake_all();
    if let Some(tracer) = process.family(table).tracer.clone() {
        let is_parent = process
            .family(table)
            .parent
            .as_ref()
            .is_some_and(|parent| Arc::ptr_eq(parent, &tracer));
        let departed = Departed {
            tid: process.pid,
            uid: process.uid(),
            status,
            process: Some(process.clone()),
        };
        if !is_parent && trace::depart(table, &tracer, departed) {
            return;
        }
        process.family_mut(table).tracer = None;
    }
    announce(table, process, status, gone);
}

/// `thread`, which ends, traces nobody and is traced by nobody any more.
fn end_tracing(
    table: &mut TaskTable,
    process: &Arc<Process>,
    thread: &Arc<Thread>,
    last: bool,
    gone: &mut Vec<Arc<Process>>,
) {
    let status = thread_status(process, thread);
    trace::thread_ends(table, thread, status);
    for orphan in trace::tracer_ends(table, thread, last) {
        orphan.family_mut(table).tracer = None;
        if let Life::Zombie(status) = orphan.family(table).life {
            announce(table, &orphan, status, gone);
        }
    }
}

/// How `thread` ends, as a status word, for its tracer.
pub fn status_word(thread: &Thread) -> u64 {
    thread_status(thread.process(), thread).word() as u64
}

/// How `thread` ends: with its process, or by itself.
pub(super) fn thread_status(process: &Process, thread: &Thread) -> ExitStatus {
    let exit = process.signals.lock().exit;
    exit.unwrap_or(ExitStatus::Exited(thread.exit_code().unwrap_or(0)))
}

/// The tracer of `process`, a zombie, has been told of its end: now its parent is.
pub(super) fn tell_real_parent(table: &mut TaskTable, process: &Arc<Process>, status: ExitStatus) {
    process.family_mut(table).tracer = None;
    let mut gone = Vec::new();
    announce(table, process, status, &mut gone);
    // The caller holds another reference to what may go here.
    drop(gone);
}

/// Tells the parent of `process` that it has ended, and reaps it at once if the parent does not care.
fn announce(
    table: &mut TaskTable,
    process: &Arc<Process>,
    status: ExitStatus,
    gone: &mut Vec<Arc<Process>>,
) {
    let family = process.family(table);
    let Some(parent) = family.parent.clone() else {
        return;
    };
    let signal = family.exit_signal;
    let action = {
        let state = parent.signals.lock();
        *state.sighand.actions.lock().get(Signal::SIGCHLD)
    };
    let unwanted = action.handler == SIG_IGN || action.flags & SA_NOCLDWAIT != 0;
    let reap = signal == Some(Signal::SIGCHLD) && unwanted;
    if let Some(signal) = signal
        && !(reap && action.handler == SIG_IGN)
    {
        let (code, value) = Change::Ended(status).code_and_status();
        let (user, system) = process.ticks();
        let uid = process.uid();
        let info = SigInfo::child(signal, code, process.pid, uid, value, user, system);
        if let Ok(Followup::TellParent) = send::send_locked(Target::Process(&parent), signal, &info)
        {
            // Only an exit signal of `SIGCONT` gets here; the parent's own parent learns of it at the next change.
            log::debug!("process: {} continued by the end of its child", parent.pid);
        }
    }
    if reap {
        release(table, process);
        gone.push(process.clone());
    }
    parent.child_wait.wake_all();
}

/// Lets go of a zombie: its number is free again, and nobody knows it any more.
pub(super) fn release(table: &mut TaskTable, process: &Arc<Process>) {
    if let Some(parent) = process.family(table).parent.clone() {
        parent
            .family_mut(table)
            .children
            .retain(|child| !Arc::ptr_eq(child, process));
    }
    table.leave_group(process);
    let family = process.family_mut(table);
    family.life = Life::Reaped;
    family.parent = None;
    table.remove_process(process.pid);
}

/// exit_group(2): the calling thread's process ends with `code`.
pub fn exit_group(thread: &Thread, code: u8) {
    let mut state = thread.process().signals.lock();
    send::begin_exit(&mut state, ExitStatus::Exited(code));
}
