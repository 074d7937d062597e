//! Clocks, sleeping, timers.

use super::{Result, calls, filled, ok};
use std::time::Duration;

calls! {
    /// A file that tells when a timer has expired.
    timerfd_create(clock: i32, flags: i32) -> i32 = SYS_timerfd_create;
    /// Sets the timer of such a file.
    timerfd_settime(
        fd: i32, flags: i32, setting: &libc::itimerspec, old: Option<&mut libc::itimerspec>,
    ) = SYS_timerfd_settime;
    /// Sets a clock.
    clock_settime(clock: i32, time: &libc::timespec) = SYS_clock_settime;
    /// Sleeps, and tells what is left when a signal comes.
    nanosleep(time: &libc::timespec, left: Option<&mut libc::timespec>) = SYS_nanosleep;
    /// Sets an interval timer.
    setitimer(which: i32, setting: &libc::itimerval, old: Option<&mut libc::itimerval>) = SYS_setitimer;
}

mod raw {
    use super::calls;

    calls! {
        /// Reads a clock.
        clock_gettime(clock: i32, time: &mut libc::timespec) = SYS_clock_gettime;
        /// Reads the timer of a file.
        timerfd_gettime(fd: i32, setting: &mut libc::itimerspec) = SYS_timerfd_gettime;
        /// Reads an interval timer.
        getitimer(which: i32, setting: &mut libc::itimerval) = SYS_getitimer;
    }
}

/// A time as the calls take it.
pub fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}

/// A time that a call gave.
pub fn duration(time: libc::timespec) -> Duration {
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A timer's setting: when it first expires, and how often then.
pub fn itimerspec(first: Duration, interval: Duration) -> libc::itimerspec {
    libc::itimerspec {
        it_value: timespec(first),
        it_interval: timespec(interval),
    }
}

/// The same for an interval timer, in microseconds.
pub fn itimerval(first_us: i64, interval_us: i64) -> libc::itimerval {
    let time = |us| libc::timeval {
        tv_sec: us / 1_000_000,
        tv_usec: us % 1_000_000,
    };
    libc::itimerval {
        it_value: time(first_us),
        it_interval: time(interval_us),
    }
}

/// What a clock shows, by a system call.
pub fn now(clock: i32) -> Duration {
    duration(ok(filled(|time| raw::clock_gettime(clock, time))))
}

/// What a clock shows, by the C library and so by the vDSO.
pub fn quick_now(clock: i32) -> Duration {
    let mut time = super::zeroed();
    // SAFETY: writes the time and nothing else.
    ok(unsafe { libc::clock_gettime(clock, &mut time) });
    duration(time)
}

/// What is left of the timer of a file.
pub fn timerfd_gettime(fd: i32) -> Result<libc::itimerspec> {
    filled(|setting| raw::timerfd_gettime(fd, setting))
}

/// What is left of an interval timer.
pub fn getitimer(which: i32) -> Result<libc::itimerval> {
    filled(|setting| raw::getitimer(which, setting))
}

/// Sleeps.
pub fn sleep_ms(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Sleeps until a signal ends it.
pub fn sleep_for_ever() -> ! {
    loop {
        sleep_ms(1000);
    }
}

/// Keeps the processor busy for so long.
pub fn spin(time: Duration) {
    let start = std::time::Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Waits until `done`, for a while.
#[track_caller]
pub fn soon(done: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(15), "not in time");
        sleep_ms(2);
    }
}
