//! Tasks, wakers, timers, locks and waiting: the async core of Wake.
#![no_std]
#![warn(missing_docs)]

extern crate alloc;
#[cfg(not(target_os = "none"))]
extern crate std;

pub mod cpu;
mod executor;
mod facade;
pub mod irq;
mod join;
#[cfg(loom)]
#[doc(hidden)]
pub mod mutants;
pub mod platform;
mod policy;
mod raw;
mod scope;
mod spawn;
pub mod sync;
pub mod time;
mod yield_now;

pub use executor::{Ended, Executor, Hooks, NoHooks, Started, TaskTag};
pub use join::{Aborted, JoinHandle};
pub use platform::Platform;
pub use policy::{EnqueueKind, Fifo, Outcome, Policy};
pub use raw::{CpuShared, RunList, Runnable, Running, TaskRef};
pub use scope::{Scope, ScopedHandle};
pub use spawn::{SpawnError, SpawnErrorKind, Spawner, current, spawn, spawn_on, try_spawn};
pub use yield_now::{preempted, yield_now};
