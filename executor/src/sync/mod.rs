//! Locks that spin, queues to wait on, and what is built of them.
//!
//! | Linux | here | context of the holder or waiter |
//! | --- | --- | --- |
//! | `spin_lock` | [`SpinLock`] | task: holds off preemption |
//! | `spin_lock_bh` | [`SpinLockBh`] | task, softirq: holds off softirqs as well |
//! | `spin_lock_irqsave`, `spin_lock_irq` | [`SpinLockIrq`] | any: masks interrupts |
//! | `spin_trylock` | `try_lock` of each | as the lock |
//! | `read_lock`, `write_lock` | [`RwSpinLock`] | task |
//! | `read_lock_bh`, `write_lock_irqsave` ... | [`RwSpinLockBh`], [`RwSpinLockIrq`] | softirq; any |
//! | `seqlock_t`, `seqcount_t` | [`SeqLock`]; [`SeqCell`] for plain words | any: readers try again after a writer |
//! | `bit_spin_lock`, `hlist_bl_lock` | [`AtomicBits::lock_bit`] | task |
//! | `lockref` | [`LockRef`] | task |
//! | wait queue | [`WaitQueue`], [`Waiter`] | waits in tasks; is woken from any |
//! | `struct completion` | [`Completion`] | waits in tasks; is completed from any |
//! | `struct mutex`, optimistic spinning | [`Mutex`] | task |
//! | `atomic_dec_and_mutex_lock` | [`Mutex::lock_for_last`] | task |
//! | `struct ww_mutex`, `ww_acquire_ctx` | [`WwMutex`], [`WwContext`] | task |
//! | `struct rw_semaphore`, `downgrade_write` | [`RwLock`], [`RwLockWriteGuard::downgrade`] | task |
//! | `struct semaphore`: `down`, `down_trylock`, `up` | [`Semaphore::acquire`], `try_acquire`, `release` | waits in tasks; is given back from any |
//! | `..._interruptible`, `..._killable` | [`unless`] around any of the waits | task |
//! | `..._timeout` | [`timeout`](crate::time::timeout) around any of the waits | task |
//! | `atomic_t`, `smp_mb` and its kin | [`core::sync::atomic`] and its `fence` | any |
//! | `set_bit`, `test_and_set_bit` ..., `__set_bit` | [`AtomicBits`], [`Bits`] | any |
//! | `DEFINE_PER_CPU`, `percpu_counter` | [`PerCpu`], [`PerCpuCounter`] | any |
//! | lockdep, `CONFIG_PROVE_LOCKING` | the module `validator`, in debug builds | any |
//! | `kfifo` with a wait queue | [`channel`], [`oneshot`] | waits in tasks; `try_send` from any |
//!
//! A weaker lock is never taken under a stronger one. Guards of spinning locks are `!Send`, so a task that holds one
//! across an await does not compile:
//!
//! ```compile_fail,E0277
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

mod bits;
mod channel;
mod completion;
mod list;
mod lockref;
mod mutex;
mod notify;
mod oneshot;
mod percpu;
mod rwlock;
mod rwspin;
mod select;
mod semaphore;
mod seq;
mod spin;
mod unless;
#[cfg(all(debug_assertions, not(loom)))]
pub mod validator;
mod wait_queue;
mod waiter;
mod waiters;
mod ww_mutex;

pub use bits::{AtomicBits, BitGuard, Bits};
pub use channel::{Receiver, RecvError, SendError, Sender, channel};
pub use completion::Completion;
pub(crate) use list::WakeBatch;
pub use lockref::{LockRef, LockRefGuard};
pub use mutex::{Mutex, MutexGuard};
pub use notify::Notify;
pub use oneshot::{OneshotReceiver, OneshotSender, oneshot};
pub use percpu::{PerCpu, PerCpuCounter};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use rwspin::{
    HoldsBottomHalves, HoldsInterrupts, HoldsPreemption, RwSpin, RwSpinLock, RwSpinLockBh,
    RwSpinLockIrq, RwSpinReadGuard, RwSpinWriteGuard,
};
pub use select::{Either, Select, select};
pub use semaphore::{Permits, Semaphore};
pub use seq::{SeqCell, SeqLock, SeqRead, SeqReadGuard, SeqWriteGuard};
pub(crate) use spin::LeafLockIrq;
pub use spin::{
    SpinLock, SpinLockBh, SpinLockBhGuard, SpinLockGuard, SpinLockIrq, SpinLockIrqGuard,
};
pub use unless::{Unless, unless};
pub use wait_queue::{Wait, WaitQueue, WaitUntil};
pub use waiter::Waiter;
pub use waiters::Waiters;
pub use ww_mutex::{WwClass, WwContext, WwError, WwGuard, WwMutex};
