//! A class of its own, put between real-time and fair without a word in the crate about it.

use sched::class::{Chain, Class, End, Ranks};
use sched::{Node, Outcome, Policy, RunQueue, Wake, dl, fair, fifo, rt};

/// Tasks of rank 0 to 63; the lowest rank runs, the last come first.
#[derive(Default)]
struct Ranked<T>(Vec<Box<Node<T>>>);

impl<T> Ranked<T> {
    fn rank(node: &Node<T>) -> u32 {
        match node.policy() {
            Policy::Other { rank, .. } => rank,
            _ => u32::MAX,
        }
    }

    fn first(&self) -> Option<usize> {
        let at = |i: &usize| Self::rank(&self.0[*i]);
        (0..self.0.len()).rev().min_by_key(at)
    }
}

impl<T> Class<T> for Ranked<T> {
    fn takes(policy: &Policy) -> bool {
        matches!(policy, Policy::Other { class: 1, .. })
    }
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    fn len(&self) -> usize {
        self.0.len()
    }
    fn enqueue(&mut self, node: Box<Node<T>>, _: Wake, _: Option<&mut Node<T>>, _: u64) {
        self.0.push(node);
    }
    fn requeue(&mut self, node: Box<Node<T>>, _: Outcome, _: u64) {
        self.0.push(node);
    }
    fn pick(&mut self, _: u64) -> Option<Box<Node<T>>> {
        self.first().map(|i| self.0.remove(i))
    }
    fn charge(&mut self, _: &mut Node<T>, _: u64, _: u64) {}
    fn sleep(&mut self, _: &mut Node<T>, _: Outcome, _: u64) {}
    fn preempts(&self, current: &Node<T>) -> bool {
        let first = self.first().map(|i| Self::rank(&self.0[i]));
        first.is_some_and(|rank| rank < Self::rank(current))
    }
    fn turn_over(&self, current: &Node<T>) -> bool {
        self.preempts(current)
    }
    fn slice_left_ns(&self, _: &Node<T>) -> Option<u64> {
        None
    }
    fn take_where(
        &mut self,
        matches: &mut dyn FnMut(&Node<T>) -> bool,
        _: Option<&Node<T>>,
        _: u64,
    ) -> Option<Box<Node<T>>> {
        let at = self.0.iter().position(|n| matches(n))?;
        Some(self.0.remove(at))
    }
    fn for_each(&self, f: &mut dyn FnMut(&Node<T>)) {
        self.0.iter().for_each(|n| f(n));
    }
}

/// Linux's classes and the new one.
type Five<T> = Ranks<
    Chain<fifo::Stop<T>, Chain<dl::Deadline<T>, Chain<rt::Realtime<T>, Chain<Ranked<T>, End>>>>,
    fair::Fair<T>,
    Chain<fifo::CpuIdle<T>, End>,
>;

fn other(rank: u32) -> Policy {
    Policy::Other { class: 1, rank }
}

#[test]
fn a_class_between_real_time_and_fair_needs_no_change_to_the_core() {
    let mut queue = RunQueue::<u32, Five<u32>>::default();
    let params = dl::Params::new(1_000_000, 10_000_000, 0, dl::Flags::default());
    let policies = [
        Policy::CpuIdle,
        Policy::default(),
        other(7),
        other(3),
        Policy::Fifo { priority: 1 },
        Policy::Deadline(params.expect("valid")),
        Policy::Stop,
    ];
    for (i, policy) in (0..).zip(policies) {
        queue.enqueue(Node::new(policy), i, Wake::New, 1000);
    }
    assert_eq!(queue.len(), 7);
    for expected in [6, 5, 4, 3, 2, 1, 0] {
        assert_eq!(queue.pick(2000), Some(expected));
        queue.end_turn(Outcome::Sleeps, 2000);
    }
    assert_eq!(queue.pick(2000), None);
    assert!(queue.is_empty());
}

#[test]
fn a_newcomer_preempts_by_the_place_of_its_class() {
    let mut queue = RunQueue::<u32, Five<u32>>::default();
    queue.enqueue(Node::new(Policy::default()), 0, Wake::New, 0);
    assert_eq!(queue.pick(0), Some(0));
    assert!(queue.enqueue(Node::new(other(5)), 1, Wake::New, 10));
    assert!(queue.should_preempt());
    let node = queue.end_turn(Outcome::Preempted, 20);
    queue.requeue(node, 0, Outcome::Preempted, 20);
    assert_eq!(queue.pick(20), Some(1));
    assert!(!queue.enqueue(Node::new(Policy::Normal { nice: -20 }), 2, Wake::New, 30));
    assert!(!queue.enqueue(Node::new(other(6)), 3, Wake::New, 30));
    assert!(queue.enqueue(Node::new(other(4)), 4, Wake::New, 30));
    assert!(queue.enqueue(Node::new(Policy::Fifo { priority: 1 }), 5, Wake::New, 30));
    assert!(queue.take_where(|id, _| *id == 4, 30).is_some());
    assert!(queue.take_where(|id, _| *id == 5, 30).is_some());
    assert!(!queue.should_preempt());
}

#[test]
fn the_idle_task_runs_when_there_is_nothing_else() {
    let mut queue = RunQueue::<u32>::new();
    queue.enqueue(Node::new(Policy::CpuIdle), 9, Wake::New, 0);
    assert_eq!(queue.pick(0), Some(9));
    assert!(queue.enqueue(Node::new(Policy::Idle { nice: 19 }), 1, Wake::New, 5));
}
