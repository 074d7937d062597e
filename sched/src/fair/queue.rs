//! One level of the fair order: entities in proportion to their weights, by EEVDF.
//!
//! An entity's *vruntime* is the time it has run, divided by its weight. The queue's *average* V is the weighted mean of
//! all vruntimes, the running entity's included; it advances as an ideal fluid server would serve every one. An entity's
//! *lag* is V minus its vruntime: positive when it is owed service. It is *eligible* when its lag is not negative, and
//! among the eligible the one with the earliest *virtual deadline* (vruntime + slice / weight) runs. With that the lag
//! stays within one slice either way (Stoica and Abdel-Wahab, "Earliest Eligible Virtual Deadline First", 1995,
//! theorem 1).
//!
//! V is never computed by division on the way of a switch: with `z` a base near all vruntimes, `sum_weighted` is the sum
//! of `w_i * (v_i - z)` and `sum_weight` that of `w_i`, and `v <= V` is `(v - z) * sum_weight <= sum_weighted`.
//!
//! Nothing overflows: an entity's lag is at most two slices of 100 ms, so `w_i * (v_i - V)` is below
//! 2 * 10^8 * 1024 < 2^38 whatever its weight, and for 2^17 entities the sum of these below 2^55. z is kept within 2^26 of
//! V, and with weights up to 2^17 for those 2^17 entities the rest, W * (V - z), is below 2^60. The product in the
//! comparison has 128 bits.

use alloc::boxed::Box;
use core::hint::cold_path;

use crate::node::Node;
use crate::policy::Policy;
use crate::tree::{Key, Tree};
use crate::weight::Weight;

/// How long a task may run before its turn is over, in ns. Linux's base slice of 0.75 ms times 4 for its usual 8 or
/// more CPUs.
pub const SLICE_NS: u64 = 3_000_000;
/// The least slice that a task may ask for.
pub const MIN_SLICE_NS: u64 = 100_000;
/// The greatest one.
pub const MAX_SLICE_NS: u64 = 100_000_000;

/// How far the base of the sums may lie behind an arriving entity.
const BASE_GAP: i64 = 1 << 26;

/// The fair class's part of a node.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// Time run, in ns of nice 0.
    pub(crate) vruntime: u64,
    /// Virtual time by which the current slice is to be served.
    pub(crate) deadline: u64,
    /// Virtual length of a slice: its time at the entity's weight.
    slice: u64,
    /// V minus vruntime when the entity last left the queue.
    pub(crate) lag: i64,
    /// Virtual time below one nanosecond, in 2^-32 ns.
    rest: u32,
    /// Length of a slice in ns.
    slice_ns: u32,
}

impl Default for State {
    fn default() -> Self {
        Self {
            vruntime: 0,
            deadline: 0,
            slice: SLICE_NS,
            lag: 0,
            rest: 0,
            slice_ns: SLICE_NS as u32,
        }
    }
}

impl State {
    pub(crate) fn slice_ns(&self) -> u64 {
        self.slice_ns.into()
    }

    pub(crate) fn set_slice_ns(&mut self, slice_ns: u64, weight: Weight) {
        let slice_ns = match slice_ns {
            0 => SLICE_NS,
            given => given.clamp(MIN_SLICE_NS, MAX_SLICE_NS),
        };
        self.slice_ns = slice_ns as u32;
        self.refresh_slice(weight);
    }

    pub(crate) fn refresh_slice(&mut self, weight: Weight) {
        self.slice = weight.scale(self.slice_ns.into());
    }

    /// Adds to the lag, up to what two of the greatest slices make.
    pub(crate) fn owe(&mut self, virtual_ns: i64, weight: Weight) {
        let limit = 2 * weight.scale(MAX_SLICE_NS) as i64;
        self.lag = (self.lag + virtual_ns).clamp(-limit, limit);
    }

    /// The most lag, either way, that an entity keeps: two slices of its own virtual time.
    fn lag_limit(&self) -> i64 {
        2 * self.slice as i64
    }
}

/// The waiting entities of one level on one CPU.
#[derive(Debug)]
pub struct Queue<T> {
    tree: Tree<T>,
    /// `z`: the vruntime that the sums are relative to.
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
    /// Waiting entities; the running one is not among them.
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether nothing waits.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// The weights of those that wait.
    #[inline(always)]
    pub fn weight(&self) -> u64 {
        self.sum_weight as u64
    }

    #[inline(always)]
    fn relative(&self, vruntime: u64) -> i64 {
        vruntime.wrapping_sub(self.zero) as i64
    }

    /// The sums with the running entity in them.
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

    /// Notes the lag of an entity that stops competing: it will be placed by it when it comes back. It is out of the tree;
    /// `running` is the one that runs, if that is another.
    pub fn leave(&self, node: &mut Node<T>, running: Option<&Node<T>>) {
        // The leaver is in the average that its lag is measured against.
        let (mut weighted, mut total) = self.sums(Some(node));
        if let Some(r) = running {
            let weight = r.weight.value() as i64;
            weighted += weight * self.relative(r.fair.vruntime);
            total += weight;
        }
        let own = self.relative(node.fair.vruntime);
        let limit = node.fair.lag_limit();
        node.fair.lag = (weighted.div_euclid(total) - own).clamp(-limit, limit);
    }

    /// Gives `node` its place relative to those that compete already, keeping its lag.
    ///
    /// Its own arrival moves V towards it, so the lag is scaled up by (W + w) / W first; afterwards it is just what it
    /// was when the entity left.
    pub fn place(&mut self, node: &mut Node<T>, running: Option<&Node<T>>, new: bool) {
        let (weighted, total) = self.sums(running);
        let weight = node.weight.value() as i64;
        let fair = &mut node.fair;
        let mut average = self.zero;
        let mut lag = 0;
        if total > 0 {
            average = average.wrapping_add(weighted.div_euclid(total) as u64);
            if fair.lag != 0 {
                let limit = 2 * fair.lag_limit().max(fair.lag.abs());
                lag = match fair.lag.checked_mul(total + weight) {
                    Some(product) => (product / total).clamp(-limit, limit),
                    None => limit * fair.lag.signum(),
                };
            }
        }
        fair.vruntime = average.wrapping_sub(lag as u64);
        // A new task starts with half a slice, so that forking does not gain service.
        let slice = if new { fair.slice / 2 } else { fair.slice };
        fair.deadline = fair.vruntime.wrapping_add(slice);
        fair.lag = 0;
    }

    /// Adds a placed entity to those that wait. The key by which to [remove](Self::remove) it.
    #[inline(always)]
    pub fn insert(&mut self, mut node: Box<Node<T>>) -> Key {
        self.count(&node);
        let key = Key {
            major: node.fair.deadline,
            seq: self.next_seq,
        };
        node.key = key;
        self.next_seq += 1;
        self.tree.insert(node);
        key
    }

    /// Adds an entity to the sums. With nobody waiting the base moves to where it is; else the base follows V now and then,
    /// so that sums stay small for ever.
    #[inline(always)]
    fn count(&mut self, node: &Node<T>) {
        let weight = node.weight.value() as i64;
        if self.sum_weight == 0 {
            self.zero = node.fair.vruntime;
            self.sum_weighted = 0;
            self.sum_weight = weight;
        } else {
            if self.relative(node.fair.vruntime) > BASE_GAP {
                self.follow_average();
            }
            self.sum_weighted += weight * self.relative(node.fair.vruntime);
            self.sum_weight += weight;
        }
        if is_idle(node) {
            cold_path();
            self.idle += 1;
        }
    }

    /// Moves the base to V, an exact change of all terms at once.
    #[cold]
    fn follow_average(&mut self) {
        let shift = self.sum_weighted.div_euclid(self.sum_weight);
        self.zero = self.zero.wrapping_add(shift as u64);
        self.sum_weighted -= shift * self.sum_weight;
    }

    /// With nobody waiting the base follows what runs, however long that goes on.
    pub fn keep_base(&mut self, running: &Node<T>) {
        if self.sum_weight == 0 {
            self.zero = running.fair.vruntime;
        }
    }

    #[inline(always)]
    fn forget(&mut self, node: &Node<T>) {
        self.sum_weighted -= node.weight.value() as i64 * self.relative(node.fair.vruntime);
        self.sum_weight -= node.weight.value() as i64;
        self.idle -= usize::from(is_idle(node));
        if self.sum_weight == 0 {
            self.forget_all(node.fair.vruntime);
        }
    }

    /// Nobody waits any more: the sums are nothing, and the base is wherever it is of use.
    #[inline(always)]
    fn forget_all(&mut self, zero: u64) {
        self.zero = zero;
        self.sum_weighted = 0;
        self.sum_weight = 0;
        self.idle = 0;
    }

    /// Whether an entity at `vruntime` is not ahead of V, given the sums.
    #[inline(always)]
    fn is_eligible(&self, vruntime: u64, (weighted, weight): (i64, i64)) -> bool {
        i128::from(self.relative(vruntime)) * i128::from(weight) <= i128::from(weighted)
    }

    /// The entity to run next among those that wait.
    #[inline]
    fn best(&self, running: Option<&Node<T>>) -> Option<&Node<T>> {
        let sums = self.sums(running);
        self.tree
            .first_eligible(|v| self.is_eligible(v, sums))
            .or_else(|| self.tree.first())
    }

    /// Takes the entity to run next.
    #[inline(always)]
    pub fn take_next(&mut self) -> Option<Box<Node<T>>> {
        if self.tree.len() <= 1 {
            let node = self.tree.pop_only()?;
            self.forget_all(node.fair.vruntime);
            return Some(node);
        }
        let key = self.best(None)?.key;
        self.remove(key)
    }

    /// Takes the entity at `key`.
    pub fn remove(&mut self, key: Key) -> Option<Box<Node<T>>> {
        let node = self.tree.remove(key)?;
        self.forget(&node);
        Some(node)
    }

    /// Takes some waiting entity that `matches`.
    pub fn remove_where(
        &mut self,
        matches: &mut dyn FnMut(&Node<T>) -> bool,
    ) -> Option<Box<Node<T>>> {
        let node = self.tree.remove_where(matches)?;
        self.forget(&node);
        Some(node)
    }

    /// Charges `delta_ns` of run time; whether the slice is over.
    #[inline(always)]
    pub fn charge(node: &mut Node<T>, delta_ns: u64) -> bool {
        let fair = &mut node.fair;
        let passed = node.weight.scale_exactly(delta_ns, &mut fair.rest);
        fair.vruntime = fair.vruntime.wrapping_add(passed);
        if (fair.vruntime.wrapping_sub(fair.deadline) as i64) < 0 {
            return false;
        }
        fair.deadline = fair.vruntime.wrapping_add(fair.slice);
        true
    }

    /// Gives up what is left of the slice: the deadline moves one slice on, as Linux's yield does.
    #[inline(always)]
    pub fn yield_slice(node: &mut Node<T>) {
        node.fair.deadline = node.fair.deadline.wrapping_add(node.fair.slice);
    }

    /// Whether a waiting entity should run instead of `running`, now.
    pub fn preempts(&self, running: &Node<T>) -> bool {
        let running_idle = is_idle(running);
        if running_idle && self.tree.len() > self.idle {
            return true;
        }
        let sums = self.sums(Some(running));
        let Some(best) = self.best(Some(running)) else {
            return false;
        };
        if matches!(best.policy, Policy::Batch { .. } | Policy::Idle { .. }) && !running_idle {
            return false;
        }
        !self.is_eligible(running.fair.vruntime, sums)
            || (best.fair.deadline.wrapping_sub(running.fair.deadline) as i64) < 0
    }

    /// Nanoseconds for which `running` may go on before its slice is over.
    pub fn slice_left_ns(running: &Node<T>) -> u64 {
        let left = (running.fair.deadline.wrapping_sub(running.fair.vruntime) as i64).max(0) as u64;
        running.weight.unscale(left).max(1)
    }

    /// As [`for_each`](Self::for_each), while `f` says to go on; whether it always did.
    pub fn visit(&self, f: &mut dyn FnMut(&Node<T>) -> bool) -> bool {
        self.tree.visit(f)
    }

    /// Calls `f` for every waiting entity.
    pub fn for_each(&self, f: &mut dyn FnMut(&Node<T>)) {
        self.tree.for_each(f);
    }
}

#[inline(always)]
fn is_idle<T>(node: &Node<T>) -> bool {
    matches!(node.policy, Policy::Idle { .. })
}
