//! Fast user-space locks: the kernel's half, which only waits and wakes.
//!
//! A thread waits on at most one futex at a time, so its place in a queue is part of the thread ([`Node`]) and waiting
//! allocates nothing. Queues hang off a fixed table of buckets, found by hashing the [`Key`].
//!
//! Lock order: bucket (two of them by index), then node. The value is compared with the bucket locked, by a copy that
//! does not fault; so no wake-up between the comparison and the wait is lost.
//!
//! Source: futex(2).

mod bucket;
mod robust;
mod wait;

pub use bucket::{Key, Node, requeue, wake};
pub use robust::thread_exit;
pub use wait::{Wait, wait};

/// Wakes who wait with any of these bits; all bits for plain waits and wakes.
pub const BITSET_ANY: u32 = !0;
