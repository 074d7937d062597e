//! Works, and the queue that starts them.

use alloc::sync::Arc;
use core::{
    fmt,
    future::{Future, poll_fn},
    task::Poll,
};

use super::{Config, slots::Slots};
use crate::{
    cpu,
    policy::Urgency,
    raw::{CpuShared, TaskRef},
    scope::Scope,
    spawn::{SpawnError, Spawner},
    sync::{SpinLockIrq, WaitQueue},
};

/// A queue of works: how many are under way at a time, and in what order they start.
#[derive(Debug)]
pub struct WorkQueue {
    name: &'static str,
    bound: bool,
    urgency: Urgency,
    shared: Arc<Shared>,
    /// Holds the works' tasks.
    scope: Scope,
}

pub(super) struct Shared {
    slots: SpinLockIrq<Slots>,
    /// Woken when a work ends or is cancelled.
    settled: WaitQueue,
}

impl Shared {
    /// Starts what may be started. Called without the lock, which a wake-up does not need.
    pub(super) fn start(&self) {
        while let Some((task, cpu)) = self.slots.with(Slots::start_next) {
            // A task that roams is asked even where it is, so that its waker leaves it there.
            if let Some(cpu) = cpu.filter(|cpu| *cpu != task.cpu() || task.roams()) {
                task.migrate(cpu);
            }
            task.wake();
        }
    }

    /// Lets no work start, or lets them start once more at the next [`Shared::start`].
    pub(super) fn set_frozen(&self, frozen: bool) {
        self.slots.with(|slots| slots.set_frozen(frozen));
    }

    /// Waits until no work is under way.
    pub(super) async fn settle_running(&self) {
        let settled = || (self.slots.with(|slots| slots.active()) == 0).then_some(());
        self.settled.wait_until(settled).await;
    }

    /// Waits, in the work's own task, until it is to run.
    async fn started(&self, slot: usize) {
        poll_fn(
            |_| match self.slots.with(|slots| slots.take_start(slot, cpu::id())) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            },
        )
        .await;
    }

    /// Waits until every request up to `target` has been met or cancelled, of work `slot` or of all.
    async fn settle(&self, slot: Option<usize>, target: u64) {
        let settled = || {
            self.slots
                .with(|slots| slots.is_settled(slot, target))
                .then_some(())
        };
        self.settled.wait_until(settled).await;
    }

    /// Makes room for one more work, without allocating under the lock.
    fn reserve(&self) {
        let len = self.slots.with(|slots| slots.len());
        let room = (len + 1).next_power_of_two().max(4);
        let fresh = Slots::with_room(room);
        let old = self.slots.with(|slots| slots.move_to(fresh));
        drop(old);
    }
}

impl WorkQueue {
    pub(super) fn new(config: Config) -> Self {
        let slots = Slots::new(config.bound, config.max_active);
        let shared = Arc::new(Shared {
            slots: SpinLockIrq::new(slots),
            settled: WaitQueue::new(),
        });
        if let Some(freezer) = &config.freezer {
            freezer.adopt(&shared);
        }
        Self {
            name: config.name,
            bound: config.bound,
            urgency: config.urgency,
            shared,
            scope: Scope::new(),
        }
    }

    /// The name given when it was made.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How many of its works are under way.
    pub fn active(&self) -> usize {
        self.shared.slots.with(|slots| slots.active())
    }

    /// Sets how many of its works may be under way at a time; see [`Config::max_active`].
    ///
    /// # Context
    /// Any.
    pub fn set_max_active(&self, max_active: usize) {
        self.shared
            .slots
            .with(|slots| slots.set_max_active(max_active));
        self.shared.start();
    }

    /// Makes a work: what `make` gives is run once for each time that the work is queued and started.
    ///
    /// A work never runs twice at a time. Dropping it cancels it: its future is dropped at the await where it stands.
    ///
    /// # Context
    /// Task: the work's task is allocated here, and nothing when it is queued and run.
    /// # Errors
    /// As [`Spawner::try_spawn`].
    pub fn work<M, F>(&self, name: &'static str, mut make: M) -> Result<Work, SpawnError<()>>
    where
        M: FnMut() -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let slot = loop {
            match self.shared.slots.with(Slots::add) {
                Some(slot) => break slot,
                None => self.shared.reserve(),
            }
        };
        let seat = Seat {
            shared: Arc::clone(&self.shared),
            slot,
        };
        let run = async move {
            let seat = seat;
            loop {
                seat.shared.started(seat.slot).await;
                make().await;
                seat.done();
            }
        };
        let mut spawner = Spawner::new(name).urgency(self.urgency);
        if !self.bound {
            spawner = spawner.anywhere();
        }
        let spawned = self.scope.try_spawn(spawner, run);
        let handle = spawned.map_err(|e| SpawnError {
            future: (),
            kind: e.kind,
        })?;
        let task = handle.task().clone();
        handle.detach();
        self.shared
            .slots
            .with(|slots| slots.set_task(slot, task.clone()));
        Ok(Work {
            shared: Arc::clone(&self.shared),
            slot,
            task,
        })
    }

    /// Waits until all that was queued before this call has run or was cancelled.
    pub async fn flush(&self) {
        let target = self.shared.slots.with(|slots| slots.last());
        self.shared.settle(None, target).await;
    }

    /// Waits until nothing is queued, and meanwhile refuses all but what the queue's own works queue.
    ///
    /// # Cancel safety
    /// Dropping the future lets new works in again.
    pub async fn drain(&self) {
        struct Draining<'a>(&'a Shared);
        impl Drop for Draining<'_> {
            fn drop(&mut self) {
                self.0.slots.with(|slots| slots.set_draining(false));
            }
        }
        self.shared.slots.with(|slots| slots.set_draining(true));
        let _draining = Draining(&self.shared);
        self.shared.settle(None, u64::MAX).await;
    }

    /// Drains the queue and ends its works' tasks.
    pub async fn destroy(self) {
        self.drain().await;
        self.scope.end().await;
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("works", &self.slots.with(|s| s.len()))
            .finish_non_exhaustive()
    }
}

/// A work's place in its queue, held by its task.
struct Seat {
    shared: Arc<Shared>,
    slot: usize,
}

impl Seat {
    /// A run is over.
    fn done(&self) {
        self.shared.slots.with(|slots| slots.done(self.slot));
        self.shared.settled.wake_all();
        self.shared.start();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let task = self.shared.slots.with(|slots| slots.remove(self.slot));
        drop(task);
        self.shared.settled.wake_all();
        self.shared.start();
    }
}

/// Something to be done later, again and again.
#[derive(Debug)]
pub struct Work {
    shared: Arc<Shared>,
    slot: usize,
    task: TaskRef,
}

impl Work {
    /// Asks for a run, on this CPU if the queue is a bound one. False if one is queued already: several requests before a run
    /// starts are one.
    ///
    /// # Context
    /// Any.
    pub fn queue(&self) -> bool {
        self.request(None)
    }

    /// As [`Work::queue`], to run on CPU `cpu`, if that has an executor.
    ///
    /// # Context
    /// Any.
    pub fn queue_on(&self, cpu: u32) -> bool {
        self.request(CpuShared::of(cpu).map(CpuShared::cpu))
    }

    fn request(&self, cpu: Option<u32>) -> bool {
        let by = crate::current().map(|task| task.id());
        if !self
            .shared
            .slots
            .with(|slots| slots.queue(self.slot, cpu, cpu::id(), by))
        {
            return false;
        }
        self.shared.start();
        true
    }

    /// Whether a run is queued and has not started.
    pub fn is_queued(&self) -> bool {
        self.shared.slots.with(|slots| slots.is_queued(self.slot))
    }

    /// Waits until the runs asked for before this call are over.
    pub async fn flush(&self) {
        let target = self.shared.slots.with(|slots| slots.last());
        self.shared.settle(Some(self.slot), target).await;
    }

    /// Takes back a run that has not started, and waits until one under way is over. True if one was taken back.
    ///
    /// Not from within the work itself, which would wait for itself.
    pub async fn cancel(&self) -> bool {
        let was_queued = self.try_cancel();
        self.flush().await;
        was_queued
    }

    /// Takes back a run that has not started, and does not wait for one under way. True if one was taken back.
    ///
    /// # Context
    /// Any.
    pub fn try_cancel(&self) -> bool {
        let was_queued = self.shared.slots.with(|slots| slots.cancel(self.slot));
        if was_queued {
            self.shared.settled.wake_all();
            self.shared.start();
        }
        was_queued
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.shared.slots.with(|slots| slots.cancel(self.slot));
        self.task.abort();
    }
}
