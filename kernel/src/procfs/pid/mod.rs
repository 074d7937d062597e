//! The directory of one process, and of one thread of it.

mod autogroup;
mod dir;
mod fd;
mod image;
mod limits;
mod maps;
mod numa;
mod oom;
mod stat;
mod status;
mod task;

use alloc::sync::Arc;

use fs::{Credentials, Errno, Result};

use super::{access, ino};
use crate::process::family::Life;
use crate::process::thread::{STATE_STOPPED, STATE_TRACE_STOP, STATE_UNINTERRUPTIBLE};
use crate::process::{Pid, Process, Thread, current, table};
use crate::pseudofs::Entry;

/// What a directory is about: a process as a whole, or one of its threads.
#[derive(Clone)]
pub(super) struct Subject {
    process: Arc<Process>,
    /// The thread; for a process its oldest one, none if it has ended.
    thread: Option<Arc<Thread>>,
    /// The number in its name.
    id: Pid,
    /// The figures are those of the whole process.
    whole: bool,
}

/// The inode number of file `file` of the directory of `pid`; 0 is the directory.
pub(super) fn ino_of(pid: Pid, file: u64) -> u64 {
    ((pid as u64) << ino::PID_SHIFT) | (file + 1)
}

/// The directory of process (or thread) `pid`.
///
/// # Errors
/// `ENOENT` if there is none.
pub(super) fn entry(pid: Pid) -> Result<Entry> {
    Ok(dir::entry(Subject::of(pid)?))
}

impl Subject {
    fn of(pid: Pid) -> Result<Subject> {
        let (process, thread) = {
            let table = table::lock();
            match (table.process(pid), table.thread(pid)) {
                (Some(process), _) => (process.clone(), None),
                (None, Some(thread)) => (thread.process().clone(), Some(thread.clone())),
                (None, None) => return Err(Errno::ENOENT),
            }
        };
        let thread = thread.or_else(|| process.leader());
        Ok(Subject {
            process,
            thread,
            id: pid,
            whole: true,
        })
    }

    /// The credentials; those of a process that has ended are root's.
    fn cred(&self) -> Arc<Credentials> {
        match &self.thread {
            Some(thread) => thread.cred(),
            None => Arc::new(Credentials::root()),
        }
    }

    /// Whether the caller may look into it.
    ///
    /// # Errors
    /// `EACCES`; `ESRCH` if it has ended.
    fn check_access(&self) -> Result<()> {
        access::check(&current(), self.live()?)
    }

    fn owner(&self) -> (u32, u32) {
        access::owner(&self.process, &self.cred())
    }

    /// The thread.
    ///
    /// # Errors
    /// `ESRCH` if it has ended.
    fn live(&self) -> Result<&Arc<Thread>> {
        self.thread.as_ref().ok_or(Errno::ESRCH)
    }

    /// The command name.
    fn comm(&self) -> alloc::vec::Vec<u8> {
        let comm = match &self.thread {
            Some(thread) => thread.comm(),
            None => *self.process.last_comm.lock(),
        };
        comm.split(|&b| b == 0).next().unwrap_or_default().to_vec()
    }

    /// The letter and word for what it is doing.
    fn state(&self) -> (char, &'static str) {
        let ended = !matches!(self.process.family(&table::lock()).life, Life::Alive);
        let Some(thread) = self.thread.as_ref().filter(|_| !ended) else {
            return ('Z', "zombie");
        };
        let bits = thread.bits();
        if bits & STATE_TRACE_STOP != 0 {
            ('t', "tracing stop")
        } else if bits & STATE_STOPPED != 0 {
            ('T', "stopped")
        } else if thread.task().is_some_and(|task| task.is_runnable()) {
            ('R', "running")
        } else if bits & STATE_UNINTERRUPTIBLE != 0 {
            ('D', "disk sleep")
        } else {
            ('S', "sleeping")
        }
    }
}
