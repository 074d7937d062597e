//! Locks that spin, queues to wait on, and what is built of them.
//!
//! | Linux | here | context of the holder or waiter |
//! | --- | --- | --- |
//! | `spin_lock` | [`SpinLock`] | task: holds off preemption |
//! | `spin_lock_bh` | [`SpinLockBh`] | task, softirq: holds off softirqs as well |
//! | `spin_lock_irqsave` | [`SpinLockIrq`] | any: masks interrupts |
//! | `rwlock_t` | [`RwSpinLock`] | task |
//! | wait queue | [`WaitQueue`], [`Waiter`] | waits in tasks; is woken from any |
//!
//! A weaker lock is never taken under a stronger one. Guards of spinning locks are `!Send`, so a task that holds one
//! across an await does not compile:
//!
//! ```compile_fail
//! use executor::sync::SpinLock;
//! static LOCK: SpinLock<u32> = SpinLock::new(0);
//! executor::spawn("wrong", async {
//!     let guard = LOCK.lock();
//!     executor::yield_now().await;
//!     drop(guard);
//! }).detach();
//! ```
#![allow(
    unsafe_code,
    reason = "locks give access to what they guard, and waiters are linked in place"
)]

mod list;
mod spin;
mod wait_queue;
mod waiter;
mod waiters;

pub(crate) use list::WakeBatch;
pub use spin::{
    RwSpinLock, RwSpinReadGuard, RwSpinWriteGuard, SpinLock, SpinLockBh, SpinLockBhGuard,
    SpinLockGuard, SpinLockIrq, SpinLockIrqGuard,
};
pub use wait_queue::{Wait, WaitQueue, WaitUntil};
pub use waiter::Waiter;
pub use waiters::Waiters;
