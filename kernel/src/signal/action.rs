//! Dispositions: what a process wants done about each signal.

use super::number::{DefaultAction, NSIG, SigSet, Signal};

/// `SA_*`: no `SIGCHLD` when children stop or continue.
pub const SA_NOCLDSTOP: u64 = 1;
/// `SA_*`: children leave no zombies.
pub const SA_NOCLDWAIT: u64 = 2;
/// `SA_*`: the handler takes three arguments. Handlers get all three on x86-64 anyway.
pub const SA_SIGINFO: u64 = 4;
/// `SA_*`: `restorer` is set; x86-64 demands it.
pub const SA_RESTORER: u64 = 0x0400_0000;
/// `SA_*`: run on the alternate stack.
pub const SA_ONSTACK: u64 = 0x0800_0000;
/// `SA_*`: restart interrupted system calls.
pub const SA_RESTART: u64 = 0x1000_0000;
/// `SA_*`: do not block the signal in its own handler.
pub const SA_NODEFER: u64 = 0x4000_0000;
/// `SA_*`: back to the default on delivery.
pub const SA_RESETHAND: u64 = 0x8000_0000;
/// `SA_*`: report address tag bits. Without tags it changes nothing, but programs may ask whether it is known.
pub const SA_EXPOSE_TAGBITS: u64 = 0x800;
/// Always cleared, so that programs can find out which flags are known.
pub const SA_UNSUPPORTED: u64 = 0x400;

const SA_KNOWN: u64 = SA_NOCLDSTOP
    | SA_NOCLDWAIT
    | SA_SIGINFO
    | SA_RESTORER
    | SA_ONSTACK
    | SA_RESTART
    | SA_NODEFER
    | SA_RESETHAND
    | SA_EXPOSE_TAGBITS;

/// `sa_handler`: the default action.
pub const SIG_DFL: u64 = 0;
/// `sa_handler`: ignore.
pub const SIG_IGN: u64 = 1;

/// The kernel's `struct sigaction`, as rt_sigaction(2) has it on x86-64.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SigAction {
    /// Address of the handler, [`SIG_DFL`] or [`SIG_IGN`].
    pub handler: u64,
    /// `SA_*`.
    pub flags: u64,
    /// Where the handler returns to.
    pub restorer: u64,
    /// Signals blocked while the handler runs.
    pub mask: SigSet,
}

impl SigAction {
    /// This action with unknown flags and unblockable signals dropped, as it is stored.
    pub const fn sanitized(mut self) -> SigAction {
        self.flags &= SA_KNOWN;
        self.mask = self.mask.blockable();
        self
    }

    /// Whether a handler of the program's is to run.
    pub const fn is_handler(&self) -> bool {
        self.handler > SIG_IGN
    }

    /// Whether `signal` under this action does nothing.
    pub const fn ignores(&self, signal: Signal) -> bool {
        self.handler == SIG_IGN
            || self.handler == SIG_DFL && matches!(signal.default_action(), DefaultAction::Ignore)
    }
}

/// The dispositions of all signals; shared by threads, and by processes made with `CLONE_SIGHAND`.
#[derive(Clone, Debug)]
pub struct Actions([SigAction; NSIG]);

impl Default for Actions {
    fn default() -> Self {
        Actions([SigAction::default(); NSIG])
    }
}

impl Actions {
    /// The action for `signal`.
    pub fn get(&self, signal: Signal) -> &SigAction {
        &self.0[signal.index()]
    }

    /// The action for `signal`, to be changed.
    pub fn get_mut(&mut self, signal: Signal) -> &mut SigAction {
        &mut self.0[signal.index()]
    }

    /// What execve(2) and `CLONE_CLEAR_SIGHAND` leave: handlers back to the default, ignored signals ignored.
    pub fn reset_for_exec(&mut self) {
        for action in &mut self.0 {
            *action = SigAction {
                handler: if action.handler == SIG_IGN {
                    SIG_IGN
                } else {
                    SIG_DFL
                },
                ..SigAction::default()
            };
        }
    }

    /// The signals that have a handler.
    pub fn caught(&self) -> SigSet {
        self.collect(SigAction::is_handler)
    }

    /// The signals set to be ignored.
    pub fn ignored(&self) -> SigSet {
        self.collect(|action| action.handler == SIG_IGN)
    }

    fn collect(&self, mut wanted: impl FnMut(&SigAction) -> bool) -> SigSet {
        SigSet(
            self.0
                .iter()
                .enumerate()
                .fold(0, |bits, (i, action)| bits | u64::from(wanted(action)) << i),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exec_keeps_ignored_and_drops_handlers() {
        let mut actions = Actions::default();
        actions.get_mut(Signal::SIGUSR1).handler = 0x1000;
        actions.get_mut(Signal::SIGUSR1).flags = SA_RESTART;
        actions.get_mut(Signal::SIGHUP).handler = SIG_IGN;
        assert_eq!(actions.caught(), Signal::SIGUSR1.set());
        actions.reset_for_exec();
        assert_eq!(*actions.get(Signal::SIGUSR1), SigAction::default());
        assert_eq!(actions.ignored(), Signal::SIGHUP.set());
    }

    #[test]
    fn unknown_flags_and_unblockable_signals_are_dropped() {
        let action = SigAction {
            handler: 1,
            flags: !0,
            restorer: 0,
            mask: SigSet::ALL,
        }
        .sanitized();
        assert_eq!(action.flags & SA_UNSUPPORTED, 0);
        assert!(!action.mask.contains(Signal::SIGKILL));
    }

    #[test]
    fn default_of_sigchld_is_ignored_but_of_sigterm_is_not() {
        assert!(SigAction::default().ignores(Signal::SIGCHLD));
        assert!(!SigAction::default().ignores(Signal::SIGTERM));
        assert!(
            SigAction {
                handler: SIG_IGN,
                ..SigAction::default()
            }
            .ignores(Signal::SIGTERM)
        );
    }
}
