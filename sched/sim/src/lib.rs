//! A machine in virtual time whose CPUs schedule by crate [`sched`]: what the tests of that crate judge, and what
//! `cargo run -- gantt` draws.
//!
//! Time is a number that jumps from event to event; nothing here waits, so hours pass in a moment and a run with one seed
//! is always the same run. A CPU has a precise timer: a turn ends in the very ns at which its slice or budget does. What is
//! measured is so the algorithm's own error, not that of a tick.
//!
//! ```
//! use sched::Policy;
//! use sched_sim::{Behaviour, Machine};
//!
//! let mut machine = Machine::new(1);
//! let a = machine.spawn(Policy::default(), Behaviour::Spin);
//! let b = machine.spawn(Policy::Normal { nice: 5 }, Behaviour::Spin);
//! machine.run(1_000_000_000);
//! // 1024 : 335.
//! assert!(machine.ran(a) > 3 * machine.ran(b));
//! ```

pub mod gantt;
pub mod machine;
pub mod rng;
pub mod task;

pub use machine::{Machine, Span};
pub use rng::Rng;
pub use task::{Behaviour, Job, TaskId};

/// A millisecond in ns.
pub const MS: u64 = 1_000_000;
/// A second in ns.
pub const SECOND: u64 = 1_000_000_000;
