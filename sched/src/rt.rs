//! The real-time class: FIFO and round-robin tasks, strictly by priority.
//!
//! Among equals the order is that of arrival. A task that is preempted stays at the head of its priority; one that
//! wakes, yields, or has used up its round-robin slice goes to the tail (sched(7)).

use alloc::boxed::Box;

use crate::node::Node;
use crate::policy::Policy;
use crate::tree::{Key, Tree};

/// The round-robin slice in ns: 100 ms, as on Linux.
pub const RR_SLICE_NS: u64 = 100_000_000;

/// The real-time class's part of a node.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// What is left of the round-robin slice, in ns.
    pub slice_ns: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            slice_ns: RR_SLICE_NS,
        }
    }
}

/// The waiting real-time tasks of one CPU.
#[derive(Debug)]
pub struct Queue<T> {
    tree: Tree<T>,
    head: i64,
    tail: i64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            tree: Tree::new(),
            head: -1,
            tail: 0,
        }
    }
}

impl<T> Queue<T> {
    /// Waiting tasks; the running one is not among them.
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// Adds a task at the head (`at_head`) or the tail of its priority.
    pub fn insert(&mut self, mut node: Box<Node<T>>, at_head: bool) {
        let seq = if at_head {
            &mut self.head
        } else {
            &mut self.tail
        };
        node.key = Key {
            major: 99 - u64::from(node.policy.priority().min(99)),
            seq: *seq,
        };
        *seq += if at_head { -1 } else { 1 };
        self.tree.insert(node);
    }

    /// Takes the first task of the highest priority.
    pub fn take_next(&mut self) -> Option<Box<Node<T>>> {
        self.tree.pop_first()
    }

    /// Takes some waiting task that `matches`.
    pub fn take_where(&mut self, matches: impl Fn(&Node<T>) -> bool) -> Option<Box<Node<T>>> {
        self.tree.remove_where(matches)
    }

    /// The highest priority that waits; 0 where nothing does.
    pub fn top_priority(&self) -> u8 {
        self.tree.first().map_or(0, |n| n.policy.priority())
    }

    /// Charges `delta_ns` of run time; whether it is another's turn at the same priority.
    pub fn charge(&self, node: &mut Node<T>, delta_ns: u64) -> bool {
        if !matches!(node.policy, Policy::RoundRobin { .. }) {
            return false;
        }
        node.rt.slice_ns = node.rt.slice_ns.saturating_sub(delta_ns);
        if node.rt.slice_ns > 0 {
            return false;
        }
        node.rt.slice_ns = RR_SLICE_NS;
        self.top_priority() >= node.policy.priority()
    }

    /// Calls `f` for every waiting task.
    pub fn for_each(&self, f: impl FnMut(&Node<T>)) {
        self.tree.for_each(f);
    }
}
