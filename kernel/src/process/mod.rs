//! Processes and threads.
//!
//! A [`Thread`] is what runs: one future, one set of registers. A [`Process`] is a group of threads that share an address
//! space and die together: Linux's thread group. What Linux lets tasks share one by one (descriptor table, working
//! directory) hangs off the thread by counted pointers; what POSIX gives the process (limits, parent, signals) is in
//! [`Process`].
//!
//! The [`table`] finds both by number, and is the lock ("task list") that guards every family link: parents, children,
//! groups, sessions, zombies. Lock order: task list, then a process's signal lock, then the small locks of a thread.

pub mod attributes;
pub mod cputime;
pub mod guarded;
pub mod pid;
pub mod rlimit;
pub mod status;
pub mod user;

#[cfg(target_os = "none")]
pub mod access;
#[cfg(target_os = "none")]
pub mod autogroup;
#[cfg(target_os = "none")]
pub mod core;
#[cfg(target_os = "none")]
pub mod current;
#[cfg(target_os = "none")]
pub mod exit;
#[cfg(target_os = "none")]
pub mod family;
#[cfg(target_os = "none")]
#[expect(clippy::module_inception, reason = "the noun is the process")]
pub mod process;
#[cfg(target_os = "none")]
pub mod session;
#[cfg(target_os = "none")]
pub mod table;
#[cfg(target_os = "none")]
pub mod thread;

#[cfg(target_os = "none")]
pub mod clone;
#[cfg(target_os = "none")]
pub mod oom;
#[cfg(target_os = "none")]
pub mod pidfd;
#[cfg(target_os = "none")]
pub mod rseq;
#[cfg(target_os = "none")]
pub mod run_time;
#[cfg(target_os = "none")]
pub mod timers;
#[cfg(target_os = "none")]
pub mod trace;
#[cfg(target_os = "none")]
pub mod wait;

#[cfg(target_os = "none")]
pub use current::{current, set_current};
pub use pid::Pid;
#[cfg(target_os = "none")]
pub use process::Process;
pub use status::{Change, ExitStatus};
#[cfg(target_os = "none")]
pub use thread::Thread;
