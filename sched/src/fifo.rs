//! The two simplest classes, of tasks that run in order of arrival until they wait: stop, which comes before all others,
//! and the CPU's idle task, which comes after them.

use alloc::boxed::Box;
use core::marker::PhantomData;

use crate::class::Class;
use crate::node::Node;
use crate::policy::Policy;
use crate::runqueue::{Outcome, Wake};
use crate::tree::{Key, Tree};

/// Which policy a [`Queue`] is of.
pub trait Kind: Default {
    /// Whether `policy` is the one.
    fn takes(policy: &Policy) -> bool;
}

/// The class of [`Policy::Stop`].
pub type Stop<T> = Queue<T, StopKind>;
/// The class of [`Policy::CpuIdle`].
pub type CpuIdle<T> = Queue<T, CpuIdleKind>;

/// See [`Stop`].
#[derive(Debug, Default)]
pub struct StopKind;
/// See [`CpuIdle`].
#[derive(Debug, Default)]
pub struct CpuIdleKind;

impl Kind for StopKind {
    #[inline(always)]
    fn takes(policy: &Policy) -> bool {
        matches!(policy, Policy::Stop)
    }
}

impl Kind for CpuIdleKind {
    #[inline(always)]
    fn takes(policy: &Policy) -> bool {
        matches!(policy, Policy::CpuIdle)
    }
}

/// Tasks in order of arrival.
#[derive(Debug)]
pub struct Queue<T, K> {
    waiting: Tree<T>,
    /// Where the next one goes that comes at the head.
    head: i64,
    /// Where the next one goes that comes at the tail.
    tail: i64,
    kind: PhantomData<K>,
}

impl<T, K> Default for Queue<T, K> {
    fn default() -> Self {
        Self {
            waiting: Tree::new(),
            head: -1,
            tail: 0,
            kind: PhantomData,
        }
    }
}

impl<T, K> Queue<T, K> {
    fn insert(&mut self, mut node: Box<Node<T>>, at_head: bool) {
        let (place, step) = if at_head {
            (&mut self.head, -1)
        } else {
            (&mut self.tail, 1)
        };
        node.key = Key {
            major: 0,
            seq: *place,
        };
        *place += step;
        self.waiting.insert(node);
    }
}

impl<T, K: Kind> Class<T> for Queue<T, K> {
    #[inline(always)]
    fn takes(policy: &Policy) -> bool {
        K::takes(policy)
    }

    #[inline(always)]
    fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn len(&self) -> usize {
        self.waiting.len()
    }

    fn enqueue(&mut self, node: Box<Node<T>>, _: Wake, _: Option<&mut Node<T>>, _: u64) {
        self.insert(node, false);
    }

    fn requeue(&mut self, node: Box<Node<T>>, outcome: Outcome, _: u64) {
        self.insert(node, outcome == Outcome::Preempted);
    }

    #[inline(always)]
    fn pick(&mut self, _: u64) -> Option<Box<Node<T>>> {
        self.waiting.pop_first()
    }

    #[inline]
    fn charge(&mut self, _: &mut Node<T>, _: u64, _: u64) {}

    fn sleep(&mut self, _: &mut Node<T>, _: Outcome, _: u64) {}

    fn preempts(&self, _: &Node<T>) -> bool {
        false
    }

    fn turn_over(&self, _: &Node<T>) -> bool {
        false
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
        self.waiting.remove_where(matches)
    }

    fn for_each(&self, f: &mut dyn FnMut(&Node<T>)) {
        self.waiting.for_each(f);
    }
}
