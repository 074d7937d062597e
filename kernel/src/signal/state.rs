//! The signal state of a process and of its threads.

use alloc::sync::Arc;
use alloc::vec::Vec;

use executor::sync::SpinLock;

use super::{Actions, Pending, SigSet, Signal};
use crate::process::guarded::Token;
use crate::process::{Change, ExitStatus, Thread};

/// The dispositions, which `CLONE_SIGHAND` shares.
#[derive(Debug, Default)]
pub struct SigHand {
    /// What to do about each signal. Innermost lock of signal handling.
    pub actions: SpinLock<Actions>,
}

impl SigHand {
    /// A table of its own with the same contents.
    pub fn duplicate(&self) -> Arc<SigHand> {
        let actions = self.actions.lock().clone();
        Arc::new(SigHand {
            actions: SpinLock::new(actions),
        })
    }
}

/// Job control: where the process is between running and stopped.
#[derive(Debug, Default)]
pub struct GroupStop {
    /// The stop under way or done, and the signal that asked for it.
    pub signal: Option<Signal>,
    /// Threads that have yet to stop.
    pub remaining: usize,
    /// All threads have stopped.
    pub stopped: bool,
    /// `SIGCONT` was sent since a thread took a stop signal and let go of the lock.
    pub continued: bool,
    /// What a parent that waits for stops and continues has not been told yet.
    pub report: Option<Change>,
}

/// What the signal lock of a process guards.
#[derive(Debug)]
pub struct SignalState {
    /// Opens the [`ThreadSignals`] of this process's threads.
    pub token: Token,
    /// The dispositions.
    pub sighand: Arc<SigHand>,
    /// Signals for the process, which any thread may take.
    pub shared: Pending,
    /// The threads that have not ended, oldest first.
    pub threads: Vec<Arc<Thread>>,
    /// Set once the process is to end: every thread is to leave.
    pub exit: Option<ExitStatus>,
    /// The code of the first thread, where that has ended before the others.
    pub leader_code: Option<u8>,
    /// The number of the thread that is in execve(2) and waits for all others to leave.
    pub exec: Option<i32>,
    /// Job control.
    pub stop: GroupStop,
    /// The process is init: signals that it has no handler for do not reach it.
    pub unkillable: bool,
    /// Where the search for a thread to take a process's signal starts.
    pub next_target: usize,
}

impl SignalState {
    /// The state of a new process.
    pub fn new(sighand: Arc<SigHand>) -> Self {
        SignalState {
            token: Token::new(),
            sighand,
            shared: Pending::new(),
            threads: Vec::new(),
            exit: None,
            leader_code: None,
            exec: None,
            stop: GroupStop::default(),
            unkillable: false,
            next_target: 0,
        }
    }
}

/// An alternate signal stack: `stack_t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AltStack {
    /// Lowest address.
    pub base: u64,
    /// Length in bytes; zero if there is none.
    pub size: u64,
    /// `SS_DISABLE`, `SS_AUTODISARM`.
    pub flags: u32,
}

/// `ss_flags`: running on it.
pub const SS_ONSTACK: u32 = 1;
/// `ss_flags`: there is none.
pub const SS_DISABLE: u32 = 2;
/// `ss_flags`: forgotten while a handler runs on it.
pub const SS_AUTODISARM: u32 = 1 << 31;

impl Default for AltStack {
    fn default() -> Self {
        AltStack {
            base: 0,
            size: 0,
            flags: SS_DISABLE,
        }
    }
}

impl AltStack {
    /// Whether stack pointer `sp` is on it, so that a further handler goes on below.
    pub fn is_on(&self, sp: u64) -> bool {
        self.flags & SS_AUTODISARM == 0 && self.contains(sp)
    }

    /// Whether `sp` points into it.
    pub fn contains(&self, sp: u64) -> bool {
        sp > self.base && sp - self.base <= self.size
    }

    /// `SS_ONSTACK`, `SS_DISABLE` or 0.
    pub fn state(&self, sp: u64) -> u32 {
        if self.size == 0 {
            SS_DISABLE
        } else if self.is_on(sp) {
            SS_ONSTACK
        } else {
            0
        }
    }
}

/// The signal state of one thread, guarded by its process's signal lock.
#[derive(Debug, Default)]
pub struct ThreadSignals {
    /// Signals not delivered for now.
    pub blocked: SigSet,
    /// Signals that sigtimedwait(2) waits for: blocked, but one of them wakes the thread.
    pub awaited: SigSet,
    /// Mask to go back to once a signal has been delivered, or none was (sigsuspend, ppoll).
    pub saved_mask: Option<SigSet>,
    /// Signals for this thread alone.
    pub pending: Pending,
    /// The alternate stack.
    pub altstack: AltStack,
}
