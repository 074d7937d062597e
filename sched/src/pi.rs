//! Priority inheritance: a task that holds what a more urgent one waits for runs as if it were that one.
//!
//! The caller follows the chain of locks and owners; here is what a node does with the result: [`Boost::of`] makes of the
//! waiter's node what the owner inherits, and [`Node::set_boost`](crate::Node::set_boost) puts it in force. The attributes
//! that were set stay, and count again when the boost ends. A child of a boosted task starts from those.

use crate::node::Node;
use crate::policy::Policy;

/// What a lock's owner inherits from its most urgent waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boost {
    policy: Policy,
    /// The waiter's absolute deadline in ns, where it is a deadline task.
    deadline: u64,
}

impl Boost {
    /// What the owner inherits from `waiter`; nothing from a fair task, whose weight is its own (Linux inherits nice levels
    /// no more than this).
    pub fn of<T>(waiter: &Node<T>) -> Option<Self> {
        Self::from_parts(waiter.policy(), waiter.dl.deadline())
    }

    /// As [`of`](Self::of), of a waiter whose node is out of reach: its policy and, for a deadline task, its absolute deadline.
    pub fn from_parts(policy: Policy, deadline: u64) -> Option<Self> {
        let inheritable = policy.is_realtime() || policy.is_deadline();
        inheritable.then_some(Self { policy, deadline })
    }

    /// The waiter's attributes.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The waiter's absolute deadline in ns; meaningful for a deadline task.
    pub fn deadline(&self) -> u64 {
        self.deadline
    }

    /// Whether it was inherited from a deadline task.
    pub fn is_deadline(&self) -> bool {
        self.policy.is_deadline()
    }

    /// Whether a task with this boost comes before one with `other`.
    pub fn is_before(&self, other: &Self) -> bool {
        match (self.policy, other.policy) {
            (Policy::Deadline(_), Policy::Deadline(_)) => {
                (self.deadline.wrapping_sub(other.deadline) as i64) < 0
            }
            (a, b) => a.kernel_priority() < b.kernel_priority(),
        }
    }

    /// The attributes in force for a task with `base` under `boost`: the more urgent. Between two deadline tasks it is the
    /// waiter's parameters, since its deadline is the one to be met.
    pub(crate) fn effective(base: Policy, boost: Option<Self>) -> Policy {
        match boost {
            Some(boost) if boost.policy.is_deadline() => boost.policy,
            Some(boost) if boost.policy.kernel_priority() < base.kernel_priority() => {
                // An inherited priority is one of FIFO: the owner is to go on until it lets go.
                Policy::Fifo {
                    priority: boost.policy.priority(),
                }
            }
            _ => base,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boost_raises_and_never_lowers() {
        let mut node = Node::<()>::new(Policy::Fifo { priority: 20 });
        let high = Node::<()>::new(Policy::RoundRobin { priority: 50 });
        let low = Node::<()>::new(Policy::Fifo { priority: 5 });
        node.set_boost(Boost::of(&high));
        assert_eq!(node.policy(), Policy::Fifo { priority: 50 });
        assert_eq!(node.base_policy(), Policy::Fifo { priority: 20 });
        node.set_boost(Boost::of(&low));
        assert_eq!(node.policy(), Policy::Fifo { priority: 20 });
        node.set_boost(None);
        assert_eq!(node.policy(), Policy::Fifo { priority: 20 });
    }

    #[test]
    fn nothing_is_inherited_from_a_fair_waiter() {
        let waiter = Node::<()>::new(Policy::Normal { nice: -20 });
        assert_eq!(Boost::of(&waiter), None);
    }

    #[test]
    fn a_change_under_a_boost_waits_for_its_end() {
        let mut node = Node::<()>::new(Policy::default());
        let high = Node::<()>::new(Policy::Fifo { priority: 50 });
        node.set_boost(Boost::of(&high));
        node.set_policy(Policy::Normal { nice: 5 });
        assert_eq!(node.policy().priority(), 50);
        node.set_boost(None);
        assert_eq!(node.policy(), Policy::Normal { nice: 5 });
    }
}
