//! How fast a device counts, and how far.

/// How fast a device counts, and how far. Ticks are `ns * ticks_per_ns >> 32`, by a 128-bit product that cannot overflow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Ticks per nanosecond, times 2^32.
    pub ticks_per_ns: u64,
    /// The fewest ticks that it can be told.
    pub min_ticks: u64,
    /// The most.
    pub max_ticks: u64,
}

impl Rate {
    /// A device that makes `hz` ticks a second.
    pub const fn new(hz: u64, min_ticks: u64, max_ticks: u64) -> Self {
        let ticks_per_ns = (((hz as u128) << 32) / 1_000_000_000) as u64;
        Self {
            // One that stands still is as slow as can be told.
            ticks_per_ns: if ticks_per_ns == 0 { 1 } else { ticks_per_ns },
            min_ticks,
            max_ticks,
        }
    }

    /// The ticks of a delay, within what the device can be told. Rounded up: no interrupt is to come before its time only
    /// for that.
    pub fn ticks(self, ns: u64) -> u64 {
        let product = u128::from(ns) * u128::from(self.ticks_per_ns);
        let ticks = (product + u128::from(u32::MAX)) >> 32;
        let ticks = u64::try_from(ticks).unwrap_or(u64::MAX);
        ticks.clamp(self.min_ticks, self.max_ticks)
    }

    const fn ns(self, ticks: u64) -> u64 {
        let ns = ((ticks as u128) << 32) / self.ticks_per_ns as u128;
        if ns > u64::MAX as u128 {
            u64::MAX
        } else {
            ns as u64
        }
    }

    /// The shortest delay, in ns.
    pub const fn min_ns(self) -> u64 {
        self.ns(self.min_ticks)
    }

    /// The longest delay, in ns.
    pub const fn max_ns(self) -> u64 {
        self.ns(self.max_ticks)
    }
}
