//! The ten vectors, and the order of futures by them.

use core::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    policy::{EnqueueKind, Policy},
    raw::{RunList, Runnable, Running},
    time::Instant,
};

/// How many vectors there are.
pub(super) const VECTORS: usize = 10;

/// How often futures of each vector were polled on a CPU.
pub(super) type Counts = [AtomicU64; VECTORS];

/// Linux's softirq vectors, the most urgent first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Vector {
    /// Urgent tasklets.
    Hi = 0,
    /// Expired timers.
    Timer = 1,
    /// Packets sent.
    NetTx = 2,
    /// Packets received.
    NetRx = 3,
    /// Block requests done.
    Block = 4,
    /// Block devices that are polled.
    IrqPoll = 5,
    /// Tasklets.
    #[default]
    Tasklet = 6,
    /// Load balancing.
    Sched = 7,
    /// Unused, as in Linux.
    HrTimer = 8,
    /// RCU callbacks.
    Rcu = 9,
}

impl Vector {
    /// All of them, in order.
    pub const ALL: [Self; VECTORS] = [
        Self::Hi,
        Self::Timer,
        Self::NetTx,
        Self::NetRx,
        Self::Block,
        Self::IrqPoll,
        Self::Tasklet,
        Self::Sched,
        Self::HrTimer,
        Self::Rcu,
    ];

    /// The name that `/proc/softirqs` shows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hi => "HI",
            Self::Timer => "TIMER",
            Self::NetTx => "NET_TX",
            Self::NetRx => "NET_RX",
            Self::Block => "BLOCK",
            Self::IrqPoll => "IRQ_POLL",
            Self::Tasklet => "TASKLET",
            Self::Sched => "SCHED",
            Self::HrTimer => "HRTIMER",
            Self::Rcu => "RCU",
        }
    }
}

/// The order of the level: by vector, in rounds. What is woken during a round is for the next, so that a future that
/// wakes itself does not keep out those of later vectors.
pub(super) struct ByVector {
    round: [RunList<Self>; VECTORS],
    next: [RunList<Self>; VECTORS],
    counts: &'static Counts,
}

impl ByVector {
    pub(super) const fn new(counts: &'static Counts) -> Self {
        Self {
            counts,
            round: [const { RunList::new() }; VECTORS],
            next: [const { RunList::new() }; VECTORS],
        }
    }

    /// Begins a round with what has been woken. False if that is nothing.
    pub(super) fn begin_round(&mut self) -> bool {
        debug_assert!(
            self.round.iter().all(RunList::is_empty),
            "a round is not over"
        );
        core::mem::swap(&mut self.round, &mut self.next);
        !self.round.iter().all(RunList::is_empty)
    }
}

impl ByVector {
    /// Sends what is to run to another CPU, whose softirqs it is among from then on.
    pub(super) fn give_up(&mut self) {
        for list in self.round.iter_mut().chain(&mut self.next) {
            while let Some(task) = list.pop_front() {
                // It stays where there is no other CPU, or it may not leave.
                if let Err(stays) = task.send_on() {
                    list.push_back(stays);
                    break;
                }
            }
        }
    }
}

impl Policy for ByVector {
    type Entity = Vector;
    const TIMED: bool = false;

    fn enqueue(
        &mut self,
        task: Runnable<Self>,
        _kind: EnqueueKind,
        _current: Option<&mut Running<Self>>,
        _now: Instant,
    ) -> bool {
        let vector = *task.entity();
        self.next[vector as usize].push_back(task);
        false
    }

    fn pick(&mut self, _now: Instant) -> Option<Runnable<Self>> {
        let task = self.round.iter_mut().find_map(RunList::pop_front)?;
        let count = &self.counts[*task.entity() as usize];
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        Some(task)
    }

    fn is_empty(&self) -> bool {
        self.round.iter().chain(&self.next).all(RunList::is_empty)
    }
}

impl fmt::Debug for ByVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByVector")
            .field("round", &self.round)
            .field("next", &self.next)
            .finish()
    }
}
