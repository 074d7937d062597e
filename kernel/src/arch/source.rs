//! Counters that can serve as the clock, rated as Linux rates them.

#![allow(unsafe_code, reason = "reads the timer port")]

use super::hpet::Hpet;
use super::tsc;
use crate::boot::acpi::PmTimer;
use x86_64::instructions::port::Port;

/// A counter that can serve as the clock.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// The CPUs' time-stamp counters, taken for one.
    Tsc,
    /// The high-precision event timer.
    Hpet(Hpet),
    /// ACPI's power management timer.
    PmTimer(PmTimer),
}

/// Ticks per second of ACPI's timer.
const PM_TIMER_HZ: u64 = 3_579_545;

impl Source {
    /// Its name, as Linux has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tsc => "tsc",
            Self::Hpet(_) => "hpet",
            Self::PmTimer(_) => "acpi_pm",
        }
    }

    /// How good it is: the best one that can be trusted is the clock.
    pub const fn rating(self) -> u32 {
        match self {
            Self::Tsc => 300,
            Self::Hpet(_) => 250,
            Self::PmTimer(_) => 200,
        }
    }

    /// Ticks per second.
    pub fn hz(self) -> u64 {
        match self {
            Self::Tsc => tsc::hz(),
            Self::Hpet(hpet) => hpet.hz,
            Self::PmTimer(_) => PM_TIMER_HZ,
        }
    }

    /// Bits of the counter.
    pub const fn bits(self) -> u32 {
        match self {
            Self::Tsc => 64,
            Self::Hpet(hpet) => hpet.bits,
            Self::PmTimer(timer) => {
                if timer.wide {
                    32
                } else {
                    24
                }
            }
        }
    }

    /// Ones in all bits of the counter.
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }

    /// Nanoseconds per tick, times 2^32.
    pub fn mult(self) -> u64 {
        crate::counter::mult(self.hz())
    }

    /// The counter.
    pub fn read(self) -> u64 {
        match self {
            Self::Tsc => tsc::read(),
            Self::Hpet(hpet) => hpet.read(),
            Self::PmTimer(timer) => {
                // SAFETY: reading the port that the FADT names has no effect.
                let value: u32 = unsafe { Port::new(timer.port).read() };
                u64::from(value) & self.mask()
            }
        }
    }
}
