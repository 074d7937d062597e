//! Locks with priority inheritance: who owns one runs as if it were the most urgent that waits for it.
//!
//! The word holds the owner's number, so the uncontended case is user space's alone. A thread that finds it taken comes
//! here, marks the word, and stands in the lock's queue in the [`graph`]; the owner, who finds the mark, comes here to hand the
//! lock over. What the word says and what the graph says is changed together, with the bucket of the futex and the graph locked.
//!
//! One lock guards the whole graph: a chain leads from any lock to any other, and only the contended come here.
//!
//! Source: futex(2), and Linux's `Documentation/locking/pi-futex.rst`.

pub mod graph;
#[cfg(target_os = "none")]
mod lock;
#[cfg(target_os = "none")]
mod requeue;
mod slots;
#[cfg(target_os = "none")]
mod thread;

#[cfg(target_os = "none")]
pub use lock::{has_waiters, lock, try_lock, unlock};
#[cfg(target_os = "none")]
pub use requeue::{Requeue, requeue, wait_requeue};
#[cfg(target_os = "none")]
pub use thread::State;
#[cfg(target_os = "none")]
pub(super) use thread::exit;
