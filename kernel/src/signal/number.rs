//! Signal numbers and sets of them.

use core::fmt;
use core::ops::{BitAnd, BitOr, BitOrAssign, Not};

/// A signal number, `1..=64`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

/// Number of signals; the greatest signal number.
pub const NSIG: usize = 64;

macro_rules! signals {
    ($($name:ident = $number:literal;)*) => {
        impl Signal {
            $(#[allow(missing_docs, reason = "the names are POSIX's")] pub const $name: Signal = Signal($number);)*

            /// The symbolic name of a standard signal.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

signals! {
    SIGHUP = 1; SIGINT = 2; SIGQUIT = 3; SIGILL = 4; SIGTRAP = 5; SIGABRT = 6; SIGBUS = 7; SIGFPE = 8; SIGKILL = 9;
    SIGUSR1 = 10; SIGSEGV = 11; SIGUSR2 = 12; SIGPIPE = 13; SIGALRM = 14; SIGTERM = 15; SIGSTKFLT = 16; SIGCHLD = 17;
    SIGCONT = 18; SIGSTOP = 19; SIGTSTP = 20; SIGTTIN = 21; SIGTTOU = 22; SIGURG = 23; SIGXCPU = 24; SIGXFSZ = 25;
    SIGVTALRM = 26; SIGPROF = 27; SIGWINCH = 28; SIGIO = 29; SIGPWR = 30; SIGSYS = 31;
}

impl Signal {
    /// The first real-time signal, as the kernel counts them.
    pub const SIGRTMIN: Signal = Signal(32);

    /// Makes a signal of its number; `None` outside `1..=64`.
    pub const fn new(number: i32) -> Option<Signal> {
        if number >= 1 && number <= NSIG as i32 {
            Some(Signal(number as u8))
        } else {
            None
        }
    }

    /// Its number.
    pub const fn number(self) -> i32 {
        self.0 as i32
    }

    /// Index into tables of all signals.
    pub const fn index(self) -> usize {
        self.0 as usize - 1
    }

    /// Whether instances of it queue up instead of merging into one.
    pub const fn is_realtime(self) -> bool {
        self.0 >= Self::SIGRTMIN.0
    }

    /// The set of this signal alone.
    pub const fn set(self) -> SigSet {
        SigSet(1 << (self.0 - 1))
    }

    /// What happens to a process that has not said otherwise.
    pub const fn default_action(self) -> DefaultAction {
        let set = self.set();
        if SigSet::IGNORE.contains_set(set) {
            DefaultAction::Ignore
        } else if SigSet::STOP.contains_set(set) {
            DefaultAction::Stop
        } else if SigSet::CORE.contains_set(set) {
            DefaultAction::Core
        } else {
            DefaultAction::Terminate
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "SIG{}", self.0),
        }
    }
}

/// The default action of a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DefaultAction {
    /// The process ends.
    Terminate,
    /// The process ends and may leave a core file.
    Core,
    /// The process stops.
    Stop,
    /// Nothing (`SIGCONT` has continued the process when it was sent).
    Ignore,
}

/// A set of signals, bit *n* - 1 for signal *n*, as programs pass it.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct SigSet(pub u64);

impl SigSet {
    /// No signal.
    pub const EMPTY: SigSet = SigSet(0);
    /// Every signal.
    pub const ALL: SigSet = SigSet(!0);
    /// The two that a program can neither catch, block nor ignore.
    pub const UNBLOCKABLE: SigSet = SigSet::of(&[Signal::SIGKILL, Signal::SIGSTOP]);
    /// Those that stop a process by default.
    pub const STOP: SigSet = SigSet::of(&[
        Signal::SIGSTOP,
        Signal::SIGTSTP,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
    ]);
    /// Those that do nothing by default.
    pub const IGNORE: SigSet = SigSet::of(&[
        Signal::SIGCHLD,
        Signal::SIGCONT,
        Signal::SIGURG,
        Signal::SIGWINCH,
    ]);
    /// Those that dump core by default.
    pub const CORE: SigSet = SigSet::of(&[
        Signal::SIGQUIT,
        Signal::SIGILL,
        Signal::SIGTRAP,
        Signal::SIGABRT,
        Signal::SIGBUS,
        Signal::SIGFPE,
        Signal::SIGSEGV,
        Signal::SIGXCPU,
        Signal::SIGXFSZ,
        Signal::SIGSYS,
    ]);
    /// Those that a thread's own instruction raises; they are delivered before all others.
    pub const SYNCHRONOUS: SigSet = SigSet::of(&[
        Signal::SIGSEGV,
        Signal::SIGBUS,
        Signal::SIGILL,
        Signal::SIGTRAP,
        Signal::SIGFPE,
        Signal::SIGSYS,
    ]);

    /// The set of all `signals`.
    pub const fn of(signals: &[Signal]) -> SigSet {
        let mut bits = 0;
        let mut i = 0;
        while i < signals.len() {
            bits |= signals[i].set().0;
            i += 1;
        }
        SigSet(bits)
    }

    /// Whether it has no member.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `signal` is a member.
    pub const fn contains(self, signal: Signal) -> bool {
        self.0 & signal.set().0 != 0
    }

    /// Whether all of `other` are members.
    pub const fn contains_set(self, other: SigSet) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether one of `other` is a member.
    pub const fn intersects(self, other: SigSet) -> bool {
        self.0 & other.0 != 0
    }

    /// This set without `other`.
    pub const fn without(self, other: SigSet) -> SigSet {
        SigSet(self.0 & !other.0)
    }

    /// This set as a mask that a program may have: without the two unblockable signals.
    pub const fn blockable(self) -> SigSet {
        self.without(SigSet::UNBLOCKABLE)
    }

    /// Adds `signal`.
    pub const fn insert(&mut self, signal: Signal) {
        self.0 |= signal.set().0;
    }

    /// Removes `signal`.
    pub const fn remove(&mut self, signal: Signal) {
        self.0 &= !signal.set().0;
    }

    /// The member to deliver next: synchronous ones first, then the lowest number.
    pub const fn next(self) -> Option<Signal> {
        let synchronous = self.0 & SigSet::SYNCHRONOUS.0;
        let bits = if synchronous != 0 {
            synchronous
        } else {
            self.0
        };
        if bits == 0 {
            None
        } else {
            Some(Signal(bits.trailing_zeros() as u8 + 1))
        }
    }
}

impl BitOr for SigSet {
    type Output = SigSet;
    fn bitor(self, other: SigSet) -> SigSet {
        SigSet(self.0 | other.0)
    }
}

impl BitOrAssign for SigSet {
    fn bitor_assign(&mut self, other: SigSet) {
        self.0 |= other.0;
    }
}

impl BitAnd for SigSet {
    type Output = SigSet;
    fn bitand(self, other: SigSet) -> SigSet {
        SigSet(self.0 & other.0)
    }
}

impl Not for SigSet {
    type Output = SigSet;
    fn not(self) -> SigSet {
        SigSet(!self.0)
    }
}

impl fmt::Debug for SigSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_actions_are_those_of_signal_7() {
        let by = |action| {
            (1..=64)
                .filter(|n| Signal::new(*n).unwrap().default_action() == action)
                .collect::<Vec<_>>()
        };
        assert_eq!(by(DefaultAction::Ignore), [17, 18, 23, 28]);
        assert_eq!(by(DefaultAction::Stop), [19, 20, 21, 22]);
        assert_eq!(by(DefaultAction::Core), [3, 4, 5, 6, 7, 8, 11, 24, 25, 31]);
        assert_eq!(by(DefaultAction::Terminate).len(), 64 - 18);
    }

    #[test]
    fn numbers_outside_the_range_are_refused() {
        assert_eq!(Signal::new(0), None);
        assert_eq!(Signal::new(65), None);
        assert_eq!(Signal::new(-1), None);
        assert_eq!(Signal::new(64).unwrap().index(), 63);
    }

    #[test]
    fn synchronous_signals_come_first_then_low_numbers() {
        let set = SigSet::of(&[Signal::SIGHUP, Signal::SIGSEGV, Signal::SIGRTMIN]);
        assert_eq!(set.next(), Some(Signal::SIGSEGV));
        assert_eq!(
            set.without(SigSet::SYNCHRONOUS).next(),
            Some(Signal::SIGHUP)
        );
        assert_eq!(Signal::SIGRTMIN.set().next(), Some(Signal::SIGRTMIN));
        assert_eq!(SigSet::EMPTY.next(), None);
    }

    #[test]
    fn kill_and_stop_cannot_be_blocked() {
        assert_eq!(SigSet::ALL.blockable(), !SigSet::UNBLOCKABLE);
    }
}
