//! Work that is put off: Linux's workqueues, without workers.
//!
//! Purpose: to run a function later, in a task, at the request of code that cannot wait. A [`Work`] has a task of its own,
//! made when the work is; a task costs no stack, so there is no pool of workers to share, to grow, or to rescue. A
//! [`WorkQueue`] only says how many of its works may be under way at a time, where, and with what urgency, and starts them in
//! the order in which they were queued.
//!
//! ```
//! use core::time::Duration;
//! use executor::{platform::host, work::{Config, DelayedWork}};
//! # use std::sync::atomic::{AtomicU32, Ordering};
//! # static RUNS: AtomicU32 = AtomicU32::new(0);
//!
//! host::block_on(async {
//!     let queue = Config::new("flush").max_active(4).build();
//!     let flush = queue.work("flush", || async {
//!         RUNS.fetch_add(1, Ordering::Relaxed); // here one may wait
//!     });
//!     let flush = flush.expect("there is memory");
//!     assert!(flush.queue()); // from any context, hard interrupts included
//!     assert!(!flush.queue(), "it is queued already");
//!     flush.flush().await;
//!     let later = DelayedWork::new(flush);
//!     assert!(later.queue_after(Duration::from_millis(1)));
//!     assert!(!later.queue_after(Duration::ZERO), "its time is set");
//!     later.flush().await;
//!     drop(later);
//!     queue.destroy().await;
//! });
//! assert_eq!(RUNS.load(Ordering::Relaxed), 2);
//! ```
//!
//! | Linux | here |
//! | --- | --- |
//! | `alloc_workqueue(name, flags, max_active)` | [`Config::new`], flags by its methods, [`Config::build`] |
//! | `alloc_ordered_workqueue` | [`Config::ordered`] |
//! | `WQ_UNBOUND`, `WQ_HIGHPRI`, `WQ_CPU_INTENSIVE` | [`Config::unbound`], [`Config::high_priority`], [`Config::cpu_intensive`] |
//! | `WQ_POWER_EFFICIENT`, `workqueue.power_efficient` | [`Config::power_efficient`], [`set_power_efficient`] |
//! | `WQ_FREEZABLE`, `freeze_workqueues_begin`, `thaw_workqueues` | [`Config::freezable`], [`Freezer::freeze`], [`Freezer::thaw`] |
//! | `WQ_MEM_RECLAIM` | nothing to ask for: to queue, start and flush a work allocates nothing, and none waits for another's worker |
//! | `workqueue_set_max_active` | [`WorkQueue::set_max_active`] |
//! | `INIT_WORK` | [`WorkQueue::work`] |
//! | `queue_work`, `queue_work_on` | [`Work::queue`], [`Work::queue_on`] |
//! | `queue_delayed_work`, `queue_delayed_work_on`, `mod_delayed_work` | [`DelayedWork::queue_after`], [`DelayedWork::queue_after_on`], [`DelayedWork::modify`] |
//! | `flush_work`, `cancel_work_sync`, `cancel_work` | [`Work::flush`], [`Work::cancel`], [`Work::try_cancel`] |
//! | `flush_delayed_work`, `cancel_delayed_work_sync`, `cancel_delayed_work` | [`DelayedWork::flush`], [`DelayedWork::cancel`], [`DelayedWork::try_cancel`] |
//! | `flush_workqueue`, `drain_workqueue` | [`WorkQueue::flush`], [`WorkQueue::drain`] |
//! | `destroy_workqueue` | [`WorkQueue::destroy`] |
//!
//! Contexts: queued in any, hard interrupts included, without allocating; run in tasks. Lock: one `SpinLockIrq` per queue,
//! under which a work's place changes and nothing is woken.

mod config;
mod delayed;
mod freezer;
mod queue;
mod slots;

pub use config::{Config, DEFAULT_MAX_ACTIVE, set_power_efficient};
pub use delayed::DelayedWork;
pub use freezer::Freezer;
pub use queue::{Work, WorkQueue};
