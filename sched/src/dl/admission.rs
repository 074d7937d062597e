//! Which deadline tasks are let in: no more than the CPUs can serve.
//!
//! On one CPU, earliest deadline first meets every deadline as long as the tasks' shares sum up to at most 1 (Liu and
//! Layland, 1973, theorem 7). On m CPUs global EDF then keeps tardiness bounded (Devi and Anderson, "Tardiness bounds
//! under global EDF scheduling", 2005), as long as the sum is at most m. What is admitted stays below that by the limit
//! for all real-time tasks, 95 % of each CPU.

use super::params::{BW_UNIT, Params};
use crate::rt::bandwidth::{PERIOD_NS, RUNTIME_NS, UNLIMITED};

/// The CPUs have no room for such a task: `EBUSY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// The deadline tasks of CPUs that share them (Linux's root domain).
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    /// Of each CPU, of [`BW_UNIT`]; `u64::MAX` for no limit.
    limit: u64,
    cpus: u64,
    total: u64,
}

impl Admission {
    /// Nobody yet, on `cpus` CPUs.
    pub fn new(cpus: u64) -> Self {
        Self {
            limit: share(RUNTIME_NS, PERIOD_NS),
            cpus,
            total: 0,
        }
    }

    /// The sum of the shares of those let in, of [`BW_UNIT`].
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What each CPU may serve, and what of that nobody was let in for, both of [`BW_UNIT`]: for
    /// [`set_reclaim_limits`](super::Deadline::set_reclaim_limits).
    pub fn of_each_cpu(&self) -> (u64, u64) {
        let max = self.limit.min(BW_UNIT);
        (max, max.saturating_sub(self.total / self.cpus.max(1)))
    }

    /// Replaces a task's share: `None` is that of a task that is not a deadline task. Sleeping tasks keep theirs.
    ///
    /// # Errors
    /// [`Busy`]; nothing has changed then. What lowers the sum always succeeds.
    pub fn replace(&mut self, old: Option<&Params>, new: Option<&Params>) -> Result<(), Busy> {
        let (old, new) = (
            old.map_or(0, Params::bandwidth),
            new.map_or(0, Params::bandwidth),
        );
        let total = self.total - old + new;
        if new > old && total > self.room(self.limit, self.cpus) {
            return Err(Busy);
        }
        self.total = total;
        Ok(())
    }

    /// Changes the number of CPUs, for one that goes or comes.
    ///
    /// # Errors
    /// [`Busy`] if those let in would not fit.
    pub fn set_cpus(&mut self, cpus: u64) -> Result<(), Busy> {
        if self.total > self.room(self.limit, cpus) {
            return Err(Busy);
        }
        self.cpus = cpus;
        Ok(())
    }

    /// Changes the limit of each CPU to `runtime_ns`, or [`UNLIMITED`], in each `period_ns`.
    ///
    /// # Errors
    /// [`Busy`] if those let in would not fit.
    pub fn set_limit(&mut self, runtime_ns: u64, period_ns: u64) -> Result<(), Busy> {
        let limit = share(runtime_ns, period_ns);
        if self.total > self.room(limit, self.cpus) {
            return Err(Busy);
        }
        self.limit = limit;
        Ok(())
    }

    fn room(&self, limit: u64, cpus: u64) -> u64 {
        limit.saturating_mul(cpus)
    }
}

fn share(runtime_ns: u64, period_ns: u64) -> u64 {
    match runtime_ns {
        UNLIMITED => u64::MAX,
        _ => runtime_ns.saturating_mul(BW_UNIT) / period_ns.max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dl::Flags;

    fn third() -> Params {
        Params::new(10_000_000, 30_000_000, 0, Flags::default()).expect("valid")
    }

    #[test]
    fn tasks_are_let_in_until_95_percent_of_each_cpu_are_gone() {
        let mut one = Admission::new(1);
        assert_eq!(one.replace(None, Some(&third())), Ok(()));
        assert_eq!(one.replace(None, Some(&third())), Ok(()));
        assert_eq!(one.replace(None, Some(&third())), Err(Busy));
        assert_eq!(one.replace(Some(&third()), None), Ok(()));
        assert_eq!(one.replace(None, Some(&third())), Ok(()));
        let mut four = Admission::new(4);
        let admitted = (0..20).take_while(|_| four.replace(None, Some(&third())).is_ok());
        assert_eq!(admitted.count(), 11);
    }

    #[test]
    fn what_is_not_let_in_is_shared_by_the_cpus() {
        let mut two = Admission::new(2);
        let max = BW_UNIT * 95 / 100;
        assert_eq!(two.of_each_cpu(), (max, max));
        assert_eq!(two.replace(None, Some(&third())), Ok(()));
        assert_eq!(two.of_each_cpu(), (max, max - BW_UNIT / 3 / 2));
        assert_eq!(two.set_limit(UNLIMITED, 1), Ok(()));
        assert_eq!(two.of_each_cpu().0, BW_UNIT);
    }

    #[test]
    fn a_cpu_that_is_needed_cannot_go() {
        let mut admission = Admission::new(2);
        for _ in 0..4 {
            assert_eq!(admission.replace(None, Some(&third())), Ok(()));
        }
        assert_eq!(admission.set_cpus(1), Err(Busy));
        assert_eq!(admission.set_limit(500_000, 1_000_000), Err(Busy));
        assert_eq!(admission.set_limit(UNLIMITED, 1_000_000), Ok(()));
        assert_eq!(admission.set_cpus(1), Ok(()));
    }
}
