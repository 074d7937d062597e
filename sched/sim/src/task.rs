//! What a task of the simulation does.

use crate::rng::Rng;

/// The number of a task.
pub type TaskId = usize;

/// What a task does with its time.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Runs whenever it may.
    Spin,
    /// Runs for so long, then calls `sched_yield(2)`, for ever.
    Yield {
        /// Run time between two calls, in ns.
        every_ns: u64,
    },
    /// In each period, from the start of the run, runs for so long, then waits for the next period.
    Periodic {
        /// Run time of a job, in ns.
        run_ns: u64,
        /// Time between two jobs, in ns.
        period_ns: u64,
    },
    /// Runs and waits in turn, each for a random time up to so long.
    Bursts {
        /// Longest run time, in ns.
        run_ns: u64,
        /// Longest wait, in ns.
        wait_ns: u64,
        /// The seed of both.
        rng: Rng,
    },
}

/// A job of a periodic task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// Whose.
    pub task: TaskId,
    /// When it became runnable, in ns.
    pub released: u64,
    /// When it was done.
    pub done: u64,
}

/// What a task does once it has run as long as it wanted.
pub(crate) enum Next {
    /// It waits until then.
    Sleep { until: u64 },
    /// It gives way.
    Yield,
}

impl Behaviour {
    /// How long the task wants to run from now on.
    pub(crate) fn demand(&mut self) -> u64 {
        match self {
            Self::Spin => u64::MAX,
            Self::Yield { every_ns } => *every_ns,
            Self::Periodic { run_ns, .. } => *run_ns,
            Self::Bursts { run_ns, rng, .. } => rng.within(1, *run_ns),
        }
    }

    /// What comes after that; `released` is when it last became runnable.
    pub(crate) fn next(&mut self, released: u64, now: u64) -> Next {
        match self {
            Self::Spin | Self::Yield { .. } => Next::Yield,
            Self::Periodic { period_ns, .. } => Next::Sleep {
                until: released + *period_ns,
            },
            Self::Bursts { wait_ns, rng, .. } => Next::Sleep {
                until: now + rng.within(1, *wait_ns),
            },
        }
    }
}
