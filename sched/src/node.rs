//! What the scheduler keeps of one task.

use alloc::boxed::Box;

use crate::fair;
use crate::policy::Policy;
use crate::rt;
use crate::tree::{Key, Link};
use crate::weight::Weight;

/// One task's entry in the order, owned by the run queue while the task waits to run there.
#[derive(Debug)]
pub struct Node<T> {
    /// The caller's handle, there while the node is in a queue.
    pub(crate) item: Option<T>,
    pub(crate) link: Link<T>,
    pub(crate) key: Key,
    pub(crate) policy: Policy,
    pub(crate) weight: Weight,
    pub(crate) fair: fair::State,
    pub(crate) rt: rt::State,
    /// Nanoseconds that the task has run in all.
    pub(crate) sum_exec_ns: u64,
}

impl<T> Node<T> {
    /// A node for a task that has not run yet.
    pub fn new(policy: Policy) -> Box<Self> {
        Box::new(Self {
            item: None,
            link: Link::default(),
            key: Key::default(),
            policy,
            weight: Weight::new(policy.weight()),
            fair: fair::State::default(),
            rt: rt::State::default(),
            sum_exec_ns: 0,
        })
    }

    /// The attributes in force.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// Changes the attributes. Only for a node that is in no queue: take it out first, put it back after.
    pub fn set_policy(&mut self, policy: Policy) {
        debug_assert!(self.item.is_none());
        self.policy = policy;
        self.weight = Weight::new(policy.weight());
    }

    /// Nanoseconds that the task has run in all.
    pub fn sum_exec_ns(&self) -> u64 {
        self.sum_exec_ns
    }

    /// Virtual run time in nanoseconds of nice 0.
    pub fn vruntime(&self) -> u64 {
        self.fair.vruntime
    }
}
