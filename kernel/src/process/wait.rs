//! Waiting for children.
//!
//! Source: wait4(2), waitid(2).

use alloc::sync::Arc;

use fs::Errno;

use super::family::Life;
use super::pid::Pid;
use super::process::UsageSum;
use super::table::{self, TaskTable};
use super::thread::STATE_TRACED;
use super::{Change, Process, Thread, exit};
use crate::signal::Signal;

/// Do not wait.
pub const WNOHANG: u32 = 1;
/// Stopped children, too.
pub const WSTOPPED: u32 = 2;
/// Ended children.
pub const WEXITED: u32 = 4;
/// Continued children, too.
pub const WCONTINUED: u32 = 8;
/// Leave what is found to be found again.
pub const WNOWAIT: u32 = 0x0100_0000;
/// Only children of the calling thread.
pub const WNOTHREAD: u32 = 0x2000_0000;
/// All children, whatever signal they send at the end.
pub const WALL: u32 = 0x4000_0000;
/// Only children that send another signal than `SIGCHLD`.
pub const WCLONE: u32 = 0x8000_0000;

/// Which children are waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// All.
    Any,
    /// The one with this number.
    Process(Pid),
    /// Those of this process group.
    Group(Pid),
}

/// What a wait found.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The child.
    pub pid: Pid,
    /// Its real user id.
    pub uid: u32,
    /// What happened to it.
    pub change: Change,
    /// What it and its children used.
    pub usage: UsageSum,
}

/// Looks for a child whose state has changed; `None` if all are as they were.
///
/// # Context
/// Task; takes the task list.
/// # Errors
/// `ECHILD` if there is no child that could be waited for.
pub fn look(thread: &Thread, which: Which, options: u32) -> Result<Option<Found>, Errno> {
    let me = thread.process();
    let mut table = table::lock();
    let mut any = false;
    let mut found = None;
    for child in &me.family(&table).children {
        if !is_wanted(&table, thread, child, which, options) {
            continue;
        }
        if child.family(&table).tracer.is_some() {
            // Its tracer is told first.
            any = true;
            continue;
        }
        let life = child.family(&table).life;
        if let Life::Zombie(status) = life {
            if options & WEXITED != 0 {
                found = Some((child.clone(), Change::Ended(status)));
                break;
            }
            continue;
        }
        any = true;
        let traced = child
            .leader()
            .is_some_and(|first| first.bits() & STATE_TRACED != 0);
        if traced || options & (WSTOPPED | WCONTINUED) == 0 {
            continue;
        }
        let mut state = child.signals.lock();
        let news = state.stop.report.filter(|change| match change {
            Change::Stopped(_) => options & WSTOPPED != 0,
            Change::Continued => options & WCONTINUED != 0,
            Change::Ended(_) | Change::Traced(_) => false,
        });
        if let Some(change) = news {
            if options & WNOWAIT == 0 {
                state.stop.report = None;
            }
            drop(state);
            found = Some((child.clone(), change));
            break;
        }
    }
    let Some((child, change)) = found else {
        let traced = look_at_tracees(&mut table, thread, which, options, &mut any);
        return match traced {
            None if !any => Err(Errno::ECHILD),
            found => Ok(found),
        };
    };
    let usage = total(&child);
    if matches!(change, Change::Ended(_)) && options & WNOWAIT == 0 {
        exit::release(&mut table, &child);
        me.accounts.lock().children.add_sum(&usage);
    }
    drop(table);
    Ok(Some(Found {
        pid: child.pid,
        uid: child.uid(),
        change,
        usage,
    }))
}

/// Looks for a tracee that has stopped or ended. Sets `any` if there is one that could be waited for.
fn look_at_tracees(
    table: &mut TaskTable,
    thread: &Thread,
    which: Which,
    options: u32,
    any: &mut bool,
) -> Option<Found> {
    let me = thread.process();
    for tracee in &me.family(table).tracees {
        let process = tracee.process();
        let right_one = match which {
            Which::Any => true,
            Which::Process(pid) => tracee.tid() == pid,
            Which::Group(id) => process.family(table).group.id == id,
        };
        let own = options & WNOTHREAD == 0
            || tracee
                .tracer()
                .is_some_and(|tracer| core::ptr::eq(&*tracer, thread));
        if !right_one || !own {
            continue;
        }
        *any = true;
        let code = tracee.with_stopped(|stopped| {
            let news = !stopped.reported && !stopped.listening;
            if news && options & WNOWAIT == 0 {
                stopped.reported = true;
            }
            news.then_some(stopped.code)
        });
        if let Some(Some(code)) = code {
            return Some(Found {
                pid: tracee.tid(),
                uid: tracee.with_shared(|shared| shared.cred.uid),
                change: Change::Traced(code),
                usage: total(process),
            });
        }
    }
    let departed = &me.family(table).departed;
    let at = departed.iter().position(|departed| match which {
        Which::Any => true,
        Which::Process(pid) => departed.tid == pid,
        Which::Group(id) => departed
            .process
            .as_ref()
            .is_some_and(|process| process.family(table).group.id == id),
    })?;
    *any = true;
    if options & WEXITED == 0 {
        return None;
    }
    let found = Found {
        pid: departed[at].tid,
        uid: departed[at].uid,
        change: Change::Ended(departed[at].status),
        usage: departed[at]
            .process
            .as_ref()
            .map_or(UsageSum::default(), |process| total(process)),
    };
    if options & WNOWAIT == 0 {
        let departed = me.family_mut(table).departed.remove(at);
        if let Some(process) = departed.process {
            exit::tell_real_parent(table, &process, departed.status);
        }
    }
    Some(found)
}

/// What a child and its children used.
fn total(child: &Process) -> UsageSum {
    let mut sum = child.usage();
    sum.add_sum(&child.accounts.lock().children);
    sum
}

fn is_wanted(
    table: &TaskTable,
    thread: &Thread,
    child: &Arc<Process>,
    which: Which,
    options: u32,
) -> bool {
    let family = child.family(table);
    let right_one = match which {
        Which::Any => true,
        Which::Process(pid) => child.pid == pid,
        Which::Group(id) => family.group.id == id,
    };
    let right_kind = options & WALL != 0
        || (options & WCLONE != 0) == (family.exit_signal != Some(Signal::SIGCHLD));
    right_one && right_kind && (options & WNOTHREAD == 0 || family.parent_tid == thread.tid())
}

/// Waits until a child of `which` has changed its state.
///
/// # Errors
/// `ECHILD`; `ERESTARTSYS` if a signal came first.
/// # Cancel safety
/// What was found is lost.
pub async fn wait(thread: &Arc<Thread>, which: Which, options: u32) -> Result<Found, Errno> {
    let process = thread.process();
    let changed = process
        .child_wait
        .wait_until(|| look(thread, which, options).transpose());
    thread.interruptible(changed).await?
}
