//! The task list: every process, thread, group and session by number, and the lock of all family links.
#![allow(unsafe_code, reason = "makes the one token of the one task list")]

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use executor::sync::{SpinLock, SpinLockGuard};
use fs::Errno;

use super::family::Group;
use super::guarded::Token;
use super::pid::{PID_MAX_DEFAULT, Pid, PidAllocator};
use super::process::Process;
use super::thread::Thread;

/// What one number names. It is free once it names nothing.
#[derive(Default)]
struct Entry {
    thread: Option<Arc<Thread>>,
    process: Option<Arc<Process>>,
    group: Option<Arc<Group>>,
    /// How many groups are in the session of this number.
    session_groups: u32,
    used: bool,
}

const LEAF: usize = 64;

/// The table; whoever has it locked may read and change families.
pub struct TaskTable {
    token: Token,
    pids: Option<PidAllocator>,
    leaves: Vec<Option<Box<[Entry; LEAF]>>>,
    processes: usize,
    threads: usize,
    forks: u64,
}

static TABLE: SpinLock<TaskTable> = SpinLock::new(TaskTable {
    // SAFETY: number 1 is used here alone, for the one value of this static.
    token: unsafe { Token::fixed(1) },
    pids: None,
    leaves: Vec::new(),
    processes: 0,
    threads: 0,
    forks: 0,
});

/// Locks the task list.
///
/// # Context
/// Task. Outermost of the locks of processes and signals.
pub fn lock() -> SpinLockGuard<'static, TaskTable> {
    TABLE.lock()
}

/// All processes, by number: each is looked for when it is asked for, so that the list is free in between.
///
/// # Context
/// Task; takes the task list for each.
pub fn each_process() -> impl Iterator<Item = Arc<Process>> {
    let mut from = 0;
    core::iter::from_fn(move || {
        let process = lock().next_process(from)?.clone();
        from = process.pid + 1;
        Some(process)
    })
}

impl TaskTable {
    /// Opens what the task list guards.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// Opens what the task list guards, to be changed.
    pub fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }

    fn pids(&mut self) -> &mut PidAllocator {
        self.pids.get_or_insert_with(PidAllocator::default)
    }

    /// Takes a free number.
    ///
    /// # Errors
    /// `EAGAIN` if all are in use; `ENOMEM`.
    pub fn allocate_pid(&mut self) -> Result<Pid, Errno> {
        let pid = self.pids().allocate().ok_or(Errno::EAGAIN)?;
        if let Err(e) = self.make_leaf(pid) {
            self.pids().free(pid);
            return Err(e);
        }
        self.entry_mut(pid).expect("made above").used = true;
        Ok(pid)
    }

    fn make_leaf(&mut self, pid: Pid) -> Result<(), Errno> {
        let leaf = pid as usize / LEAF;
        if leaf >= self.leaves.len() {
            self.leaves
                .try_reserve(leaf + 1 - self.leaves.len())
                .map_err(|_| Errno::ENOMEM)?;
            self.leaves.resize_with(leaf + 1, || None);
        }
        self.leaves[leaf].get_or_insert_with(|| Box::new([const { Entry::EMPTY }; LEAF]));
        Ok(())
    }

    /// Gives back a number that names nothing; one that still names something is freed when that goes.
    pub fn release_pid(&mut self, pid: Pid) {
        if let Some(entry) = self.entry_mut(pid)
            && entry.used
            && entry.thread.is_none()
            && entry.process.is_none()
            && entry.group.is_none()
            && entry.session_groups == 0
        {
            entry.used = false;
            self.pids().free(pid);
        }
    }

    fn entry(&self, pid: Pid) -> Option<&Entry> {
        let pid = usize::try_from(pid).ok()?;
        Some(&self.leaves.get(pid / LEAF)?.as_deref()?[pid % LEAF])
    }

    fn entry_mut(&mut self, pid: Pid) -> Option<&mut Entry> {
        let pid = usize::try_from(pid).ok()?;
        Some(&mut self.leaves.get_mut(pid / LEAF)?.as_deref_mut()?[pid % LEAF])
    }

    /// The process with number `pid`, a zombie too.
    pub fn process(&self, pid: Pid) -> Option<&Arc<Process>> {
        self.entry(pid)?.process.as_ref()
    }

    /// The thread with number `tid`, until it has ended.
    pub fn thread(&self, tid: Pid) -> Option<&Arc<Thread>> {
        self.entry(tid)?.thread.as_ref()
    }

    /// The process group with number `id`.
    pub fn group(&self, id: Pid) -> Option<&Arc<Group>> {
        self.entry(id)?.group.as_ref()
    }

    /// The next process whose number is at least `from`.
    pub fn next_process(&self, from: Pid) -> Option<&Arc<Process>> {
        let mut pid = usize::try_from(from).unwrap_or(0);
        while pid / LEAF < self.leaves.len() {
            match &self.leaves[pid / LEAF] {
                None => pid = (pid / LEAF + 1) * LEAF,
                Some(leaf) => match &leaf[pid % LEAF].process {
                    Some(process) => return Some(process),
                    None => pid += 1,
                },
            }
        }
        None
    }

    /// All processes, by number, zombies too.
    pub fn processes(&self) -> impl Iterator<Item = &Arc<Process>> {
        let mut from = 0;
        core::iter::from_fn(move || {
            let process = self.next_process(from)?;
            from = process.pid + 1;
            Some(process)
        })
    }

    /// Enters a process under its number.
    pub fn insert_process(&mut self, process: &Arc<Process>) {
        self.entry_mut(process.pid)
            .expect("its number was allocated")
            .process = Some(process.clone());
        self.processes += 1;
    }

    /// Enters a thread under its number.
    pub fn insert_thread(&mut self, thread: &Arc<Thread>) {
        self.entry_mut(thread.tid())
            .expect("its number was allocated")
            .thread = Some(thread.clone());
        self.threads += 1;
        self.forks += 1;
    }

    /// Removes a thread that has ended, and frees its number unless its process still has it.
    pub fn remove_thread(&mut self, tid: Pid) {
        if let Some(entry) = self.entry_mut(tid)
            && entry.thread.take().is_some()
        {
            self.threads -= 1;
        }
        self.release_pid(tid);
    }

    /// Removes a process that has been reaped, and frees its number unless a group or session has it.
    pub fn remove_process(&mut self, pid: Pid) {
        if let Some(entry) = self.entry_mut(pid)
            && entry.process.take().is_some()
        {
            self.processes -= 1;
        }
        self.release_pid(pid);
    }

    /// Lets `thread`, which is alone in its process, take the number of the process's first thread.
    pub fn take_leader_tid(&mut self, thread: &Arc<Thread>) {
        let (old, new) = (thread.tid(), thread.process().pid);
        if old != new {
            if let Some(entry) = self.entry_mut(old) {
                entry.thread = None;
            }
            thread.set_tid(new);
            self.entry_mut(new).expect("the process has it").thread = Some(thread.clone());
            self.release_pid(old);
        }
    }

    /// Enters a process group, and counts it in its session.
    pub fn insert_group(&mut self, group: &Arc<Group>) {
        self.entry_mut(group.id)
            .expect("its number is a process's")
            .group = Some(group.clone());
        if let Some(entry) = self.entry_mut(group.session.id) {
            entry.session_groups += 1;
        }
    }

    /// Makes room for one more member of `group`.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn reserve_member(&mut self, group: &Group) -> Result<(), Errno> {
        group
            .members
            .get_mut(&mut self.token)
            .try_reserve(1)
            .map_err(|_| Errno::ENOMEM)
    }

    /// Makes `process` a member of `group`.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn join_group(&mut self, process: &Arc<Process>, group: &Arc<Group>) -> Result<(), Errno> {
        let members = group.members.get_mut(&mut self.token);
        members.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        members.push(process.clone());
        process.family_mut(self).group = group.clone();
        process.join_autogroup(group.session.autogroup.clone());
        Ok(())
    }

    /// Takes `process` out of its group; a group without members goes.
    pub fn leave_group(&mut self, process: &Arc<Process>) {
        let group = process.family(self).group.clone();
        let members = group.members.get_mut(&mut self.token);
        members.retain(|member| !Arc::ptr_eq(member, process));
        if members.is_empty() {
            if let Some(entry) = self.entry_mut(group.id) {
                entry.group = None;
            }
            self.release_pid(group.id);
            if let Some(entry) = self.entry_mut(group.session.id) {
                entry.session_groups = entry.session_groups.saturating_sub(1);
            }
            self.release_pid(group.session.id);
        }
    }

    /// Whether a session has this number.
    pub fn is_session(&self, id: Pid) -> bool {
        self.entry(id).is_some_and(|entry| entry.session_groups > 0)
    }

    /// How many processes there are, zombies too.
    pub fn process_count(&self) -> usize {
        self.processes
    }

    /// How many threads there are.
    pub fn thread_count(&self) -> usize {
        self.threads
    }

    /// The most threads that there may be: an eighth of memory, at 16 KiB each.
    pub fn max_threads(&self) -> usize {
        (crate::mm::page_alloc::stats().total * crate::mm::PAGE_SIZE / 8 / (16 << 10)).max(20)
    }

    /// How many threads were ever made.
    pub fn fork_count(&self) -> u64 {
        self.forks
    }

    /// The number given out last.
    pub fn last_pid(&self) -> Pid {
        self.pids.as_ref().map_or(0, PidAllocator::last)
    }

    /// The limit of numbers.
    pub fn pid_max(&self) -> Pid {
        self.pids
            .as_ref()
            .map_or(PID_MAX_DEFAULT, PidAllocator::max)
    }

    /// Sets the limit of numbers.
    ///
    /// # Errors
    /// `EINVAL` if it is out of range.
    pub fn set_pid_max(&mut self, max: Pid) -> Result<(), Errno> {
        if self.pids().set_max(max) {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }
}

impl Entry {
    const EMPTY: Entry = Entry {
        thread: None,
        process: None,
        group: None,
        session_groups: 0,
        used: false,
    };
}
