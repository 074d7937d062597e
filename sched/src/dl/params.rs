//! What a deadline task asks for, and how much of a CPU that is.

use core::ops::RangeInclusive;

/// A whole CPU, as bandwidths are counted.
pub const BW_UNIT: u64 = 1 << BW_SHIFT;
pub(crate) const BW_SHIFT: u32 = 20;

/// The shortest run time, in ns: below it the arithmetic has no precision left.
pub const MIN_RUNTIME_NS: u64 = 1024;
/// The shortest period that anybody may ask for, unless another is set (`sched_deadline_period_min_us`).
pub const MIN_PERIOD_NS: u64 = 100_000;
/// The longest one (`sched_deadline_period_max_us`).
pub const MAX_PERIOD_NS: u64 = (1 << 22) * 1000;

/// `runtime_ns` in each `period_ns`, to be had within `deadline_ns` of the period's beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params {
    /// Run time in each period.
    pub runtime_ns: u64,
    /// Relative deadline.
    pub deadline_ns: u64,
    /// Period; not 0.
    pub period_ns: u64,
    /// See [`Flags`].
    pub flags: Flags,
}

/// How a deadline task behaves beyond its parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `SCHED_FLAG_RECLAIM`: it may use what other deadline tasks of its CPU leave.
    pub reclaim: bool,
    /// `SCHED_FLAG_DL_OVERRUN`: it wants to know (`SIGXCPU`) when it used up its run time.
    pub overrun: bool,
}

/// `sched_setattr(2)` refuses such parameters: `EINVAL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

impl Params {
    /// Parameters as a program gives them; a period of 0 is the deadline.
    ///
    /// # Errors
    /// [`Invalid`] unless 1024 ns <= runtime <= deadline <= period, the period is 100 µs to 4.19 s, and no value has its
    /// top bit set.
    pub fn new(
        runtime_ns: u64,
        deadline_ns: u64,
        period_ns: u64,
        flags: Flags,
    ) -> Result<Self, Invalid> {
        let usual = MIN_PERIOD_NS..=MAX_PERIOD_NS;
        Self::with_periods(runtime_ns, deadline_ns, period_ns, flags, usual)
    }

    /// As [`new`](Self::new), where periods are to be within `periods`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_periods(
        runtime_ns: u64,
        deadline_ns: u64,
        period_ns: u64,
        flags: Flags,
        periods: RangeInclusive<u64>,
    ) -> Result<Self, Invalid> {
        let period = if period_ns == 0 {
            deadline_ns
        } else {
            period_ns
        };
        let top = 1 << 63;
        let valid = deadline_ns != 0
            && runtime_ns >= MIN_RUNTIME_NS
            && (deadline_ns | period_ns) & top == 0
            && runtime_ns <= deadline_ns
            && deadline_ns <= period
            && periods.contains(&period);
        valid
            .then_some(Self {
                runtime_ns,
                deadline_ns,
                period_ns: period,
                flags,
            })
            .ok_or(Invalid)
    }

    /// The share of a CPU, of [`BW_UNIT`]. Divides.
    pub fn bandwidth(&self) -> u64 {
        ratio(self.runtime_ns, self.period_ns)
    }

    /// The share of a CPU until the deadline, of [`BW_UNIT`]. Divides.
    pub fn density(&self) -> u64 {
        ratio(self.runtime_ns, self.deadline_ns)
    }

    /// Whether the deadline is the end of the period.
    pub fn is_implicit(&self) -> bool {
        self.deadline_ns == self.period_ns
    }
}

/// `part / whole` of [`BW_UNIT`]; valid parts are below 2^33.
fn ratio(part: u64, whole: u64) -> u64 {
    if whole == 0 {
        return 0;
    }
    (part << BW_SHIFT) / whole
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn check(runtime: u64, deadline: u64, period: u64) -> Result<Params, Invalid> {
        Params::new(runtime, deadline, period, Flags::default())
    }

    #[test]
    fn other_bounds_of_periods_may_be_set() {
        let within = |period, periods| {
            Params::with_periods(MS, period, 0, Flags::default(), periods).is_ok()
        };
        assert!(within(10 * MS, 10 * MS..=10 * MS));
        assert!(!within(10 * MS, 11 * MS..=20 * MS));
        assert!(within(5000 * MS, 0..=6000 * MS));
    }

    #[test]
    fn parameters_are_ordered_and_bounded() {
        assert!(check(10 * MS, 20 * MS, 30 * MS).is_ok());
        assert_eq!(check(10 * MS, 20 * MS, 0).map(|p| p.period_ns), Ok(20 * MS));
        assert_eq!(check(0, 20 * MS, 30 * MS), Err(Invalid));
        assert_eq!(check(1023, 20 * MS, 30 * MS), Err(Invalid));
        assert_eq!(check(10 * MS, 0, 30 * MS), Err(Invalid));
        assert_eq!(check(21 * MS, 20 * MS, 30 * MS), Err(Invalid));
        assert_eq!(check(10 * MS, 31 * MS, 30 * MS), Err(Invalid));
        assert_eq!(check(2000, 99_999, 99_999), Err(Invalid));
        assert_eq!(check(10 * MS, 5000 * MS, 5000 * MS), Err(Invalid));
        assert_eq!(check(10 * MS, 1 << 63, 0), Err(Invalid));
    }
}
