//! Job control: who controls a terminal, and who may use it.
//!
//! Source: POSIX.1-2017, chapter 11.1; Linux's `tty_jobctrl.c`.

use alloc::sync::Arc;

use fs::{Cap, Errno, Result};

use super::Tty;
use crate::process::family::{Group, Session, Terminal};
use crate::process::session::{is_orphaned, signal_group_id};
use crate::process::thread::WORK_SIGNAL;
use crate::process::{Pid, Process, Thread, table};
use crate::signal::Signal;
use crate::signal::action::SIG_IGN;

/// The session that a terminal controls.
#[derive(Default)]
pub struct Control {
    /// The session, if it has one.
    pub session: Option<Arc<Session>>,
    /// Number of the foreground group, or 0.
    pub foreground: Pid,
}

impl Terminal for Tty {
    fn device(&self) -> u32 {
        // Encoded as `new_encode_dev` does.
        Tty::device(self) as u32
    }

    fn foreground_group(&self) -> Pid {
        match self.control.lock().foreground {
            0 => -1,
            group => group,
        }
    }

    fn disassociate(&self, session: &Session) {
        self.leader_ended(session);
    }
}

/// The controlling terminal of `thread`'s session, if it is a [`Tty`].
pub fn controlling_tty(thread: &Thread) -> Option<Arc<Tty>> {
    let terminal = thread.process().session().terminal()?;
    let any: Arc<dyn core::any::Any + Send + Sync> = terminal;
    any.downcast::<Tty>().ok()
}

/// Whether `thread` blocks or ignores `signal`.
fn ignores(thread: &Thread, signal: Signal) -> bool {
    let state = thread.process().signals.lock();
    thread.signals.get(&state.token).blocked.contains(signal)
        || state.sighand.actions.lock().get(signal).handler == SIG_IGN
}

impl Tty {
    /// Sends `signal` to the foreground group.
    pub fn signal_foreground(&self, signal: Signal) {
        if let Some(group) = self.foreground() {
            signal_group_id(group.id, signal);
        }
    }

    /// The foreground group, if it still has processes.
    pub fn foreground(&self) -> Option<Arc<Group>> {
        let (number, session) = {
            let control = self.control.lock();
            (control.foreground, control.session.clone()?)
        };
        let group = table::lock().group(number)?.clone();
        // The number may have been given to another group since.
        Arc::ptr_eq(&group.session, &session).then_some(group)
    }

    /// Whether this is the controlling terminal of `thread`.
    pub fn controls(&self, thread: &Thread) -> bool {
        controlling_tty(thread).is_some_and(|tty| core::ptr::eq(&*tty, self))
    }

    /// Lets a process of the foreground group pass; signals the group of any other.
    ///
    /// # Errors
    /// `ERESTARTSYS` after signalling; `EIO` for a reader that ignores `SIGTTIN`, and for an orphaned group.
    pub fn check_foreground(&self, thread: &Thread, signal: Signal) -> Result<()> {
        if !self.controls(thread) {
            return Ok(());
        }
        let foreground = self.control.lock().foreground;
        let (group, orphaned) = {
            let table = table::lock();
            let group = thread.process().family(&table).group.clone();
            if foreground == 0 || group.id == foreground {
                return Ok(());
            }
            let orphaned = is_orphaned(&table, &group, None);
            (group, orphaned)
        };
        if ignores(thread, signal) {
            return if signal == Signal::SIGTTIN {
                Err(Errno::EIO)
            } else {
                Ok(())
            };
        }
        if orphaned {
            return Err(Errno::EIO);
        }
        signal_group_id(group.id, signal);
        // Another thread of the process may take the signal; this one has to look too.
        thread.set_bits(WORK_SIGNAL);
        Err(Errno::ERESTARTSYS)
    }

    /// Lets a process change the terminal if it is in the foreground, or asks for `SIGTTOU` not to be sent.
    ///
    /// # Errors
    /// As [`Tty::check_foreground`].
    pub fn check_change(&self, thread: &Thread) -> Result<()> {
        self.check_foreground(thread, Signal::SIGTTOU)
    }

    /// Makes this the controlling terminal of a session leader that opens it and has none.
    pub fn acquire_on_open(self: &Arc<Self>, thread: &Thread) {
        let session = thread.process().session();
        if session.id == thread.process().pid
            && session.terminal().is_none()
            && self.control.lock().session.is_none()
        {
            self.attach(&session, thread.process());
        }
    }

    /// `TIOCSCTTY`; `readable` says whether the file may read, `steal` is the argument.
    ///
    /// # Errors
    /// `EPERM` if the caller leads no session or has a terminal, or another session has this one.
    pub fn set_controlling(
        self: &Arc<Self>,
        thread: &Thread,
        readable: bool,
        steal: bool,
    ) -> Result<()> {
        let session = thread.process().session();
        let leads = session.id == thread.process().pid;
        let owner = self.control.lock().session.clone();
        if leads
            && owner
                .as_ref()
                .is_some_and(|owner| Arc::ptr_eq(owner, &session))
        {
            return Ok(());
        }
        if !leads || session.terminal().is_some() {
            return Err(Errno::EPERM);
        }
        let admin = thread.cred().capable(Cap::SysAdmin);
        if let Some(owner) = owner {
            if !steal || !admin {
                return Err(Errno::EPERM);
            }
            drop(owner.set_terminal(None));
        }
        if !readable && !admin {
            return Err(Errno::EPERM);
        }
        self.attach(&session, thread.process());
        Ok(())
    }

    fn attach(self: &Arc<Self>, session: &Arc<Session>, leader: &Process) {
        let group = leader.group().id;
        {
            let mut control = self.control.lock();
            control.session = Some(session.clone());
            control.foreground = group;
        }
        drop(session.set_terminal(Some(self.clone())));
    }

    /// `TIOCNOTTY`: the session gives its terminal up if its leader asks.
    ///
    /// A terminal belongs to the session as a whole here, so that of another process stays as it is.
    ///
    /// # Errors
    /// `ENOTTY` if it is not the caller's controlling terminal.
    pub fn give_up(&self, thread: &Thread) -> Result<()> {
        if !self.controls(thread) {
            return Err(Errno::ENOTTY);
        }
        let session = thread.process().session();
        if session.id == thread.process().pid {
            let foreground = self.foreground();
            self.detach();
            drop(session.set_terminal(None));
            if let Some(group) = foreground {
                signal_group_id(group.id, Signal::SIGHUP);
                signal_group_id(group.id, Signal::SIGCONT);
            }
        }
        Ok(())
    }

    /// Forgets session and foreground group.
    pub(super) fn detach(&self) -> Control {
        core::mem::take(&mut *self.control.lock())
    }

    /// `TIOCGPGRP`; a caller through a pty's master need not have it as controlling terminal.
    ///
    /// # Errors
    /// `ENOTTY` if it is not the caller's controlling terminal.
    pub fn foreground_number(&self, thread: &Thread, through_master: bool) -> Result<Pid> {
        if !through_master && !self.controls(thread) {
            return Err(Errno::ENOTTY);
        }
        Ok(self.control.lock().foreground)
    }

    /// `TIOCGSID`.
    ///
    /// # Errors
    /// `ENOTTY` if it is not the caller's controlling terminal, or controls no session.
    pub fn session_number(&self, thread: &Thread, through_master: bool) -> Result<Pid> {
        if !through_master && !self.controls(thread) {
            return Err(Errno::ENOTTY);
        }
        self.control
            .lock()
            .session
            .as_ref()
            .map(|session| session.id)
            .ok_or(Errno::ENOTTY)
    }

    /// `TIOCSPGRP`.
    ///
    /// # Errors
    /// `ENOTTY`, `EINVAL`, `ESRCH` (no such group), `EPERM` (of another session), `ERESTARTSYS`.
    pub fn set_foreground(&self, thread: &Thread, group: Pid) -> Result<()> {
        self.check_change(thread)
            .map_err(|e| if e == Errno::EIO { Errno::ENOTTY } else { e })?;
        if group < 0 {
            return Err(Errno::EINVAL);
        }
        let session = thread.process().session();
        let ours = self
            .control
            .lock()
            .session
            .as_ref()
            .is_some_and(|s| Arc::ptr_eq(s, &session));
        if !ours || !self.controls(thread) {
            return Err(Errno::ENOTTY);
        }
        let theirs = {
            let table = table::lock();
            match (table.group(group), table.process(group)) {
                (Some(group), _) => group.session.clone(),
                (None, Some(process)) => process.family(&table).group.session.clone(),
                (None, None) => return Err(Errno::ESRCH),
            }
        };
        if !Arc::ptr_eq(&theirs, &session) {
            return Err(Errno::EPERM);
        }
        self.control.lock().foreground = group;
        Ok(())
    }
}
