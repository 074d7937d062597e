//! Fast user-space locks: the kernel's half, which only waits and wakes.
//!
//! A thread waits on one futex at a time, but for futex_waitv(2), so its place in a queue is part of the thread ([`Node`])
//! and waiting allocates nothing. Queues hang off a fixed table of buckets, found by hashing the [`Key`]. Who waits for a lock with
//! priority inheritance stands in another queue ([`pi`]).
//!
//! Lock order: bucket (two of them by index), then the graph of [`pi`], then node. The value is compared with the bucket
//! locked, by a copy that does not fault; so no wake-up between the comparison and the wait is lost.
//!
//! Source: futex(2).

#[cfg(target_os = "none")]
mod bucket;
pub mod pi;
#[cfg(target_os = "none")]
mod robust;
#[cfg(target_os = "none")]
mod several;
#[cfg(target_os = "none")]
mod wait;

#[cfg(target_os = "none")]
pub use bucket::{Key, Node, requeue, wake};
#[cfg(target_os = "none")]
pub use robust::{thread_exec, thread_exit};
#[cfg(target_os = "none")]
pub use several::wait_several;
#[cfg(target_os = "none")]
pub use wait::{Wait, wait};

/// Wakes who wait with any of these bits; all bits for plain waits and wakes.
pub const BITSET_ANY: u32 = !0;
