//! Weights of nice levels, and scaling of time by weight.

/// The weight of nice 0.
pub const NICE_0: u64 = 1024;

/// The weight of the idle policy: next to nothing, but never nothing.
pub const IDLE: u64 = 3;

/// Weights of nice -20 to 19. One step changes a task's share by about 10 % where it competes with one equal task, so
/// each weight is about 1.25 times the next. The values are Linux's `sched_prio_to_weight`, since programs see shares.
const NICE: [u32; 40] = [
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904,
    3906, 3121, 2501, 1991, 1586, 1277, 1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87,
    70, 56, 45, 36, 29, 23, 18, 15,
];

/// The weight of nice level `nice`; levels outside -20..=19 count as the nearest one.
pub fn of_nice(nice: i8) -> u64 {
    u64::from(NICE[(i32::from(nice).clamp(-20, 19) + 20) as usize])
}

/// A weight and its inverse, so that no division is left for the switch path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    value: u64,
    /// `2^32 * NICE_0 / value`, rounded down.
    inverse: u64,
}

impl Weight {
    /// Prepares `value`, which must be 1 to 2^20.
    pub fn new(value: u64) -> Self {
        debug_assert!((1..=1 << 20).contains(&value));
        Self {
            value,
            inverse: (NICE_0 << 32) / value,
        }
    }

    /// The weight itself.
    #[inline]
    pub fn value(self) -> u64 {
        self.value
    }

    /// `delta_ns * NICE_0 / weight`: how much virtual time passes for a task of this weight in `delta_ns`.
    ///
    /// The product is formed in 128 bits, so it cannot overflow; the quotient fits 64 bits for any `delta_ns` up to
    /// 2^54 ns (208 days) even at weight 1. The inverse is rounded down by less than one part in 2^32 * 1024 / weight,
    /// below 2^-25 at the greatest nice weight.
    #[inline]
    pub fn scale(self, delta_ns: u64) -> u64 {
        self.scale_exactly(delta_ns, &mut 0)
    }

    /// As [`scale`](Self::scale), but what the result leaves out (2^-32 ns) is carried in `rest` to the next call: at
    /// great weights a short run is less than one virtual nanosecond, and would otherwise be free.
    #[inline]
    pub fn scale_exactly(self, delta_ns: u64, rest: &mut u32) -> u64 {
        let product = u128::from(delta_ns) * u128::from(self.inverse) + u128::from(*rest);
        *rest = product as u32;
        (product >> 32) as u64
    }

    /// The least time in which `virtual_ns` of virtual time pass for a task of this weight.
    #[inline]
    pub fn unscale(self, virtual_ns: u64) -> u64 {
        virtual_ns.saturating_mul(self.value).div_ceil(NICE_0) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nice_zero_runs_at_the_speed_of_the_clock() {
        assert_eq!(Weight::new(of_nice(0)).scale(1_000_000), 1_000_000);
    }

    #[test]
    fn scaling_is_exact_to_a_millionth_at_every_level() {
        for nice in -20..=19 {
            let weight = Weight::new(of_nice(nice));
            let exact = 1_000_000_000u128 * 1024 / u128::from(weight.value());
            let got = u128::from(weight.scale(1_000_000_000));
            assert!(
                exact - got <= exact / 1_000_000 + 1,
                "nice {nice}: {got} for {exact}"
            );
        }
    }

    #[test]
    fn each_step_is_a_quarter() {
        for nice in -20..19 {
            let ratio = of_nice(nice) as f64 / of_nice(nice + 1) as f64;
            assert!((1.15..1.35).contains(&ratio), "nice {nice}: {ratio}");
        }
    }
}
