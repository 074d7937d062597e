//! The levels of the fair order on one CPU: the root's queue, and one for each group.
//!
//! A group has one entity here, a [`Node`] without an item. It is always in one of three places:
//!
//! - *idle*: with the group, which has no waiting task, or is throttled;
//! - *waiting*: in its parent's queue, at a key that the group knows;
//! - *running*: with the group, since a task of it, or of a group below it, runs. As a running task is in no queue,
//!   neither is a running group; those from the running task's group up to the root are the *path*.
//!
//! When a turn ends, the path goes back into the queues: at once where the task sleeps or is requeued, else at the next pick.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::bandwidth::Budget;
use super::group::{Group, GroupId};
use super::queue::Queue;
use crate::node::Node;
use crate::tree::Key;

/// How many tasks are looked at to find one to move: the queue is its CPU's, which does nothing else meanwhile.
const LOOKS: usize = 32;

/// Where a group's entity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Idle,
    Waiting(Key),
    Running,
}

/// A group's part on this CPU.
#[derive(Debug)]
struct Local<T> {
    shared: Arc<Group>,
    parent: GroupId,
    queue: Queue<T>,
    place: Place,
    /// The entity, unless it waits, and but for moments in which it stands beside.
    entity: Option<Box<Node<T>>>,
    budget: Budget,
    /// The load that the group knows of this CPU.
    reported: u64,
    children: usize,
}

impl<T> Local<T> {
    /// Tells the group of the load here, and gives the entity, which is in no queue, its part of the shares.
    fn reweigh(&mut self, entity: &mut Node<T>, load: u64) -> bool {
        let weight = self.shared.weight_of(load, self.reported);
        self.shared.report(self.reported, load);
        self.reported = load;
        let before = entity.weight.value();
        if weight == before {
            return false;
        }
        entity.reweigh(weight);
        // Lag is virtual time: what is owed, by weight.
        entity.fair.lag = entity.fair.lag * before as i64 / weight as i64;
        true
    }

    /// Whether nobody will miss it.
    fn may_go(&self) -> bool {
        self.shared.is_retired()
            && self.children == 0
            && self.place == Place::Idle
            && self.queue.is_empty()
    }

    fn report_idle(&mut self) {
        self.shared.report(self.reported, 0);
        self.reported = 0;
        self.budget.idle(self.shared.pool());
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Levels<T> {
    root: Queue<T>,
    /// By number; the root's place is empty.
    groups: Vec<Option<Box<Local<T>>>>,
    /// The innermost group of the path.
    path: GroupId,
    throttled: Vec<GroupId>,
    /// Where [`sweep_some`](Self::sweep_some) goes on.
    hand: usize,
    next_event: u64,
    /// A group of the path is throttled: the running task is to stop.
    stop: bool,
}

impl<T> Default for Levels<T> {
    fn default() -> Self {
        Self {
            root: Queue::default(),
            groups: Vec::new(),
            path: GroupId::ROOT,
            throttled: Vec::new(),
            hand: 0,
            next_event: u64::MAX,
            stop: false,
        }
    }
}

impl<T> Levels<T> {
    #[inline(always)]
    pub fn root(&self) -> &Queue<T> {
        &self.root
    }

    #[inline(always)]
    pub fn root_mut(&mut self) -> &mut Queue<T> {
        &mut self.root
    }

    #[inline(always)]
    pub fn next_event(&self) -> u64 {
        self.next_event
    }

    pub fn add(&mut self, shared: Arc<Group>) {
        let (id, parent) = (shared.id(), shared.parent());
        if self.groups.len() <= id.index() {
            self.groups.resize_with(id.index() + 1, || None);
        }
        debug_assert!(self.groups[id.index()].is_none(), "{id:?} is taken");
        let entity = Node::of_group(id, shared.shares());
        self.groups[id.index()] = Some(Box::new(Local {
            shared,
            parent,
            queue: Queue::default(),
            place: Place::Idle,
            entity: Some(entity),
            budget: Budget::default(),
            reported: 0,
            children: 0,
        }));
        if !parent.is_root() {
            self.local_mut(parent).children += 1;
        }
        // So that throttling need not allocate.
        let groups = self.groups.len();
        self.throttled.reserve(groups - self.throttled.len());
    }

    pub fn remove(&mut self, id: GroupId) -> bool {
        let Some(Some(local)) = self.groups.get(id.index()) else {
            return true;
        };
        if !local.queue.is_empty() || local.place != Place::Idle || local.children > 0 {
            return false;
        }
        let parent = local.parent;
        if !parent.is_root() {
            self.local_mut(parent).children -= 1;
        }
        self.throttled.retain(|g| *g != id);
        self.groups[id.index()] = None;
        true
    }

    /// Whether this very group is known here.
    pub fn knows(&self, group: &Arc<Group>) -> bool {
        self.shared_of(group.id())
            .is_some_and(|known| Arc::ptr_eq(known, group))
    }

    pub fn shared_of(&self, id: GroupId) -> Option<&Arc<Group>> {
        Some(&self.groups.get(id.index())?.as_ref()?.shared)
    }

    /// Forgets groups that are retired and empty, the inner ones first.
    pub fn sweep(&mut self) {
        loop {
            let found = self.groups.iter().flatten().find(|l| l.may_go());
            let Some(id) = found.map(|local| local.shared.id()) else {
                return;
            };
            self.remove(id);
        }
    }

    /// As [`sweep`](Self::sweep), for the next `most` numbers.
    pub fn sweep_some(&mut self, most: usize) {
        for _ in 0..most.min(self.groups.len()) {
            self.hand += 1;
            if self.hand >= self.groups.len() {
                self.hand = 0;
            }
            let Some(local) = &self.groups[self.hand] else {
                continue;
            };
            if local.may_go() {
                self.remove(local.shared.id());
            }
        }
    }

    fn local(&self, id: GroupId) -> &Local<T> {
        self.groups[id.index()]
            .as_deref()
            .expect("a group is known before its tasks come")
    }

    fn local_mut(&mut self, id: GroupId) -> &mut Local<T> {
        self.groups[id.index()]
            .as_deref_mut()
            .expect("a group is known before its tasks come")
    }

    fn queue(&self, id: GroupId) -> &Queue<T> {
        if id.is_root() {
            &self.root
        } else {
            &self.local(id).queue
        }
    }

    fn queue_mut(&mut self, id: GroupId) -> &mut Queue<T> {
        if id.is_root() {
            &mut self.root
        } else {
            &mut self.local_mut(id).queue
        }
    }

    /// The group of the path that counts in `level`; none where the running task itself does.
    fn child_on_path(&self, level: GroupId) -> Option<GroupId> {
        let mut at = self.path;
        while !at.is_root() && at != level {
            let parent = self.local(at).parent;
            if parent == level {
                return Some(at);
            }
            at = parent;
        }
        None
    }

    /// The group entity that runs in `level`.
    pub fn running_entity(&self, level: GroupId) -> Option<&Node<T>> {
        let child = self.child_on_path(level)?;
        self.local(child).entity.as_deref()
    }

    /// Calls `f` with the queue of `level` and what runs there.
    fn with_running<R>(
        &mut self,
        level: GroupId,
        current: Option<&Node<T>>,
        f: impl FnOnce(&mut Queue<T>, Option<&Node<T>>) -> R,
    ) -> R {
        if let Some(child) = self.child_on_path(level) {
            let entity = self.local_mut(child).entity.take();
            let result = f(self.queue_mut(level), entity.as_deref());
            self.local_mut(child).entity = entity;
            return result;
        }
        let current = current.filter(|_| self.path == level);
        f(self.queue_mut(level), current)
    }

    /// Takes in a task, and the groups above it that were idle.
    #[inline(always)]
    pub fn enqueue(&mut self, mut node: Box<Node<T>>, current: Option<&Node<T>>, new: bool) {
        if self.path.is_root() && node.group.is_root() {
            self.root.place(&mut node, current, new);
            self.root.insert(node);
        } else {
            self.enqueue_in_group(node, current, new);
        }
    }

    #[cold]
    fn enqueue_in_group(&mut self, mut node: Box<Node<T>>, current: Option<&Node<T>>, new: bool) {
        let group = node.group;
        self.with_running(group, current, |queue, running| {
            queue.place(&mut node, running, new);
            queue.insert(node);
        });
        self.raise(group, current);
    }

    /// Lets idle groups wait, from `group` upward, now that there is something in it.
    fn raise(&mut self, mut group: GroupId, current: Option<&Node<T>>) {
        while !group.is_root() {
            let local = self.local_mut(group);
            if local.place != Place::Idle || local.budget.is_throttled() {
                return;
            }
            let Some(mut entity) = local.entity.take() else {
                return;
            };
            let load = local.queue.weight();
            local.reweigh(&mut entity, load);
            let parent = local.parent;
            let key = self.with_running(parent, current, |queue, running| {
                queue.place(&mut entity, running, false);
                queue.insert(entity)
            });
            self.local_mut(group).place = Place::Waiting(key);
            group = parent;
        }
    }

    /// Takes idle groups out of their parents' queues, from `group` upward, now that one of its tasks is gone.
    fn lower(&mut self, mut group: GroupId, current: Option<&Node<T>>) {
        while !group.is_root() {
            let local = self.local_mut(group);
            let Place::Waiting(key) = local.place else {
                return;
            };
            if !local.queue.is_empty() {
                return;
            }
            local.report_idle();
            let parent = local.parent;
            let entity = self.with_running(parent, current, |queue, running| {
                let mut entity = queue.remove(key)?;
                queue.leave(&mut entity, running);
                Some(entity)
            });
            let local = self.local_mut(group);
            local.entity = entity;
            local.place = Place::Idle;
            group = parent;
        }
    }

    /// Takes back a task whose turn ended.
    #[inline(always)]
    pub fn requeue(&mut self, node: Box<Node<T>>) {
        if self.path.is_root() && node.group.is_root() {
            self.root.insert(node);
        } else {
            self.requeue_in_group(node);
        }
    }

    #[cold]
    fn requeue_in_group(&mut self, node: Box<Node<T>>) {
        let group = node.group;
        self.queue_mut(group).insert(node);
        self.end_path();
        self.raise(group, None);
    }

    /// What runs has stopped: its groups wait again, or are idle.
    fn end_path(&mut self) {
        self.stop = false;
        let mut group = core::mem::take(&mut self.path);
        while !group.is_root() {
            let local = self.local_mut(group);
            let Some(mut entity) = local.entity.take() else {
                return;
            };
            let parent = local.parent;
            let idle = local.queue.is_empty();
            if idle {
                local.report_idle();
            }
            if idle || local.budget.is_throttled() {
                local.place = Place::Idle;
                self.queue_mut(parent).leave(&mut entity, None);
                self.local_mut(group).entity = Some(entity);
            } else {
                let key = self.queue_mut(parent).insert(entity);
                self.local_mut(group).place = Place::Waiting(key);
            }
            group = parent;
        }
    }

    /// Takes the task that is to run next.
    #[inline(always)]
    pub fn take_next(&mut self) -> Option<Box<Node<T>>> {
        if !self.path.is_root() {
            self.end_path();
        }
        let node = self.root.take_next()?;
        if node.owns.is_root() {
            return Some(node);
        }
        self.descend(node)
    }

    /// From a group's entity down to a task.
    #[cold]
    fn descend(&mut self, mut node: Box<Node<T>>) -> Option<Box<Node<T>>> {
        while !node.owns.is_root() {
            self.path = node.owns;
            let local = self.local_mut(node.owns);
            local.place = Place::Running;
            local.entity = Some(node);
            node = local
                .queue
                .take_next()
                .expect("a group waits for the tasks in it");
        }
        Some(node)
    }

    /// The running task has changed its attributes, or has become a fair one: it goes on in the place that it has now.
    pub fn resume(&mut self, current: &mut Node<T>) {
        self.end_path();
        self.queue_mut(current.group).place(current, None, false);
        let mut group = current.group;
        self.path = group;
        while !group.is_root() {
            let local = self.local_mut(group);
            let (place, parent) = (local.place, local.parent);
            local.place = Place::Running;
            if let Place::Waiting(key) = place {
                let entity = self.queue_mut(parent).remove(key);
                self.local_mut(group).entity = entity;
            } else if let Some(mut entity) = local.entity.take() {
                let load = local.queue.weight() + current.weight.value();
                local.reweigh(&mut entity, load);
                self.queue_mut(parent).place(&mut entity, None, false);
                self.local_mut(group).entity = Some(entity);
            }
            group = parent;
        }
    }

    /// The running task stops being runnable.
    #[inline(always)]
    pub fn leave(&mut self, node: &mut Node<T>) {
        if self.path.is_root() && node.group.is_root() {
            self.root.leave(node, None);
        } else {
            self.leave_group(node);
        }
    }

    #[cold]
    fn leave_group(&mut self, node: &mut Node<T>) {
        self.queue(node.group).leave(node, None);
        self.end_path();
    }

    /// Charges the groups of the running task.
    #[cold]
    pub fn charge(&mut self, current: &mut Node<T>, delta_ns: u64, now: u64) {
        let mut group = self.path;
        while !group.is_root() {
            let local = self.local_mut(group);
            let parent = local.parent;
            if let Some(entity) = &mut local.entity {
                current.turn_over |= Queue::charge(entity, delta_ns);
            }
            let pool = local.shared.pool();
            if local.budget.charge(pool, delta_ns, now) {
                let next = pool.next_period();
                self.next_event = self.next_event.min(next);
                self.throttled.push(group);
                self.stop = true;
            }
            group = parent;
        }
        current.turn_over |= self.stop;
    }

    /// Gives the groups of the running task their present weights, and keeps the bases of sums near what runs.
    pub fn refresh(&mut self, current: &Node<T>) {
        self.queue_mut(current.group).keep_base(current);
        let mut group = self.path;
        let mut running = current.weight.value();
        while !group.is_root() {
            let local = self.local_mut(group);
            let parent = local.parent;
            let load = local.queue.weight() + running;
            let Some(mut entity) = local.entity.take() else {
                return;
            };
            let queue = self.queue_mut(parent);
            queue.keep_base(&entity);
            queue.leave(&mut entity, None);
            if self.local_mut(group).reweigh(&mut entity, load) {
                self.queue_mut(parent).place(&mut entity, None, false);
            }
            running = entity.weight.value();
            self.local_mut(group).entity = Some(entity);
            group = parent;
        }
    }

    /// Whether something that waits should run instead of the running task.
    #[inline(always)]
    pub fn preempts(&self, current: &Node<T>) -> bool {
        if current.group.is_root() {
            self.root.preempts(current)
        } else {
            self.preempts_in_group(current)
        }
    }

    #[cold]
    fn preempts_in_group(&self, current: &Node<T>) -> bool {
        let mut level = current.group;
        let mut running = current;
        loop {
            if self.queue(level).preempts(running) {
                return true;
            }
            if level.is_root() {
                return self.stop;
            }
            let local = self.local(level);
            let Some(entity) = &local.entity else {
                return false;
            };
            running = entity;
            level = local.parent;
        }
    }

    /// Whether a task waits in a group of the running one, or that has to stop anyway.
    pub fn others_wait(&self, current: &Node<T>) -> bool {
        let mut level = current.group;
        while !level.is_root() {
            if !self.queue(level).is_empty() {
                return true;
            }
            level = self.local(level).parent;
        }
        self.stop
    }

    /// When the running task's turn is over.
    pub fn slice_left_ns(&self, current: &Node<T>) -> Option<u64> {
        let mut level = current.group;
        let mut running = current;
        let mut left = u64::MAX;
        loop {
            let queue = self.queue(level);
            if !queue.is_empty() {
                left = left.min(Queue::slice_left_ns(running));
            }
            if level.is_root() {
                return (left != u64::MAX).then_some(left);
            }
            let local = self.local(level);
            if let Some(budget) = local.budget.left_ns(local.shared.pool()) {
                left = left.min(budget);
            }
            if let Some(entity) = &local.entity {
                running = entity;
            }
            level = local.parent;
        }
    }

    pub fn take_where(
        &mut self,
        matches: &mut dyn FnMut(&Node<T>) -> bool,
        current: Option<&Node<T>>,
    ) -> Option<Box<Node<T>>> {
        let mut task = |n: &Node<T>| n.owns.is_root() && matches(n);
        let groups = self.groups.len().max(1) as u32;
        for id in (0..groups).map(GroupId::new) {
            if !id.is_root() && self.groups[id.index()].is_none() {
                continue;
            }
            let found = self.with_running(id, current, |queue, running| {
                let mut node = queue.remove_where(&mut task)?;
                queue.leave(&mut node, running);
                Some(node)
            });
            if found.is_some() {
                self.lower(id, current);
                return found;
            }
        }
        None
    }

    /// Takes the waiting task of which `misfit`, given the task and its part of this CPU's load, makes the least, and gives that
    /// part with it. Only tasks that may run are looked at, and [`LOOKS`] of them at most.
    pub fn take_best(
        &mut self,
        misfit: &mut dyn FnMut(&Node<T>, u64) -> Option<u64>,
        current: Option<&Node<T>>,
    ) -> Option<(Box<Node<T>>, u64)> {
        let mut best: Option<(u64, GroupId, Key, u64)> = None;
        let mut looks = LOOKS;
        let groups = self.groups.len().max(1) as u32;
        for id in (0..groups).map(GroupId::new) {
            if !id.is_root() && (self.groups[id.index()].is_none() || self.is_throttled(id)) {
                continue;
            }
            let (part, whole) = self.part_of_load(id, current);
            let go_on = self.queue(id).visit(&mut |node| {
                if node.owns.is_root() {
                    let load = (node.weight.value() * part / whole).max(1);
                    if let Some(misfit) = misfit(node, load)
                        && best.is_none_or(|(least, ..)| misfit < least)
                    {
                        best = Some((misfit, id, node.key, load));
                    }
                    looks -= 1;
                }
                looks > 0
            });
            if !go_on {
                break;
            }
        }
        let (_, id, key, load) = best?;
        let node = self.with_running(id, current, |queue, running| {
            let mut node = queue.remove(key)?;
            queue.leave(&mut node, running);
            Some(node)
        })?;
        self.lower(id, current);
        Some((node, load))
    }

    /// How much of this CPU's load a task of group `id` is, by its weight: as a fraction.
    fn part_of_load(&self, mut id: GroupId, current: Option<&Node<T>>) -> (u64, u64) {
        let (mut part, mut whole) = (1, 1);
        while !id.is_root() {
            let local = self.local(id);
            let running = match self.running_entity(id) {
                Some(entity) => entity.weight.value(),
                None => current
                    .filter(|_| self.path == id)
                    .map_or(0, |current| current.weight.value()),
            };
            let load = local.queue.weight() + running;
            // Shares have 18 bits; a fraction is cut to 20 before it is multiplied with the next.
            part *= local.shared.weight_of(load, local.reported);
            whole *= load.max(1);
            let excess = (u64::BITS - whole.max(part).leading_zeros()).saturating_sub(20);
            part = (part >> excess).max(1);
            whole = (whole >> excess).max(1);
            id = local.parent;
        }
        (part, whole)
    }

    pub fn for_each(&self, f: &mut dyn FnMut(&Node<T>)) {
        self.root.for_each(f);
        for local in self.groups.iter().flatten() {
            local.queue.for_each(f);
        }
    }

    /// Waiting tasks that may run.
    #[inline(always)]
    pub fn len(&self) -> usize {
        if self.groups.is_empty() {
            return self.root.len();
        }
        self.len_of_groups()
    }

    #[cold]
    fn len_of_groups(&self) -> usize {
        let mut len = self.root.len();
        for local in self.groups.iter().flatten() {
            let open = !self.is_throttled(local.shared.id());
            if open {
                len += local.queue.len();
            }
            // Its entity was counted where it waits.
            if matches!(local.place, Place::Waiting(_)) && !self.is_throttled(local.parent) {
                len -= 1;
            }
        }
        len
    }

    pub fn is_throttled(&self, mut id: GroupId) -> bool {
        while !id.is_root() {
            let Some(Some(local)) = self.groups.get(id.index()) else {
                return false;
            };
            if local.budget.is_throttled() {
                return true;
            }
            id = local.parent;
        }
        false
    }

    /// Lets throttled groups run for which there is run time again.
    pub fn unthrottle(&mut self, current: Option<&Node<T>>, now: u64) {
        self.next_event = u64::MAX;
        let mut i = 0;
        while i < self.throttled.len() {
            let group = self.throttled[i];
            let local = self.local_mut(group);
            let pool = local.shared.pool();
            if !local.budget.unthrottle(pool, now) {
                let next = pool.next_period();
                self.next_event = self.next_event.min(next);
                i += 1;
                continue;
            }
            let waits = !local.queue.is_empty();
            self.throttled.swap_remove(i);
            if waits {
                self.raise(group, current);
            }
        }
    }
}
