//! Load and utilisation of late: averages in which a millisecond counts half as much after 32 more have passed.
//!
//! Time is cut into periods of 1024 µs. What happened i periods ago counts y^i, with y^32 = 1/2, so that a sum over all
//! time is a geometric series and one period passes by one multiplication. The weights sum up to at most
//! [`MAX_SUM`] = 1024 * (1 + y + y^2 + ...), by which a sum is divided to give an average.
//!
//! This is Linux's per-entity load tracking, but for when it is brought up to date: not at each switch, but when a
//! millisecond has passed, from the exact time that the task ran meanwhile. So a switch costs one comparison.

/// The greatest sum that time alone can give: a task that always ran.
pub const MAX_SUM: u64 = 47742;

/// Length of a period in µs.
const PERIOD_US: u64 = 1024;

/// `y^i` in units of 2^-32. Values of the formula `2^32 * 2^(-i/32)`, rounded down; a test computes them.
const DECAY: [u32; 32] = [
    0xffff_ffff,
    0xfa83_b2da,
    0xf525_7d14,
    0xefe4_b99a,
    0xeac0_c6e6,
    0xe5b9_06e6,
    0xe0cc_deeb,
    0xdbfb_b796,
    0xd744_fcc9,
    0xd2a8_1d91,
    0xce24_8c14,
    0xc9b9_bd85,
    0xc567_2a10,
    0xc12c_4cc9,
    0xbd08_a39e,
    0xb8fb_af46,
    0xb504_f333,
    0xb123_f581,
    0xad58_3ee9,
    0xa9a1_5ab4,
    0xa5fe_d6a9,
    0xa270_4302,
    0x9ef5_325f,
    0x9b8d_39b9,
    0x9837_f050,
    0x94f4_efa8,
    0x91c3_d373,
    0x8ea4_398a,
    0x8b95_c1e3,
    0x8898_0e80,
    0x85aa_c367,
    0x82cd_8698,
];

/// `sum * y^periods`.
fn decay(sum: u64, periods: u64) -> u64 {
    // After 63 halvings nothing is left of 64 bits.
    if periods >= 32 * 63 {
        return 0;
    }
    let halved = sum >> (periods / 32);
    let factor = DECAY[(periods % 32) as usize];
    if factor == u32::MAX {
        return halved;
    }
    ((u128::from(halved) * u128::from(factor)) >> 32) as u64
}

/// How much load there was, and how long it ran, of late.
#[derive(Clone, Copy, Debug, Default)]
pub struct Average {
    /// Up to when the sums count, in ns.
    updated: u64,
    /// Microseconds of the current period that are in the sums.
    part_us: u32,
    /// Of time in µs, times the load that there was.
    load_sum: u64,
    /// Of time in µs in which it ran.
    running_sum: u64,
    /// Run time since `updated`, in ns.
    ran_ns: u64,
}

impl Average {
    /// An average that begins at `now`.
    pub fn starting(now: u64) -> Self {
        Self {
            updated: now,
            ..Self::default()
        }
    }

    /// Books run time that has just passed.
    #[inline(always)]
    pub(crate) fn ran(&mut self, delta_ns: u64) {
        self.ran_ns += delta_ns;
    }

    /// Whether it is time for [`update`](Self::update).
    #[inline(always)]
    pub(crate) fn is_due(&self, now: u64) -> bool {
        now.wrapping_sub(self.updated) >= PERIOD_US * 1024
    }

    /// Brings the sums up to `now`, over a time in which there was `load`. What ran of it, ran at its end, or with
    /// `ran_first` at its beginning; as this is called at least each millisecond of run time, that is what decides to less
    /// than a period where the time belongs.
    #[cold]
    pub(crate) fn update(&mut self, now: u64, load: u64, ran_first: bool) {
        // In units of 1024 ns, as Linux counts its "microseconds".
        let passed = now.saturating_sub(self.updated) >> 10;
        self.updated += passed << 10;
        let ran = (self.ran_ns >> 10).min(passed);
        // What is over goes to the next time, but for what cannot be true.
        self.ran_ns = (self.ran_ns - (ran << 10)).min(1023);
        if ran_first {
            self.add(ran, load, true);
            self.add(passed - ran, load, false);
        } else {
            self.add(passed - ran, load, false);
            self.add(ran, load, true);
        }
    }

    /// Lets `us` pass.
    fn add(&mut self, us: u64, load: u64, running: bool) {
        if us == 0 {
            return;
        }
        let part = u64::from(self.part_us);
        let total = part + us;
        let periods = total / PERIOD_US;
        let rest = total % PERIOD_US;
        let time = if periods == 0 {
            us
        } else {
            self.load_sum = decay(self.load_sum, periods);
            self.running_sum = decay(self.running_sum, periods);
            // The end of the first period, the whole ones between, and the beginning of the last one.
            let first = decay(PERIOD_US - part, periods);
            let between = MAX_SUM - decay(MAX_SUM, periods) - PERIOD_US;
            first + between + rest
        };
        self.part_us = rest as u32;
        // Weights of queues stay below 2^34 and MAX_SUM below 2^16.
        self.load_sum += load * time;
        if running {
            self.running_sum += time;
        }
    }

    /// What the sums are out of.
    fn divider(&self) -> u64 {
        MAX_SUM - PERIOD_US + u64::from(self.part_us)
    }

    /// The average load: 1 unit of load that was there always gives 1 (entities are updated with a load of
    /// [`SCALE`], queues with the sum of weights).
    pub fn load(&self) -> u64 {
        self.load_sum / self.divider()
    }

    /// The share of time in which it ran, of [`SCALE`].
    pub fn utilisation(&self) -> u64 {
        (self.running_sum * SCALE / self.divider()).min(SCALE)
    }

    /// Takes the load of a task that leaves for another queue out of this one's.
    pub fn detach(&mut self, load: u64, utilisation: u64) {
        let divider = self.divider();
        self.load_sum = self.load_sum.saturating_sub(load * divider);
        self.running_sum = self
            .running_sum
            .saturating_sub(utilisation * divider / SCALE);
    }

    /// Adds the load of a task that comes from another queue.
    pub fn attach(&mut self, load: u64, utilisation: u64) {
        let divider = self.divider();
        self.load_sum += load * divider;
        self.running_sum = (self.running_sum + utilisation * divider / SCALE).min(divider);
    }
}

/// All of a CPU.
pub const SCALE: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1 << 20;

    #[test]
    fn the_table_is_the_formula() {
        for (i, &value) in DECAY.iter().enumerate() {
            let exact = 2f64.powi(32) * 2f64.powf(-(i as f64) / 32.0);
            assert!((exact - f64::from(value)).abs() <= 2.0, "{i}: {value:x}");
        }
    }

    #[test]
    fn what_always_runs_counts_as_a_whole_cpu() {
        let mut average = Average::starting(0);
        for ms in 1..=2000 {
            average.ran(MS);
            average.update(ms * MS, SCALE, false);
        }
        assert!(
            average.utilisation() >= SCALE - 2,
            "{}",
            average.utilisation()
        );
        assert!(average.load().abs_diff(SCALE) <= 2, "{}", average.load());
    }

    #[test]
    fn half_is_forgotten_in_32_periods() {
        let mut average = Average::starting(0);
        average.ran(1000 * MS);
        average.update(1000 * MS, SCALE, false);
        average.update(1032 * MS, 0, false);
        assert!(average.utilisation().abs_diff(SCALE / 2) <= 2);
        assert!(average.load().abs_diff(SCALE / 2) <= 2);
        average.update(10_000 * MS, 0, false);
        assert_eq!((average.utilisation(), average.load()), (0, 0));
    }

    #[test]
    fn one_long_update_equals_many_short_ones() {
        let (mut long, mut short) = (Average::starting(0), Average::starting(0));
        for i in 1..=500 {
            short.ran(MS / 5);
            short.update(i * MS / 5, 3, false);
        }
        long.ran(100 * MS);
        long.update(100 * MS, 3, false);
        // Each decay rounds down by less than one; there are a hundred of them.
        assert!(long.load_sum.abs_diff(short.load_sum) <= 3 * 150);
        assert!(long.running_sum.abs_diff(short.running_sum) <= 150);
    }

    #[test]
    fn a_duty_cycle_shows_as_utilisation() {
        let mut average = Average::starting(0);
        for i in 1..=1000u64 {
            average.update(i * 10 * MS - 3 * MS, 0, false);
            average.ran(3 * MS);
            average.update(i * 10 * MS, SCALE, false);
        }
        // 30 %, and a ripple of up to 1 - y^7, 14 % of that, at the end of a burst.
        let expected = SCALE * 3 / 10;
        assert!(average.utilisation() >= expected);
        assert!(average.utilisation() <= expected * 115 / 100);
    }

    #[test]
    fn load_moves_between_queues_whole() {
        let mut from = Average::starting(0);
        from.ran(500 * MS);
        from.update(500 * MS, 2048, false);
        let mut to = Average::starting(0);
        to.update(500 * MS, 0, false);
        let before = from.load();
        from.detach(1024, 512);
        to.attach(1024, 512);
        assert!((from.load() + to.load()).abs_diff(before) <= 2);
        assert!(to.utilisation().abs_diff(512) <= 1);
    }
}
