//! Work that is put off: Linux's workqueues, without workers.
//!
//! Purpose: to run a function later, in a task, at the request of code that cannot wait. A [`Work`] has a task of its own,
//! made when the work is; a task costs no stack, so there is no pool of workers to share, to grow, or to rescue. A
//! [`WorkQueue`] only says how many of its works may be under way at a time, and starts them in the order in which they
//! were queued.
//!
//! | Linux | here |
//! | --- | --- |
//! | `alloc_workqueue(name, flags, max_active)` | [`WorkQueue::new`] |
//! | `alloc_ordered_workqueue` | [`WorkQueue::ordered`] |
//! | `INIT_WORK` | [`WorkQueue::work`] |
//! | `queue_work`, `queue_work_on` | [`Work::queue`], [`Work::queue_on`] |
//! | `queue_delayed_work`, `mod_delayed_work` | [`DelayedWork::queue_after`] |
//! | `flush_work`, `cancel_work_sync` | [`Work::flush`], [`Work::cancel`] |
//! | `flush_workqueue`, `drain_workqueue` | [`WorkQueue::flush`], [`WorkQueue::drain`] |
//! | `destroy_workqueue` | [`WorkQueue::destroy`] |
//! | `WQ_UNBOUND` | the default of [`Work::queue`]: the work stays where its task is |
//! | `WQ_MEM_RECLAIM`, `WQ_CPU_INTENSIVE` | nothing to ask for: no work waits for another's worker |
//!
//! Contexts: queued in any, hard interrupts included, without allocating; run in tasks. Lock: one `SpinLockIrq` per queue,
//! under which a work's place changes and nothing is woken.

mod delayed;
mod queue;
mod slots;

pub use delayed::DelayedWork;
pub use queue::{Work, WorkQueue};
