//! How much of a thread's run time was spent in user mode, and how much in the kernel.
//!
//! The run time is exact: the scheduler takes it at every switch. Its parts are sampled by the tick, and only their ratio counts, as in
//! Linux's `cputime_adjust`. Neither part ever goes back.

use executor::sync::SpinLock;

/// Processor time in ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// In user mode.
    pub user_ns: u64,
    /// In the kernel.
    pub system_ns: u64,
}

impl CpuTime {
    /// The sum of two.
    pub fn plus(self, other: Self) -> Self {
        Self {
            user_ns: self.user_ns + other.user_ns,
            system_ns: self.system_ns + other.system_ns,
        }
    }

    /// What has come since `before`, an earlier one.
    pub fn minus(self, before: Self) -> Self {
        Self {
            user_ns: self.user_ns.saturating_sub(before.user_ns),
            system_ns: self.system_ns.saturating_sub(before.system_ns),
        }
    }

    /// Both together.
    pub fn total_ns(self) -> u64 {
        self.user_ns + self.system_ns
    }

    /// Divides `total_ns` in the ratio of the samples `ticks`, no part below what it was in `self`.
    fn divide(self, total_ns: u64, ticks: CpuTime) -> CpuTime {
        let total = total_ns.max(self.total_ns());
        let system = match (ticks.user_ns, ticks.system_ns) {
            (_, 0) => 0,
            (0, _) => total,
            // Below `total`, as the divisor is not below the factor.
            (user, system) => {
                (u128::from(total) * u128::from(system) / u128::from(user + system)) as u64
            }
        };
        // What the parts were together is at most `total`, so both bounds can be met.
        let system_ns = system.clamp(self.system_ns, total - self.user_ns);
        CpuTime {
            user_ns: total - system_ns,
            system_ns,
        }
    }
}

/// What was shown of a thread's processor time last.
#[derive(Debug, Default)]
pub struct Shown(SpinLock<CpuTime>);

impl Shown {
    /// The parts of `total_ns` of run time, by the samples `ticks`.
    ///
    /// # Context
    /// Task.
    pub fn update(&self, total_ns: u64, ticks: CpuTime) -> CpuTime {
        let mut shown = self.0.lock();
        *shown = shown.divide(total_ns, ticks);
        *shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn time(user_ns: u64, system_ns: u64) -> CpuTime {
        CpuTime { user_ns, system_ns }
    }

    #[test]
    fn the_samples_divide_the_run_time() {
        let none = time(0, 0);
        assert_eq!(none.divide(100, time(0, 0)), time(100, 0));
        assert_eq!(none.divide(100, time(4, 0)), time(100, 0));
        assert_eq!(none.divide(100, time(0, 4)), time(0, 100));
        assert_eq!(none.divide(100, time(12, 4)), time(75, 25));
        let year = 365 * 86_400 * 1_000_000_000;
        assert_eq!(
            none.divide(year, time(year, year)),
            time(year / 2, year / 2)
        );
    }

    #[test]
    fn no_part_goes_back() {
        let shown = Shown::default();
        assert_eq!(shown.update(100, time(0, 0)), time(100, 0));
        // The first sample says that all was system time.
        assert_eq!(shown.update(110, time(0, 4)), time(100, 10));
        assert_eq!(shown.update(90, time(0, 4)), time(100, 10));
        assert_eq!(shown.update(400, time(4, 4)), time(200, 200));
        assert_eq!(shown.update(401, time(400, 4)), time(201, 200));
    }
}
