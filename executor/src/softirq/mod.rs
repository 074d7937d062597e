//! The softirq level: bottom halves that run before any task does.
//!
//! Purpose: what cannot be done in a hard interrupt and should not wait for a task. Each CPU has a second executor, whose
//! futures belong to one of Linux's ten vectors and are polled in the vectors' order: on the way out of an interrupt, when
//! the last bottom-half lock is given back, and by ksoftirqd.
//!
//! Contexts: futures here are polled with interrupts let in and the softirq count raised, so nothing else runs on the CPU
//! but hard interrupts. They may await, which puts them back; they take [`SpinLockBh`](crate::sync::SpinLockBh) and
//! [`SpinLockIrq`](crate::sync::SpinLockIrq). Waking one is allowed in any context, from any CPU.
//!
//! Limits: a run goes on for ten rounds or two milliseconds, whichever is less; what is left then is ksoftirqd's, a task
//! among others, so that no flood of interrupts keeps tasks from running.
//!
//! | Linux | here |
//! | --- | --- |
//! | `open_softirq` with a handler | [`spawn`] of a future that awaits an [`IrqEvent`](crate::irq::IrqEvent) |
//! | `raise_softirq` | [`IrqEvent::raise`](crate::irq::IrqEvent::raise) |
//! | `irq_exit` | [`irq_exit`] |
//! | `local_bh_disable` | [`cpu::bh_disable`](crate::cpu::bh_disable) |
//! | `DECLARE_TASKLET`, `tasklet_schedule`, `tasklet_disable`, `tasklet_kill` | [`Tasklet`] |
//! | `/proc/softirqs` | [`counts`] |

mod level;
mod tasklet;
mod vectors;

pub(crate) use level::{Level, bh_exit, is_pending, raised};
pub use level::{come_back, counts, go_away, init, irq_exit, run_pending, spawn, spawn_on};
pub use tasklet::Tasklet;
pub use vectors::Vector;
