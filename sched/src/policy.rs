//! A task's scheduling attributes.

use crate::weight;

/// What `sched_setscheduler(2)` sets: policy and, within it, how much a task counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// `SCHED_OTHER`: a fair share by nice level (-20..=19).
    Normal {
        /// The nice level.
        nice: i8,
    },
    /// `SCHED_BATCH`: as normal, but it never preempts at wake-up.
    Batch {
        /// The nice level.
        nice: i8,
    },
    /// `SCHED_IDLE`: what is left over. The nice level is kept for a return to another policy.
    Idle {
        /// The nice level.
        nice: i8,
    },
    /// `SCHED_FIFO`: by priority (1..=99, greater first), until it waits or yields.
    Fifo {
        /// The priority.
        priority: u8,
    },
    /// `SCHED_RR`: as FIFO, but tasks of one priority take turns.
    RoundRobin {
        /// The priority.
        priority: u8,
    },
}

impl Policy {
    /// The weight among fair tasks; for real-time ones that of nice 0.
    pub fn weight(self) -> u64 {
        match self {
            Policy::Normal { nice } | Policy::Batch { nice } => weight::of_nice(nice),
            Policy::Idle { .. } => weight::IDLE,
            Policy::Fifo { .. } | Policy::RoundRobin { .. } => weight::NICE_0,
        }
    }

    /// Whether the real-time class orders it.
    pub fn is_realtime(self) -> bool {
        matches!(self, Policy::Fifo { .. } | Policy::RoundRobin { .. })
    }

    /// The nice level; 0 for real-time policies.
    pub fn nice(self) -> i8 {
        match self {
            Policy::Normal { nice } | Policy::Batch { nice } | Policy::Idle { nice } => nice,
            Policy::Fifo { .. } | Policy::RoundRobin { .. } => 0,
        }
    }

    /// The real-time priority, 1..=99; 0 for other policies.
    pub fn priority(self) -> u8 {
        match self {
            Policy::Fifo { priority } | Policy::RoundRobin { priority } => priority,
            _ => 0,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Policy::Normal { nice: 0 }
    }
}
