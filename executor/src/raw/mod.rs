//! Tasks as memory: the header, its life cycle, wakers, and the queue of woken tasks.
//!
//! # Life of a task
//!
//! ```text
//!            spawn                 pick                   Pending, not woken
//!   (alloc) ───────▶ SCHEDULED ───────────▶ RUNNING ─────────────────────────▶ idle
//!                        ▲                  │  ▲ │                               │
//!                        │  Pending, woken  │  │ │ Ready, or aborted             │ wake
//!                        ├──────────────────┘  │ ▼                               │
//!                        │       wake: only    │ COMPLETE ──▶ (free, with the    │
//!                        │       the bit is set┘               last reference)   │
//!                        └───────────────────────────────────────────────────────┘
//! ```
//!
//! - Whoever turns SCHEDULED from 0 to 1 while neither RUNNING nor COMPLETE is set pushes the header on its home CPU's
//!   wake queue: so a task is in at most one queue, and one link field is enough.
//! - RUNNING stays set for the whole poll, also while the poll is suspended on a stack (rule 2); a wake then sets
//!   SCHEDULED only, and the end of the poll sees it. A suspended task is in its CPU's run queue, or on its way to that of
//!   another CPU through its wake queue, with the place where it goes on in its header: since no wake pushes a RUNNING task,
//!   it is still in one queue at most.
//! - References are counted in the upper bits of the same word: one for the task's own life, until COMPLETE, and one
//!   for each waker, handle and [`TaskRef`]. Queues need none of their own.
#![allow(
    unsafe_code,
    reason = "tasks are shared by counted raw pointers, and wakers are made by hand"
)]

mod away;
mod blocks;
mod cell;
mod header;
mod latency;
mod placement;
mod queue;
mod registry;
mod run_list;
mod runnable;
mod shared;
mod slot;
mod state;
mod task_ref;
mod waker;

pub(crate) use cell::{Mobility, NewTask, ReadOutput, allocate, allocate_entity, read_output};
pub(crate) use header::Header;
#[cfg(target_os = "none")]
pub(crate) use latency::Event;
pub use latency::{PollLatency, Stretch};
pub use placement::claim_idle;
pub use run_list::RunList;
pub use runnable::{Place, Runnable, Running, Saver};
pub(crate) use runnable::{Poll, Polled, drain_messages, requeue};
pub use shared::CpuShared;
pub(crate) use shared::{EntityOps, LevelKind};
pub use slot::TaskSlot;
pub use task_ref::TaskRef;
