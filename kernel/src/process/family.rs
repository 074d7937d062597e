//! Who belongs to whom: parents and children, groups, sessions.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use core::sync::atomic::AtomicI32;

use executor::sync::SpinLock;

use super::Thread;
use super::autogroup::Autogroup;
use super::guarded::Guarded;
use super::pid::Pid;
use super::process::Process;
use super::status::ExitStatus;
use super::table::TaskTable;
use super::trace::Departed;
use crate::signal::Signal;

/// Where a process is in its life, as its parent sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    /// It has threads.
    Alive,
    /// It has ended and waits for its parent.
    Zombie(ExitStatus),
    /// It has been waited for.
    Reaped,
}

/// The relations of one process, guarded by the task list.
#[derive(Debug)]
pub struct Family {
    /// Who is told and who waits; `None` for init and once reaped.
    pub parent: Option<Arc<Process>>,
    /// The thread of the parent that made it (`__WNOTHREAD`, `PR_SET_PDEATHSIG`).
    pub parent_tid: Pid,
    /// Children, oldest first, zombies among them.
    pub children: Vec<Arc<Process>>,
    /// Process group.
    pub group: Arc<Group>,
    /// Alive, zombie, reaped.
    pub life: Life,
    /// What the parent is sent at the end.
    pub exit_signal: Option<Signal>,
    /// Threads that threads of this process trace.
    pub tracees: Vec<Arc<Thread>>,
    /// Tracees that have ended and have yet to be waited for.
    pub departed: Vec<Departed>,
    /// Who is told of the end before the parent: the tracer of the first thread, which has ended.
    pub tracer: Option<Arc<Process>>,
}

/// A process group.
pub struct Group {
    /// Its number: that of the process that founded it.
    pub id: Pid,
    /// The session that it is part of.
    pub session: Arc<Session>,
    /// Its processes, guarded by the task list.
    pub(super) members: Guarded<Vec<Arc<Process>>>,
}

/// A session: groups that share a controlling terminal.
pub struct Session {
    /// Its number: that of the process that founded it.
    pub id: Pid,
    /// The group in which its threads count on the CPUs; `None` for that of all.
    pub autogroup: Option<Arc<Autogroup>>,
    terminal: SpinLock<Option<Arc<dyn Terminal>>>,
    /// The foreground group of a terminal that was hung up, or 0: told when the leader ends.
    pub last_foreground: AtomicI32,
}

/// What a session asks of its controlling terminal.
pub trait Terminal: Any + Send + Sync {
    /// Its device number, for `/proc/PID/stat`.
    fn device(&self) -> u32;
    /// Its foreground process group, or -1.
    fn foreground_group(&self) -> Pid;
    /// The session's leader ended: hang up, and belong to no session any more.
    fn disassociate(&self, session: &Session);
}

impl Group {
    /// A group without members, in no table.
    pub fn new(id: Pid, session: Arc<Session>, table: &TaskTable) -> Group {
        Group {
            id,
            session,
            members: table.token().guard(Vec::new()),
        }
    }

    /// Its processes.
    pub fn members<'a>(&'a self, table: &'a TaskTable) -> &'a [Arc<Process>] {
        self.members.get(table.token())
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Group({} of session {})", self.id, self.session.id)
    }
}

impl Session {
    /// A session without a terminal.
    pub fn new(id: Pid, autogroup: Option<Arc<Autogroup>>) -> Session {
        Session {
            id,
            autogroup,
            terminal: SpinLock::new(None),
            last_foreground: AtomicI32::new(0),
        }
    }

    /// Its controlling terminal.
    pub fn terminal(&self) -> Option<Arc<dyn Terminal>> {
        self.terminal.lock().clone()
    }

    /// Gives it a controlling terminal, or takes it away; hands back the old one.
    pub fn set_terminal(&self, terminal: Option<Arc<dyn Terminal>>) -> Option<Arc<dyn Terminal>> {
        core::mem::replace(&mut *self.terminal.lock(), terminal)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.id)
    }
}

impl Process {
    /// Its relations.
    pub fn family<'a>(&'a self, table: &'a TaskTable) -> &'a Family {
        self.family.get(table.token())
    }

    /// Its relations, to be changed.
    pub fn family_mut<'a>(&'a self, table: &'a mut TaskTable) -> &'a mut Family {
        self.family.get_mut(table.token_mut())
    }

    /// Its process group.
    pub fn group(&self) -> Arc<Group> {
        self.family(&super::table::lock()).group.clone()
    }

    /// Its session.
    pub fn session(&self) -> Arc<Session> {
        self.family(&super::table::lock()).group.session.clone()
    }
}
