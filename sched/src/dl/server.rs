//! The constant bandwidth server of one task.

use super::params::{BW_SHIFT, BW_UNIT, Params};
use crate::pi::Boost;
use crate::policy::Policy;

/// How a task comes to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wakeup {
    /// It was waiting for something.
    Slept,
    /// It was runnable, elsewhere or in another class.
    Came,
}

/// The deadline class's part of a node.
#[derive(Clone, Copy, Debug, Default)]
pub struct State {
    params: Params,
    bandwidth: u64,
    /// Absolute deadline in ns; also the end of what the budget is for.
    deadline: u64,
    /// Budget, in ns; negative where a tick came late.
    left_ns: i64,
    /// What its run time was charged at when it last was, of [`BW_UNIT`].
    rate: u64,
    /// Budget and deadline are still to be set.
    fresh: bool,
    /// It runs for one that waits for it, with that one's parameters.
    boosted: bool,
    /// It has been told that its budget is used up and waits for the next one.
    throttled: bool,
    /// It has used up its budget, and wanted to know that.
    overrun: bool,
    /// What of its bandwidth is in the sums of its CPU.
    pub(super) counted: u64,
    /// It sleeps, and counts as active until `zero_lag`.
    pub(super) asleep: bool,
    pub(super) zero_lag: u64,
}

impl State {
    /// Takes up new attributes.
    pub(crate) fn refresh(&mut self, policy: Policy, boost: Option<Boost>) {
        let Policy::Deadline(params) = policy else {
            // Only its number in a sum would be left, and that is taken out where it leaves the class.
            self.fresh = true;
            self.boosted = false;
            return;
        };
        let was_boosted = core::mem::replace(&mut self.boosted, false);
        if let Some(boost) = boost.filter(Boost::is_deadline) {
            self.boosted = true;
            self.params = params;
            self.deadline = boost.deadline();
            self.left_ns = params.runtime_ns as i64;
            self.throttled = false;
            self.fresh = false;
        } else if self.params != params || was_boosted {
            self.params = params;
            self.fresh = true;
        }
        self.bandwidth = params.bandwidth();
    }

    /// What the task asked for, or the one whom it runs for.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The absolute deadline, in ns.
    #[inline]
    pub fn deadline(&self) -> u64 {
        self.deadline
    }

    /// The budget that is left, in ns; negative when it was overdrawn.
    pub fn budget_ns(&self) -> i64 {
        self.left_ns
    }

    /// Whether the task waits for its next budget.
    pub fn is_throttled(&self) -> bool {
        self.throttled
    }

    /// Whether the task used up its budget since this was last asked, for a task that wanted to know: `SIGXCPU`.
    pub fn take_overrun(&mut self) -> bool {
        core::mem::take(&mut self.overrun)
    }

    pub(super) fn bandwidth(&self) -> u64 {
        self.bandwidth
    }

    /// The budget is used up.
    pub(super) fn is_spent(&self) -> bool {
        self.left_ns <= 0 && !self.boosted
    }

    /// Charges run time at `rate`; whether the budget is used up.
    pub(super) fn charge(&mut self, delta_ns: u64, rate: u64) -> bool {
        self.rate = rate;
        // Rounded up: what is charged too little would be taken from others.
        let charged = (u128::from(delta_ns) * u128::from(rate)).div_ceil_pow2(BW_SHIFT);
        self.left_ns -= charged as i64;
        if self.left_ns > 0 {
            return false;
        }
        if self.boosted {
            // Whoever waits for it has its deadline moved on, but is not left waiting.
            self.postpone();
            return false;
        }
        self.overrun |= self.params.flags.overrun && !self.throttled;
        self.throttled = true;
        true
    }

    /// `sched_yield(2)`: the job of this period is done.
    pub(super) fn give_up(&mut self) {
        if !self.boosted {
            self.left_ns = self.left_ns.min(0);
            self.throttled = true;
        }
    }

    /// When the next period begins.
    pub(super) fn replenished_at(&self) -> u64 {
        self.deadline
            .wrapping_sub(self.params.deadline_ns)
            .wrapping_add(self.params.period_ns)
    }

    /// Whether the task may run; if its time has come, with a new budget.
    pub(super) fn may_run(&mut self, now: u64) -> bool {
        if self.throttled && self.replenished_at() <= now {
            self.replenish(now);
        }
        !self.throttled
    }

    /// Gives a new budget, and the deadline that goes with it.
    pub(super) fn replenish(&mut self, now: u64) {
        self.throttled = false;
        self.postpone();
        if is_before(self.deadline, now) {
            // A timer came very late: what was missed is not made up for.
            self.start(now);
        }
    }

    /// Moves the deadline on by as many periods as the overdrawn budget is worth.
    fn postpone(&mut self) {
        let runtime = self.params.runtime_ns.max(1) as i64;
        while self.left_ns <= 0 {
            self.deadline = self.deadline.wrapping_add(self.params.period_ns);
            self.left_ns += runtime;
        }
    }

    /// Begins a period now.
    fn start(&mut self, now: u64) {
        self.fresh = false;
        self.throttled = false;
        self.deadline = now.wrapping_add(self.params.deadline_ns);
        self.left_ns = self.params.runtime_ns as i64;
    }

    /// The task becomes runnable.
    pub(super) fn wake(&mut self, how: Wakeup, now: u64) {
        if self.boosted {
            return;
        }
        if self.fresh {
            self.start(now);
            return;
        }
        if self.throttled || how == Wakeup::Came {
            // It is dealt with by `may_run`, or goes on as it was.
            return;
        }
        let late = is_before(self.deadline, now);
        if late && !self.params.is_implicit() && is_before(now, self.replenished_at()) {
            // Past its deadline, before its next period: another budget now would be one too many.
            self.left_ns = self.left_ns.min(0);
            self.throttled = true;
        } else if late {
            self.start(now);
        } else if self.would_exceed_share(now) {
            if self.params.is_implicit() {
                self.start(now);
            } else {
                // The revised rule for constrained deadlines: as much budget as the density allows until the deadline.
                let laxity = self.deadline.wrapping_sub(now);
                self.left_ns = ((laxity * self.params.density()) >> BW_SHIFT) as i64;
            }
        }
    }

    /// Whether using the budget until the deadline would be more than the task's density: left / (deadline - now) >
    /// runtime / deadline. Products of times below 2^33 each.
    fn would_exceed_share(&self, now: u64) -> bool {
        let laxity = self.deadline.wrapping_sub(now);
        self.left_ns.max(0) as u64 * self.params.deadline_ns > laxity * self.params.runtime_ns
    }

    /// When a task that waits has had no more than its share: deadline - left * period / runtime.
    pub(super) fn zero_lag_time(&self) -> u64 {
        let left = self.left_ns.max(0) as u64;
        let worth = left * self.params.period_ns / self.params.runtime_ns.max(1);
        self.deadline.wrapping_sub(worth)
    }

    /// Time until the budget is used up, at the rate it was last charged at.
    pub(super) fn left_ns(&self) -> Option<u64> {
        if self.boosted {
            return None;
        }
        let left = self.left_ns.max(1) as u64;
        match self.rate {
            0 | BW_UNIT => Some(left),
            rate => Some(((left << BW_SHIFT) / rate).max(1)),
        }
    }
}

fn is_before(a: u64, b: u64) -> bool {
    (a.wrapping_sub(b) as i64) < 0
}

/// Division by a power of two, rounded up.
trait DivCeilPow2 {
    fn div_ceil_pow2(self, shift: u32) -> u64;
}

impl DivCeilPow2 for u128 {
    fn div_ceil_pow2(self, shift: u32) -> u64 {
        ((self + ((1 << shift) - 1)) >> shift) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dl::Flags;

    const MS: u64 = 1_000_000;

    fn server(runtime: u64, deadline: u64, period: u64) -> State {
        let mut state = State::default();
        let params = Params::new(runtime, deadline, period, Flags::default()).expect("valid");
        state.refresh(Policy::Deadline(params), None);
        state.wake(Wakeup::Came, 1000 * MS);
        state
    }

    #[test]
    fn a_spent_budget_comes_back_with_the_next_period() {
        let mut s = server(10 * MS, 30 * MS, 30 * MS);
        assert_eq!(s.deadline(), 1030 * MS);
        assert!(!s.charge(10 * MS - 1, BW_UNIT));
        assert!(s.charge(1, BW_UNIT));
        assert!(!s.may_run(1029 * MS));
        assert_eq!(s.replenished_at(), 1030 * MS);
        assert!(s.may_run(1030 * MS));
        assert_eq!((s.deadline(), s.budget_ns()), (1060 * MS, 10 * MS as i64));
    }

    #[test]
    fn an_overdrawn_budget_postpones_the_deadline_further() {
        let mut s = server(10 * MS, 30 * MS, 30 * MS);
        assert!(s.charge(25 * MS, BW_UNIT));
        assert!(s.may_run(1030 * MS));
        assert_eq!((s.deadline(), s.budget_ns()), (1090 * MS, 5 * MS as i64));
    }

    #[test]
    fn a_sleeper_keeps_its_budget_only_where_its_share_allows() {
        let mut s = server(10 * MS, 30 * MS, 30 * MS);
        s.charge(4 * MS, BW_UNIT);
        // 6 of 10 ms left: with 18 ms to go that is just its share, with less it is more.
        s.wake(Wakeup::Slept, 1012 * MS);
        assert_eq!((s.deadline(), s.budget_ns()), (1030 * MS, 6 * MS as i64));
        s.wake(Wakeup::Slept, 1013 * MS);
        assert_eq!((s.deadline(), s.budget_ns()), (1043 * MS, 10 * MS as i64));
    }

    #[test]
    fn a_constrained_sleeper_gets_what_its_density_allows_until_the_deadline() {
        let mut s = server(10 * MS, 20 * MS, 100 * MS);
        s.charge(2 * MS, BW_UNIT);
        s.wake(Wakeup::Slept, 1010 * MS);
        assert_eq!(s.deadline(), 1020 * MS);
        assert_eq!(s.budget_ns(), 5 * MS as i64);
        // Past the deadline it waits for its period.
        s.wake(Wakeup::Slept, 1050 * MS);
        assert!(!s.may_run(1050 * MS));
        assert!(s.may_run(1100 * MS));
        assert_eq!(s.deadline(), 1120 * MS);
    }

    #[test]
    fn a_task_is_active_until_its_zero_lag_time() {
        let mut s = server(10 * MS, 30 * MS, 30 * MS);
        assert_eq!(s.zero_lag_time(), 1000 * MS);
        s.charge(5 * MS, BW_UNIT);
        assert_eq!(s.zero_lag_time(), 1015 * MS);
    }

    #[test]
    fn the_boosted_are_not_throttled() {
        let mut s = State::default();
        let waiter = Params::new(10 * MS, 30 * MS, 0, Flags::default()).expect("valid");
        let boost = Boost::from_parts(Policy::Deadline(waiter), 77 * MS);
        s.refresh(Policy::Deadline(waiter), boost);
        assert_eq!(s.deadline(), 77 * MS);
        assert!(!s.charge(15 * MS, BW_UNIT));
        assert_eq!(s.deadline(), 107 * MS);
        assert!(s.may_run(0));
    }
}
