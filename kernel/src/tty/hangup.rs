//! Hanging up: the line is gone, or the session that had the terminal.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use super::Tty;
use crate::process::family::Session;
use crate::process::session::signal_group_id;
use crate::process::{Process, table};
use crate::signal::{Signal, send};

/// The process that leads `session`, if it is still there.
fn leader(session: &Session) -> Option<Arc<Process>> {
    table::lock().process(session.id).cloned()
}

impl Tty {
    /// Ends every use of the terminal: its files answer end of file and `EIO`, its session loses it, and the session's
    /// leader is told by `SIGHUP` and `SIGCONT`.
    ///
    /// # Context
    /// Task; takes the task list and signal locks.
    pub fn hang_up(&self) {
        self.kill_files();
        let control = self.detach();
        if let Some(session) = control.session {
            drop(session.set_terminal(None));
            session
                .last_foreground
                .store(control.foreground, Ordering::Relaxed);
            if let Some(leader) = leader(&session) {
                send::send_kernel(&leader, Signal::SIGHUP);
                send::send_kernel(&leader, Signal::SIGCONT);
            }
        }
        self.driver.closed();
    }

    /// The leader of `session` ended while this was its terminal: the foreground group is told by `SIGHUP`, and a
    /// terminal other than a pty is hung up.
    pub(super) fn leader_ended(&self, session: &Session) {
        let is_ours = self
            .control
            .lock()
            .session
            .as_ref()
            .is_some_and(|s| core::ptr::eq(&**s, session));
        if !is_ours {
            return;
        }
        let foreground = self.foreground();
        if !self.driver.is_pty() {
            self.kill_files();
        }
        drop(self.detach());
        drop(session.set_terminal(None));
        if let Some(group) = foreground {
            signal_group_id(group.id, Signal::SIGHUP);
        }
    }
}
