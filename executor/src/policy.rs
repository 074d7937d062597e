//! The order among tasks: a policy that the executor is given.
//!
//! The executor knows which tasks are runnable; a [`Policy`] says which is next. It works on its own CPU's tasks only, with
//! preemption off, so it needs no locks: changes from elsewhere come to it as messages ([`Policy::update`]).

use core::fmt;

pub use crate::raw::RunList;
use crate::{
    raw::{Runnable, Running, TaskRef},
    time::Instant,
};

/// Why a task enters the run queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EnqueueKind {
    /// It was waiting.
    Wake = 0,
    /// It gave the CPU up of its own will.
    Yield = 1,
    /// It was made to give the CPU up, and would go on at once.
    Preempted = 2,
    /// It is new.
    New = 3,
    /// It comes from another CPU's run queue.
    Migrated = 4,
    /// It was woken during its own poll, and never waited.
    Again = 5,
}

impl EnqueueKind {
    pub(crate) fn from_bits(bits: u8) -> Self {
        match bits {
            1 => Self::Yield,
            2 => Self::Preempted,
            3 => Self::New,
            4 => Self::Migrated,
            5 => Self::Again,
            _ => Self::Wake,
        }
    }
}

/// What a task is for, as far as its place among others goes. A [`Policy`] makes of it what it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Urgency {
    /// An ordinary task.
    #[default]
    Normal,
    /// It computes for long and nobody waits for it: it need not preempt others. Linux: `WQ_CPU_INTENSIVE`.
    Bulk,
    /// Others wait for it: before ordinary tasks. Linux: `WQ_HIGHPRI`, nice -20.
    High,
    /// A device waits for it: real-time. Linux: `sched_set_fifo`, FIFO 50.
    Interrupt,
}

/// How a poll ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The task waits. A wake-up that comes at this very moment is an [`EnqueueKind::Wake`] as any other.
    Blocked,
    /// The task is runnable still; [`Policy::enqueue`] follows, as yielded, preempted or again.
    Runnable,
    /// The task is finished.
    Done,
}

/// Which task is polled next on a CPU.
///
/// All calls come from the owner CPU with preemption off, where no lock is held. None may wait, or drop a [`Runnable`] that is to
/// live; those of a turn, from [`pick`](Self::pick) to [`put`](Self::put), may not allocate.
pub trait Policy: Sized + 'static {
    /// What the policy keeps for each task, in the task's own allocation, until that is freed.
    type Entity: Default + Send + 'static;

    /// Whether the clock is looked at for each poll: for the policy's decisions, and for what [`TaskRef::run_time`] says. A
    /// policy that asks for neither is given [`Instant::ZERO`] throughout, and spares each poll the look, which on a host is
    /// dearer than all the rest of it.
    const TIMED: bool = true;

    /// Whether [`Policy::refresh`] is asked of new tasks as well. A policy that does not have it spares each of them the call.
    const REFRESHES: bool = true;

    /// The data of a new task whose spawner does not know the policy, but what the task is for.
    fn entity(urgency: Urgency) -> Self::Entity {
        let _ = urgency;
        Self::Entity::default()
    }

    /// Takes a runnable task in. True if `current`, the task that is being polled, if any, should make way for it.
    fn enqueue(
        &mut self,
        task: Runnable<Self>,
        kind: EnqueueKind,
        current: Option<&mut Running<Self>>,
        now: Instant,
    ) -> bool;

    /// Gives the task to poll next, which leaves the run queue.
    fn pick(&mut self, now: Instant) -> Option<Runnable<Self>>;

    /// Notes the end of a poll that began at `started`.
    fn put(&mut self, task: &mut Running<Self>, outcome: Outcome, started: Instant, now: Instant) {
        let _ = (task, outcome, started, now);
    }

    /// Whether a queued task should run instead of `current`, which has been running since `started`, now that time has
    /// passed; `current` may be brought up to date.
    fn should_resched(
        &mut self,
        current: &mut Running<Self>,
        started: Instant,
        now: Instant,
    ) -> bool {
        let _ = (current, started, now);
        false
    }

    /// Whether the task that [`Policy::pick`] would give is one that must not be kept waiting: a real-time task's need of a
    /// stack is met from a reserve.
    fn is_urgent(&self) -> bool {
        false
    }

    /// Takes `task` out of the run queue, if it is in it.
    fn remove(&mut self, task: &TaskRef) -> Option<Runnable<Self>> {
        let _ = task;
        None
    }

    /// Brings the data of a task up to date that is about to be queued for the first time, or after [`TaskRef::notify_owner`] or
    /// [`TaskRef::migrate`]. Gives a CPU if the task must not be on this one.
    fn refresh(&mut self, task: &mut Runnable<Self>) -> Option<u32> {
        let _ = task;
        None
    }

    /// Brings `current`, the task that is being polled, up to date after [`TaskRef::notify_owner`].
    fn update(&mut self, current: &mut Running<Self>, now: Instant) {
        let _ = (current, now);
    }

    /// Whether the run queue is empty.
    fn is_empty(&self) -> bool;
}

/// First come, first served, whatever the time. The policy of the host and of the first boots.
pub struct Fifo {
    queue: RunList<Self>,
}

impl Fifo {
    /// An empty run queue.
    pub const fn new() -> Self {
        Self {
            queue: RunList::new(),
        }
    }
}

impl Default for Fifo {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Fifo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fifo")
            .field("len", &self.queue.len())
            .finish()
    }
}

impl Policy for Fifo {
    type Entity = ();
    const TIMED: bool = false;
    const REFRESHES: bool = false;

    #[inline]
    fn enqueue(
        &mut self,
        task: Runnable<Self>,
        _kind: EnqueueKind,
        _current: Option<&mut Running<Self>>,
        _now: Instant,
    ) -> bool {
        self.queue.push_back(task);
        true
    }

    #[inline]
    fn pick(&mut self, _now: Instant) -> Option<Runnable<Self>> {
        self.queue.pop_front()
    }

    fn should_resched(
        &mut self,
        _current: &mut Running<Self>,
        _started: Instant,
        _now: Instant,
    ) -> bool {
        !self.queue.is_empty()
    }

    fn remove(&mut self, task: &TaskRef) -> Option<Runnable<Self>> {
        self.queue.remove(task)
    }

    fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
