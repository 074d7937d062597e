//! What a work queue keeps of its works, under its lock: which wait, which run, and what was asked when.
//!
//! Nothing here allocates, wakes or drops what others own; room is made by the caller beforehand.

use alloc::{collections::VecDeque, vec, vec::Vec};
use core::mem;

use crate::{
    cpu,
    raw::{CpuShared, TaskRef},
};

/// One work.
#[derive(Default)]
struct Slot {
    /// Who does it; none until it is spawned.
    task: Option<TaskRef>,
    /// The number of the request that waits; zero for none.
    queued: u64,
    /// The number of the request that is being met; zero for none.
    running: u64,
    /// The task has not seen yet that it is to run.
    start: bool,
    /// Where the next run is to be.
    cpu: Option<u32>,
    /// Where the run under way is to begin.
    place: Option<u32>,
    /// The pool in which the run under way counts.
    pool: usize,
}

impl Slot {
    /// Whether a run was asked for that has not begun: it waits, or its task is on its way.
    fn is_pending(&self) -> bool {
        self.queued != 0 || self.start
    }
}

/// All works of a queue.
#[derive(Default)]
pub(super) struct Slots {
    slots: Vec<Option<Slot>>,
    /// Works that wait, in the order in which they were queued.
    waiting: VecDeque<usize>,
    /// How many are under way: on each CPU, or of an unbound queue on all together.
    active: Vec<usize>,
    max_active: usize,
    draining: bool,
    frozen: bool,
    /// The number of the last request.
    last: u64,
}

impl Slots {
    pub(super) fn new(bound: bool, max_active: usize) -> Self {
        let pools = if bound { cpu::MAX_CPUS } else { 1 };
        Self {
            active: vec![0; pools],
            max_active,
            ..Self::default()
        }
    }

    /// Nothing but room for `works` works.
    pub(super) fn with_room(works: usize) -> Self {
        let mut slots = Self::default();
        slots.slots.reserve_exact(works);
        slots.waiting.reserve_exact(works);
        slots
    }

    /// Goes over to the room of `fresh`, if that is more; gives back what is not needed any more.
    pub(super) fn move_to(&mut self, mut fresh: Self) -> Self {
        if fresh.slots.capacity() > self.slots.capacity() {
            fresh.slots.append(&mut self.slots);
            fresh.waiting.append(&mut self.waiting);
            mem::swap(&mut self.slots, &mut fresh.slots);
            mem::swap(&mut self.waiting, &mut fresh.waiting);
        }
        fresh
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// How many works are under way.
    pub(super) fn active(&self) -> usize {
        self.active.iter().sum()
    }

    pub(super) fn set_max_active(&mut self, max_active: usize) {
        self.max_active = max_active;
    }

    pub(super) fn set_frozen(&mut self, frozen: bool) {
        self.frozen = frozen;
    }

    fn is_bound(&self) -> bool {
        self.active.len() > 1
    }

    pub(super) fn set_draining(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Adds a work. `None` if there is no room.
    pub(super) fn add(&mut self) -> Option<usize> {
        let slot = Slot::default();
        if let Some(free) = self.slots.iter().position(Option::is_none) {
            self.slots[free] = Some(slot);
            return Some(free);
        }
        let room = self.slots.capacity().min(self.waiting.capacity());
        if self.slots.len() == room {
            return None;
        }
        self.slots.push(Some(slot));
        Some(self.slots.len() - 1)
    }

    /// Takes a work out; its task is the caller's to drop without the lock.
    pub(super) fn remove(&mut self, slot: usize) -> Option<TaskRef> {
        self.cancel(slot);
        self.done(slot);
        self.slots[slot].take().and_then(|slot| slot.task)
    }

    /// Notes who does a work.
    pub(super) fn set_task(&mut self, slot: usize, task: TaskRef) {
        if let Some(work) = self.slots[slot].as_mut() {
            work.task = Some(task);
        }
    }

    /// Whether the work's task, which asks from CPU `here`, is to run now; it is told once. A task that is still on its way
    /// to the CPU asked for waits on: it is woken once it has been told where to go.
    pub(super) fn take_start(&mut self, slot: usize, here: u32) -> bool {
        let Some(work) = self.slots[slot].as_mut() else {
            return false;
        };
        // A CPU that leaves is not waited for.
        let gone = |cpu| CpuShared::of(cpu).is_none_or(CpuShared::is_leaving);
        work.place.is_none_or(|cpu| cpu == here || gone(cpu)) && mem::take(&mut work.start)
    }

    /// Queues a request for CPU `cpu`, made on CPU `here` by task `by`. False if one waits already, or none is taken now.
    pub(super) fn queue(
        &mut self,
        slot: usize,
        cpu: Option<u32>,
        here: u32,
        by: Option<usize>,
    ) -> bool {
        let cpu = cpu.or(self.is_bound().then_some(here));
        if self.draining && !self.is_running_task(by) {
            return false;
        }
        let Some(work) = self.slots[slot].as_mut().filter(|work| !work.is_pending()) else {
            return false;
        };
        self.last += 1;
        work.queued = self.last;
        work.cpu = cpu;
        self.waiting.push_back(slot);
        true
    }

    /// Whether `task` is that of a work under way.
    fn is_running_task(&self, task: Option<usize>) -> bool {
        let runs = |work: &Slot| work.running != 0 && work.task.as_ref().map(TaskRef::id) == task;
        task.is_some() && self.slots.iter().flatten().any(runs)
    }

    pub(super) fn is_queued(&self, slot: usize) -> bool {
        self.slots[slot].as_ref().is_some_and(Slot::is_pending)
    }

    /// Takes a waiting request back.
    pub(super) fn cancel(&mut self, slot: usize) -> bool {
        let Some(work) = self.slots[slot].as_mut() else {
            return false;
        };
        if mem::take(&mut work.start) {
            self.done(slot);
            return true;
        }
        if mem::take(&mut work.queued) == 0 {
            return false;
        }
        self.waiting.retain(|waiting| *waiting != slot);
        true
    }

    /// Starts the first request that may be, and says whose it is and where it is to run. A work that runs is passed over:
    /// it does not run twice at a time.
    pub(super) fn start_next(&mut self) -> Option<(TaskRef, Option<u32>)> {
        if self.frozen {
            return None;
        }
        let may_start = |slot: &usize| {
            let idle = |work: &&Slot| work.running == 0;
            let work = self.slots[*slot].as_ref().filter(idle);
            work.is_some_and(|work| self.active[self.pool(work)] < self.max_active)
        };
        let position = self.waiting.iter().position(may_start)?;
        let slot = self.waiting.remove(position)?;
        let pool = self.pool(self.slots[slot].as_ref()?);
        let work = self.slots[slot].as_mut()?;
        work.running = mem::take(&mut work.queued);
        work.start = true;
        work.place = work.cpu;
        work.pool = pool;
        self.active[pool] += 1;
        Some((work.task.clone()?, work.place))
    }

    /// The pool in which the next run of `work` counts.
    fn pool(&self, work: &Slot) -> usize {
        match work.cpu {
            Some(cpu) if self.is_bound() => cpu as usize,
            _ => 0,
        }
    }

    /// Notes that a run is over.
    pub(super) fn done(&mut self, slot: usize) {
        if let Some(work) = self.slots[slot].as_mut()
            && mem::take(&mut work.running) != 0
        {
            self.active[work.pool] -= 1;
        }
    }

    /// Whether no request up to `target` waits or runs, of one work or of all.
    pub(super) fn is_settled(&self, slot: Option<usize>, target: u64) -> bool {
        let open = |n: u64| n != 0 && n <= target;
        let settled = |work: &Option<Slot>| {
            work.as_ref()
                .is_none_or(|w| !open(w.queued) && !open(w.running))
        };
        match slot {
            Some(slot) => settled(&self.slots[slot]),
            None => self.slots.iter().all(settled),
        }
    }
}
