//! Which of the runnable tasks a CPU runs next, as Linux decides it.
//!
//! A [`RunQueue`] is the order of one CPU's runnable tasks over Linux's classes: real-time tasks by priority, fair ones
//! by weight. It knows nothing of futures, threads or clocks: it is told the time, and what it orders is a value `T` of
//! the caller's that travels in a [`Node`].
//!
//! A node is owned: by the run queue while its task waits to run, by the caller while it runs or sleeps. So moving a
//! task in and out allocates nothing and needs no unsafe code: the node is the tree's own link.
//!
//! | to read | is in |
//! |---|---|
//! | what a task's scheduling attributes are | [`policy`] |
//! | weights of nice levels | [`weight`] |
//! | the class interface and their order | [`runqueue`] |
//! | fair tasks: vruntime, lag, deadline (EEVDF) | [`fair`] |
//! | FIFO and round-robin tasks | [`rt`] |
//! | the ordered tree all of them stand on | [`tree`] |
//!
//! What this crate is not: it does not block, wake, switch or migrate. Every method is called by the CPU that owns the
//! queue, with preemption off.
#![no_std]

extern crate alloc;

pub mod fair;
pub mod node;
pub mod policy;
pub mod rt;
pub mod runqueue;
pub mod tree;
pub mod weight;

pub use node::Node;
pub use policy::Policy;
pub use runqueue::{Outcome, RunQueue, Wake};
