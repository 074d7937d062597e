//! The real-time class: FIFO and round-robin tasks, strictly by priority.
//!
//! Among equals the order is that of arrival. A task that is preempted stays at the head of its priority; one that
//! wakes, yields, or has used up its round-robin slice goes to the tail; one whose priority is lowered goes to the head of
//! its new equals, one that is raised to their tail (sched(7)).
//!
//! All together may have a share of each period ([`Bandwidth`]), and so may the tasks of a [group](Realtime::set_group);
//! what a group leaves is not for other groups. A task that runs on behalf of another (a [boost](crate::pi)) is not
//! throttled, lest the other wait for a budget that is not its own.

mod array;
pub mod bandwidth;

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::class::Class;
use crate::fair::GroupId;
use crate::node::Node;
use crate::policy::Policy;
use crate::runqueue::{Outcome, Wake};
use crate::tree::Key;
use array::Array;
pub use bandwidth::Bandwidth;

/// The round-robin slice in ns: 100 ms, as on Linux.
pub const RR_SLICE_NS: u64 = 100_000_000;

/// The real-time class's part of a node.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// What is left of the round-robin slice, in ns.
    slice_ns: u64,
    /// Run time since the task last slept, in ns: what `RLIMIT_RTTIME` limits.
    unbroken_ns: u64,
    /// It goes to the tail when its turn ends, though preempted: its priority was raised while it ran.
    to_tail: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            slice_ns: RR_SLICE_NS,
            unbroken_ns: 0,
            to_tail: false,
        }
    }
}

impl<T> Node<T> {
    /// Nanoseconds that a real-time task has run since it last slept, for `RLIMIT_RTTIME`.
    pub fn unbroken_run_ns(&self) -> u64 {
        self.rt.unbroken_ns
    }
}

/// The real-time tasks of one group on one CPU.
#[derive(Debug)]
struct Group<T> {
    array: Array<T>,
    bandwidth: Bandwidth,
    /// The entity by which the group waits among the others; here while it does not.
    entity: Option<Box<Node<T>>>,
    /// Where the entity waits, if it does.
    at: Option<Key>,
    /// Waiting tasks.
    len: usize,
}

/// The waiting real-time tasks of one CPU.
#[derive(Debug)]
pub struct Realtime<T> {
    array: Array<T>,
    bandwidth: Bandwidth,
    /// By number, the root's place being empty.
    groups: Vec<Option<Box<Group<T>>>>,
    /// Waiting tasks, but for those of throttled groups.
    len: usize,
    /// Waiting tasks that are boosted: while there are any, nobody is throttled.
    boosted: usize,
    rr_slice_ns: u64,
    next_event: u64,
}

impl<T> Default for Realtime<T> {
    fn default() -> Self {
        Self {
            array: Array::default(),
            bandwidth: Bandwidth::default(),
            groups: Vec::new(),
            len: 0,
            boosted: 0,
            rr_slice_ns: RR_SLICE_NS,
            next_event: u64::MAX,
        }
    }
}

impl<T> Realtime<T> {
    /// The share that all real-time tasks of this CPU have together.
    pub fn bandwidth(&self) -> &Bandwidth {
        &self.bandwidth
    }

    /// Sets it (`sched_rt_runtime_us`, `sched_rt_period_us`). Call [`RunQueue::advance`](crate::RunQueue::advance) after.
    pub fn set_bandwidth(&mut self, runtime_ns: u64, period_ns: u64) {
        self.bandwidth.set(runtime_ns, period_ns);
    }

    /// Sets the round-robin slice (`sched_rr_timeslice_ms`), for slices that begin from now on.
    pub fn set_rr_slice_ns(&mut self, slice_ns: u64) {
        self.rr_slice_ns = slice_ns.max(1);
    }

    /// Gives group `id` a share of its own on this CPU, or changes it. A task of a group that has none counts in the root
    /// only. Call while no real-time task of a new group is queued.
    ///
    /// # Context
    /// Allocates: call it where a group is made, and not on the path of a switch.
    pub fn set_group(&mut self, id: GroupId, runtime_ns: u64, period_ns: u64) {
        if let Some(group) = group_mut(&mut self.groups, id) {
            group.bandwidth.set(runtime_ns, period_ns);
            return;
        }
        if self.groups.len() <= id.index() {
            self.groups.resize_with(id.index() + 1, || None);
        }
        self.groups[id.index()] = Some(Box::new(Group {
            array: Array::default(),
            bandwidth: Bandwidth::new(runtime_ns, period_ns),
            entity: Some(Node::of_group(id, crate::weight::NICE_0)),
            at: None,
            len: 0,
        }));
    }

    /// Forgets group `id`; false while one of its tasks waits.
    pub fn remove_group(&mut self, id: GroupId) -> bool {
        match self.groups.get_mut(id.index()) {
            Some(slot) if slot.as_ref().is_some_and(|g| g.len > 0) => false,
            Some(slot) => {
                *slot = None;
                true
            }
            None => true,
        }
    }

    /// The highest priority that waits and may run; 0 where nothing does.
    pub fn top_priority(&self) -> u8 {
        if self.is_throttled() {
            0
        } else {
            self.array.top()
        }
    }

    /// The whole class is held back on this CPU.
    #[inline]
    fn is_throttled(&self) -> bool {
        self.bandwidth.is_throttled() && self.boosted == 0
    }

    fn insert(&mut self, node: Box<Node<T>>, at_head: bool) {
        let priority = node.policy.priority();
        self.boosted += usize::from(node.boost.is_some());
        let Some(group) = group_mut(&mut self.groups, node.group) else {
            self.array.insert(node, priority, at_head);
            self.len += 1;
            return;
        };
        let id = node.group;
        group.len += 1;
        group.array.insert(node, priority, at_head);
        self.len += usize::from(!group.bandwidth.is_throttled());
        self.place_group(id, at_head);
    }

    /// Lets the group wait where its most urgent task would.
    fn place_group(&mut self, id: GroupId, at_head: bool) {
        let Some(group) = group_mut(&mut self.groups, id) else {
            return;
        };
        let top = match group.bandwidth.is_throttled() {
            true => 0,
            false => group.array.top(),
        };
        if let Some(key) = group.at {
            if key.major == u64::from(top) {
                return;
            }
            group.entity = self.array.remove(key);
            group.at = None;
        }
        if top > 0
            && let Some(entity) = group.entity.take()
        {
            group.at = Some(self.array.insert(entity, top, at_head));
        }
    }

    /// Whether the running task is held back by its own group.
    fn group_throttles(&self, current: &Node<T>) -> bool {
        current.boost.is_none()
            && group_ref(&self.groups, current.group).is_some_and(|g| g.bandwidth.is_throttled())
    }

    fn note_event(&mut self, at: u64) {
        self.next_event = self.next_event.min(at);
    }
}

fn group_mut<T>(groups: &mut [Option<Box<Group<T>>>], id: GroupId) -> Option<&mut Group<T>> {
    groups.get_mut(id.index())?.as_deref_mut()
}

fn group_ref<T>(groups: &[Option<Box<Group<T>>>], id: GroupId) -> Option<&Group<T>> {
    groups.get(id.index())?.as_deref()
}

impl<T> Class<T> for Realtime<T> {
    #[inline(always)]
    fn takes(policy: &Policy) -> bool {
        policy.is_realtime()
    }

    #[inline(always)]
    fn is_empty(&self) -> bool {
        self.array.is_empty() || self.is_throttled()
    }

    fn len(&self) -> usize {
        if self.is_throttled() { 0 } else { self.len }
    }

    fn enqueue(&mut self, mut node: Box<Node<T>>, why: Wake, _: Option<&mut Node<T>>, now: u64) {
        self.bandwidth.roll(now);
        if matches!(why, Wake::New | Wake::Event) {
            node.rt.unbroken_ns = 0;
        }
        node.rt.to_tail = false;
        self.insert(node, why == Wake::Changed { lowered: true });
    }

    fn requeue(&mut self, mut node: Box<Node<T>>, outcome: Outcome, _: u64) {
        let to_tail = core::mem::take(&mut node.rt.to_tail) || slice_over(&node);
        self.insert(node, outcome == Outcome::Preempted && !to_tail);
    }

    #[inline(always)]
    fn pick(&mut self, _: u64) -> Option<Box<Node<T>>> {
        if self.is_empty() {
            return None;
        }
        self.take_top()
    }

    fn resume(&mut self, current: &mut Node<T>, why: Wake, _: u64) {
        current.rt.to_tail = why != Wake::Changed { lowered: true };
    }

    fn charge(&mut self, current: &mut Node<T>, delta_ns: u64, now: u64) {
        current.rt.unbroken_ns += delta_ns;
        if self.bandwidth.charge(delta_ns, now) {
            self.note_event(self.bandwidth.next_period());
        }
        if let Some(group) = group_mut(&mut self.groups, current.group) {
            let was = group.bandwidth.is_throttled();
            let throttled = group.bandwidth.charge(delta_ns, now);
            let (next, len) = (group.bandwidth.next_period(), group.len);
            if throttled {
                self.note_event(next);
            }
            if throttled != was {
                self.len = if throttled {
                    self.len - len
                } else {
                    self.len + len
                };
                self.place_group(current.group, true);
            }
        }
        if matches!(current.policy, Policy::RoundRobin { .. }) {
            current.rt.slice_ns = current.rt.slice_ns.saturating_sub(delta_ns);
            if current.rt.slice_ns == 0 {
                current.rt.slice_ns = self.rr_slice_ns;
                current.turn_over = self.array.has(current.policy.priority());
            }
        }
    }

    fn sleep(&mut self, _: &mut Node<T>, _: Outcome, _: u64) {}

    fn preempts(&self, current: &Node<T>) -> bool {
        self.top_priority() > current.policy.priority()
    }

    fn turn_over(&self, current: &Node<T>) -> bool {
        if current.boost.is_none() && (self.is_throttled() || self.group_throttles(current)) {
            return true;
        }
        let (top, own) = (self.top_priority(), current.policy.priority());
        top > own || (top == own && slice_over(current))
    }

    fn slice_left_ns(&self, current: &Node<T>) -> Option<u64> {
        let mut left = None;
        let mut at_most = |ns: Option<u64>| {
            left = match (left, ns) {
                (Some(a), Some(b)) => Some(u64::min(a, b)),
                (a, b) => a.or(b),
            };
        };
        let own = current.policy.priority();
        if matches!(current.policy, Policy::RoundRobin { .. }) && self.array.has(own) {
            at_most(Some(current.rt.slice_ns));
        }
        if current.boost.is_none() {
            at_most(self.bandwidth.left_ns());
            at_most(group_ref(&self.groups, current.group).and_then(|g| g.bandwidth.left_ns()));
        }
        left
    }

    fn interval_ns(&self, node: &Node<T>) -> u64 {
        match node.policy {
            Policy::RoundRobin { .. } => self.rr_slice_ns,
            _ => 0,
        }
    }

    fn take_where(
        &mut self,
        matches: &mut dyn FnMut(&Node<T>) -> bool,
        _: Option<&Node<T>>,
        _: u64,
    ) -> Option<Box<Node<T>>> {
        let mut task = |n: &Node<T>| n.owns.is_root() && matches(n);
        if let Some(node) = self.array.remove_where(&mut task) {
            self.len -= 1;
            self.boosted -= usize::from(node.boost.is_some());
            return Some(node);
        }
        for index in 1..self.groups.len() {
            let id = GroupId::new(index as u32);
            let Some(group) = group_mut(&mut self.groups, id) else {
                continue;
            };
            if let Some(node) = group.array.remove_where(&mut task) {
                group.len -= 1;
                self.len -= usize::from(!group.bandwidth.is_throttled());
                self.boosted -= usize::from(node.boost.is_some());
                self.place_group(id, true);
                return Some(node);
            }
        }
        None
    }

    fn for_each(&self, f: &mut dyn FnMut(&Node<T>)) {
        self.array.for_each(f);
        for group in self.groups.iter().flatten() {
            group.array.for_each(f);
        }
    }

    #[inline(always)]
    fn next_event(&self) -> u64 {
        self.next_event
    }

    fn advance(&mut self, _: Option<&mut Node<T>>, now: u64) {
        self.next_event = u64::MAX;
        self.bandwidth.roll(now);
        if self.bandwidth.is_throttled() {
            self.note_event(self.bandwidth.next_period());
        }
        for index in 1..self.groups.len() {
            let id = GroupId::new(index as u32);
            let Some(group) = group_mut(&mut self.groups, id) else {
                continue;
            };
            if !group.bandwidth.is_throttled() {
                continue;
            }
            group.bandwidth.roll(now);
            if group.bandwidth.is_throttled() {
                let next = group.bandwidth.next_period();
                self.note_event(next);
            } else {
                self.len += group.len;
                self.place_group(id, true);
            }
        }
    }
}

impl<T> Realtime<T> {
    /// Takes the most urgent task.
    #[cold]
    fn take_top(&mut self) -> Option<Box<Node<T>>> {
        let mut node = self.array.pop()?;
        if !node.owns.is_root() {
            let id = node.owns;
            let group = group_mut(&mut self.groups, id)?;
            group.entity = Some(node);
            group.at = None;
            node = group.array.pop()?;
            group.len -= 1;
            // Its other tasks go on waiting in its name: the running task may be preempted by them, too.
            self.place_group(id, true);
        }
        self.len -= 1;
        self.boosted -= usize::from(node.boost.is_some());
        Some(node)
    }
}

/// The round-robin slice has just run out.
fn slice_over<T>(node: &Node<T>) -> bool {
    node.turn_over && matches!(node.policy, Policy::RoundRobin { .. })
}
