//! Locks that spin, queues to wait on, and what is built of them.
//!
//! | Linux | here | context of the holder or waiter |
//! | --- | --- | --- |
//! | `spin_lock` | [`SpinLock`] | task: holds off preemption |
//! | `spin_lock_bh` | [`SpinLockBh`] | task, softirq: holds off softirqs as well |
//! | `spin_lock_irqsave` | [`SpinLockIrq`] | any: masks interrupts |
//! | `rwlock_t` | [`RwSpinLock`] | task |
//! | `seqlock_t` | [`SeqCell`] | any: readers spin while a writer writes |
//! | wait queue | [`WaitQueue`], [`Waiter`] | waits in tasks; is woken from any |
//! | `struct completion` | [`Completion`] | waits in tasks; is completed from any |
//! | `struct mutex` | [`Mutex`] | task |
//! | `struct rw_semaphore` | [`RwLock`] | task |
//! | `struct semaphore` | [`Semaphore`] | waits in tasks; is given back from any |
//! | `kfifo` with a wait queue | [`channel`], [`oneshot`] | waits in tasks; `try_send` from any |
//!
//! A weaker lock is never taken under a stronger one. Guards of spinning locks are `!Send`, so a task that holds one
//! across an await does not compile:
//!
//! ```compile_fail
//! # use executor::{spawn, sync::SpinLock, yield_now};
//! static LOCK: SpinLock<u32> = SpinLock::new(0);
//! let future = async {
//!     let guard = LOCK.lock();
//!     yield_now().await;
//!     drop(guard);
//! };
//! # if false {
//! spawn("wrong", future).detach();
//! # }
//! ```
//!
//! What is not spawned is not asked to be `Send`; there `clippy.toml` (`await-holding-invalid-types`) refuses it. Give the
//! guard back first, or write [`SpinLock::with`], in which no await can be written:
//!
//! ```
//! # use executor::{spawn, sync::SpinLock, yield_now};
//! static LOCK: SpinLock<u32> = SpinLock::new(0);
//! let future = async {
//!     LOCK.with(|n| *n += 1);
//!     yield_now().await;
//! };
//! # if false {
//! spawn("right", future).detach();
//! # }
//! ```
#![allow(
    unsafe_code,
    reason = "locks give access to what they guard, and waiters are linked in place"
)]

mod channel;
mod completion;
mod list;
mod mutex;
mod notify;
mod oneshot;
mod rwlock;
mod select;
mod semaphore;
mod seq;
mod spin;
mod wait_queue;
mod waiter;
mod waiters;

pub use channel::{Receiver, RecvError, SendError, Sender, channel};
pub use completion::Completion;
pub(crate) use list::WakeBatch;
pub use mutex::{Mutex, MutexGuard};
pub use notify::Notify;
pub use oneshot::{OneshotReceiver, OneshotSender, oneshot};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use select::{Either, Select, select};
pub use semaphore::{Permits, Semaphore};
pub use seq::SeqCell;
pub use spin::{
    RwSpinLock, RwSpinReadGuard, RwSpinWriteGuard, SpinLock, SpinLockBh, SpinLockBhGuard,
    SpinLockGuard, SpinLockIrq, SpinLockIrqGuard,
};
pub use wait_queue::{Wait, WaitQueue, WaitUntil};
pub use waiter::Waiter;
pub use waiters::Waiters;
