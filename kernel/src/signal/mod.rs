//! Signals: generation, queues, delivery.
//!
//! A signal is *generated* by [`send`], which queues it at a thread or at a process and wakes a thread that can take
//! it, and *delivered* by that thread itself, on its way to user mode ([`deliver`]). All signal state of a process and of its
//! threads is guarded by the process's one signal lock ([`state::SignalState`]); the table of dispositions has a lock
//! of its own inside, since processes may share it.
//!
//! Signals are generated in task context only: timer interrupts hand expired timers to a task.
//!
//! Lock order: task list, signal lock, dispositions. Never two processes' signal locks at a time.

pub mod action;
#[cfg(target_os = "none")]
pub mod deliver;
#[cfg(target_os = "none")]
pub mod frame;
pub mod info;
#[cfg(target_os = "none")]
pub mod job;
pub mod number;
pub mod pending;
#[cfg(target_os = "none")]
pub mod send;
#[cfg(target_os = "none")]
pub mod state;

pub use action::{Actions, SigAction};
pub use info::SigInfo;
pub use number::{DefaultAction, SigSet, Signal};
pub use pending::Pending;
