//! Wall-clock time: how far it is ahead of the monotonic clock.
//!
//! The monotonic clock comes from the time-stamp counter ([`crate::arch::tsc`]). `CLOCK_REALTIME` is that plus one
//! offset, set at boot from the CMOS clock and later by `clock_settime(2)`.

use core::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use executor::sync::WaitQueue;
use fs::time::Time;

use crate::arch::{rtc, tsc};

/// Nanoseconds between the epoch and the moment that the monotonic clock calls zero.
static OFFSET_NS: AtomicI64 = AtomicI64::new(0);
/// How often the clock was set: what waits for a time of day looks again when this changes.
static SETTINGS: AtomicU64 = AtomicU64::new(0);

/// Woken when the clock was set.
pub static CLOCK_SET: WaitQueue = WaitQueue::new();

const NS: i64 = 1_000_000_000;

/// Nanoseconds since boot.
#[inline]
pub fn monotonic_ns() -> u64 {
    tsc::now_ns()
}

/// Nanoseconds since the epoch.
///
/// # Context
/// Any.
#[inline]
pub fn realtime_ns() -> i64 {
    tsc::now_ns() as i64 + OFFSET_NS.load(Ordering::Relaxed)
}

/// The time of day as file systems keep it.
pub fn now() -> Time {
    Time::from_ns(realtime_ns())
}

/// Nanoseconds between `CLOCK_REALTIME` and `CLOCK_MONOTONIC`.
#[inline]
pub fn offset_ns() -> i64 {
    OFFSET_NS.load(Ordering::Relaxed)
}

/// The monotonic time at which the time of day is `ns`.
pub fn from_realtime(ns: u64) -> u64 {
    let ahead = offset_ns();
    if ahead >= 0 {
        ns.saturating_sub(ahead as u64)
    } else {
        ns.saturating_add(ahead.unsigned_abs())
    }
}

/// How often the clock was set.
pub fn settings() -> u64 {
    SETTINGS.load(Ordering::Acquire)
}

/// Sets the time of day, in nanoseconds since the epoch.
pub fn set_realtime(ns: i64) {
    OFFSET_NS.store(ns - tsc::now_ns() as i64, Ordering::Relaxed);
    SETTINGS.fetch_add(1, Ordering::Release);
    fs::timerfd::clock_was_set(offset_ns());
    crate::process::timers::clock_was_set();
    CLOCK_SET.wake_all();
    crate::vdso::update();
}

/// Takes the time of day from the CMOS clock. Context: boot.
pub fn init() {
    let seconds = rtc::read();
    OFFSET_NS.store(
        seconds.saturating_mul(NS) - tsc::now_ns() as i64,
        Ordering::Relaxed,
    );
    fs::time::register_clock(now);
}
