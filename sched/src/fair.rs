//! The fair class: each task gets the CPU in proportion to its weight.
//!
//! A task's *vruntime* is the time it has run, divided by its weight. The queue's *average* V is the weighted mean of
//! all vruntimes, the running task's included; it advances as an ideal fluid server would serve every task. A task's
//! *lag* is V minus its vruntime: positive when it is owed service. A task is *eligible* when its lag is not negative,
//! and among the eligible the one with the earliest *virtual deadline* (vruntime + slice / weight) runs. This is
//! EEVDF; with it the lag stays within one slice either way (Stoica and Abdel-Wahab, 1995, theorem 1).
//!
//! V is never computed by division on the way of a switch: with `z` a base near all vruntimes, `sum_weighted` is
//! the sum of `w_i * (v_i - z)` and `sum_weight` that of `w_i`, and `v <= V` is `(v - z) * sum_weight <= sum_weighted`.
//! The products stay far from 2^63: `|v - z|` is bounded by the lag limit, some 100 ms of virtual time or 2^33 at the
//! least weight, a weight is below 2^17, and their sum for 2^12 tasks below 2^29.

use alloc::boxed::Box;

use crate::node::Node;
use crate::tree::{Key, Tree};

/// How long a task may run before its turn is over, in ns. Linux's base slice of 0.75 ms times 4 for its usual 8 or
/// more CPUs.
pub const SLICE_NS: u64 = 3_000_000;

/// The fair class's part of a node.
#[derive(Clone, Copy, Debug, Default)]
pub struct State {
    /// Time run, in ns of nice 0.
    pub vruntime: u64,
    /// Virtual time by which the current slice is to be served.
    pub deadline: u64,
    /// V minus vruntime when the task last left the queue.
    pub lag: i64,
    /// Virtual time below one nanosecond, in 2^-32 ns.
    pub rest: u32,
}

/// The waiting fair tasks of one CPU, and what it knows of the running one.
#[derive(Debug)]
pub struct Queue<T> {
    tree: Tree<T>,
    /// `z`: the vruntime that the sums are relative to; the least one seen, and never going back.
    zero: u64,
    sum_weighted: i64,
    sum_weight: i64,
    next_seq: i64,
    /// Waiting tasks of the idle policy.
    idle: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            tree: Tree::new(),
            zero: 0,
            sum_weighted: 0,
            sum_weight: 0,
            next_seq: 0,
            idle: 0,
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

    fn relative(&self, vruntime: u64) -> i64 {
        vruntime.wrapping_sub(self.zero) as i64
    }

    /// The sums with the running task in them.
    #[inline]
    fn sums(&self, running: Option<&Node<T>>) -> (i64, i64) {
        match running {
            Some(r) => {
                let weight = r.weight.value() as i64;
                (
                    self.sum_weighted + weight * self.relative(r.fair.vruntime),
                    self.sum_weight + weight,
                )
            }
            None => (self.sum_weighted, self.sum_weight),
        }
    }

    /// V. Divides: for the way into the queue and out of it, not for the choice.
    pub fn average(&self, running: Option<&Node<T>>) -> u64 {
        match self.sums(running) {
            (_, 0) => self.zero,
            (weighted, weight) => self.zero.wrapping_add(weighted.div_euclid(weight) as u64),
        }
    }

    /// The most lag, either way, that a task keeps: two slices of its own virtual time.
    fn lag_limit(node: &Node<T>) -> i64 {
        node.weight.scale(2 * SLICE_NS) as i64
    }

    /// Notes the lag of a task that stops competing: it will be placed by it when it comes back.
    pub fn leave(&self, node: &mut Node<T>) {
        // The leaver is in the average that its lag is measured against.
        let lag = self.average(Some(node)).wrapping_sub(node.fair.vruntime) as i64;
        let limit = Self::lag_limit(node);
        node.fair.lag = lag.clamp(-limit, limit);
    }

    /// Gives `node` its place relative to those that compete already, keeping its lag.
    ///
    /// Its own arrival moves V towards it, so the lag is scaled up by (W + w) / W first; afterwards it is just what it
    /// was when the task left.
    pub fn place(&mut self, node: &mut Node<T>, running: Option<&Node<T>>, new: bool) {
        let (_, total) = self.sums(running);
        let weight = node.weight.value() as i64;
        let mut lag = node.fair.lag;
        if total > 0 {
            let limit = Self::lag_limit(node);
            lag = match lag.checked_mul(total + weight) {
                // Lag and sum keep the product far from 2^63, see above.
                Some(product) => (product / total).clamp(-2 * limit, 2 * limit),
                None => 2 * limit * lag.signum(),
            };
        } else {
            lag = 0;
        }
        node.fair.vruntime = self.average(running).wrapping_sub(lag as u64);
        // A new task starts with half a slice, so that forking does not gain service.
        let slice = if new { SLICE_NS / 2 } else { SLICE_NS };
        node.fair.deadline = node.fair.vruntime.wrapping_add(node.weight.scale(slice));
        node.fair.lag = 0;
    }

    /// Adds a placed task to those that wait.
    #[inline(always)]
    pub fn insert(&mut self, mut node: Box<Node<T>>) {
        self.rebase(&node);
        self.sum_weighted += node.weight.value() as i64 * self.relative(node.fair.vruntime);
        self.sum_weight += node.weight.value() as i64;
        node.key = Key {
            major: node.fair.deadline,
            seq: self.next_seq,
        };
        self.next_seq += 1;
        self.idle += usize::from(matches!(node.policy, crate::Policy::Idle { .. }));
        self.tree.insert(node);
    }

    /// With nobody waiting the base may move to where the arriving task is, so that sums stay small for ever.
    #[inline(always)]
    fn rebase(&mut self, node: &Node<T>) {
        if self.sum_weight == 0 {
            self.zero = node.fair.vruntime;
            self.sum_weighted = 0;
            return;
        }
        let gap = self.relative(node.fair.vruntime);
        if gap > 1 << 32 {
            // Long without an empty queue: move the base to V, an exact change of all terms at once.
            let shift = self.sum_weighted / self.sum_weight;
            self.zero = self.zero.wrapping_add(shift as u64);
            self.sum_weighted -= shift * self.sum_weight;
        }
    }

    #[inline(always)]
    fn forget(&mut self, node: &Node<T>) {
        self.sum_weighted -= node.weight.value() as i64 * self.relative(node.fair.vruntime);
        self.sum_weight -= node.weight.value() as i64;
        self.idle -= usize::from(matches!(node.policy, crate::Policy::Idle { .. }));
        if self.sum_weight == 0 {
            self.zero = node.fair.vruntime;
            self.sum_weighted = 0;
        }
    }

    /// The task to run next among those that wait.
    #[inline]
    fn best(&self, running: Option<&Node<T>>) -> Option<&Node<T>> {
        let (weighted, weight) = self.sums(running);
        self.tree
            .first_eligible(|v| self.relative(v) * weight <= weighted)
            .or_else(|| self.tree.first())
    }

    /// Takes the task to run next.
    #[inline(always)]
    pub fn take_next(&mut self) -> Option<Box<Node<T>>> {
        let node = if self.tree.len() == 1 {
            self.tree.pop_first()?
        } else {
            let key = self.best(None)?.key;
            self.tree.remove(key)?
        };
        self.forget(&node);
        Some(node)
    }

    /// Takes some waiting task that `matches`.
    pub fn take_where(&mut self, matches: impl Fn(&Node<T>) -> bool) -> Option<Box<Node<T>>> {
        let node = self.tree.remove_where(matches)?;
        self.forget(&node);
        Some(node)
    }

    /// Charges `delta_ns` of run time; whether the slice is over.
    #[inline(always)]
    pub fn charge(node: &mut Node<T>, delta_ns: u64) -> bool {
        let passed = node.weight.scale_exactly(delta_ns, &mut node.fair.rest);
        node.fair.vruntime = node.fair.vruntime.wrapping_add(passed);
        if (node.fair.vruntime.wrapping_sub(node.fair.deadline) as i64) < 0 {
            return false;
        }
        node.fair.deadline = node.fair.vruntime.wrapping_add(node.weight.scale(SLICE_NS));
        true
    }

    /// Whether a waiting task should run instead of `running`, now.
    pub fn preempts(&self, running: &Node<T>) -> bool {
        let running_idle = matches!(running.policy, crate::Policy::Idle { .. });
        if running_idle && self.tree.len() > self.idle {
            return true;
        }
        let (weighted, weight) = self.sums(Some(running));
        let Some(best) = self.best(Some(running)) else {
            return false;
        };
        if matches!(
            best.policy,
            crate::Policy::Batch { .. } | crate::Policy::Idle { .. }
        ) && !running_idle
        {
            return false;
        }
        let running_eligible = self.relative(running.fair.vruntime) * weight <= weighted;
        !running_eligible || (best.fair.deadline.wrapping_sub(running.fair.deadline) as i64) < 0
    }

    /// Nanoseconds for which `running` may go on before its slice is over.
    pub fn slice_left_ns(running: &Node<T>) -> u64 {
        let left = (running.fair.deadline.wrapping_sub(running.fair.vruntime) as i64).max(0) as u64;
        running.weight.unscale(left)
    }

    /// Calls `f` for every waiting task.
    pub fn for_each(&self, f: impl FnMut(&Node<T>)) {
        self.tree.for_each(f);
    }
}
