//! Process groups and sessions: joining them, orphaned groups, signals to groups.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use fs::Errno;

use super::autogroup::{self, Autogroup};
use super::family::{Group, Life, Session};
use super::pid::Pid;
use super::table::{self, TaskTable};
use super::{Process, Thread};
use crate::signal::send::{self, Followup, Target};
use crate::signal::{SigInfo, Signal, job};

/// Whether `group` has no member whose parent is in another group of the same session: nobody is left to continue it
/// if it stops. `leaving` is a member that does not count.
pub fn is_orphaned(table: &TaskTable, group: &Group, leaving: Option<&Process>) -> bool {
    !group.members(table).iter().any(|member| {
        let family = member.family(table);
        let counts = family.life == Life::Alive
            && !leaving.is_some_and(|l| core::ptr::eq(l, Arc::as_ptr(member)));
        counts
            && family.parent.as_ref().is_some_and(|parent| {
                let parents = &parent.family(table).group;
                parent.pid != 1 && parents.id != group.id && parents.session.id == group.session.id
            })
    })
}

/// Whether the group of `process` is orphaned.
///
/// # Context
/// Task; takes the task list.
pub fn is_orphaned_now(process: &Process) -> bool {
    let table = table::lock();
    is_orphaned(&table, &process.family(&table).group, None)
}

/// Whether a member of `group` is stopped.
fn has_stopped(table: &TaskTable, group: &Group) -> bool {
    group
        .members(table)
        .iter()
        .any(|member| member.signals.lock().stop.stopped)
}

/// Where `process` (which ends, if `leaving`) was the last link of its group to the session, and the group has stopped
/// members, they get `SIGHUP` and `SIGCONT`. `parent` is the link's other end.
pub(super) fn release_orphans(
    table: &TaskTable,
    process: &Process,
    parent: &Process,
    leaving: bool,
    news: &mut Vec<Arc<Process>>,
) {
    let group = &process.family(table).group;
    let parents = &parent.family(table).group;
    if parents.id != group.id
        && parents.session.id == group.session.id
        && is_orphaned(table, group, leaving.then_some(process))
        && has_stopped(table, group)
    {
        for signal in [Signal::SIGHUP, Signal::SIGCONT] {
            signal_group(table, group, signal, &SigInfo::kernel(signal), news);
        }
    }
}

/// Sends `signal` to all of `group` in the kernel's name. Processes whose parents are to be told are put into `news`, for
/// [`tell_all`].
pub fn signal_group(
    table: &TaskTable,
    group: &Group,
    signal: Signal,
    info: &SigInfo,
    news: &mut Vec<Arc<Process>>,
) {
    for member in group.members(table) {
        if send::send_locked(Target::Process(member), signal, info) == Ok(Followup::TellParent)
            && news.try_reserve(1).is_ok()
        {
            news.push(member.clone());
        }
    }
}

/// Tells the parents of processes that were continued, now that the task list is free.
pub fn tell_all(news: Vec<Arc<Process>>) {
    for process in news {
        job::tell_parent(&process);
    }
}

/// Sends `signal` to the group with number `id` in the kernel's name: what terminals do. False if there is none.
///
/// # Context
/// Task; takes the task list.
pub fn signal_group_id(id: Pid, signal: Signal) -> bool {
    let mut news = Vec::new();
    let found = {
        let table = table::lock();
        match table.group(id).cloned() {
            Some(group) => {
                signal_group(&table, &group, signal, &SigInfo::kernel(signal), &mut news);
                true
            }
            None => false,
        }
    };
    tell_all(news);
    found
}

/// The leader of `session` ends after its terminal was hung up: what was in the foreground then gets `SIGHUP` and
/// `SIGCONT`.
pub(super) fn tell_last_foreground(session: &Session) {
    let id = session.last_foreground.swap(0, Ordering::Relaxed);
    let still = table::lock()
        .group(id)
        .is_some_and(|group| group.session.id == session.id);
    if still {
        signal_group_id(id, Signal::SIGHUP);
        signal_group_id(id, Signal::SIGCONT);
    }
}

/// setsid(2).
///
/// # Errors
/// `EPERM` if the process leads a group; `ENOMEM`.
pub fn set_session(process: &Arc<Process>) -> Result<Pid, Errno> {
    {
        let mut table = table::lock();
        if table.group(process.pid).is_some() || table.is_session(process.pid) {
            return Err(Errno::EPERM);
        }
        let session = Arc::new(Session::new(process.pid, Autogroup::new()));
        let group = Arc::new(Group::new(process.pid, session, &table));
        move_to(&mut table, process, group, true)?;
    }
    autogroup::look_again(process);
    Ok(process.pid)
}

/// Moves `process` to `group`, which is `new` or has members.
fn move_to(
    table: &mut TaskTable,
    process: &Arc<Process>,
    group: Arc<Group>,
    new: bool,
) -> Result<(), Errno> {
    table.reserve_member(&group)?;
    table.leave_group(process);
    if new {
        table.insert_group(&group);
    }
    table.join_group(process, &group)
}

/// setpgid(2): puts process `pid` (0: the caller) into group `id` (0: its own).
///
/// # Errors
/// `EINVAL`, `ESRCH`, `EPERM`, `EACCES` as the man page says.
pub fn set_group(caller: &Thread, pid: Pid, id: Pid) -> Result<(), Errno> {
    let me = caller.process();
    let pid = if pid == 0 { me.pid } else { pid };
    let id = if id == 0 { pid } else { id };
    if id < 0 {
        return Err(Errno::EINVAL);
    }
    let mut table = table::lock();
    let process = table.process(pid).cloned().ok_or(Errno::ESRCH)?;
    let family = process.family(&table);
    let session = me.family(&table).group.session.clone();
    if family
        .parent
        .as_ref()
        .is_some_and(|parent| Arc::ptr_eq(parent, me))
    {
        if family.group.session.id != session.id {
            return Err(Errno::EPERM);
        }
        if process.execs.load(Ordering::Relaxed) > 0 {
            return Err(Errno::EACCES);
        }
    } else if !Arc::ptr_eq(&process, me) {
        return Err(Errno::ESRCH);
    }
    if process.pid == family.group.session.id {
        return Err(Errno::EPERM);
    }
    if family.group.id == id {
        return Ok(());
    }
    match table.group(id).cloned() {
        Some(group) if group.session.id == session.id => {
            move_to(&mut table, &process, group, false)
        }
        Some(_) => Err(Errno::EPERM),
        None if id == pid => {
            let group = Arc::new(Group::new(id, session, &table));
            move_to(&mut table, &process, group, true)
        }
        None => Err(Errno::EPERM),
    }
}
