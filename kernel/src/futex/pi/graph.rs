//! Who waits for which lock, who owns it, and what owners inherit from those who wait: the graph, without futexes.
//!
//! A lock is here while somebody waits for it, a task while it waits or owns such a lock. A task waits for one lock at a
//! time; those who wait for a lock stand in the order of their urgency, and among equals of their arrival. An owner
//! inherits the urgency of the first in each queue, and what it inherits counts where it waits itself: so a change goes
//! along the chain from owner to owner. A task that would wait for itself by way of such a chain is refused, so there is no circle.
//!
//! Costs: a queue is walked from its end to where the newcomer belongs; an owner's locks are all looked at when one of
//! them gets another first waiter; chains are followed [`MAX_DEPTH`] far.
//!
//! Source: Linux's `Documentation/locking/rt-mutex-design.rst`.

use core::sync::atomic::{AtomicU32, Ordering};

use super::slots::{Slots, Spare};

/// How many owners a chain is followed over, as Linux's `max_lock_depth`.
pub const MAX_DEPTH: usize = 1024;

/// How urgent a task is, less being more so: 0 to 98 for real-time priorities 99 to 1.
pub type Urgency = u8;

/// The urgency of all who have no real-time priority; nothing is inherited from them.
pub const USUAL: Urgency = 100;

/// A task as the graph knows it.
pub trait Member: Clone {
    /// The graph's number of the task and one, or 0. Only the graph writes it.
    fn place(&self) -> &AtomicU32;
    /// Its own urgency, without what it inherits.
    fn urgency(&self) -> Urgency;
    /// From now on it inherits `urgency`; [`USUAL`] for nothing.
    fn inherit(&self, urgency: Urgency);
}

/// The task would wait for itself, or the chain is too long to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlock;

/// A lock's number.
pub type LockId = u32;

struct Node<T> {
    task: T,
    own: Urgency,
    inherited: Urgency,
    waits_for: Option<LockId>,
    /// The neighbours among those who wait for the same lock.
    before: Option<u32>,
    behind: Option<u32>,
    /// The first of the locks that it owns.
    held: Option<LockId>,
}

impl<T> Node<T> {
    fn urgency(&self) -> Urgency {
        self.own.min(self.inherited)
    }
}

struct Lock<K> {
    key: K,
    hash: usize,
    /// `None` once the owner has ended.
    owner: Option<u32>,
    first: Option<u32>,
    last: Option<u32>,
    /// The owner's next lock.
    next_held: Option<LockId>,
    /// The next lock of the same hash.
    next_hash: Option<LockId>,
}

const HASHES: usize = 256;

/// The graph. `K` tells locks apart.
pub struct Graph<T, K> {
    nodes: Slots<Node<T>>,
    locks: Slots<Lock<K>>,
    hashes: [Option<LockId>; HASHES],
}

/// Memory to put into a [`Graph`] before more waiters come.
pub struct Room<T, K>(Option<Spare<Node<T>>>, Option<Spare<Lock<K>>>);

/// How much memory a [`Room`] is to have.
#[derive(Clone, Copy, Debug)]
pub struct Need(usize, usize);

impl Need {
    /// Makes the room; `None` where memory is short.
    pub fn meet<T, K>(self) -> Option<Room<T, K>> {
        let nodes = match self.0 {
            0 => None,
            count => Some(Spare::new(count)?),
        };
        let locks = match self.1 {
            0 => None,
            count => Some(Spare::new(count)?),
        };
        Some(Room(nodes, locks))
    }
}

impl<T: Member, K: Copy + Eq> Default for Graph<T, K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Member, K: Copy + Eq> Graph<T, K> {
    /// An empty one.
    pub const fn new() -> Self {
        Self {
            nodes: Slots::new(),
            locks: Slots::new(),
            hashes: [None; HASHES],
        }
    }

    /// What memory is wanting for `waiters` more to wait for one lock; `None` if it is there.
    pub fn need(&self, waiters: usize) -> Option<Need> {
        let need = Need(self.nodes.wanted(waiters + 1), self.locks.wanted(1));
        (need.0 | need.1 != 0).then_some(need)
    }

    /// Takes memory over; what comes back is freed with no lock held.
    pub fn grow(&mut self, room: Room<T, K>) -> Room<T, K> {
        Room(
            room.0.map(|spare| self.nodes.grow(spare)),
            room.1.map(|spare| self.locks.grow(spare)),
        )
    }

    /// The lock with this key, which hashes to `hash`.
    pub fn find(&self, key: K, hash: usize) -> Option<LockId> {
        let mut here = self.hashes[hash % HASHES];
        while let Some(lock) = here {
            if self.locks[lock].key == key {
                return here;
            }
            here = self.locks[lock].next_hash;
        }
        None
    }

    /// Takes note of a lock that `owner` holds and that somebody is about to [`wait`](Self::wait) for. There is room.
    pub fn open(&mut self, key: K, hash: usize, owner: &T) -> LockId {
        let hash = hash % HASHES;
        let head = &mut self.hashes[hash];
        let lock = self.locks.insert(Lock {
            key,
            hash,
            owner: None,
            first: None,
            last: None,
            next_held: None,
            next_hash: *head,
        });
        *head = Some(lock);
        let owner = self.node_of(owner);
        self.set_owner(lock, owner);
        lock
    }

    /// Forgets the lock if nobody waits for it.
    pub fn close_unused(&mut self, lock: LockId) {
        if self.locks[lock].first.is_some() {
            return;
        }
        let owner = self.clear_owner(lock);
        let hash = self.locks[lock].hash;
        let mut here = self.hashes[hash];
        if here == Some(lock) {
            self.hashes[hash] = self.locks[lock].next_hash;
        } else {
            while let Some(other) = here {
                here = self.locks[other].next_hash;
                if here == Some(lock) {
                    self.locks[other].next_hash = self.locks[lock].next_hash;
                    break;
                }
            }
        }
        self.locks.remove(lock);
        if let Some(owner) = owner {
            self.spread(owner);
            self.forget_unused(owner);
        }
    }

    /// Who owns the lock; `None` once the owner has ended.
    pub fn owner(&self, lock: LockId) -> Option<&T> {
        self.locks[lock].owner.map(|owner| &self.nodes[owner].task)
    }

    /// The first who waits for the lock.
    pub fn first(&self, lock: LockId) -> Option<&T> {
        self.locks[lock].first.map(|first| &self.nodes[first].task)
    }

    /// The lock that `task` waits for.
    pub fn waits_for(&self, task: &T) -> Option<LockId> {
        self.known(task).and_then(|node| self.nodes[node].waits_for)
    }

    /// Whether `task` is the first of those who wait for `lock`.
    pub fn is_first(&self, task: &T, lock: LockId) -> bool {
        self.known(task).is_some() && self.known(task) == self.locks[lock].first
    }

    /// Lets `task` wait for the lock. There is room.
    ///
    /// # Errors
    /// [`Deadlock`]; then it does not wait.
    pub fn wait(&mut self, task: &T, lock: LockId) -> Result<(), Deadlock> {
        self.check(task, lock)?;
        let node = self.node_of(task);
        self.nodes[node].own = task.urgency();
        self.enter(node, lock);
        if let Some(owner) = self.locks[lock].owner {
            self.spread(owner);
        }
        Ok(())
    }

    /// `task` does not wait any longer. Gives who is to take over the lock now, if its owner has ended.
    pub fn leave(&mut self, task: &T) -> Option<T> {
        let node = self.known(task)?;
        let lock = self.remove_waiter(node)?;
        self.forget_unused(node);
        if let Some(owner) = self.locks[lock].owner {
            self.spread(owner);
        }
        let heir = match self.locks[lock].owner {
            None => self.first(lock).cloned(),
            Some(_) => None,
        };
        self.close_unused(lock);
        heir
    }

    /// Makes the first who waits for the lock its owner, and gives it.
    pub fn hand_over(&mut self, lock: LockId) -> Option<T> {
        let first = self.locks[lock].first?;
        let before = self.clear_owner(lock);
        self.remove_waiter(first);
        self.set_owner(lock, first);
        let task = self.nodes[first].task.clone();
        self.spread(first);
        self.close_unused(lock);
        if let Some(before) = before {
            self.spread(before);
            self.forget_unused(before);
        }
        Some(task)
    }

    /// `owner` has ended: its locks have none. Gives the first who waits for each to `heir`.
    pub fn abandon(&mut self, owner: &T, mut heir: impl FnMut(&T)) {
        let Some(owner) = self.known(owner) else {
            return;
        };
        while let Some(lock) = self.nodes[owner].held {
            self.clear_owner(lock);
            if let Some(first) = self.first(lock) {
                heir(first);
            }
        }
        self.spread(owner);
        self.forget_unused(owner);
    }

    /// The task's own urgency has changed.
    pub fn reorder(&mut self, place: &AtomicU32) {
        let Some(node) = place.load(Ordering::Relaxed).checked_sub(1) else {
            return;
        };
        let before = self.nodes[node].urgency();
        self.nodes[node].own = self.nodes[node].task.urgency();
        if self.nodes[node].urgency() != before
            && let Some(owner) = self.move_waiter(node)
        {
            self.spread(owner);
        }
    }

    /// Follows the chain of owners from `lock`.
    fn check(&self, task: &T, lock: LockId) -> Result<(), Deadlock> {
        let task = self.known(task);
        let mut lock = lock;
        for _ in 0..MAX_DEPTH {
            let Some(owner) = self.locks[lock].owner else {
                return Ok(());
            };
            if Some(owner) == task {
                return Err(Deadlock);
            }
            match self.nodes[owner].waits_for {
                None => return Ok(()),
                Some(next) => lock = next,
            }
        }
        Err(Deadlock)
    }

    fn known(&self, task: &T) -> Option<u32> {
        task.place().load(Ordering::Relaxed).checked_sub(1)
    }

    fn node_of(&mut self, task: &T) -> u32 {
        if let Some(node) = self.known(task) {
            return node;
        }
        let node = self.nodes.insert(Node {
            task: task.clone(),
            own: task.urgency(),
            inherited: USUAL,
            waits_for: None,
            before: None,
            behind: None,
            held: None,
        });
        task.place().store(node + 1, Ordering::Relaxed);
        node
    }

    fn forget_unused(&mut self, at: u32) {
        let node = &self.nodes[at];
        if node.waits_for.is_none() && node.held.is_none() {
            let node = self.nodes.remove(at);
            node.task.place().store(0, Ordering::Relaxed);
        }
    }

    fn set_owner(&mut self, lock: LockId, owner: u32) {
        self.locks[lock].owner = Some(owner);
        self.locks[lock].next_held = self.nodes[owner].held.replace(lock);
    }

    /// Takes the lock from its owner, who is given.
    fn clear_owner(&mut self, lock: LockId) -> Option<u32> {
        let owner = self.locks[lock].owner.take()?;
        let next = self.locks[lock].next_held.take();
        let mut here = self.nodes[owner].held;
        if here == Some(lock) {
            self.nodes[owner].held = next;
            return Some(owner);
        }
        while let Some(other) = here {
            here = self.locks[other].next_held;
            if here == Some(lock) {
                self.locks[other].next_held = next;
            }
        }
        Some(owner)
    }

    /// Puts `node` behind all that are as urgent as it.
    fn enter(&mut self, node: u32, lock: LockId) {
        let urgency = self.nodes[node].urgency();
        let mut before = self.locks[lock].last;
        while let Some(other) = before
            && self.nodes[other].urgency() > urgency
        {
            before = self.nodes[other].before;
        }
        let behind = match before {
            Some(before) => self.nodes[before].behind.replace(node),
            None => self.locks[lock].first.replace(node),
        };
        match behind {
            Some(behind) => self.nodes[behind].before = Some(node),
            None => self.locks[lock].last = Some(node),
        }
        let entry = &mut self.nodes[node];
        (entry.waits_for, entry.before, entry.behind) = (Some(lock), before, behind);
    }

    fn remove_waiter(&mut self, node: u32) -> Option<LockId> {
        let entry = &mut self.nodes[node];
        let lock = entry.waits_for.take()?;
        let (before, behind) = (entry.before.take(), entry.behind.take());
        match before {
            Some(before) => self.nodes[before].behind = behind,
            None => self.locks[lock].first = behind,
        }
        match behind {
            Some(behind) => self.nodes[behind].before = before,
            None => self.locks[lock].last = before,
        }
        Some(lock)
    }

    /// Puts a waiter whose urgency has changed where it belongs; gives the owner of the lock.
    fn move_waiter(&mut self, node: u32) -> Option<u32> {
        let lock = self.remove_waiter(node)?;
        self.enter(node, lock);
        self.locks[lock].owner
    }

    /// Brings up to date what `node` inherits, and those whom it waits for.
    fn spread(&mut self, node: u32) {
        let mut here = node;
        for _ in 0..MAX_DEPTH {
            let before = self.nodes[here].urgency();
            let inherited = self.inherited(here);
            let entry = &mut self.nodes[here];
            if entry.inherited == inherited {
                return;
            }
            entry.inherited = inherited;
            entry.task.inherit(inherited);
            if entry.urgency() == before {
                return;
            }
            match self.move_waiter(here) {
                Some(owner) => here = owner,
                None => return,
            }
        }
    }

    /// The urgency of the most urgent that waits for a lock of `node`.
    fn inherited(&self, node: u32) -> Urgency {
        let mut most = USUAL;
        let mut here = self.nodes[node].held;
        while let Some(lock) = here {
            if let Some(first) = self.locks[lock].first {
                most = most.min(self.nodes[first].urgency());
            }
            here = self.locks[lock].next_held;
        }
        most
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::sync::Arc;
    use alloc::vec::Vec;
    use core::sync::atomic::AtomicU8;

    struct Task {
        place: AtomicU32,
        urgency: AtomicU8,
        inherited: AtomicU8,
    }

    impl Member for Arc<Task> {
        fn place(&self) -> &AtomicU32 {
            &self.place
        }

        fn urgency(&self) -> Urgency {
            self.urgency.load(Ordering::Relaxed)
        }

        fn inherit(&self, urgency: Urgency) {
            self.inherited.store(urgency, Ordering::Relaxed);
        }
    }

    fn task(urgency: Urgency) -> Arc<Task> {
        Arc::new(Task {
            place: AtomicU32::new(0),
            urgency: AtomicU8::new(urgency),
            inherited: AtomicU8::new(USUAL),
        })
    }

    fn inherits(task: &Arc<Task>) -> Urgency {
        task.inherited.load(Ordering::Relaxed)
    }

    type Locks = Graph<Arc<Task>, usize>;

    /// Lets `task` wait for the lock `key` of `owner`.
    fn wait(
        graph: &mut Locks,
        task: &Arc<Task>,
        key: usize,
        owner: &Arc<Task>,
    ) -> Result<(), Deadlock> {
        if let Some(need) = graph.need(1) {
            let room = need.meet().expect("there is memory");
            drop(graph.grow(room));
        }
        let lock = graph
            .find(key, key)
            .unwrap_or_else(|| graph.open(key, key, owner));
        let outcome = graph.wait(task, lock);
        graph.close_unused(lock);
        outcome
    }

    fn is_empty(graph: &Locks) -> bool {
        graph.nodes.len() == 0 && graph.locks.len() == 0
    }

    #[test]
    fn an_owner_inherits_from_the_most_urgent_until_it_lets_go() {
        let mut graph = Locks::new();
        let (owner, usual, low, high) = (task(USUAL), task(USUAL), task(80), task(20));
        wait(&mut graph, &usual, 1, &owner).unwrap();
        assert_eq!(inherits(&owner), USUAL);
        wait(&mut graph, &low, 1, &owner).unwrap();
        wait(&mut graph, &high, 1, &owner).unwrap();
        assert_eq!(inherits(&owner), 20);
        let lock = graph.find(1, 1).unwrap();
        assert!(Arc::ptr_eq(&graph.hand_over(lock).unwrap(), &high));
        assert_eq!((inherits(&owner), inherits(&high)), (USUAL, 80));
        assert!(Arc::ptr_eq(&graph.hand_over(lock).unwrap(), &low));
        assert!(Arc::ptr_eq(&graph.hand_over(lock).unwrap(), &usual));
        assert!(is_empty(&graph));
    }

    #[test]
    fn a_chain_of_three_locks_passes_on_what_its_end_inherits() {
        let mut graph = Locks::new();
        let tasks: Vec<_> = [USUAL, USUAL, 90, 50].map(task).into();
        for n in 1..4 {
            wait(&mut graph, &tasks[n], n, &tasks[n - 1]).unwrap();
        }
        assert_eq!([0, 1, 2].map(|n| inherits(&tasks[n])), [50; 3]);
        // It gives up: the one before it is as urgent as it is by itself.
        assert!(graph.leave(&tasks[3]).is_none());
        assert_eq!([0, 1, 2].map(|n| inherits(&tasks[n])), [90, 90, USUAL]);
        tasks[2].urgency.store(10, Ordering::Relaxed);
        graph.reorder(&tasks[2].place);
        assert_eq!(inherits(&tasks[0]), 10);
    }

    #[test]
    fn a_circle_is_refused_whatever_its_length() {
        let mut graph = Locks::new();
        let tasks: Vec<_> = (0..5).map(|_| task(USUAL)).collect();
        assert_eq!(wait(&mut graph, &tasks[0], 0, &tasks[0]), Err(Deadlock));
        for n in 1..5 {
            wait(&mut graph, &tasks[n], n - 1, &tasks[n - 1]).unwrap();
        }
        assert_eq!(wait(&mut graph, &tasks[0], 4, &tasks[4]), Err(Deadlock));
        assert!(graph.waits_for(&tasks[0]).is_none());
        for task in &tasks[1..] {
            assert!(graph.leave(task).is_none());
        }
        assert!(is_empty(&graph));
    }

    #[test]
    fn a_chain_is_followed_so_far_and_no_further() {
        let mut graph = Locks::new();
        let tasks: Vec<_> = (0..MAX_DEPTH + 2).map(|_| task(USUAL)).collect();
        for n in 1..=MAX_DEPTH {
            wait(&mut graph, &tasks[n], n, &tasks[n - 1]).unwrap();
        }
        let last = MAX_DEPTH + 1;
        let outcome = wait(&mut graph, &tasks[last], last, &tasks[last - 1]);
        assert_eq!(outcome, Err(Deadlock));
    }

    #[test]
    fn an_owner_that_ends_leaves_its_locks_to_the_first_in_each_queue() {
        let mut graph = Locks::new();
        let (owner, first, second, other) = (task(USUAL), task(5), task(USUAL), task(7));
        wait(&mut graph, &second, 1, &owner).unwrap();
        wait(&mut graph, &first, 1, &owner).unwrap();
        wait(&mut graph, &other, 2, &owner).unwrap();
        let mut heirs = Vec::new();
        graph.abandon(&owner, |heir| heirs.push(heir.clone()));
        assert_eq!((heirs.len(), inherits(&owner)), (2, USUAL));
        let lock = graph.find(1, 1).unwrap();
        assert!(graph.owner(lock).is_none() && graph.is_first(&first, lock));
        // The heir gives up before it has taken over: the next one is to.
        assert!(Arc::ptr_eq(&graph.leave(&first).unwrap(), &second));
        assert!(Arc::ptr_eq(&graph.hand_over(lock).unwrap(), &second));
        let lock = graph.find(2, 2).unwrap();
        assert!(graph.hand_over(lock).is_some());
        assert!(is_empty(&graph));
    }

    /// What each owner inherits, from the definition: the most urgent of all that wait for it, by way of whatever chain.
    fn expected(of: usize, tasks: &[Arc<Task>], waits: &[Option<usize>], owners: &[usize]) -> u8 {
        (0..tasks.len())
            .filter(|&n| waits[n].is_some_and(|lock| owners[lock] == of))
            .map(|n| tasks[n].urgency().min(expected(n, tasks, waits, owners)))
            .min()
            .unwrap_or(USUAL)
    }

    #[test]
    fn random_waits_agree_with_the_definition() {
        const TASKS: usize = 12;
        for seed in 1..40_u64 {
            let mut random = seed;
            let mut next = move |below: usize| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                (random >> 11) as usize % below
            };
            let mut graph = Locks::new();
            let tasks: Vec<_> = (0..TASKS).map(|_| task(next(101) as u8)).collect();
            // Lock n belongs to task n; it has another owner once it was handed over.
            let mut owners: Vec<_> = (0..TASKS).collect();
            let mut waits = alloc::vec![None; TASKS];
            for _ in 0..300 {
                let (n, lock) = (next(TASKS), next(TASKS));
                match next(4) {
                    0 if waits[n].is_some() => {
                        assert!(graph.leave(&tasks[n]).is_none());
                        waits[n] = None;
                    }
                    1 => {
                        tasks[n].urgency.store(next(101) as u8, Ordering::Relaxed);
                        graph.reorder(&tasks[n].place);
                    }
                    2 if graph.find(lock, lock).is_some() => {
                        let id = graph.find(lock, lock).unwrap();
                        let heir = graph.hand_over(id).unwrap();
                        let heir = tasks.iter().position(|t| Arc::ptr_eq(t, &heir)).unwrap();
                        assert_eq!(waits[heir], Some(lock));
                        (waits[heir], owners[lock]) = (None, heir);
                    }
                    _ if waits[n].is_none() => {
                        let mut end = Some(owners[lock]);
                        while let Some(owner) = end.filter(|&owner| owner != n) {
                            end = waits[owner].map(|lock: usize| owners[lock]);
                        }
                        let outcome = wait(&mut graph, &tasks[n], lock, &tasks[owners[lock]]);
                        assert_eq!(outcome.is_err(), end.is_some());
                        waits[n] = outcome.ok().map(|()| lock);
                    }
                    _ => {}
                }
                for n in 0..TASKS {
                    assert_eq!(inherits(&tasks[n]), expected(n, &tasks, &waits, &owners));
                }
            }
        }
    }
}
