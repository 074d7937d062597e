//! Wall-clock time: how far it is ahead of the monotonic clock.
//!
//! The monotonic clock is [`crate::arch::clock`]. `CLOCK_REALTIME` is that plus one offset, set at boot from the CMOS clock
//! and later by `clock_settime(2)`; `CLOCK_TAI` is that plus whole seconds. What adjtimex(2) asks for ([`crate::ntp`])
//! changes the rate of them all; while it has something to work off, [`discipline`] looks at the end of each second.

use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use core::time::Duration;

use executor::sync::{SpinLock, WaitQueue};
use executor::time::sleep;
use fs::time::Time;

use crate::arch::{clock, rtc, tsc};
use crate::ntp::{Leap, Ntp, Timex};

/// Nanoseconds between the epoch and the moment that the monotonic clock calls zero.
static OFFSET_NS: AtomicI64 = AtomicI64::new(0);
/// How often the clock was set: what waits for a time of day looks again when this changes.
static SETTINGS: AtomicU64 = AtomicU64::new(0);

/// How the clocks are disciplined.
static NTP: SpinLock<Ntp> = SpinLock::new(Ntp::NEW);
/// Woken when that has changed.
static DISCIPLINE: WaitQueue = WaitQueue::new();
static TAI_NS: AtomicI64 = AtomicI64::new(0);
static ADJUSTED: AtomicBool = AtomicBool::new(false);
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

/// The monotonic time at which atomic time is `ns`.
pub fn from_tai(ns: u64) -> u64 {
    from_realtime(ns.saturating_sub(tai_ns() as u64))
}

/// How often the clock was set.
pub fn settings() -> u64 {
    SETTINGS.load(Ordering::Acquire)
}

/// Nanoseconds since boot by a clock that nobody adjusts.
pub fn raw_ns() -> u64 {
    clock::raw_ns()
}

/// Nanoseconds by which atomic time is ahead of the time of day.
pub fn tai_ns() -> i64 {
    TAI_NS.load(Ordering::Relaxed)
}

/// Whether the rate was ever another than the counter's own.
pub fn was_adjusted() -> bool {
    ADJUSTED.load(Ordering::Relaxed)
}

/// Sets the time of day, in nanoseconds since the epoch.
///
/// # Context
/// Task.
pub fn set_realtime(ns: i64) {
    NTP.lock().clear();
    step_to(ns);
}

/// Does what adjtimex(2) asks, which has been checked, and adds `step_ns` to the time of day. Gives what the call answers,
/// and the time of day in ns.
///
/// # Context
/// Task.
pub fn adjust(timex: &mut Timex, step_ns: Option<i64>) -> (u64, i64) {
    if let Some(step) = step_ns {
        set_realtime(realtime_ns().saturating_add(step));
    }
    let asked = timex.modes;
    let now = realtime_ns();
    let answer = {
        let mut ntp = NTP.lock();
        let answer = ntp.adjust(timex, now / NS);
        if asked != 0 {
            apply(&ntp);
        }
        answer
    };
    if asked != 0 {
        crate::vdso::update();
        DISCIPLINE.wake_all();
    }
    (answer, now)
}

/// Has the clocks go as `ntp` says.
fn apply(ntp: &Ntp) {
    let rate = ntp.rate();
    if rate != clock::RATE_ONE {
        ADJUSTED.store(true, Ordering::Relaxed);
    }
    clock::set_rate(rate);
    TAI_NS.store(i64::from(ntp.tai()) * NS, Ordering::Relaxed);
}

/// Looks at the end of each second whether an offset is to be worked off or a leap second to be made, for ever.
pub async fn discipline() {
    loop {
        let active = || NTP.lock().is_active().then_some(());
        DISCIPLINE.wait_until(active).await;
        let now = realtime_ns();
        let rest = NS - now.rem_euclid(NS);
        sleep(Duration::from_nanos(rest as u64)).await;
        let second = realtime_ns() / NS;
        let leap = {
            let mut ntp = NTP.lock();
            let leap = ntp.second(second);
            apply(&ntp);
            leap
        };
        match leap {
            Leap::None => crate::vdso::update(),
            Leap::Insert => {
                log::warn!("Clock: inserting leap second 23:59:60 UTC");
                step_to(realtime_ns() - NS);
            }
            Leap::Delete => {
                log::warn!("Clock: deleting leap second 23:59:59 UTC");
                step_to(realtime_ns() + NS);
            }
        }
    }
}

/// Has the time of day be `ns` from this moment on, and tells all who follow it.
fn step_to(ns: i64) {
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
    executor::spawn("clock discipline", discipline()).detach();
    executor::spawn("clocksource watchdog", clock::watch()).detach();
}
