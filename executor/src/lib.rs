//! Tasks, wakers, timers, locks and waiting: the async core of Wake, and of use without it.
//!
//! Each CPU has an [`Executor`]. It polls *tasks*: futures with one allocation each, woken from any context, hard
//! interrupts included, by a bit and a push that neither lock nor allocate. Which task is next is a [`Policy`]'s affair.
//! What a kernel does with interrupt handlers, wait queues, kernel threads and timers is done here with futures.
//!
//! ```
//! use core::time::Duration;
//! use executor::{Scope, irq::IrqEvent, platform::host, time};
//!
//! /// Raised by the device's top half, which does no more than this.
//! static DONE: IrqEvent = IrqEvent::new();
//!
//! /// The bottom half: an ordinary task.
//! async fn driver() -> Result<usize, time::Elapsed> {
//!     let mut seen = 0;
//!     while seen < 3 {
//!         // Interrupts that came together are one turn of this loop, and none is lost.
//!         seen += time::timeout(Duration::from_secs(1), DONE.wait()).await?;
//!     }
//!     Ok(seen)
//! }
//!
//! let seen = host::block_on(async {
//!     let device = Scope::new();
//!     let driver = device.spawn("driver", driver());
//!     for _ in 0..3 {
//!         DONE.raise(); // from an interrupt handler, on the machine
//!         executor::yield_now().await;
//!     }
//!     let seen = driver.await;
//!     device.end().await; // whatever the device's tasks still did is over after this
//!     seen
//! });
//! assert_eq!(seen, Ok(Ok(3)));
//! ```
//!
//! # Where to start
//!
//! | to | read |
//! | --- | --- |
//! | make tasks, join and abort them | [`spawn()`], [`Spawner`], [`JoinHandle`] |
//! | make tasks that end together | [`Scope`] |
//! | make tasks without the allocator, or of futures that are not `Send` | [`TaskSlot`]; [`Spawner::try_spawn_local`], [`spawn_local`] |
//! | keep a loop that is always ready from keeping its CPU | [`Budget`] |
//! | see what tasks do | [`TaskRef::polls`], [`TaskRef::run_time`]; the module `trace`, with the feature of that name |
//! | wait for an interrupt, a time, a condition | [`irq`], [`time`], [`sync::WaitQueue`] |
//! | choose a lock or a channel | [`sync`] |
//! | know what code may be preempted, and hold it off | [`cpu`] |
//! | run it on a machine of your own | [`Platform`], [`Executor::run_once`], [`Executor::prepare_idle`] |
//! | order tasks your way | [`Policy`] |
//! | preempt polls in their midst | [`suspend`] |
//! | test with a clock that you move | `platform::VirtualTime` |
//! | see how a task lives and dies | the module `raw` |
//!
//! # From Linux to here
//!
//! | Linux | here |
//! | --- | --- |
//! | `request_irq` handler and bottom half | [`irq::IrqEvent`]: `raise` in the handler, `wait().await` in a task |
//! | `kthread_run`, `kthread_stop`, `kthread_park` | [`kthread`]; where any await is a good place to end, [`spawn()`] and [`JoinHandle::abort`] |
//! | `wake_up_process` | [`TaskRef::wake`] |
//! | `schedule` | an `.await`; [`yield_now`] |
//! | `preempt_schedule`, `preempt_schedule_irq` | [`suspend::suspend`], [`cpu::preempt_point`] |
//! | `cond_resched` | [`cpu::point`]; [`Budget`] |
//! | `sched_set_fifo`, `set_user_nice` of a kernel thread | [`Spawner::urgency`], [`Urgency`] |
//! | `current` | [`current`] |
//! | `wait_event(wq, cond)` | [`sync::WaitQueue::wait_until`] |
//! | `add_wait_queue` with a function, `poll_wait` | [`sync::Waiter`] |
//! | `wait_for_completion` | [`sync::Completion::wait`] |
//! | `mutex_lock`, `down_read`, `down` | [`sync::Mutex`], [`sync::RwLock`], [`sync::Semaphore`] |
//! | `spin_lock`, `_bh`, `_irqsave` | [`sync::SpinLock`], [`sync::SpinLockBh`], [`sync::SpinLockIrq`] |
//! | `read_seqbegin`, `write_seqlock` | [`sync::SeqCell`] |
//! | `preempt_disable`, `local_bh_disable`, `local_irq_save` | [`cpu::preempt_disable`], [`cpu::bh_disable`], [`cpu::irq_save`] |
//! | `in_interrupt`, `need_resched` | [`cpu::in_interrupt`], [`cpu::need_resched`] |
//! | `rcu_read_lock`, `call_rcu`, `synchronize_rcu`, SRCU | [`rcu`] |
//! | `msleep`, `schedule_timeout` | [`time::sleep`], [`time::timeout`] |
//! | `hrtimer_start` with a function | [`time::HrTimer`] |
//! | `sched_setaffinity`, `set_cpus_allowed_ptr` | [`TaskRef::migrate`], and the policy's judgement |
//! | scheduling class | [`Policy`] |
//! | softirq, tasklet | [`softirq`] |
//! | workqueue | [`work`] |
//!
//! # What it is not
//!
//! It knows no processes, nice values or address spaces: those are its [`Policy`]'s and its [`Hooks`]'. How stacks are
//! switched is the affair of a [`suspend::Machine`]. It has no reactor: a device's interrupt is its own. It does not unwind: a panic is the platform's affair.
//!
//! # How it is tested
//!
//! Host tests under a `platform::VirtualTime`, Miri, and models of every interleaving under
//! `loom`, with mistakes made on purpose that the models must find (`tests/loom`). There polls are also suspended at every
//! point, on stacks that are threads. What keeps each rule of the core is listed in [`rules`].
#![no_std]
#![warn(missing_docs)]

extern crate alloc;
#[cfg(not(target_os = "none"))]
extern crate std;

#[doc = include_str!("../RULES.md")]
pub mod rules {}

mod budget;
pub mod cpu;
mod executor;
mod facade;
pub mod irq;
mod join;
pub mod kthread;
mod local;
#[cfg(loom)]
#[doc(hidden)]
pub mod model;
#[cfg(loom)]
#[doc(hidden)]
pub mod mutants;
pub mod platform;
mod policy;
mod raw;
pub mod rcu;
mod scope;
pub mod softirq;
mod spawn;
pub mod suspend;
pub mod sync;
pub mod time;
#[cfg(feature = "trace")]
pub mod trace;
pub mod work;
mod yield_now;

pub use budget::Budget;
pub use executor::{Ended, Executor, Hooks, NoHooks, Started, TaskTag};
pub use join::{Aborted, JoinHandle};
pub use local::{LocalJoinHandle, spawn_local};
pub use platform::Platform;
pub use policy::{EnqueueKind, Fifo, Outcome, Policy, Urgency};
pub use raw::{
    CpuShared, Place, PollLatency, RunList, Runnable, Running, Saver, Stretch, TaskRef, TaskSlot,
    claim_idle,
};
pub use scope::{Scope, ScopedHandle};
pub use spawn::{
    Prepared, SpawnError, SpawnErrorKind, Spawner, current, spawn, spawn_on, try_spawn,
};
pub use yield_now::{Requeue, preempted, yield_now};
