//! The fair class: each task gets the CPU in proportion to its weight, and so does each group of tasks.
//!
//! | to read | is in |
//! |---|---|
//! | the order of one level (EEVDF) | [`queue`] |
//! | what CPUs share of a group | [`group`] |
//! | a group's part on one CPU | `levels` |
//! | quota, period, burst | [`bandwidth`] |
//! | groups by session | [`autogroup`] |
//!
//! A task of the root group costs what it would without groups: everything about them is off its path.

pub mod autogroup;
pub mod bandwidth;
pub mod group;
mod levels;
pub mod queue;

use alloc::boxed::Box;

use crate::class::Class;
use crate::fill;
use crate::node::Node;
use crate::pelt::{self, Average};
use crate::policy::Policy;
use crate::runqueue::{Outcome, Wake};
pub use group::{Group, GroupId};
use levels::Levels;
use queue::Queue;
pub use queue::{SLICE_NS, State};

/// The waiting fair tasks of one CPU, and what it knows of the running one.
#[derive(Debug)]
pub struct Fair<T> {
    levels: Levels<T>,
    /// A task of the root group that has just yielded while others waited. It joins them once one of them was picked, so
    /// that a yield gives way, and between two tasks moves no tree about.
    yielded: Option<Box<Node<T>>>,
    /// Of all fair tasks of this CPU.
    average: Average,
}

impl<T> Default for Fair<T> {
    fn default() -> Self {
        Self {
            levels: Levels::default(),
            yielded: None,
            average: Average::default(),
        }
    }
}

impl<T> Fair<T> {
    /// Load and utilisation of this CPU by fair tasks, as of their last update.
    pub fn average(&self) -> &Average {
        &self.average
    }

    /// The weights of the root's entities that wait.
    pub fn waiting_weight(&self) -> u64 {
        self.levels.root().weight() + self.yielded.as_ref().map_or(0, |n| n.weight.value())
    }

    /// The weights of the root's entities that run or wait, `current` being the task that runs.
    pub(crate) fn load(&self, current: Option<&Node<T>>) -> u64 {
        let running = match self.levels.running_entity(GroupId::ROOT) {
            Some(entity) => entity.weight.value(),
            None => current
                .filter(|c| c.policy.is_fair())
                .map_or(0, |current| current.weight.value()),
        };
        self.waiting_weight() + running
    }

    /// Takes the waiting task that fits best to go to another CPU; see [`RunQueue::take_best`](crate::RunQueue::take_best).
    pub(crate) fn take_best(
        &mut self,
        misfit: &mut dyn FnMut(&Node<T>, u64) -> Option<u64>,
        current: Option<&Node<T>>,
        now: u64,
    ) -> Option<(Box<Node<T>>, u64)> {
        self.settle_yielded();
        let current = current.filter(|c| c.policy.is_fair());
        let (mut node, load) = self.levels.take_best(misfit, current)?;
        self.detach(&mut node, now);
        Some((node, load))
    }

    /// Makes a group known to this CPU. Its parent is known already; its tasks come after.
    ///
    /// # Context
    /// Allocates: call it where a group is made, and not on the path of a switch.
    pub fn add_group(&mut self, shared: alloc::sync::Arc<Group>) {
        self.levels.add(shared);
    }

    /// Forgets a group that has neither tasks nor children here; whether it has none.
    ///
    /// # Context
    /// Frees.
    pub fn remove_group(&mut self, id: GroupId) -> bool {
        self.levels.remove(id)
    }

    /// Whether this very group is known to this CPU.
    pub fn knows_group(&self, group: &alloc::sync::Arc<Group>) -> bool {
        self.levels.knows(group)
    }

    /// Whether the group known to this CPU by number `id` is the one at `address`, which is only compared.
    #[inline]
    pub fn is_known_at(&self, id: GroupId, address: *const Group) -> bool {
        let known = self.levels.shared_of(id);
        known.is_some_and(|known| core::ptr::eq(alloc::sync::Arc::as_ptr(known), address))
    }

    /// Whether a group of this number is known to this CPU.
    pub fn has_group(&self, id: GroupId) -> bool {
        id.is_root() || self.levels.shared_of(id).is_some()
    }

    /// Forgets the groups that are [retired](Group::retire) and have no task here any more.
    ///
    /// # Context
    /// Frees. Looks at all groups, and again for each that goes.
    pub fn sweep(&mut self) {
        self.levels.sweep();
    }

    /// As [`sweep`](Self::sweep), for at most `most` numbers: those behind where the last call ended.
    ///
    /// # Context
    /// Frees.
    pub fn sweep_some(&mut self, most: usize) {
        self.levels.sweep_some(most);
    }

    /// Whether the group, or one that it counts in, is held back on this CPU.
    pub fn is_throttled(&self, id: GroupId) -> bool {
        self.levels.is_throttled(id)
    }

    /// Lets the task that yielded wait with the others.
    #[inline]
    fn settle_yielded(&mut self) {
        self.settle();
    }

    /// As [`settle_yielded`](Self::settle_yielded), in line where one that yielded is the usual case.
    #[inline(always)]
    fn settle(&mut self) {
        if let Some(node) = self.yielded.take() {
            self.levels.root_mut().insert(node);
        }
    }

    /// Brings the averages up to date, and what else is to be looked at each millisecond.
    #[cold]
    fn update(&mut self, current: Option<&mut Node<T>>, now: u64) {
        let mut weight = self.waiting_weight();
        if let Some(current) = current {
            current.average.update(now, pelt::SCALE, false);
            self.levels.refresh(current);
            weight += match self.levels.running_entity(GroupId::ROOT) {
                Some(entity) => entity.weight.value(),
                None => current.weight.value(),
            };
        }
        self.average.update(now, weight, false);
    }
}

impl<T> Fair<T> {
    /// A runnable task comes, with the load that it has.
    #[cold]
    fn attach(&mut self, node: &mut Node<T>, now: u64) {
        node.average.update(now, pelt::SCALE, true);
        let (load, utilisation) = load_of(node);
        self.average.attach(load, utilisation);
    }

    /// A runnable task goes, with its load.
    #[cold]
    fn detach(&mut self, node: &mut Node<T>, now: u64) {
        node.average.update(now, pelt::SCALE, true);
        let (load, utilisation) = load_of(node);
        self.average.detach(load, utilisation);
    }
}

/// How much of a queue's load a task is.
fn load_of<T>(node: &Node<T>) -> (u64, u64) {
    let load = node.average.load() * node.weight.value() / pelt::SCALE;
    (load, node.average.utilisation())
}

impl<T> Class<T> for Fair<T> {
    #[inline(always)]
    fn takes(policy: &Policy) -> bool {
        policy.is_fair()
    }

    #[inline(always)]
    fn is_empty(&self) -> bool {
        self.levels.root().is_empty() && self.yielded.is_none()
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.levels.len() + usize::from(self.yielded.is_some())
    }

    #[inline(always)]
    fn enqueue(
        &mut self,
        mut node: Box<Node<T>>,
        why: Wake,
        mut current: Option<&mut Node<T>>,
        now: u64,
    ) {
        self.settle_yielded();
        if self.average.is_due(now) {
            self.update(current.as_deref_mut(), now);
        }
        match why {
            Wake::Event if !node.average.is_due(now) => {}
            Wake::Event => node.average.update(now, 0, true),
            Wake::New => node.average = Average::starting(now),
            Wake::Migrated | Wake::Changed { .. } => self.attach(&mut node, now),
        }
        self.levels
            .enqueue(node, current.as_deref(), why == Wake::New);
    }

    #[inline(always)]
    fn requeue(&mut self, mut node: Box<Node<T>>, outcome: Outcome, _: u64) {
        if outcome == Outcome::Yielded {
            Queue::yield_slice(&mut node);
            if node.group.is_root() && !self.levels.root().is_empty() {
                self.settle_yielded();
                fill(&mut self.yielded, node);
                return;
            }
        }
        self.levels.requeue(node);
    }

    #[inline(always)]
    fn pick(&mut self, now: u64) -> Option<Box<Node<T>>> {
        let mut node = match self.levels.take_next() {
            Some(node) => node,
            None => self.yielded.take()?,
        };
        self.settle();
        if node.average.is_due(now) {
            node.average.update(now, pelt::SCALE, true);
        }
        Some(node)
    }

    fn resume(&mut self, current: &mut Node<T>, _: Wake, now: u64) {
        self.settle_yielded();
        self.attach(current, now);
        self.levels.resume(current);
    }

    #[inline(always)]
    fn charge(&mut self, current: &mut Node<T>, delta_ns: u64, now: u64) {
        current.average.ran(delta_ns);
        self.average.ran(delta_ns);
        if Queue::charge(current, delta_ns) {
            current.turn_over = true;
        }
        if !current.group.is_root() {
            self.levels.charge(current, delta_ns, now);
        }
        if self.average.is_due(now) {
            self.update(Some(current), now);
        }
    }

    #[inline(always)]
    fn sleep(&mut self, current: &mut Node<T>, why: Outcome, now: u64) {
        if why == Outcome::Leaves {
            self.detach(current, now);
        }
        self.settle_yielded();
        self.levels.leave(current);
    }

    #[inline(always)]
    fn preempts(&self, current: &Node<T>) -> bool {
        self.levels.preempts(current)
    }

    #[inline]
    fn turn_over(&self, current: &Node<T>) -> bool {
        current.turn_over
            && (!self.is_empty() || (!current.group.is_root() && self.levels.others_wait(current)))
    }

    fn slice_left_ns(&self, current: &Node<T>) -> Option<u64> {
        self.levels.slice_left_ns(current)
    }

    fn interval_ns(&self, node: &Node<T>) -> u64 {
        node.fair.slice_ns()
    }

    fn take_where(
        &mut self,
        matches: &mut dyn FnMut(&Node<T>) -> bool,
        current: Option<&Node<T>>,
        now: u64,
    ) -> Option<Box<Node<T>>> {
        self.settle_yielded();
        let current = current.filter(|c| c.policy.is_fair());
        let mut node = self.levels.take_where(matches, current)?;
        self.detach(&mut node, now);
        Some(node)
    }

    fn for_each(&self, f: &mut dyn FnMut(&Node<T>)) {
        self.levels.for_each(f);
        if let Some(node) = &self.yielded {
            f(node);
        }
    }

    #[inline(always)]
    fn next_event(&self) -> u64 {
        self.levels.next_event()
    }

    fn advance(&mut self, current: Option<&mut Node<T>>, now: u64) {
        self.levels.unthrottle(current.as_deref(), now);
    }
}
