//! Read-copy-update: reading what others change, without a lock and without a write to shared memory.
//!
//! Purpose: data that is read all the time and changed seldom. A reader holds off preemption and follows a pointer. A writer
//! publishes a new version, and gets rid of the old one after a *grace period*: when every CPU has been seen outside of any
//! reader once (rule 24). That is the case at each executor turn and at each interrupt that finds the word of
//! [`cpu`](crate::cpu) zero; a CPU that sleeps, or runs a user program, is interrupted for it. So readers pay nothing, and
//! one look at a flag of its own is what a turn pays.
//!
//! Contexts: readers in any, on CPUs that have an executor; writers in any ([`call`], [`RcuCell::replace`]) or in tasks
//! (those that wait). Lock: one `SpinLockIrq` for the grace periods; callbacks run without it, in a task.
//!
//! | Linux | here |
//! | --- | --- |
//! | `rcu_read_lock`, `rcu_read_unlock` | [`read`], its guard |
//! | `rcu_dereference`, `rcu_assign_pointer` | [`RcuCell::read`], [`RcuCell::replace`] |
//! | `synchronize_rcu` | [`synchronize`] |
//! | `call_rcu` with a `rcu_head` | [`call`] with a [`Head`]; [`RcuBox::retire`] to free |
//! | `rcu_barrier` | [`barrier`] |
//! | `srcu_read_lock`, `synchronize_srcu` | [`Srcu::read`], [`Srcu::synchronize`] |
//!
//! ```
//! use executor::{platform::host, rcu::{self, RcuCell}};
//!
//! host::block_on(async {
//!     rcu::init();
//!     let config = RcuCell::new(String::from("old"));
//!     {
//!         let reading = rcu::read();
//!         assert_eq!(config.read(&reading), "old");
//!     }
//!     // Readers see the new one from here on; what comes back is nobody's any more.
//!     assert_eq!(config.exchange(String::from("new")).await, "old");
//! });
//! ```
//!
//! A guard of a reader does not cross an await; [`Srcu`] is for those that wait:
//!
//! ```compile_fail,E0277
//! # use executor::{rcu, spawn, yield_now};
//! spawn("wrong", async {
//!     let reading = rcu::read();
//!     yield_now().await;
//!     drop(reading);
//! }).detach();
//! ```
#![allow(
    unsafe_code,
    reason = "callbacks are linked in place, and old versions are freed when nobody reads them"
)]

mod callback;
mod cell;
mod grace;
mod srcu;

pub use callback::{Callback, Head};
pub use cell::{RcuBox, RcuCell};
pub use grace::{ReadGuard, barrier, call, grace_periods, init, read, synchronize};
pub(crate) use grace::{irq_exit, offline, online, turn};
pub use srcu::{Srcu, SrcuGuard};
