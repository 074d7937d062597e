//! The machine: CPUs, tasks, and time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use sched::pelt::SCALE;
use sched::smp::balance::{self, Surplus};
use sched::smp::domain::{Domains, Place};
use sched::smp::progress::{self, Progress};
use sched::smp::{CpuSet, CpuView, Urgency, push, wake};
use sched::{Node, Outcome, Policy, RunQueue, Wake};

use crate::task::{Behaviour, Job, Next, TaskId};

/// How often a busy CPU looks whether to balance.
const BALANCE_NS: u64 = 16_000_000;

/// A time in which a task ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// On which CPU.
    pub cpu: usize,
    /// Which task.
    pub task: TaskId,
    /// From, in ns.
    pub from: u64,
    /// To, in ns.
    pub to: u64,
}

struct Task {
    behaviour: Behaviour,
    /// Its node while it sleeps.
    node: Option<Box<Node<TaskId>>>,
    /// What it still wants to run before it does something else.
    left: u64,
    released: u64,
    ran: u64,
    /// The longest that it was runnable and did not run.
    longest_wait: u64,
    waits_since: u64,
    last_cpu: usize,
    migrations: u64,
    allowed: CpuSet,
}

struct Cpu {
    queue: RunQueue<TaskId>,
    running: Option<TaskId>,
    since: u64,
    looks_at: u64,
    progress: Progress,
    progress_at: u64,
}

/// CPUs that run tasks in virtual time.
pub struct Machine {
    cpus: Vec<Cpu>,
    domains: Domains,
    tasks: Vec<Task>,
    now: u64,
    /// Sleeping tasks by when they wake.
    sleeping: BinaryHeap<Reverse<(u64, TaskId)>>,
    /// Where tasks ran, if that is kept.
    trace: Option<Vec<Span>>,
    jobs: Vec<Job>,
    balancing: bool,
}

impl Machine {
    /// A machine of `cpus` CPUs that share a cache, at time 0.
    pub fn new(cpus: usize) -> Self {
        let place = |core| Place {
            core,
            ..Place::default()
        };
        let places: Vec<Place> = (0..cpus as u32).map(place).collect();
        Self::with_places(&places)
    }

    /// A machine with CPUs at these places.
    pub fn with_places(places: &[Place]) -> Self {
        let cpu = |_| Cpu {
            queue: RunQueue::new(),
            running: None,
            since: 0,
            looks_at: BALANCE_NS,
            progress: Progress::default(),
            progress_at: 0,
        };
        Self {
            cpus: (0..places.len()).map(cpu).collect(),
            domains: Domains::new(places, &CpuSet::EMPTY),
            tasks: Vec::new(),
            now: 0,
            sleeping: BinaryHeap::new(),
            trace: None,
            jobs: Vec::new(),
            balancing: true,
        }
    }

    /// Keeps a trace from now on.
    pub fn trace(&mut self) {
        self.trace = Some(Vec::new());
    }

    /// Where tasks ran, in order of the ends.
    pub fn spans(&self) -> &[Span] {
        self.trace.as_deref().unwrap_or(&[])
    }

    /// The jobs of periodic tasks that are done, in that order.
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// Leaves tasks where they are, and puts new ones on the first CPU that they may use, or ends that.
    pub fn set_balance(&mut self, on: bool) {
        self.balancing = on;
    }

    /// The time in ns.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// How many tasks there are.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The run queue of a CPU, to set it up.
    pub fn queue(&mut self, cpu: usize) -> &mut RunQueue<TaskId> {
        &mut self.cpus[cpu].queue
    }

    /// Adds a task, on the CPU that would be chosen for it.
    pub fn spawn(&mut self, policy: Policy, behaviour: Behaviour) -> TaskId {
        let all = CpuSet::first_n(self.cpus.len());
        self.spawn_with(policy, behaviour, all, |_| {})
    }

    /// As [`spawn`](Self::spawn), on the CPUs of `allowed`, with a node that `set` has changed.
    pub fn spawn_with(
        &mut self,
        policy: Policy,
        mut behaviour: Behaviour,
        allowed: CpuSet,
        set: impl FnOnce(&mut Node<TaskId>),
    ) -> TaskId {
        let id = self.tasks.len();
        let mut node = Node::new(policy);
        set(&mut node);
        let cpu = match self.balancing {
            true => wake::select_new(&self.views(), &allowed, 0),
            false => allowed.iter().next().unwrap_or(0),
        };
        self.tasks.push(Task {
            left: behaviour.demand(),
            behaviour,
            node: None,
            released: self.now,
            ran: 0,
            longest_wait: 0,
            waits_since: self.now,
            last_cpu: cpu,
            migrations: 0,
            allowed,
        });
        self.arrive(cpu, node, id, Wake::New);
        id
    }

    /// How long task `id` has run, in ns.
    pub fn ran(&self, id: TaskId) -> u64 {
        let running = self.cpus.iter().find(|c| c.running == Some(id));
        self.tasks[id].ran + running.map_or(0, |cpu| self.now - cpu.since)
    }

    /// The longest time for which task `id` could have run and did not.
    pub fn longest_wait(&self, id: TaskId) -> u64 {
        let task = &self.tasks[id];
        let runs = self.cpus.iter().any(|c| c.running == Some(id));
        let now = if runs || task.node.is_some() {
            0
        } else {
            self.now - task.waits_since
        };
        task.longest_wait.max(now)
    }

    /// How often task `id` was moved.
    pub fn migrations(&self, id: TaskId) -> u64 {
        self.tasks[id].migrations
    }

    /// The task that runs on `cpu`.
    pub fn running(&self, cpu: usize) -> Option<TaskId> {
        self.cpus[cpu].running
    }

    /// Tasks that run or could on `cpu`.
    pub fn runnable(&self, cpu: usize) -> usize {
        let cpu = &self.cpus[cpu];
        cpu.queue.len() + usize::from(cpu.running.is_some())
    }

    fn views(&self) -> Vec<CpuView> {
        let view = |cpu: &Cpu| {
            let mut waiting = Urgency::Fair;
            cpu.queue.for_each(|_, node| {
                let urgency = Urgency::of(node);
                if urgency.is_before(waiting) && !node.deadline().is_throttled() {
                    waiting = urgency;
                }
            });
            CpuView {
                active: true,
                runnable: (cpu.queue.len() + usize::from(cpu.running.is_some())) as u32,
                load: cpu.queue.fair_load(),
                capacity: SCALE,
                progress: cpu.progress.virtual_ns(),
                running: cpu.queue.current().map_or(Urgency::Fair, Urgency::of),
                waiting,
            }
        };
        self.cpus.iter().map(view).collect()
    }

    /// Lets `ns` pass.
    pub fn run(&mut self, ns: u64) {
        let end = self.now + ns;
        loop {
            (0..self.cpus.len()).for_each(|cpu| self.dispatch(cpu));
            if self.now == end {
                return;
            }
            self.now = self.next_time().clamp(self.now + 1, end);
            self.wake_due();
            (0..self.cpus.len()).for_each(|cpu| self.step(cpu));
        }
    }

    /// When something happens next.
    fn next_time(&self) -> u64 {
        let wake = self.sleeping.peek().map_or(u64::MAX, |w| w.0.0);
        let of_cpu = |cpu: &Cpu| {
            let mut next = cpu.queue.next_event();
            if let Some(id) = cpu.running {
                // The queue counts from when it was last told the time, which is now for all that matters here.
                let slice = cpu.queue.slice_left_ns().unwrap_or(u64::MAX);
                let left = self.tasks[id].left.saturating_sub(self.now - cpu.since);
                next = next.min(self.now.saturating_add(slice.min(left)));
                if self.cpus.len() > 1 && self.balancing {
                    next = next.min(cpu.looks_at);
                }
            }
            next
        };
        self.cpus.iter().map(of_cpu).fold(wake, u64::min)
    }

    fn wake_due(&mut self) {
        while let Some(&Reverse((at, id))) = self.sleeping.peek() {
            if at > self.now {
                return;
            }
            self.sleeping.pop();
            let node = self.tasks[id].node.take().expect("it slept");
            let task = &mut self.tasks[id];
            task.released = at;
            task.waits_since = self.now;
            task.left = task.behaviour.demand();
            let cpu = self.place(&node, id);
            let why = match cpu == self.tasks[id].last_cpu {
                true => Wake::Event,
                false => Wake::Migrated,
            };
            self.arrive(cpu, node, id, why);
        }
    }

    /// The CPU for a task that wakes.
    fn place(&self, node: &Node<TaskId>, id: TaskId) -> usize {
        let task = &self.tasks[id];
        if self.cpus.len() == 1 || !self.balancing {
            return task.last_cpu;
        }
        let views = self.views();
        let urgency = Urgency::of(node);
        if urgency != Urgency::Fair {
            let found = push::target(&self.domains, &views, &task.allowed, urgency, task.last_cpu);
            return found.unwrap_or(task.last_cpu);
        }
        let waking = wake::Waking {
            last: task.last_cpu,
            waker: task.last_cpu,
            allowed: task.allowed,
            sync: false,
        };
        wake::select(&self.domains, &views, &waking)
    }

    fn arrive(&mut self, cpu: usize, node: Box<Node<TaskId>>, id: TaskId, why: Wake) {
        let task = &mut self.tasks[id];
        task.migrations += u64::from(task.last_cpu != cpu);
        task.last_cpu = cpu;
        if self.cpus[cpu].queue.enqueue(node, id, why, self.now) {
            self.preempt(cpu);
        }
    }

    /// Ends the turn on `cpu`; the task goes back into the queue.
    fn preempt(&mut self, cpu: usize) {
        self.end_turn(cpu, Outcome::Preempted);
    }

    fn end_turn(&mut self, cpu: usize, outcome: Outcome) {
        let Some(id) = self.stop(cpu) else { return };
        let queue = &mut self.cpus[cpu].queue;
        let node = queue.end_turn(outcome, self.now);
        queue.requeue(node, id, outcome, self.now);
        self.tasks[id].waits_since = self.now;
    }

    /// Accounts for what ran on `cpu`.
    fn stop(&mut self, cpu: usize) -> Option<TaskId> {
        let c = &mut self.cpus[cpu];
        let id = c.running.take()?;
        let ran = self.now - c.since;
        let task = &mut self.tasks[id];
        task.ran += ran;
        task.left = task.left.saturating_sub(ran);
        if let Some(trace) = &mut self.trace
            && ran > 0
        {
            trace.push(Span {
                cpu,
                task: id,
                from: c.since,
                to: self.now,
            });
        }
        Some(id)
    }

    /// Does on `cpu` what is due.
    fn step(&mut self, cpu: usize) {
        let c = &mut self.cpus[cpu];
        let preempt = c.queue.tick(self.now);
        if let Some(id) = c.running {
            let left = self.tasks[id].left;
            let done = left != u64::MAX && self.now - c.since >= left;
            if done {
                self.finish(cpu, id);
            } else if preempt {
                self.preempt(cpu);
            }
        }
    }

    /// The running task has done what it wanted.
    fn finish(&mut self, cpu: usize, id: TaskId) {
        let (released, now) = (self.tasks[id].released, self.now);
        match self.tasks[id].behaviour.next(released, now) {
            Next::Yield => {
                self.end_turn(cpu, Outcome::Yielded);
                let task = &mut self.tasks[id];
                task.left = task.behaviour.demand();
            }
            Next::Sleep { until } => {
                self.stop(cpu);
                if matches!(self.tasks[id].behaviour, Behaviour::Periodic { .. }) {
                    self.jobs.push(Job {
                        task: id,
                        released,
                        done: now,
                    });
                }
                let node = self.cpus[cpu].queue.end_turn(Outcome::Sleeps, now);
                self.tasks[id].node = Some(node);
                self.sleeping.push(Reverse((until, id)));
            }
        }
    }

    /// Lets `cpu` run what it should, and find work elsewhere.
    fn dispatch(&mut self, cpu: usize) {
        if self.cpus.len() > 1 && self.balancing {
            self.push_and_pull(cpu);
            let idle = self.runnable(cpu) == 0;
            if idle || self.cpus[cpu].looks_at <= self.now {
                self.balance(cpu, idle);
            }
        }
        let c = &mut self.cpus[cpu];
        if c.running.is_some() {
            return;
        }
        let Some(id) = c.queue.pick(self.now) else {
            return;
        };
        c.running = Some(id);
        c.since = self.now;
        let task = &mut self.tasks[id];
        task.longest_wait = task.longest_wait.max(self.now - task.waits_since);
    }

    fn balance(&mut self, cpu: usize, idle: bool) {
        let why = match idle {
            true => balance::Reason::Idle,
            false => balance::Reason::Periodic,
        };
        self.cpus[cpu].looks_at = self.now + BALANCE_NS;
        self.note_progress();
        let views = self.views();
        if let Some(pull) = balance::find(&self.domains, &views, cpu, why) {
            self.give_surplus(pull.from, cpu);
        } else if let Some(from) = progress::find(&views, cpu) {
            self.give(from, cpu, &mut |from, to, load| {
                Surplus::between(from, to).and_then(|surplus| surplus.misfit_of_turn(load))
            });
        }
    }

    /// Brings the virtual times of all CPUs up to now.
    fn note_progress(&mut self) {
        let first = self.cpus.iter().map(|c| c.progress.virtual_ns()).max();
        for cpu in &mut self.cpus {
            let ns = self.now - cpu.progress_at;
            cpu.progress_at = self.now;
            let load = cpu.queue.fair_load();
            cpu.progress.advance(ns, load, first.unwrap_or(0));
        }
    }

    /// Moves tasks from `from` to `to` while that makes their loads more alike.
    fn give_surplus(&mut self, from: usize, to: usize) {
        let mut misfit = |from: &CpuView, to: &CpuView, load| {
            Surplus::between(from, to).and_then(|surplus| surplus.misfit(load))
        };
        while self.give(from, to, &mut misfit) {}
    }

    /// Moves the task that fits best; whether there was one.
    fn give(
        &mut self,
        from: usize,
        to: usize,
        misfit: &mut dyn FnMut(&CpuView, &CpuView, u64) -> Option<u64>,
    ) -> bool {
        let views = self.views();
        let (giver, taker) = (&views[from], &views[to]);
        let tasks = &self.tasks;
        let fits = |id: &TaskId, _: &Node<TaskId>, load: u64| {
            let may = tasks[*id].allowed.contains(to);
            may.then(|| misfit(giver, taker, load)).flatten()
        };
        let Some((mut node, id, load)) = self.cpus[from].queue.take_best(fits, self.now) else {
            return false;
        };
        let cpu = &mut self.cpus[from];
        let left = cpu.queue.fair_load();
        cpu.progress.leaves(load, node.lag_ns(), left);
        node.owe_ns(progress::owed_ns(giver, taker));
        let lag = node.lag_ns();
        self.arrive(to, node, id, Wake::Migrated);
        let cpu = &mut self.cpus[to];
        let with = cpu.queue.fair_load();
        cpu.progress.arrives(load, lag, with);
        true
    }

    /// Brings more urgent tasks that wait elsewhere to `cpu`.
    fn push_and_pull(&mut self, cpu: usize) {
        if self.cpus.iter().all(|c| {
            c.queue.realtime().top_priority() == 0 && c.queue.deadline().earliest().is_none()
        }) {
            return;
        }
        let views = self.views();
        let own = if self.cpus[cpu].running.is_some() {
            views[cpu].running
        } else {
            views[cpu].waiting
        };
        if let Some(from) = push::source(&views, cpu, own) {
            self.move_one(from, cpu, views[from].waiting);
        }
    }

    /// Moves a waiting task of this urgency; whether there was one that may go.
    fn move_one(&mut self, from: usize, to: usize, urgency: Urgency) -> bool {
        let tasks = &self.tasks;
        let may = |id: &TaskId, node: &Node<TaskId>| {
            Urgency::of(node) == urgency && tasks[*id].allowed.contains(to)
        };
        let Some((node, id)) = self.cpus[from].queue.take_where(may, self.now) else {
            return false;
        };
        self.arrive(to, node, id, Wake::Migrated);
        true
    }
}
