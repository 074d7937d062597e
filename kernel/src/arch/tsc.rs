//! The kernel's monotonic clock: the time-stamp counter, or a slower counter where that one cannot be trusted.
//!
//! Nanoseconds are `ticks * mult >> 32` with a 128-bit product: exact to the resolution of `mult`, and never overflowing
//! (2^64 ticks times a 64-bit factor).

#![allow(
    unsafe_code,
    reason = "reads the time-stamp counter and the timer port"
)]

use super::hpet::Hpet;
use crate::boot::acpi::PmTimer;
use conquer_once::noblock::OnceCell;
use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use x86_64::instructions::port::Port;

/// Bits behind the point of the factors below.
pub const SHIFT: u32 = 32;

/// The counter at the start of the clock.
static BASE: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds per tick, times 2^[`SHIFT`]; 0 until the calibration, so that time stands still.
static MULT: AtomicU64 = AtomicU64::new(0);
/// Ticks per nanosecond, times 2^[`SHIFT`].
static TICKS_PER_NS: AtomicU64 = AtomicU64::new(1 << SHIFT);
/// Whether [`Fallback`] is read instead.
static UNSTABLE: AtomicBool = AtomicBool::new(false);
static FALLBACK: OnceCell<Fallback> = OnceCell::uninit();

/// Reads the time-stamp counter, not before the loads in front of it are done.
#[inline]
pub fn read() -> u64 {
    let (low, high): (u64, u64);
    // SAFETY: `lfence` only orders, and every x86-64 CPU has it; reading the counter has no effect, and CR4.TSD is of no
    // matter in the kernel. By hand, since the intrinsic is a call where SSE is off.
    unsafe {
        asm!("lfence", "rdtsc", out("rax") low, out("rdx") high, options(nostack, preserves_flags))
    };
    high << 32 | low
}

/// Nanoseconds since boot, never going back on any CPU.
///
/// # Context
/// Any.
#[inline]
pub fn now_ns() -> u64 {
    if UNSTABLE.load(Ordering::Relaxed) {
        return FALLBACK.try_get().map_or(0, Fallback::now_ns);
    }
    let ticks = read().saturating_sub(BASE.load(Ordering::Relaxed));
    scale(ticks, MULT.load(Ordering::Relaxed))
}

/// Whether time goes on: it stands still until the calibration.
pub fn is_running() -> bool {
    MULT.load(Ordering::Relaxed) != 0
}

/// Time-stamp ticks in `ns` nanoseconds.
#[inline]
pub fn ns_to_ticks(ns: u64) -> u64 {
    scale(ns, TICKS_PER_NS.load(Ordering::Relaxed))
}

#[inline]
fn scale(value: u64, factor: u64) -> u64 {
    ((u128::from(value) * u128::from(factor)) >> SHIFT) as u64
}

/// What user space needs to read the clock by itself (the vDSO): `(tsc - base) * mult >> 32` nanoseconds since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockParams {
    /// The time-stamp counter at time 0.
    pub base: u64,
    /// Nanoseconds per tick, times 2^[`SHIFT`].
    pub mult: u64,
}

/// The parameters of the clock, unless the time-stamp counter is not to be used.
pub fn params() -> Option<ClockParams> {
    let stable = !UNSTABLE.load(Ordering::Relaxed);
    stable.then(|| ClockParams {
        base: BASE.load(Ordering::Relaxed),
        mult: MULT.load(Ordering::Relaxed),
    })
}

/// Ticks of the time-stamp counter per second.
pub fn hz() -> u64 {
    scale(1_000_000_000, TICKS_PER_NS.load(Ordering::Relaxed))
}

/// Starts the clock at 0, where it stays until [`calibrated`]. The first thing that the boot CPU does.
pub fn start() {
    BASE.store(read(), Ordering::Relaxed);
}

/// Sets the rate: the counter made `ticks` in `ns` nanoseconds.
///
/// # Context
/// Boot, before the other CPUs start.
pub fn calibrated(ticks: u64, ns: u64) {
    let ticks = u128::from(ticks.max(1));
    let ns = u128::from(ns.max(1));
    MULT.store(((ns << SHIFT) / ticks) as u64, Ordering::Relaxed);
    TICKS_PER_NS.store(((ticks << SHIFT) / ns) as u64, Ordering::Relaxed);
    log::info!("tsc: {} kHz", ticks * 1_000_000 / ns);
}

/// Notes the counter to use if the time-stamp counter turns out to be no good.
pub fn set_fallback(source: Source) {
    let fallback = Fallback::new(source);
    // Fails only if it was set before.
    let _ = FALLBACK.try_init_once(|| fallback);
}

/// Lets `ns` nanoseconds pass by this clock, and returns how many went by on it and on the fallback, if there is one.
#[cfg(feature = "ktest")]
pub fn compare_with_fallback(ns: u64) -> Option<(u64, u64)> {
    let fallback = FALLBACK.try_get().ok()?;
    let (start, other_start) = (now_ns(), fallback.raw_ns());
    while now_ns() - start < ns {
        core::hint::spin_loop();
    }
    Some((now_ns() - start, fallback.raw_ns() - other_start))
}

/// Gives the time-stamp counter up for the fallback, if there is one. Time goes on from where it is.
///
/// # Context
/// Boot.
pub fn mark_unstable(reason: &str) {
    let Ok(fallback) = FALLBACK.try_get() else {
        log::warn!("tsc: {reason}, but there is nothing else to use");
        return;
    };
    if !UNSTABLE.load(Ordering::Relaxed) {
        fallback.continue_from(now_ns());
        UNSTABLE.store(true, Ordering::Relaxed);
        log::warn!("tsc: unstable ({reason}), using {}", fallback.source.name());
    }
}

/// A counter that can serve as a clock.
#[derive(Clone, Copy, Debug)]
pub enum Source {
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
            Self::Hpet(_) => "hpet",
            Self::PmTimer(_) => "acpi_pm",
        }
    }

    /// Ticks per second.
    pub const fn hz(self) -> u64 {
        match self {
            Self::Hpet(hpet) => hpet.hz,
            Self::PmTimer(_) => PM_TIMER_HZ,
        }
    }

    /// Bits of the counter.
    pub const fn bits(self) -> u32 {
        match self {
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

    /// The counter.
    pub fn read(self) -> u64 {
        match self {
            Self::Hpet(hpet) => hpet.read(),
            Self::PmTimer(timer) => {
                // SAFETY: reading the port that the FADT names has no effect.
                let value: u32 = unsafe { Port::new(timer.port).read() };
                u64::from(value) & mask(self.bits())
            }
        }
    }
}

const fn mask(bits: u32) -> u64 {
    if bits >= 64 {
        u64::MAX
    } else {
        (1 << bits) - 1
    }
}

/// A clock on a counter that may be narrow: it has to be read at least once in half the counter's period.
struct Fallback {
    source: Source,
    /// The counter, extended to 64 bits, when it was last read.
    last: AtomicU64,
    /// Nanoseconds at counter 0, wrapping.
    offset: AtomicU64,
}

impl Fallback {
    fn new(source: Source) -> Self {
        Self {
            source,
            last: AtomicU64::new(source.read()),
            offset: AtomicU64::new(0),
        }
    }

    /// The counter, extended: never less than any CPU has seen.
    fn ticks(&self) -> u64 {
        let last = self.last.load(Ordering::Relaxed);
        let now = crate::counter::extend(last, self.source.read(), mask(self.source.bits()));
        self.last.fetch_max(now, Ordering::Relaxed).max(now)
    }

    fn raw_ns(&self) -> u64 {
        ((u128::from(self.ticks()) * 1_000_000_000) / u128::from(self.source.hz())) as u64
    }

    fn now_ns(&self) -> u64 {
        self.raw_ns()
            .wrapping_add(self.offset.load(Ordering::Relaxed))
    }

    fn continue_from(&self, ns: u64) {
        self.offset
            .store(ns.wrapping_sub(self.raw_ns()), Ordering::Relaxed);
    }
}
