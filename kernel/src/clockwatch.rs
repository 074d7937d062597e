//! Watching a counter that is the clock by another one: the judgement, without the counters.
//!
//! Both are read at the beginning and at the end of an interval. Where they say by too much that it was of different
//! length, the watched one is not to be trusted, as on machines whose time-stamp counter stops or changes its rate.

use crate::counter::{extend, scale};

/// A counter that is off by more than this in an interval is not to be trusted.
const MAX_SKEW_NS: u64 = 4_000_000;
/// Readings that took longer than this say nothing: an emulator was held up between them.
const MAX_READ_NS: u64 = 100_000;

/// Both counters at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// The watched one.
    pub ours: u64,
    /// The other one, as it was read: it may have wrapped.
    pub theirs: u64,
    /// How long the reading took, in ticks of the watched one.
    pub took: u64,
}

/// What an interval says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Both agree.
    Good,
    /// Nothing: a reading was held up, or the other counter may have wrapped.
    Unsure,
    /// They do not agree: the length of the interval, in ns, by each.
    Skewed {
        /// By the watched one.
        ours_ns: u64,
        /// By the other.
        theirs_ns: u64,
    },
}

/// A watch over a counter.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    ours_mult: u64,
    theirs_mult: u64,
    theirs_mask: u64,
    last: Moment,
}

impl Watch {
    /// A watch from the moment `first` on, over a counter of `ours_mult` ns per tick (times 2^32) by another one, of
    /// `theirs_mult` and the width of `theirs_mask`.
    pub const fn new(ours_mult: u64, theirs_mult: u64, theirs_mask: u64, first: Moment) -> Self {
        Self {
            ours_mult,
            theirs_mult,
            theirs_mask,
            last: first,
        }
    }

    /// Judges the interval that ends `now`; the next one begins there.
    pub const fn look(&mut self, now: Moment) -> Verdict {
        let last = core::mem::replace(&mut self.last, now);
        let ours_ns = scale(now.ours.saturating_sub(last.ours), self.ours_mult);
        let passed = extend(last.theirs, now.theirs, self.theirs_mask).wrapping_sub(last.theirs);
        let theirs_ns = scale(passed, self.theirs_mult);
        let long = ours_ns > scale(self.theirs_mask / 2, self.theirs_mult);
        if long || !self.is_quick(last) || !self.is_quick(now) {
            Verdict::Unsure
        } else if ours_ns.abs_diff(theirs_ns) > MAX_SKEW_NS {
            Verdict::Skewed { ours_ns, theirs_ns }
        } else {
            Verdict::Good
        }
    }

    const fn is_quick(&self, moment: Moment) -> bool {
        scale(moment.took, self.ours_mult) <= MAX_READ_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counter::mult;

    const TSC_HZ: u64 = 2_000_000_000;
    const PM_HZ: u64 = 3_579_545;
    const PM_MASK: u64 = 0xff_ffff;

    /// A machine's counters after `ms`, where the watched one runs too fast by `ppm`.
    fn after(ms: u64, ppm: i64) -> Moment {
        let ours = TSC_HZ / 1000 * ms;
        Moment {
            ours: ours.saturating_add_signed(ours as i64 / 1_000_000 * ppm),
            theirs: (PM_HZ * ms / 1000) & PM_MASK,
            took: 2000,
        }
    }

    fn watch() -> Watch {
        Watch::new(mult(TSC_HZ), mult(PM_HZ), PM_MASK, after(0, 0))
    }

    #[test]
    fn counters_that_agree_are_trusted_for_ever() {
        let mut watch = watch();
        // Through many a wrap of the narrow one, at 4.7 s.
        for half_seconds in 1..1000 {
            assert_eq!(watch.look(after(500 * half_seconds, 0)), Verdict::Good);
        }
    }

    #[test]
    fn a_counter_that_drifts_is_found_out_by_its_first_interval() {
        for ppm in [-20_000, 20_000, 500_000] {
            let verdict = watch().look(after(500, ppm));
            let Verdict::Skewed { ours_ns, theirs_ns } = verdict else {
                panic!("{ppm}: {verdict:?}");
            };
            assert_eq!(ours_ns > theirs_ns, ppm > 0);
            assert!(theirs_ns.abs_diff(500_000_000) < 1000, "{theirs_ns}");
        }
        // What a crystal is off by is no reason.
        assert_eq!(watch().look(after(500, 500)), Verdict::Good);
        // One that has stopped.
        let stopped = Moment {
            ours: 0,
            ..after(500, 0)
        };
        assert!(matches!(watch().look(stopped), Verdict::Skewed { .. }));
    }

    #[test]
    fn readings_that_were_held_up_say_nothing() {
        let mut watch = watch();
        let held_up = Moment {
            took: TSC_HZ / 1000,
            ..after(500, 50_000)
        };
        assert_eq!(watch.look(held_up), Verdict::Unsure);
        // Nor does the interval that begins with it; the one after that does.
        assert_eq!(watch.look(after(1000, 0)), Verdict::Unsure);
        assert_eq!(watch.look(after(1500, 0)), Verdict::Good);
        assert!(matches!(
            watch.look(after(2000, 50_000)),
            Verdict::Skewed { .. }
        ));
    }

    #[test]
    fn an_interval_in_which_the_other_counter_may_have_wrapped_says_nothing() {
        assert_eq!(watch().look(after(3000, 50_000)), Verdict::Unsure);
    }
}
