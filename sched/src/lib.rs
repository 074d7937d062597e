//! Which of the runnable tasks a CPU runs next, as Linux decides it.
//!
//! A [`RunQueue`] is the order of one CPU's runnable tasks over Linux's classes: stop, deadline, real-time, fair, idle. It
//! knows nothing of futures, threads or clocks: it is told the time, and what it orders is a value `T` of the caller's that
//! travels in a [`Node`].
//!
//! A node is owned: by the run queue while its task runs or waits to run, by the caller while it sleeps. So moving a task in
//! and out allocates nothing and needs no unsafe code: the node is the tree's own link. What is on the path of a switch
//! neither allocates nor divides by 128 bits.
//!
//! ```
//! use sched::{Node, Outcome, Policy, RunQueue, Wake};
//!
//! let mut queue = RunQueue::new();
//! queue.enqueue(Node::new(Policy::default()), "editor", Wake::New, 0);
//! queue.enqueue(Node::new(Policy::Normal { nice: 19 }), "build", Wake::New, 0);
//! assert_eq!(queue.pick(0), Some("editor"));
//!
//! // A real-time task wakes: the running one is to make way.
//! let audio = Node::new(Policy::Fifo { priority: 50 });
//! assert!(queue.enqueue(audio, "audio", Wake::Event, 1_000_000));
//! let editor = queue.end_turn(Outcome::Preempted, 1_000_000);
//! queue.requeue(editor, "editor", Outcome::Preempted, 1_000_000);
//! assert_eq!(queue.pick(1_000_000), Some("audio"));
//!
//! // It sleeps: its node is the caller's until it wakes again.
//! let _audio = queue.end_turn(Outcome::Sleeps, 1_200_000);
//! // The editor has had a millisecond and the build, though it counts 15 to the editor's 1024, nothing yet.
//! assert_eq!(queue.pick(1_200_000), Some("build"));
//! // When to look again: here when the build's slice is over. A throttled task would set `next_event`.
//! assert!(queue.slice_left_ns().is_some());
//! assert_eq!(queue.next_event(), u64::MAX);
//! ```
//!
//! | to read | is in |
//! |---|---|
//! | what a task's scheduling attributes are | [`policy`] |
//! | the class interface and their order | [`class`], [`runqueue`] |
//! | deadline tasks: EDF, constant bandwidth, admission, reclaiming | [`dl`] |
//! | FIFO and round-robin tasks, and how much they may use | [`rt`] |
//! | fair tasks: vruntime, lag, deadline (EEVDF); groups, bandwidth | [`fair`] |
//! | load and utilisation of late | [`pelt`] |
//! | weights of nice levels | [`weight`] |
//! | priority inheritance | [`pi`] |
//! | decisions over several CPUs: wake-up, balance, push and pull | [`smp`] |
//! | the ordered tree most of them stand on | [`tree`] |
//!
//! What it promises, each checked over thousands of random task sets by the simulator beside it (`sched/sim`), whose tests
//! derive or cite the bound:
//!
//! | promise | bound | test |
//! |---|---|---|
//! | fair tasks get what an ideal fluid server gives | a slice more or less, at any time | `sim/tests/fair.rs` |
//! | no fair task starves | 5 slices times W / w, and one slice | `sim/tests/fair.rs` |
//! | groups get their shares, in groups of groups | 1 % | `sim/tests/groups.rs` |
//! | a quota holds in every period | 1 ns; on several CPUs a slice of 5 ms each | `sim/tests/groups.rs` |
//! | real-time tasks run by priority, and leave their rest | exact | `sim/tests/realtime.rs` |
//! | admitted deadline tasks meet their deadlines on one CPU | always | `sim/tests/deadline.rs` |
//! | on several CPUs they are late at most by | the bound of Devi and Anderson | `sim/tests/deadline.rs` |
//! | CPUs share the work | loads differ by one task at rest | `sim/tests/balance.rs` |
//! | shares follow weights over all CPUs, however they fit | 1 % on the mean, 10 % for one that always moves | `sim/tests/balance.rs` |
//! | a wake-up among n waiting tasks compares | 1.44 log2(n + 2) + 2 keys | [`tree`] |
//!
//! What this crate is not: it does not block, wake or switch. Every method is called by the CPU that owns the queue, with
//! preemption off. What another CPU wants changed comes to the owner as a message.
#![no_std]

extern crate alloc;

pub mod class;
pub mod dl;
pub mod fair;
pub mod fifo;
pub mod node;
pub mod pelt;
pub mod pi;
pub mod policy;
pub mod rt;
pub mod runqueue;
pub mod smp;
pub mod tree;
pub mod weight;

/// Puts `value` into a slot that is empty: without the look for something to be dropped that an assignment takes, which on
/// the path of a switch is a call each time.
#[inline(always)]
pub fn fill<T>(slot: &mut Option<T>, value: T) {
    let before = slot.replace(value);
    debug_assert!(before.is_none(), "the slot is empty");
    core::mem::forget(before);
}

pub use class::{Class, Classes};
pub use fair::{Group, GroupId};
pub use node::Node;
pub use pi::Boost;
pub use policy::Policy;
pub use runqueue::{Outcome, RunQueue, Wake};
