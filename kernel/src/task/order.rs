//! The executor's policy of this kernel: crate `sched` puts the tasks in order.
//!
//! `executor` hands over what may be polled, `sched` says what is to be polled next; neither knows the other.

use alloc::boxed::Box;

use executor::time::Instant;
use executor::{EnqueueKind, Outcome, Policy, Runnable, Running, TaskRef};
use sched::{Node, RunQueue, Wake};

use crate::process::Thread;

/// A task's entry in the order, in the task's own allocation while it neither waits to run nor runs.
pub struct Entity(Option<Box<Node<Runnable<Order>>>>);

impl Default for Entity {
    fn default() -> Self {
        Self(Some(Node::new(sched::Policy::default())))
    }
}

/// One CPU's run queue.
#[derive(Default)]
pub struct Order {
    queue: RunQueue<Runnable<Order>>,
    /// The entry of the task that is being polled.
    running: Option<Box<Node<Runnable<Order>>>>,
}

impl Order {
    /// Tasks that could run at this moment, the polled one included.
    pub fn runnable(&self) -> usize {
        self.queue.len() + usize::from(self.running.is_some())
    }
}

impl Order {
    /// Takes in a task that was not runnable before. Whether it is to run instead of the running one.
    fn arrive(
        &mut self,
        mut node: Box<Node<Runnable<Self>>>,
        task: Runnable<Self>,
        kind: EnqueueKind,
        now: Instant,
    ) -> bool {
        let why = match kind {
            EnqueueKind::New => {
                if let Some(thread) = Thread::of_tag(task.tag()) {
                    node.set_policy(thread.sched_policy());
                }
                Wake::New
            }
            EnqueueKind::Migrated => Wake::Migrated,
            _ => Wake::Event,
        };
        self.queue
            .enqueue(node, task, why, self.running.as_deref_mut(), now.as_ns())
    }
}

impl Policy for Order {
    type Entity = Entity;

    #[inline(always)]
    fn enqueue(
        &mut self,
        mut task: Runnable<Self>,
        kind: EnqueueKind,
        _current: Option<&mut Running<Self>>,
        now: Instant,
    ) -> bool {
        let Some(node) = task.entity_mut().0.take() else {
            unreachable!("a task that enters the queue is not in it");
        };
        let outcome = match kind {
            EnqueueKind::Yield => sched::Outcome::Yielded,
            EnqueueKind::Preempted | EnqueueKind::Again => sched::Outcome::Preempted,
            _ => return self.arrive(node, task, kind, now),
        };
        self.queue.requeue(node, task, outcome);
        false
    }

    #[inline(always)]
    fn pick(&mut self, now: Instant) -> Option<Runnable<Self>> {
        let (node, task) = self.queue.pick(now.as_ns())?;
        self.running = Some(node);
        Some(task)
    }

    #[inline(always)]
    fn put(&mut self, task: &mut Running<Self>, outcome: Outcome, _started: Instant, now: Instant) {
        let Some(mut node) = self.running.take() else {
            unreachable!("the task whose poll ends was picked");
        };
        self.queue
            .end_turn(&mut node, outcome != Outcome::Runnable, now.as_ns());
        task.entity_mut().0 = Some(node);
    }

    fn should_resched(
        &mut self,
        _current: &mut Running<Self>,
        _started: Instant,
        now: Instant,
    ) -> bool {
        let Some(node) = self.running.as_deref_mut() else {
            return true;
        };
        self.queue.charge(node, now.as_ns());
        self.queue.should_preempt(node)
    }

    fn remove(&mut self, task: &TaskRef) -> Option<Runnable<Self>> {
        let (node, mut runnable) = self.queue.take_where(|t, _| t.is(task))?;
        runnable.entity_mut().0 = Some(node);
        Some(runnable)
    }

    fn update(&mut self, task: &TaskRef, current: Option<&mut Running<Self>>, now: Instant) {
        let Some(thread) = Thread::of_tag(task.tag()) else {
            return;
        };
        let policy = thread.sched_policy();
        if current.is_some() {
            if let Some(node) = self.running.as_deref_mut() {
                self.queue.charge(node, now.as_ns());
                node.set_policy(policy);
            }
            executor::cpu::set_need_resched();
        } else if let Some((mut node, runnable)) = self.queue.take_where(|t, _| t.is(task)) {
            node.set_policy(policy);
            if self.queue.enqueue(
                node,
                runnable,
                Wake::Event,
                self.running.as_deref_mut(),
                now.as_ns(),
            ) {
                executor::cpu::set_need_resched();
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
