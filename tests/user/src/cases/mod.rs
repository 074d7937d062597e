//! The test cases, by subject. Each runs in a process of its own and panics where something is not as on Linux.

mod autogroup;
mod cgroup;
mod clocks;
mod core;
mod deadline;
mod errnos;
mod exec;
mod filecaps;
mod files;
mod futex_pi;
mod hostile;
mod hotplug;
mod interrupts;
mod ipc;
mod memory;
mod mq;
mod oom;
mod pidfd;
mod pipes;
mod process;
mod procfs;
mod ptrace;
mod registers;
mod rseq;
mod rtc;
mod run_time;
mod sched;
mod seccomp;
mod signals;
mod smaps;
mod sockets;
mod strict;
mod sysctl;
mod terminal;
mod threads;
mod time;
mod timers;
mod waiting;
mod waitv;

use std::process::ExitCode;

/// Names the functions of a module as its cases.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        /// The cases of this module.
        pub const CASES: &[$crate::cases::Case] = &[$((stringify!($name), $name)),*];
    };
}
use cases;

/// Has a subject consist of the cases of these modules.
macro_rules! parts {
    ($($part:ident),* $(,)?) => {
        /// The cases of this subject.
        pub const CASES: &[$crate::cases::Case] =
            &$crate::cases::join::<{ 0 $(+ $part::CASES.len())* }>(&[$($part::CASES),*]);
    };
}
use parts;

/// Puts lists of `N` cases in all one behind the other.
const fn join<const N: usize>(parts: &[&[Case]]) -> [Case; N] {
    let mut all = [parts[0][0]; N];
    let (mut part, mut at, mut filled) = (0, 0, 0);
    while filled < N {
        if at == parts[part].len() {
            (part, at) = (part + 1, 0);
            continue;
        }
        all[filled] = parts[part][at];
        (at, filled) = (at + 1, filled + 1);
    }
    all
}

/// A case: its name and what it does.
pub type Case = (&'static str, fn());

/// All cases, as `subject::name`.
pub fn all() -> impl Iterator<Item = (String, fn())> {
    let subjects = [
        ("autogroup", autogroup::CASES),
        ("cgroup", cgroup::CASES),
        ("clocks", clocks::CASES),
        ("core", core::CASES),
        ("deadline", deadline::CASES),
        ("errnos", errnos::CASES),
        ("exec", exec::CASES),
        ("filecaps", filecaps::CASES),
        ("files", files::CASES),
        ("futex_pi", futex_pi::CASES),
        ("hostile", hostile::CASES),
        ("hotplug", hotplug::CASES),
        ("interrupts", interrupts::CASES),
        ("ipc", ipc::CASES),
        ("memory", memory::CASES),
        ("mq", mq::CASES),
        ("oom", oom::CASES),
        ("pidfd", pidfd::CASES),
        ("pipes", pipes::CASES),
        ("process", process::CASES),
        ("procfs", procfs::CASES),
        ("ptrace", ptrace::CASES),
        ("registers", registers::CASES),
        ("rseq", rseq::CASES),
        ("rtc", rtc::CASES),
        ("run_time", run_time::CASES),
        ("sched", sched::CASES),
        ("seccomp", seccomp::CASES),
        ("signals", signals::CASES),
        ("smaps", smaps::CASES),
        ("sockets", sockets::CASES),
        ("strict", strict::CASES),
        ("sysctl", sysctl::CASES),
        ("terminal", terminal::CASES),
        ("threads", threads::CASES),
        ("time", time::CASES),
        ("timers", timers::CASES),
        ("waiting", waiting::CASES),
        ("waitv", waitv::CASES),
    ];
    let named = |(subject, cases): (&'static str, &'static [Case])| {
        cases
            .iter()
            .map(move |(name, run)| (format!("{subject}::{name}"), *run))
    };
    subjects.into_iter().flat_map(named)
}

/// What a case executes as another program.
pub fn helper(words: &[&str]) -> ExitCode {
    exec::helper(words)
}
