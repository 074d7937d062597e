//! How a process ended or changed: the status word of wait(2).

use crate::signal::Signal;
use crate::signal::info::{
    CLD_CONTINUED, CLD_DUMPED, CLD_EXITED, CLD_KILLED, CLD_STOPPED, CLD_TRAPPED,
};

/// Why a process or thread ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExitStatus {
    /// It called `exit` with the low eight bits of this.
    Exited(u8),
    /// A signal ended it.
    Signalled {
        /// The signal.
        signal: Signal,
        /// Whether a core file was written.
        core: bool,
    },
}

/// A change of state that a parent can wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// It ended.
    Ended(ExitStatus),
    /// A signal stopped it.
    Stopped(Signal),
    /// `SIGCONT` continued it.
    Continued,
    /// It stopped for its tracer: the signal, and the event above it.
    Traced(u32),
}

impl ExitStatus {
    /// The status word.
    pub const fn word(self) -> i32 {
        match self {
            ExitStatus::Exited(code) => (code as i32) << 8,
            ExitStatus::Signalled { signal, core } => signal.number() | if core { 0x80 } else { 0 },
        }
    }
}

impl Change {
    /// The status word.
    pub const fn word(self) -> i32 {
        match self {
            Change::Ended(status) => status.word(),
            Change::Stopped(signal) => signal.number() << 8 | 0x7f,
            Change::Continued => 0xffff,
            Change::Traced(code) => (code << 8 | 0x7f) as i32,
        }
    }

    /// `si_code` and `si_status` of the `SIGCHLD` and of waitid(2).
    pub const fn code_and_status(self) -> (i32, i32) {
        match self {
            Change::Ended(ExitStatus::Exited(code)) => (CLD_EXITED, code as i32),
            Change::Ended(ExitStatus::Signalled { signal, core }) => {
                (if core { CLD_DUMPED } else { CLD_KILLED }, signal.number())
            }
            Change::Stopped(signal) => (CLD_STOPPED, signal.number()),
            Change::Continued => (CLD_CONTINUED, Signal::SIGCONT.number()),
            Change::Traced(code) => (CLD_TRAPPED, code as i32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_the_w_macros_take_apart() {
        assert_eq!(ExitStatus::Exited(7).word(), 0x700);
        assert_eq!(
            ExitStatus::Signalled {
                signal: Signal::SIGSEGV,
                core: true
            }
            .word(),
            0x8b
        );
        assert_eq!(Change::Stopped(Signal::SIGTSTP).word(), 0x147f);
        assert_eq!(Change::Continued.word(), 0xffff);
        assert_eq!(
            Change::Ended(ExitStatus::Exited(3)).code_and_status(),
            (1, 3)
        );
    }
}
