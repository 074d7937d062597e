//! Wall-clock time stamps of inodes, and the clock they are taken from.
//!
//! This crate never reads hardware: the kernel registers a [`Clock`] once at boot, tests one they control.

use conquer_once::spin::OnceCell;

/// A point in real time, as `struct timespec` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970, also negative.
    pub sec: i64,
    /// Nanoseconds, `0..1_000_000_000`.
    pub nsec: u32,
}

impl Time {
    /// Makes a time from nanoseconds since 1970.
    pub const fn from_ns(ns: i64) -> Time {
        Time {
            sec: ns.div_euclid(1_000_000_000),
            nsec: ns.rem_euclid(1_000_000_000) as u32,
        }
    }
}

/// Returns the real time now; cheap, as Linux's coarse clock, since every write and open asks.
pub type Clock = fn() -> Time;

static CLOCK: OnceCell<Clock> = OnceCell::uninit();

/// Registers the clock; the first call wins.
///
/// # Context
/// Boot.
pub fn register_clock(clock: Clock) {
    let _ = CLOCK.try_init_once(|| clock);
}

/// Returns the time now, or 1970 before a clock is registered.
pub fn now() -> Time {
    match CLOCK.try_get() {
        Ok(clock) => clock(),
        Err(_) => Time::default(),
    }
}
