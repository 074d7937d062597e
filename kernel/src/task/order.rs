//! The executor's policy of this kernel: crate `sched` puts the tasks in order.
//!
//! `executor` hands over what may be polled, `sched` says what is to be polled next; neither knows the other.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

use executor::time::Instant;
use executor::{EnqueueKind, Outcome, Policy, Runnable, Running, TaskRef, Urgency};
use sched::{GroupId, Node, RunQueue, Wake};

use super::spread::Share;
use super::{deadline, hotplug, place, realtime};
use crate::arch::percpu;
use crate::cgroup;
use crate::process::Thread;
use crate::process::run_time;
use crate::process::thread::WORK_OVERRUN;

/// Numbers of groups that are looked at, lest groups that are gone stay known, whenever one becomes known.
const SWEPT: usize = 16;

/// A task's entry in the order, in the task's own allocation while it neither waits to run nor runs.
pub struct Entity(Option<Box<Node<Runnable<Order>>>>);

impl Entity {
    /// Puts back what was taken out of a queue.
    pub(super) fn put(&mut self, node: Box<Node<Runnable<Order>>>) {
        sched::fill(&mut self.0, node);
    }

    /// Takes it to be put into a queue.
    pub(super) fn take(&mut self) -> Option<Box<Node<Runnable<Order>>>> {
        self.0.take()
    }

    /// That of a kernel task with a policy of its own.
    pub fn new(policy: sched::Policy) -> Self {
        Self(Some(Node::new(policy)))
    }
}

impl Default for Entity {
    fn default() -> Self {
        Self(Some(Node::new(sched::Policy::default())))
    }
}

/// One CPU's run queue.
#[derive(Default)]
pub struct Order {
    pub(super) queue: RunQueue<Runnable<Order>>,
    /// What it shows other CPUs, and shares with them.
    pub(super) share: Share,
    /// What the timer of throttled tasks is set to, and one; 0 when it is not set.
    event_at: u64,
    realtime: realtime::Seen,
    /// The thread with this tag has just got another policy, priority or group, and is queued next unless it goes elsewhere.
    changed: Option<(usize, Wake)>,
}

impl Order {
    /// Tasks that could run at this moment, the polled one included.
    pub fn runnable(&self) -> usize {
        self.queue.len() + usize::from(self.queue.current().is_some())
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
            EnqueueKind::New => Wake::New,
            EnqueueKind::Migrated => {
                if let Some(thread) = Thread::of_tag(task.tag()) {
                    thread.moves();
                }
                self.expect(&node);
                Wake::Migrated
            }
            _ => self.take_change(&task).unwrap_or(Wake::Event),
        };
        if !node.group().is_root() {
            self.settle(&mut node, &task);
        }
        self.queue.enqueue(node, task, why, now.as_ns())
    }

    /// What has changed of `task`, if that is what changed last.
    fn take_change(&mut self, task: &Runnable<Self>) -> Option<Wake> {
        let (tag, why) = self.changed.take()?;
        (tag == task.tag() as usize).then_some(why)
    }

    /// A task comes that counts in a group: this CPU may not know it yet.
    fn settle(&mut self, node: &mut Node<Runnable<Self>>, task: &Runnable<Self>) {
        let thread = Thread::of_tag(task.tag());
        // Mostly it does. If the thread has changed groups, a message about that comes first (`refresh`).
        let counted_in = thread.map_or(ptr::null_mut(), |t| t.counted_in.load(Ordering::Relaxed));
        if !self.queue.fair().is_known_at(node.group(), counted_in) {
            let id = thread.map_or(GroupId::ROOT, |thread| self.group_of(thread));
            if node.group() != id {
                node.set_group(id);
            }
        }
    }

    /// The group that `thread` counts in on this CPU. The group's part here is made when its first task comes, never on the
    /// path of a switch.
    #[cold]
    fn group_of(&mut self, thread: &Thread) -> GroupId {
        let group = cgroup::scheduled_in(thread).filter(|group| self.know(group));
        let shared = group
            .as_ref()
            .map_or(ptr::null(), |g| Arc::as_ptr(g.shared()));
        thread
            .counted_in
            .store(shared.cast_mut(), Ordering::Relaxed);
        group.map_or(GroupId::ROOT, |group| group.id())
    }

    /// Makes a group known here, after those that it counts in. False while a task that ends holds its number.
    fn know(&mut self, group: &cgroup::Scheduled) -> bool {
        let fair = self.queue.fair_mut();
        if fair.knows_group(group.shared()) {
            return true;
        }
        fair.sweep_some(SWEPT);
        if group.above().is_some_and(|above| !self.know(above)) {
            return false;
        }
        let fair = self.queue.fair_mut();
        if fair.has_group(group.id()) {
            fair.sweep();
            if fair.has_group(group.id()) {
                return false;
            }
        }
        fair.add_group(group.shared().clone());
        true
    }

    /// Whether another CPU would take tasks from this one, or it is time to look around.
    #[inline(always)]
    fn is_asked(&self) -> bool {
        percpu::this().asked.load(Ordering::Relaxed) != 0
    }

    /// A deadline task's turn has ended.
    #[cold]
    fn put_deadline(
        &mut self,
        task: &Running<Self>,
        node: &mut Node<Runnable<Self>>,
        finished: bool,
        now: Instant,
    ) {
        if finished {
            self.queue.deadline_mut().forget(node, now.as_ns());
        } else if node.deadline_mut().take_overrun()
            && let Some(thread) = Thread::of_tag(task.tag())
        {
            thread.set_bits(WORK_OVERRUN);
        }
    }

    /// Sees to it that the timer is set to what the queue waits for, and that urgent tasks run where they can.
    #[inline(always)]
    fn follow_news(&mut self, now: Instant) {
        if self.queue.has_news() {
            self.follow(now);
        }
    }

    #[cold]
    fn follow(&mut self, now: Instant) {
        self.queue.take_news();
        let at = self.queue.next_event();
        // One more, so that never is 0.
        if self.event_at != at.wrapping_add(1) {
            self.event_at = at.wrapping_add(1);
            super::wake_at(at);
        }
        if self.share.shows_urgent() || !self.queue.is_common_only() {
            self.follow_urgent(now);
        }
    }
}

impl Order {
    /// Sends away what may go, since this CPU leaves; asked again and again until it has left. What is pinned runs here until it
    /// waits.
    #[cold]
    pub(super) fn evacuate(&mut self, now: Instant) {
        let here = executor::cpu::id();
        percpu::this().asked.fetch_or(1 << here, Ordering::Relaxed);
        let may_go = |task: &Runnable<Self>| !task.is_leaving() && !task.is_pinned();
        while let Some((mut node, mut task)) =
            self.queue.take_where(|task, _| may_go(task), now.as_ns())
        {
            let refuge = match Thread::of_tag(task.tag()) {
                Some(thread) => place::banished(thread, here),
                None => Some(place::new(u64::MAX)),
            };
            self.queue.deadline_mut().forget(&mut node, now.as_ns());
            task.entity_mut().0 = Some(node);
            if let Err(_back) = task.send_to(refuge.unwrap_or(0)) {
                unreachable!("the CPU of a refuge has an executor");
            }
        }
    }

    /// This CPU has left, and waits for nothing any more.
    pub(super) fn left(&mut self) {
        self.queue.deadline_mut().forget_all();
        self.event_at = 0;
    }
}

/// Takes over the thread's attributes, and what it inherits.
fn bring_up_to_date(node: &mut Node<Runnable<Order>>, thread: &Thread) {
    node.set_policy(thread.sched_policy());
    node.set_boost(thread.pi.boost());
}

/// Counts an event of a thread that is on this CPU. Nobody else writes, so load and store need not be one step.
#[inline(always)]
fn count(events: &AtomicU64) {
    events.store(events.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

impl Policy for Order {
    type Entity = Entity;

    fn entity(urgency: Urgency) -> Entity {
        Entity::new(match urgency {
            Urgency::Normal => sched::Policy::default(),
            Urgency::Bulk => sched::Policy::Batch { nice: 0 },
            Urgency::High => sched::Policy::Normal { nice: -20 },
            Urgency::Interrupt => sched::Policy::Fifo { priority: 50 },
        })
    }

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
        if let Some(thread) = Thread::of_tag(task.tag()) {
            count(&thread.usage.involuntary_switches);
        }
        if self.changed.is_some()
            && let Some(why) = self.take_change(&task)
        {
            self.queue.enqueue(node, task, why, now.as_ns());
            return false;
        }
        self.queue.requeue(node, task, outcome, now.as_ns());
        false
    }

    #[inline(always)]
    fn pick(&mut self, now: Instant) -> Option<Runnable<Self>> {
        if self.is_asked() {
            self.attend(1, now);
        }
        let next = self.queue.pick(now.as_ns());
        // Turns end, budgets run out and CPUs go idle by way of here.
        self.follow_news(now);
        next
    }

    #[inline(always)]
    fn put(&mut self, task: &mut Running<Self>, outcome: Outcome, _started: Instant, now: Instant) {
        let finished = outcome == Outcome::Done;
        let outcome = match outcome {
            Outcome::Runnable => sched::Outcome::Preempted,
            _ => {
                if let Some(thread) = Thread::of_tag(task.tag()) {
                    count(&thread.usage.voluntary_switches);
                }
                sched::Outcome::Sleeps
            }
        };
        let mut node = self.queue.end_turn(outcome, now.as_ns());
        if node.policy().is_deadline() {
            self.put_deadline(task, &mut node, finished, now);
        }
        sched::fill(&mut task.entity_mut().0, node);
    }

    fn should_resched(
        &mut self,
        current: &mut Running<Self>,
        _started: Instant,
        now: Instant,
    ) -> bool {
        if self.is_asked() {
            self.attend(0, now);
        }
        if self.realtime.look() {
            realtime::apply(self.queue.realtime_mut());
            deadline::apply(self.queue.deadline_mut());
            self.queue.advance(now.as_ns());
        }
        let tick = self.queue.tick(now.as_ns());
        if let Some(node) = self.queue.current()
            && node.policy().is_realtime()
            && let Some(thread) = Thread::of_tag(current.tag())
        {
            run_time::note_realtime(thread, node.unbroken_run_ns());
        }
        self.follow_news(now);
        tick || hotplug::leaves() || super::suspend::is_stressed()
    }

    fn is_urgent(&self) -> bool {
        self.queue.has_rare()
    }

    fn remove(&mut self, task: &TaskRef) -> Option<Runnable<Self>> {
        let now = Instant::now().as_ns();
        let (node, mut runnable) = self.queue.take_where(|t, _| t.is(task), now)?;
        runnable.entity_mut().0 = Some(node);
        Some(runnable)
    }

    fn refresh(&mut self, task: &mut Runnable<Self>) -> Option<u32> {
        let thread = Thread::of_tag(task.tag())?;
        if task
            .entity_mut()
            .0
            .as_ref()
            .is_some_and(|node| !node.group().is_root())
        {
            // The limits of its group may be other ones now.
            self.queue.advance(Instant::now().as_ns());
        }
        let elsewhere = place::banished(thread, executor::cpu::id());
        let group = match elsewhere {
            None => self.group_of(thread),
            // It is made known where the task arrives.
            Some(_) => cgroup::scheduled_in(thread).map_or(GroupId::ROOT, |group| group.id()),
        };
        if let Some(node) = task.entity_mut().0.as_deref_mut() {
            let moved = node.group() != group;
            if moved {
                node.set_group(group);
            }
            let old = node.policy();
            bring_up_to_date(node, thread);
            let new = node.policy();
            if old.is_deadline() && (elsewhere.is_some() || !new.is_deadline()) {
                let now = Instant::now().as_ns();
                self.queue.deadline_mut().forget(node, now);
            }
            // Among its new equals it is placed anew; a nice level counts from where it is.
            let same = !moved && (old == new || (old.is_fair() && new.is_fair()));
            let lowered = new.priority() < old.priority();
            let tag = task.tag() as usize;
            self.changed =
                (!same && elsewhere.is_none()).then_some((tag, Wake::Changed { lowered }));
        }
        elsewhere
    }

    fn update(&mut self, current: &mut Running<Self>, now: Instant) {
        let Some(thread) = Thread::of_tag(current.tag()) else {
            return;
        };
        let group = self.group_of(thread);
        let change = |node: &mut Node<_>| {
            bring_up_to_date(node, thread);
            if node.group() != group {
                node.set_group(group);
            }
        };
        self.queue.change_current(change, now.as_ns());
    }

    fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
