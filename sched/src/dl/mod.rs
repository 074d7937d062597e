//! The deadline class: so much run time in each period, by earliest deadline first.
//!
//! Each task is served by a constant bandwidth server (Abeni and Buttazzo, "Integrating multimedia applications in hard
//! real-time systems", 1998): a run time budget and an absolute deadline. Tasks run in order of deadlines. One that has
//! used up its budget is *throttled* until its next period and then gets a new budget with the next deadline, so that it
//! cannot take more than its share from others, whatever it does. One that wakes keeps budget and deadline only if it
//! cannot exceed its share with them until then; else it starts afresh. Thus on one CPU every admitted task
//! ([`Admission`]) meets its deadlines.
//!
//! | to read | is in |
//! |---|---|
//! | what a task asks for | [`params`] |
//! | who is let in | [`admission`] |
//! | use of what others leave | `reclaim` |

pub mod admission;
pub mod params;
mod reclaim;
mod server;

use alloc::boxed::Box;

use crate::class::Class;
use crate::node::Node;
use crate::policy::Policy;
use crate::runqueue::{Outcome, Wake};
use crate::tree::{Key, Tree};
pub use admission::{Admission, Busy};
pub use params::{BW_UNIT, Flags, Params};
use reclaim::Reclaim;
pub use server::State;
use server::Wakeup;

/// The deadline tasks of one CPU.
#[derive(Debug)]
pub struct Deadline<T> {
    /// Those that may run, by absolute deadline.
    ready: Tree<T>,
    /// Those that are throttled, by when they get a new budget.
    throttled: Tree<T>,
    reclaim: Reclaim,
    next_seq: i64,
}

impl<T> Default for Deadline<T> {
    fn default() -> Self {
        Self {
            ready: Tree::new(),
            throttled: Tree::new(),
            reclaim: Reclaim::default(),
            next_seq: 0,
        }
    }
}

impl<T> Deadline<T> {
    /// The earliest deadline that waits and may run.
    pub fn earliest(&self) -> Option<u64> {
        self.ready.first().map(|n| n.dl.deadline())
    }

    /// How many are throttled.
    pub fn throttled(&self) -> usize {
        self.throttled.len()
    }

    /// The shares of this CPU's deadline tasks, and of those of them that are active, of [`BW_UNIT`].
    pub fn bandwidth(&self) -> (u64, u64) {
        (self.reclaim.total(), self.reclaim.active())
    }

    /// Sets what reclaiming tasks may count on: deadline tasks may have `max` of the CPU, and for each CPU `extra` of that is
    /// not admitted, both of [`BW_UNIT`].
    pub fn set_reclaim_limits(&mut self, max: u64, extra: u64) {
        self.reclaim.set_limits(max, extra);
    }

    /// A task whose turn has ended here dies, changes its class, or goes to another CPU: it does not count here any more.
    /// For a CPU that is told late, reclaiming tasks have less than they could until then.
    pub fn forget(&mut self, node: &mut Node<T>, now: u64) {
        let bandwidth = core::mem::take(&mut node.dl.counted);
        let asleep = core::mem::take(&mut node.dl.asleep);
        if bandwidth > 0 {
            if asleep {
                self.reclaim.wake(bandwidth, node.dl.zero_lag, now);
            }
            self.reclaim.remove(bandwidth, true);
        }
    }

    /// The CPU leaves, having forgotten its runnable tasks: nobody counts here any more, and those that sleep will count where
    /// they wake. One that is back before it wakes has its tasks reclaim less than they could.
    pub fn forget_all(&mut self) {
        self.reclaim.clear();
    }

    fn insert_ready(&mut self, mut node: Box<Node<T>>) {
        node.key = self.key(node.dl.deadline());
        self.ready.insert(node);
    }

    fn insert_throttled(&mut self, mut node: Box<Node<T>>) {
        node.key = self.key(node.dl.replenished_at());
        self.throttled.insert(node);
    }

    fn key(&mut self, major: u64) -> Key {
        self.next_seq += 1;
        Key {
            major,
            seq: self.next_seq,
        }
    }

    /// Lets a task wait to run, or for its next period.
    fn insert(&mut self, mut node: Box<Node<T>>, now: u64) {
        if node.dl.may_run(now) {
            self.insert_ready(node);
        } else {
            self.insert_throttled(node);
        }
    }

    /// The task counts on this CPU, and is active.
    fn count(&mut self, node: &mut Node<T>, now: u64) {
        let (before, bandwidth) = (node.dl.counted, node.dl.bandwidth());
        if core::mem::take(&mut node.dl.asleep) && before > 0 {
            self.reclaim.wake(before, node.dl.zero_lag, now);
        }
        if before != bandwidth {
            // It slept while its parameters changed, or is new here.
            self.reclaim.remove(before, true);
            self.reclaim.add(bandwidth);
            node.dl.counted = bandwidth;
        }
    }

    /// The task, which is active, does not count here any more.
    fn discount(&mut self, node: &mut Node<T>) {
        let bandwidth = core::mem::take(&mut node.dl.counted);
        self.reclaim.remove(bandwidth, true);
    }
}

impl<T> Class<T> for Deadline<T> {
    #[inline(always)]
    fn takes(policy: &Policy) -> bool {
        policy.is_deadline()
    }

    #[inline(always)]
    fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    fn len(&self) -> usize {
        self.ready.len()
    }

    fn enqueue(&mut self, mut node: Box<Node<T>>, why: Wake, _: Option<&mut Node<T>>, now: u64) {
        if why == Wake::Migrated {
            // Where it comes from it is forgotten.
            node.dl.counted = 0;
            node.dl.asleep = false;
        }
        self.count(&mut node, now);
        node.dl.wake(
            match why {
                Wake::Event => Wakeup::Slept,
                _ => Wakeup::Came,
            },
            now,
        );
        self.insert(node, now);
    }

    fn requeue(&mut self, mut node: Box<Node<T>>, outcome: Outcome, now: u64) {
        if outcome == Outcome::Yielded {
            node.dl.give_up();
        }
        self.insert(node, now);
    }

    #[inline(always)]
    fn pick(&mut self, _: u64) -> Option<Box<Node<T>>> {
        self.ready.pop_first()
    }

    fn resume(&mut self, current: &mut Node<T>, _: Wake, now: u64) {
        self.count(current, now);
        current.dl.wake(Wakeup::Came, now);
    }

    fn charge(&mut self, current: &mut Node<T>, delta_ns: u64, now: u64) {
        let rate = match current.dl.params().flags.reclaim {
            true => self.reclaim.rate(current.dl.bandwidth(), now),
            false => BW_UNIT,
        };
        current.turn_over |= current.dl.charge(delta_ns, rate);
    }

    fn sleep(&mut self, current: &mut Node<T>, why: Outcome, now: u64) {
        if why == Outcome::Leaves {
            self.discount(current);
            return;
        }
        current.dl.zero_lag = current.dl.zero_lag_time();
        current.dl.asleep = true;
        if current.dl.counted > 0 {
            self.reclaim
                .sleep(current.dl.counted, current.dl.zero_lag, now);
        }
    }

    fn preempts(&self, current: &Node<T>) -> bool {
        self.earliest()
            .is_some_and(|first| (first.wrapping_sub(current.dl.deadline()) as i64) < 0)
    }

    fn turn_over(&self, current: &Node<T>) -> bool {
        current.dl.is_spent() || self.preempts(current)
    }

    fn slice_left_ns(&self, current: &Node<T>) -> Option<u64> {
        current.dl.left_ns()
    }

    fn interval_ns(&self, _: &Node<T>) -> u64 {
        0
    }

    fn take_where(
        &mut self,
        matches: &mut dyn FnMut(&Node<T>) -> bool,
        _: Option<&Node<T>>,
        _: u64,
    ) -> Option<Box<Node<T>>> {
        let mut node = match self.ready.remove_where(&mut *matches) {
            Some(node) => node,
            None => self.throttled.remove_where(matches)?,
        };
        self.discount(&mut node);
        Some(node)
    }

    fn for_each(&self, f: &mut dyn FnMut(&Node<T>)) {
        self.ready.for_each(&mut *f);
        self.throttled.for_each(f);
    }

    #[inline]
    fn next_event(&self) -> u64 {
        match self.throttled.first() {
            Some(node) => node.key.major,
            None => u64::MAX,
        }
    }

    fn advance(&mut self, _: Option<&mut Node<T>>, now: u64) {
        while self.throttled.first().is_some_and(|n| n.key.major <= now) {
            if let Some(mut node) = self.throttled.pop_first() {
                node.dl.replenish(now);
                self.insert_ready(node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunQueue;

    const MS: u64 = 1_000_000;

    fn policy(runtime: u64) -> Policy {
        Policy::Deadline(Params::new(runtime, 10 * MS, 0, Flags::default()).expect("valid"))
    }

    #[test]
    fn the_sums_of_a_cpu_follow_its_tasks() {
        let mut queue = RunQueue::<u32>::new();
        let sums = |queue: &RunQueue<u32>| queue.deadline().bandwidth();
        let tenth = BW_UNIT / 10;
        queue.enqueue(Node::new(policy(MS)), 0, Wake::New, 0);
        queue.enqueue(Node::new(policy(MS)), 1, Wake::New, 0);
        assert_eq!(sums(&queue), (2 * tenth, 2 * tenth));
        // One sleeps, changes its parameters meanwhile, and wakes.
        assert_eq!(queue.pick(0), Some(0));
        let mut node = queue.end_turn(Outcome::Sleeps, 100);
        node.set_policy(policy(2 * MS));
        queue.enqueue(node, 0, Wake::Event, 200);
        let fifth = BW_UNIT / 5;
        assert_eq!(sums(&queue), (tenth + fifth, tenth + fifth));
        // The other one changes while it waits, then goes to another class.
        queue.change(|id, _| *id == 1, |n| n.set_policy(policy(2 * MS)), 300);
        assert_eq!(sums(&queue).0, 2 * fifth);
        queue.change(|id, _| *id == 1, |n| n.set_policy(Policy::default()), 300);
        assert_eq!(sums(&queue), (fifth, fifth));
        // The first one dies asleep.
        assert_eq!(queue.pick(300), Some(0));
        let mut node = queue.end_turn(Outcome::Sleeps, 400);
        queue.deadline_mut().forget(&mut node, 500);
        assert_eq!(sums(&queue), (0, 0));
    }
}
