//! What the scheduler keeps of one task.

use alloc::boxed::Box;

use crate::fair::GroupId;
use crate::pelt::Average;
use crate::pi::Boost;
use crate::policy::Policy;
use crate::tree::{Key, Link};
use crate::weight::Weight;
use crate::{dl, fair, rt};

/// One task's entry in the order, owned by the run queue while the task runs or waits to run there, and by the caller
/// while it sleeps.
#[derive(Debug)]
pub struct Node<T> {
    /// The caller's handle, there while the node waits in a queue.
    pub(crate) item: Option<T>,
    pub(crate) link: Link<T>,
    pub(crate) key: Key,
    /// The attributes in force, a boost included.
    pub(crate) policy: Policy,
    /// The attributes that were set.
    pub(crate) base: Policy,
    pub(crate) boost: Option<Boost>,
    pub(crate) weight: Weight,
    /// The task group that it counts in.
    pub(crate) group: GroupId,
    /// The group whose entity this is; the root for a task.
    pub(crate) owns: GroupId,
    /// The turn is to end, for the class's own reasons: a slice or a budget is used up.
    pub(crate) turn_over: bool,
    pub(crate) fair: fair::State,
    pub(crate) rt: rt::State,
    pub(crate) dl: dl::State,
    pub(crate) average: Average,
    /// Nanoseconds that the task has run in all.
    pub(crate) sum_exec_ns: u64,
}

impl<T> Node<T> {
    /// A node for a task that has not run yet.
    pub fn new(policy: Policy) -> Box<Self> {
        let mut node = Box::new(Self {
            item: None,
            link: Link::default(),
            key: Key::default(),
            policy,
            base: policy,
            boost: None,
            weight: Weight::new(policy.weight()),
            group: GroupId::ROOT,
            owns: GroupId::ROOT,
            turn_over: false,
            fair: fair::State::default(),
            rt: rt::State::default(),
            dl: dl::State::default(),
            average: Average::default(),
            sum_exec_ns: 0,
        });
        node.refresh();
        node
    }

    /// The entity of group `owns` among its parent's.
    pub(crate) fn of_group(owns: GroupId, weight: u64) -> Box<Self> {
        let mut node = Self::new(Policy::default());
        node.owns = owns;
        node.reweigh(weight);
        node
    }

    /// The attributes in force: what was set, or what the task inherits from one that waits for it.
    #[inline]
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The attributes that were set.
    pub fn base_policy(&self) -> Policy {
        self.base
    }

    /// Changes the attributes. Only for a node that is in no queue, see [`RunQueue::change`](crate::RunQueue::change).
    pub fn set_policy(&mut self, policy: Policy) {
        debug_assert!(self.item.is_none());
        self.base = policy;
        self.refresh();
    }

    /// Lets the task act for another that waits for it, or ends that. Only for a node that is in no queue.
    pub fn set_boost(&mut self, boost: Option<Boost>) {
        debug_assert!(self.item.is_none());
        self.boost = boost;
        self.refresh();
    }

    /// The boost in force, if one is.
    pub fn boost(&self) -> Option<Boost> {
        self.boost
    }

    /// Brings what is derived from the attributes up to date.
    fn refresh(&mut self) {
        self.policy = Boost::effective(self.base, self.boost);
        self.weight = Weight::new(self.policy.weight());
        self.fair.refresh_slice(self.weight);
        self.dl.refresh(self.policy, self.boost);
    }

    /// Gives a group's entity another weight.
    pub(crate) fn reweigh(&mut self, weight: u64) {
        self.weight = Weight::new(weight);
        self.fair.refresh_slice(self.weight);
    }

    /// Sets the slice of a fair task, `sched_attr::sched_runtime`: a shorter one is served sooner and preempted earlier,
    /// the share stays. It is kept within 0.1 to 100 ms; 0 restores the usual one.
    pub fn set_slice_ns(&mut self, slice_ns: u64) {
        self.fair.set_slice_ns(slice_ns, self.weight);
    }

    /// The slice of a fair task.
    pub fn slice_ns(&self) -> u64 {
        self.fair.slice_ns()
    }

    /// The group that the task counts in.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// Moves the task to another group. Only for a node that is in no queue.
    pub fn set_group(&mut self, group: GroupId) {
        debug_assert!(self.item.is_none());
        self.group = group;
        // Lag is owed by those the task competed with.
        self.fair.lag = 0;
    }

    /// The task moves to a CPU that has come further by so much virtual time, and is owed that there; negative where it owes.
    /// Only for a node that is in no queue. What a task of a group is owed is counted within the group.
    pub fn owe_ns(&mut self, virtual_ns: i64) {
        debug_assert!(self.item.is_none());
        if self.group.is_root() {
            self.fair.owe(virtual_ns, self.weight);
        }
    }

    /// What a fair task that is in no queue is owed by those that it competed with, in virtual ns.
    pub fn lag_ns(&self) -> i64 {
        self.fair.lag
    }

    /// The weight among fair tasks.
    pub fn weight(&self) -> u64 {
        self.weight.value()
    }

    /// Nanoseconds that the task has run in all.
    pub fn sum_exec_ns(&self) -> u64 {
        self.sum_exec_ns
    }

    /// Virtual run time in nanoseconds of nice 0.
    pub fn vruntime(&self) -> u64 {
        self.fair.vruntime
    }

    /// How much the task has run and wanted to run of late.
    pub fn average(&self) -> &Average {
        &self.average
    }

    /// What the deadline class keeps of the task.
    pub fn deadline(&self) -> &dl::State {
        &self.dl
    }

    /// As [`deadline`](Self::deadline), to take note of an overrun.
    pub fn deadline_mut(&mut self) -> &mut dl::State {
        &mut self.dl
    }
}
