//! How much of each period real-time tasks may have, so that a runaway one leaves something for the rest.

/// The share of Linux: 950 ms of each second.
pub const RUNTIME_NS: u64 = 950_000_000;
/// See [`RUNTIME_NS`].
pub const PERIOD_NS: u64 = 1_000_000_000;

/// No limit.
pub const UNLIMITED: u64 = u64::MAX;

/// A share of one CPU, and what was used of it.
///
/// At the end of each period one period's run time is forgiven; what was used beyond it (a tick came late) is paid for
/// later. So over n periods at most n + 1 times the run time is used, and where nothing comes late, n times.
#[derive(Clone, Copy, Debug)]
pub struct Bandwidth {
    runtime_ns: u64,
    period_ns: u64,
    used_ns: u64,
    /// When the current period began.
    since: u64,
    throttled: bool,
}

impl Default for Bandwidth {
    fn default() -> Self {
        Self::new(RUNTIME_NS, PERIOD_NS)
    }
}

impl Bandwidth {
    /// `runtime_ns`, or [`UNLIMITED`], of each `period_ns`, which must not be 0.
    pub fn new(runtime_ns: u64, period_ns: u64) -> Self {
        debug_assert!(period_ns > 0);
        Self {
            runtime_ns,
            period_ns,
            used_ns: 0,
            since: 0,
            throttled: false,
        }
    }

    /// The run time in each period.
    pub fn runtime_ns(&self) -> u64 {
        self.runtime_ns
    }

    /// The period.
    pub fn period_ns(&self) -> u64 {
        self.period_ns
    }

    /// Sets new limits. The period goes on.
    pub fn set(&mut self, runtime_ns: u64, period_ns: u64) {
        debug_assert!(period_ns > 0);
        self.runtime_ns = runtime_ns;
        self.period_ns = period_ns;
        self.throttled = self.used_ns >= self.runtime_ns;
    }

    /// Whether the run time of this period is used up.
    #[inline(always)]
    pub fn is_throttled(&self) -> bool {
        self.throttled
    }

    /// Begins the periods that have begun by `now`.
    pub fn roll(&mut self, now: u64) {
        let passed = now.saturating_sub(self.since);
        if passed < self.period_ns {
            return;
        }
        if self.used_ns == 0 {
            // Long without use: the period begins with the next one.
            self.since = now;
            return;
        }
        let periods = passed / self.period_ns;
        self.since += periods * self.period_ns;
        self.used_ns = self
            .used_ns
            .saturating_sub(self.runtime_ns.saturating_mul(periods));
        if self.used_ns < self.runtime_ns {
            self.throttled = false;
        }
    }

    /// Charges run time that ended at `now`; whether it is used up.
    pub fn charge(&mut self, delta_ns: u64, now: u64) -> bool {
        if self.runtime_ns == UNLIMITED {
            return false;
        }
        let began = now.saturating_sub(delta_ns);
        self.roll(began);
        // What ran before the period's end is of that period.
        let before = self.next_period().saturating_sub(began).min(delta_ns);
        self.used_ns += before;
        self.roll(now);
        self.used_ns += delta_ns - before;
        if self.used_ns >= self.runtime_ns {
            self.throttled = true;
        }
        self.throttled
    }

    /// Run time left, or until the period ends, whichever is first: when to look again. `None` where there is no limit.
    pub fn left_ns(&self) -> Option<u64> {
        (self.runtime_ns != UNLIMITED).then(|| self.runtime_ns.saturating_sub(self.used_ns).max(1))
    }

    /// When the next period begins.
    pub fn next_period(&self) -> u64 {
        self.since.saturating_add(self.period_ns)
    }

    /// Whether children with these limits fit a parent: the sum of runtime / period must not exceed the parent's, and no
    /// child may have a run time above its period. Shares are of 2^20, as Linux counts them; a limit below a millionth is 0.
    pub fn admits(parent: (u64, u64), children: impl IntoIterator<Item = (u64, u64)>) -> bool {
        let mut sum = 0u64;
        for (runtime, period) in children {
            if runtime > period {
                return false;
            }
            sum = sum.saturating_add(share(runtime, period));
        }
        sum <= share(parent.0, parent.1)
    }
}

/// `runtime / period` of 2^20; all of it where there is no limit.
fn share(runtime: u64, period: u64) -> u64 {
    match runtime {
        UNLIMITED => 1 << 20,
        _ => (runtime.min(1 << 43) << 20) / period.max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spinner_is_throttled_at_its_share_and_forgiven_at_the_period() {
        let mut b = Bandwidth::default();
        assert!(!b.charge(949_999_999, 949_999_999));
        assert_eq!(b.left_ns(), Some(1));
        assert!(b.charge(1, 950_000_000));
        b.roll(999_999_999);
        assert!(b.is_throttled());
        assert_eq!(b.next_period(), PERIOD_NS);
        b.roll(PERIOD_NS);
        assert!(!b.is_throttled());
    }

    #[test]
    fn what_came_late_is_paid_for() {
        let mut b = Bandwidth::default();
        assert!(b.charge(990_000_000, 990_000_000));
        b.roll(PERIOD_NS);
        assert_eq!(b.left_ns(), Some(RUNTIME_NS - 40_000_000));
    }

    #[test]
    fn groups_must_fit_their_parent() {
        let parent = (950_000, 1_000_000);
        assert!(Bandwidth::admits(
            parent,
            [(400_000, 1_000_000), (55_000, 100_000)]
        ));
        assert!(!Bandwidth::admits(
            parent,
            [(500_000, 1_000_000), (55_000, 100_000)]
        ));
        assert!(!Bandwidth::admits(parent, [(2, 1)]));
        assert!(Bandwidth::admits((UNLIMITED, 1), [(1, 1)]));
    }
}
