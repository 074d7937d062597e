//! Busy waiting, for hardware that wants a moment and not a wait.

use super::Instant;
use crate::facade::spin_loop;

/// Lets `us` microseconds pass, at least.
///
/// # Context
/// Any. Spins for as long as it is told, with whatever is masked left so: where it is more than a few, sleep instead.
pub fn udelay(us: u64) {
    let end = Instant::now().add_ns(us.saturating_mul(1000));
    while Instant::now() < end {
        spin_loop();
    }
}

/// Lets `ns` nanoseconds pass, at least: whole microseconds, as the clock is no finer than what reading it takes.
///
/// # Context
/// As [`udelay`].
pub fn ndelay(ns: u64) {
    udelay(ns.div_ceil(1000));
}

/// Lets `ms` milliseconds pass, at least.
///
/// # Context
/// As [`udelay`], and all the worse: for boot, and for devices that leave no other way.
pub fn mdelay(ms: u64) {
    // One after another, so that preemption and interrupts that are let in show in no single long spin.
    for _ in 0..ms {
        udelay(1000);
    }
}
