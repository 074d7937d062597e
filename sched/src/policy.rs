//! A task's scheduling attributes.

use crate::dl::Params;
use crate::weight;

/// What `sched_setattr(2)` sets: policy and, within it, how much a task counts.
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
    /// `SCHED_DEADLINE`: so much run time in each period, by earliest deadline.
    Deadline(Params),
    /// Above everything: the task that moves others between CPUs. No program can ask for it.
    Stop,
    /// Below everything: what a CPU runs when there is nothing to do, if the caller wants a task for that.
    CpuIdle,
    /// Of a class that this crate does not know, see [`class`](crate::class).
    Other {
        /// Which class.
        class: u8,
        /// Whatever that class orders by.
        rank: u32,
    },
}

impl Policy {
    /// The weight among fair tasks; for others that of nice 0.
    pub fn weight(self) -> u64 {
        match self {
            Policy::Normal { nice } | Policy::Batch { nice } => weight::of_nice(nice),
            Policy::Idle { .. } => weight::IDLE,
            _ => weight::NICE_0,
        }
    }

    /// Whether the fair class orders it.
    #[inline(always)]
    pub fn is_fair(self) -> bool {
        matches!(
            self,
            Policy::Normal { .. } | Policy::Batch { .. } | Policy::Idle { .. }
        )
    }

    /// Whether the real-time class orders it.
    #[inline(always)]
    pub fn is_realtime(self) -> bool {
        matches!(self, Policy::Fifo { .. } | Policy::RoundRobin { .. })
    }

    /// Whether the deadline class orders it.
    #[inline(always)]
    pub fn is_deadline(self) -> bool {
        matches!(self, Policy::Deadline(_))
    }

    /// The nice level; 0 for policies that have none.
    pub fn nice(self) -> i8 {
        match self {
            Policy::Normal { nice } | Policy::Batch { nice } | Policy::Idle { nice } => nice,
            _ => 0,
        }
    }

    /// The real-time priority, 1..=99; 0 for other policies.
    #[inline]
    pub fn priority(self) -> u8 {
        match self {
            Policy::Fifo { priority } | Policy::RoundRobin { priority } => priority,
            _ => 0,
        }
    }

    /// The priority as the kernel counts it, less being more urgent: -1 for deadline, 0 to 98 for real-time priorities 99
    /// to 1, 100 to 139 for nice -20 to 19. This is what `/proc/PID/stat` is made of.
    pub fn kernel_priority(self) -> i32 {
        match self {
            Policy::Stop | Policy::Deadline(_) => -1,
            Policy::Fifo { priority } | Policy::RoundRobin { priority } => 99 - i32::from(priority),
            Policy::CpuIdle | Policy::Other { .. } => 120,
            _ => 120 + i32::from(self.nice()),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Policy::Normal { nice: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_of_priorities_has_real_time_below_a_hundred() {
        let of = |policy: Policy| policy.kernel_priority();
        assert_eq!(of(Policy::Fifo { priority: 99 }), 0);
        assert_eq!(of(Policy::RoundRobin { priority: 1 }), 98);
        assert_eq!(of(Policy::Normal { nice: -20 }), 100);
        assert_eq!(of(Policy::default()), 120);
        assert_eq!(of(Policy::Batch { nice: 19 }), 139);
    }
}
