//! Bandwidth control: so much run time for a group in each period, on all CPUs together.
//!
//! The quota lies in a [`Pool`] that the CPUs share; each takes a slice of it for its own [`Budget`] when it runs the
//! group, and gives back what is left when the group goes idle there. A CPU whose budget is spent and which finds the pool
//! empty holds the group's tasks back (*throttles* it) until the next period fills the pool.
//!
//! So in n periods the group runs at most (n * quota + burst), and one slice for each CPU, which is what a CPU may carry
//! from one period into the next (Turner, Rao and Rao, "CPU bandwidth control for CFS", 2010, section 4).

use core::sync::atomic::{AtomicU64, Ordering};

/// No limit.
pub const UNLIMITED: u64 = u64::MAX;
/// The period that a group has until one is set.
pub const PERIOD_NS: u64 = 100_000_000;
/// What a CPU takes out of the pool at a time (`sched_cfs_bandwidth_slice_us`).
pub const SLICE_NS: u64 = 5_000_000;
/// What a CPU keeps when the group goes idle on it.
const KEEP_NS: i64 = 1_000_000;

/// The run time of a group that no CPU has taken yet.
///
/// # Context
/// Any, for all methods. Nothing here waits: what two CPUs do at a time is settled by one atomic word.
#[derive(Debug)]
pub struct Pool {
    quota_ns: AtomicU64,
    period_ns: AtomicU64,
    burst_ns: AtomicU64,
    left_ns: AtomicU64,
    /// When the pool is filled next.
    next_period: AtomicU64,
    periods: AtomicU64,
    throttled_periods: AtomicU64,
    throttled_ns: AtomicU64,
}

/// What `cpu.stat` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Periods that have passed.
    pub periods: u64,
    /// How often a CPU held the group back.
    pub throttled: u64,
    /// For how long, summed over CPUs, in ns.
    pub throttled_ns: u64,
}

impl Pool {
    pub(super) fn unlimited() -> Self {
        Self {
            quota_ns: AtomicU64::new(UNLIMITED),
            period_ns: AtomicU64::new(PERIOD_NS),
            burst_ns: AtomicU64::new(0),
            left_ns: AtomicU64::new(0),
            next_period: AtomicU64::new(0),
            periods: AtomicU64::new(0),
            throttled_periods: AtomicU64::new(0),
            throttled_ns: AtomicU64::new(0),
        }
    }

    /// Sets the limits (`cpu.max`, `cpu.max.burst`) from `now` on: `quota_ns`, or [`UNLIMITED`], in each `period_ns`, and up
    /// to `burst_ns` saved from periods in which less was used. The caller has checked them (`EINVAL`): the period is
    /// 1 ms to 1 s, the quota at least 1 ms, the burst at most the quota.
    pub fn set(&self, quota_ns: u64, period_ns: u64, burst_ns: u64, now: u64) {
        self.period_ns.store(period_ns.max(1), Ordering::Relaxed);
        self.burst_ns.store(burst_ns, Ordering::Relaxed);
        self.quota_ns.store(quota_ns, Ordering::Relaxed);
        let first = if quota_ns == UNLIMITED { 0 } else { quota_ns };
        self.left_ns.store(first, Ordering::Relaxed);
        self.next_period
            .store(now.saturating_add(period_ns.max(1)), Ordering::Release);
    }

    /// The run time in each period, or [`UNLIMITED`].
    pub fn quota_ns(&self) -> u64 {
        self.quota_ns.load(Ordering::Relaxed)
    }

    /// The period.
    pub fn period_ns(&self) -> u64 {
        self.period_ns.load(Ordering::Relaxed)
    }

    /// The most that is saved beyond one quota.
    pub fn burst_ns(&self) -> u64 {
        self.burst_ns.load(Ordering::Relaxed)
    }

    /// Whether there is a limit.
    #[inline]
    pub fn is_limited(&self) -> bool {
        self.quota_ns() != UNLIMITED
    }

    /// When the pool is filled next.
    pub fn next_period(&self) -> u64 {
        self.next_period.load(Ordering::Acquire)
    }

    /// What happened so far.
    pub fn stat(&self) -> Stat {
        Stat {
            periods: self.periods.load(Ordering::Relaxed),
            throttled: self.throttled_periods.load(Ordering::Relaxed),
            throttled_ns: self.throttled_ns.load(Ordering::Relaxed),
        }
    }

    /// Begins the periods that have begun by `now`. Of CPUs that find this at a time one does it.
    fn refill(&self, now: u64) {
        let due = self.next_period();
        if now < due {
            return;
        }
        let period = self.period_ns();
        let periods = 1 + (now - due) / period;
        let next = due + periods * period;
        if self
            .next_period
            .compare_exchange(due, next, Ordering::AcqRel, Ordering::Relaxed)
            .is_err()
        {
            return;
        }
        let quota = self.quota_ns();
        let most = quota.saturating_add(self.burst_ns());
        let add = quota.saturating_mul(periods);
        self.change(|left| left.saturating_add(add).min(most));
        self.periods.fetch_add(periods, Ordering::Relaxed);
    }

    /// Takes up to `want_ns`.
    fn take(&self, want_ns: u64) -> u64 {
        let before = self.change(|left| left - left.min(want_ns));
        before.min(want_ns)
    }

    fn give_back(&self, ns: u64) {
        let most = self.quota_ns().saturating_add(self.burst_ns());
        self.change(|left| left.saturating_add(ns).min(most));
    }

    /// Changes what is left; what it was before.
    fn change(&self, f: impl Fn(u64) -> u64) -> u64 {
        let change = |left| Some(f(left));
        match self
            .left_ns
            .try_update(Ordering::AcqRel, Ordering::Acquire, change)
        {
            Ok(before) | Err(before) => before,
        }
    }
}

/// One CPU's part of a group's run time.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// Negative where a tick came late.
    left_ns: i64,
    throttled: bool,
    since: u64,
}

impl Budget {
    #[inline]
    pub fn is_throttled(&self) -> bool {
        self.throttled
    }

    /// Charges run time that ended at `now`; whether the group is to be held back from now on.
    pub fn charge(&mut self, pool: &Pool, delta_ns: u64, now: u64) -> bool {
        if !pool.is_limited() {
            return false;
        }
        self.left_ns -= delta_ns as i64;
        if self.throttled || self.refill(pool, now) {
            return false;
        }
        self.throttled = true;
        self.since = now;
        pool.throttled_periods.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Takes from the pool if nothing is left; whether there is something then.
    fn refill(&mut self, pool: &Pool, now: u64) -> bool {
        if self.left_ns > 0 {
            return true;
        }
        pool.refill(now);
        let want = SLICE_NS + self.left_ns.unsigned_abs();
        self.left_ns += pool.take(want) as i64;
        self.left_ns > 0
    }

    /// Looks whether a throttled group may run again.
    pub fn unthrottle(&mut self, pool: &Pool, now: u64) -> bool {
        if pool.is_limited() && !self.refill(pool, now) {
            return false;
        }
        self.left_ns = self.left_ns.max(0);
        self.throttled = false;
        pool.throttled_ns
            .fetch_add(now.saturating_sub(self.since), Ordering::Relaxed);
        true
    }

    /// The group goes idle on this CPU: others may have what is left.
    pub fn idle(&mut self, pool: &Pool) {
        if pool.is_limited() && self.left_ns > KEEP_NS {
            pool.give_back((self.left_ns - KEEP_NS) as u64);
            self.left_ns = KEEP_NS;
        }
    }

    /// When to look whether the budget is spent.
    pub fn left_ns(&self, pool: &Pool) -> Option<u64> {
        pool.is_limited().then(|| self.left_ns.max(1) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_period_gives_its_quota_and_no_more() {
        let pool = Pool::unlimited();
        pool.set(20 * MS, 100 * MS, 0, 0);
        let (mut a, mut b) = (Budget::default(), Budget::default());
        let (mut ran, mut held) = (0, 0);
        for ms in 1..=15 {
            for budget in [&mut a, &mut b] {
                if !budget.is_throttled() {
                    ran += 1;
                    if budget.charge(&pool, MS, ms * MS) {
                        held += 100 - ms;
                    }
                }
            }
        }
        assert_eq!(ran, 20);
        assert!(a.is_throttled() && b.is_throttled());
        assert!(!a.unthrottle(&pool, 99 * MS));
        assert!(a.unthrottle(&pool, 100 * MS) && b.unthrottle(&pool, 100 * MS));
        assert_eq!(pool.stat().periods, 1);
        assert_eq!(pool.stat().throttled, 2);
        assert_eq!(pool.stat().throttled_ns, held * MS);
    }

    #[test]
    fn burst_saves_what_was_not_used() {
        let pool = Pool::unlimited();
        pool.set(20 * MS, 100 * MS, 10 * MS, 0);
        pool.refill(1000 * MS);
        assert_eq!(pool.take(u64::MAX), 30 * MS);
        pool.refill(1100 * MS);
        assert_eq!(pool.take(u64::MAX), 20 * MS);
        pool.set(20 * MS, 100 * MS, 0, 1100 * MS);
        pool.refill(5000 * MS);
        assert_eq!(pool.take(u64::MAX), 20 * MS);
    }

    #[test]
    fn what_is_left_goes_back_when_the_group_goes_idle() {
        let pool = Pool::unlimited();
        pool.set(20 * MS, 100 * MS, 0, 0);
        let mut budget = Budget::default();
        assert!(!budget.charge(&pool, 1, 1));
        budget.idle(&pool);
        assert_eq!(pool.take(u64::MAX), 20 * MS - 1 - KEEP_NS as u64);
    }
}
