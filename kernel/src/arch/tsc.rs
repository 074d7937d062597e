//! The time-stamp counter: reading it, and its rate. The kernel's clock, which mostly runs on it, is [`super::clock`].

#![allow(unsafe_code, reason = "reads the time-stamp counter")]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

pub use super::clock::{is_running, now_ns};

/// Ticks per nanosecond, times 2^32; 0 until the calibration.
static TICKS_PER_NS: AtomicU64 = AtomicU64::new(0);

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

/// Time-stamp ticks in `ns` nanoseconds.
#[inline]
pub fn ns_to_ticks(ns: u64) -> u64 {
    ((u128::from(ns) * u128::from(TICKS_PER_NS.load(Ordering::Relaxed))) >> 32) as u64
}

/// Ticks of the time-stamp counter per second.
pub fn hz() -> u64 {
    ns_to_ticks(1_000_000_000)
}

/// Sets the rate: the counter made `ticks` in `ns` nanoseconds.
///
/// # Context
/// Boot, before the other CPUs start.
pub fn calibrated(ticks: u64, ns: u64) {
    let ticks = u128::from(ticks.max(1));
    let ns = u128::from(ns.max(1));
    TICKS_PER_NS.store(((ticks << 32) / ns) as u64, Ordering::Relaxed);
    log::info!("tsc: {} kHz", ticks * 1_000_000 / ns);
}
