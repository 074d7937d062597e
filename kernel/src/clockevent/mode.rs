//! What the tick makes of a device.

/// How a CPU's clock event device is used; numbers as Linux's `.nohz_mode` in `/proc/timer_list`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// It interrupts at every tick, and timers expire at ticks.
    Periodic = 0,
    /// It is set for the tick at which the next timer expires (`highres=off`).
    LowResolution = 1,
    /// It is set for the moment at which the next timer expires.
    HighResolution = 2,
}

impl Mode {
    /// The mode for the options `highres=` and `nohz=`: without either there is nothing to set a device for but ticks.
    pub const fn new(high_resolution: bool, tickless: bool) -> Self {
        match (high_resolution, tickless) {
            (true, _) => Self::HighResolution,
            (false, true) => Self::LowResolution,
            (false, false) => Self::Periodic,
        }
    }

    /// The moment, in ns, at which a timer that is due at `deadline_ns` can expire: with low resolution the next tick,
    /// `tick_ns` apart.
    pub const fn round(self, deadline_ns: u64, tick_ns: u64) -> u64 {
        match self {
            Self::HighResolution => deadline_ns,
            Self::LowResolution | Self::Periodic => {
                let rest = deadline_ns % tick_ns;
                if rest == 0 {
                    deadline_ns
                } else {
                    deadline_ns.saturating_add(tick_ns - rest)
                }
            }
        }
    }

    /// When, in ns, the tick comes after the one at `now_ns`: with low resolution on the grid of ticks, so that rounding
    /// does not lose every other one.
    pub const fn next_tick(self, now_ns: u64, tick_ns: u64) -> u64 {
        match self {
            Self::HighResolution => now_ns + tick_ns,
            Self::LowResolution | Self::Periodic => now_ns - now_ns % tick_ns + tick_ns,
        }
    }
}
