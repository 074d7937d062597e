//! Calls on clocks and sleeping.

use core::future::Future;
use core::pin::pin;

use executor::time::{Instant, sleep_until};
use fs::{Cap, Errno, Result};

use super::{Call, Plain, Stop, SysResult};
use crate::arch::event;
use crate::ntp::{Refused, Timex, adj, sta};
use crate::process::thread::Restart;
use crate::process::{Pid, table};
use crate::timekeeping;
use crate::usermem;

/// The calls of this area.
pub const CALLS: &[(u16, Plain)] = &[
    (35, nanosleep),
    (96, gettimeofday),
    (159, adjtimex),
    (164, settimeofday),
    (201, time),
    (227, clock_settime),
    (228, clock_gettime),
    (229, clock_getres),
    (230, clock_nanosleep),
    (305, clock_adjtime),
];

const NS: u64 = 1_000_000_000;
/// The time of day cannot be set to less than thirty years before its end.
const REALTIME_MAX: u64 = i64::MAX as u64 - 30 * 365 * 86_400 * NS;
/// The tick of the coarse clocks: 4 ms, as with Linux's `HZ` of 250.
const COARSE_NS: u64 = 4_000_000;

/// A clock that programs can read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clock {
    /// Time of day.
    Realtime,
    /// Since boot.
    Monotonic,
    /// Time of day, to the tick.
    RealtimeCoarse,
    /// Since boot, to the tick.
    MonotonicCoarse,
    /// Since boot, by a clock that nobody adjusts.
    MonotonicRaw,
    /// Since boot, also while the machine slept, which it never does.
    Boottime,
    /// International atomic time: whole seconds ahead of the time of day, as far as somebody has said how many.
    Tai,
    /// Processor time of a process (0: the caller's).
    Process(Pid),
    /// Processor time of a thread (0: the caller).
    Thread(Pid),
    /// Time of day; would wake a sleeping machine.
    RealtimeAlarm,
    /// Since boot; would wake a sleeping machine.
    BoottimeAlarm,
}

impl Clock {
    /// The clock with number `id`.
    ///
    /// # Errors
    /// `EINVAL` if there is none.
    pub fn new(id: i32) -> Result<Clock> {
        if id < 0 {
            // A processor clock: the number inverted, two bits of kind, one that says "thread".
            const PER_THREAD: i32 = 4;
            const SCHED: i32 = 2;
            let pid = !(id >> 3);
            if id & 3 > SCHED {
                return Err(Errno::EINVAL);
            }
            return Ok(if id & PER_THREAD != 0 {
                Clock::Thread(pid)
            } else {
                Clock::Process(pid)
            });
        }
        Ok(match id {
            0 => Clock::Realtime,
            1 => Clock::Monotonic,
            4 => Clock::MonotonicRaw,
            7 => Clock::Boottime,
            2 => Clock::Process(0),
            3 => Clock::Thread(0),
            5 => Clock::RealtimeCoarse,
            6 => Clock::MonotonicCoarse,
            8 => Clock::RealtimeAlarm,
            9 => Clock::BoottimeAlarm,
            11 => Clock::Tai,
            _ => return Err(Errno::EINVAL),
        })
    }

    /// Nanoseconds on the clock.
    ///
    /// # Errors
    /// `EINVAL` if it is of a process or thread that there is none of.
    pub fn now(self, call: &Call<'_>) -> Result<u64> {
        Ok(match self {
            Clock::Realtime | Clock::RealtimeAlarm => timekeeping::realtime_ns() as u64,
            Clock::Tai => (timekeeping::realtime_ns() + timekeeping::tai_ns()) as u64,
            Clock::Monotonic | Clock::Boottime | Clock::BoottimeAlarm => {
                timekeeping::monotonic_ns()
            }
            Clock::MonotonicRaw => timekeeping::raw_ns(),
            Clock::RealtimeCoarse => {
                let now = timekeeping::monotonic_ns();
                (timekeeping::offset_ns() as u64).wrapping_add(now - now % COARSE_NS)
            }
            Clock::MonotonicCoarse => {
                let now = timekeeping::monotonic_ns();
                now - now % COARSE_NS
            }
            Clock::Process(pid) => {
                let usage = if pid == 0 {
                    call.thread.process().usage()
                } else {
                    table::lock()
                        .process(pid)
                        .cloned()
                        .ok_or(Errno::EINVAL)?
                        .usage()
                };
                usage.user_ns + usage.system_ns
            }
            Clock::Thread(tid) => {
                let usage = |thread: &crate::process::Thread| thread.cpu_time().total_ns();
                if tid == 0 {
                    usage(call.thread)
                } else {
                    let thread = table::lock().thread(tid).cloned().ok_or(Errno::EINVAL)?;
                    if thread.process().pid != call.thread.process().pid {
                        return Err(Errno::EINVAL);
                    }
                    usage(&thread)
                }
            }
        })
    }

    fn resolution(self) -> u64 {
        match self {
            Clock::RealtimeCoarse | Clock::MonotonicCoarse => COARSE_NS,
            Clock::Process(_) | Clock::Thread(_) => 1,
            _ => event::resolution_ns(),
        }
    }

    /// Whether its times are times of day.
    pub fn is_realtime(self) -> bool {
        matches!(
            self,
            Clock::Realtime | Clock::RealtimeCoarse | Clock::Tai | Clock::RealtimeAlarm
        )
    }
}

/// Reads a `struct timespec` that is a length of time or a point in it; gives nanoseconds, cut off where they do not fit.
///
/// # Errors
/// `EFAULT`; `EINVAL` if it is negative or not normal.
pub fn read_timespec(at: u64) -> Result<u64> {
    let [sec, nsec] = usermem::read::<[i64; 2]>(at)?;
    if sec < 0 || !(0..NS as i64).contains(&nsec) {
        return Err(Errno::EINVAL);
    }
    Ok((sec as u64).saturating_mul(NS).saturating_add(nsec as u64))
}

/// Writes a `struct timespec`.
///
/// # Errors
/// `EFAULT`.
pub fn write_timespec(at: u64, ns: u64) -> Result<()> {
    usermem::write(at, &[ns / NS, ns % NS])
}

fn clock_gettime(call: &mut Call<'_>) -> SysResult {
    let now = Clock::new(call.int(0))?.now(call)?;
    write_timespec(call.arg(1), now)?;
    Ok(0)
}

fn clock_getres(call: &mut Call<'_>) -> SysResult {
    let clock = Clock::new(call.int(0))?;
    if let Clock::Process(pid) | Clock::Thread(pid) = clock
        && pid != 0
    {
        clock.now(call)?;
    }
    if call.arg(1) != 0 {
        write_timespec(call.arg(1), clock.resolution())?;
    }
    Ok(0)
}

fn may_set(call: &Call<'_>) -> Result<()> {
    if call.thread.cred().capable(Cap::SysTime) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

fn clock_settime(call: &mut Call<'_>) -> SysResult {
    let clock = Clock::new(call.int(0))?;
    if clock != Clock::Realtime {
        return Err(Errno::EINVAL.into());
    }
    let ns = read_timespec(call.arg(1))?;
    may_set(call)?;
    // As on Linux, the machine may not have been up before 1970.
    if ns > REALTIME_MAX || ns < timekeeping::monotonic_ns() {
        return Err(Errno::EINVAL.into());
    }
    timekeeping::set_realtime(ns as i64);
    Ok(0)
}

fn gettimeofday(call: &mut Call<'_>) -> SysResult {
    let now = timekeeping::realtime_ns() as u64;
    if call.arg(0) != 0 {
        usermem::write(call.arg(0), &[now / NS, now % NS / 1000])?;
    }
    if call.arg(1) != 0 {
        usermem::write(call.arg(1), &[0u32; 2])?;
    }
    Ok(0)
}

fn settimeofday(call: &mut Call<'_>) -> SysResult {
    let new = if call.arg(0) == 0 {
        None
    } else {
        Some(usermem::read::<[i64; 2]>(call.arg(0))?)
    };
    if new.is_some_and(|[sec, usec]| {
        sec < 0 || sec as u64 > REALTIME_MAX / NS || !(0..1_000_000).contains(&usec)
    }) {
        return Err(Errno::EINVAL.into());
    }
    if call.arg(1) != 0 {
        // The time zone is kept by nobody, but must be there and sane.
        let [west, _] = usermem::read::<[i32; 2]>(call.arg(1))?;
        may_set(call)?;
        if !(-15 * 60..=15 * 60).contains(&west) {
            return Err(Errno::EINVAL.into());
        }
    }
    may_set(call)?;
    if let Some([sec, usec]) = new {
        timekeeping::set_realtime(sec.saturating_mul(NS as i64).saturating_add(usec * 1000));
    }
    Ok(0)
}

fn time(call: &mut Call<'_>) -> SysResult {
    let now = timekeeping::realtime_ns() as u64 / NS;
    if call.arg(0) != 0 {
        usermem::write(call.arg(0), &now)?;
    }
    Ok(now)
}

/// Words of `struct timex`.
const TIMEX_WORDS: usize = 26;

/// Reads and writes `struct timex`: its numbers of 32 bits have a word each.
fn adjust(call: &Call<'_>, at: u64) -> SysResult {
    let mut words = usermem::read::<[i64; TIMEX_WORDS]>(at)?;
    let mut timex = Timex {
        modes: words[0] as u32,
        offset: words[1],
        freq: words[2],
        maxerror: words[3],
        esterror: words[4],
        status: words[5] as i32,
        constant: words[6],
        tick: words[11],
        ..Timex::default()
    };
    let privileged = call.thread.cred().capable(Cap::SysTime);
    timex
        .check(privileged, words[10])
        .map_err(|refused| match refused {
            Refused::Invalid => Errno::EINVAL,
            Refused::Permission => Errno::EPERM,
        })?;
    let unit = |nano: bool| if nano { 1 } else { 1000 };
    let step = (timex.modes & adj::SETOFFSET != 0).then(|| {
        let fraction = words[10] * unit(timex.modes & adj::NANO != 0);
        words[9].saturating_mul(NS as i64).saturating_add(fraction)
    });
    if let Some(step) = step {
        let then = timekeeping::realtime_ns().saturating_add(step);
        if !(0..=REALTIME_MAX as i64).contains(&then) {
            return Err(Errno::EINVAL.into());
        }
    }
    let (answer, now) = timekeeping::adjust(&mut timex, step);
    words[1] = timex.offset;
    words[2] = timex.freq;
    words[3] = timex.maxerror;
    words[4] = timex.esterror;
    words[5] = i64::from(timex.status as u32);
    words[6] = timex.constant;
    words[7] = timex.precision;
    words[8] = timex.tolerance;
    words[9] = now / NS as i64;
    words[10] = now % NS as i64 / unit(timex.status & sta::NANO != 0);
    words[11] = timex.tick;
    // No pulses come in.
    words[12..20].fill(0);
    words[20] = i64::from(timex.tai);
    usermem::write(at, &words)?;
    Ok(answer)
}

fn adjtimex(call: &mut Call<'_>) -> SysResult {
    adjust(call, call.arg(0))
}

fn clock_adjtime(call: &mut Call<'_>) -> SysResult {
    match Clock::new(call.int(0))? {
        Clock::Realtime => adjust(call, call.arg(1)),
        _ => Err(Errno::EOPNOTSUPP.into()),
    }
}

// Sleeping.

fn nanosleep(call: &mut Call<'_>) -> SysResult {
    let ns = read_timespec(call.arg(0))?;
    call.deadline = Some(Instant::now().add_ns(ns));
    Err(Stop::Wait)
}

fn clock_nanosleep(call: &mut Call<'_>) -> SysResult {
    const ABSTIME: i32 = 1;
    let clock = Clock::new(call.int(0))?;
    match clock {
        Clock::Thread(_) => return Err(Errno::EINVAL.into()),
        Clock::RealtimeCoarse | Clock::MonotonicCoarse | Clock::MonotonicRaw => {
            return Err(Errno::EOPNOTSUPP.into());
        }
        Clock::RealtimeAlarm | Clock::BoottimeAlarm
            if !call.thread.cred().capable(Cap::WakeAlarm) =>
        {
            return Err(Errno::EPERM.into());
        }
        _ => {}
    }
    let ns = read_timespec(call.arg(2))?;
    let now = clock.now(call)?;
    let end = if call.int(1) & ABSTIME != 0 {
        ns
    } else {
        now.saturating_add(ns)
    };
    // For a processor clock this is a first look: it cannot have got there before.
    call.deadline = Some(Instant::now().add_ns(end.saturating_sub(now)));
    Err(Stop::Wait)
}

/// The waiting part of nanosleep.
pub async fn nanosleep_wait(call: &mut Call<'_>) -> Result<u64> {
    let until = call.deadline.map_or(0, Instant::as_ns);
    sleep(call, until, call.arg(1)).await
}

/// The waiting part of clock_nanosleep.
pub async fn clock_nanosleep_wait(call: &mut Call<'_>) -> Result<u64> {
    const ABSTIME: i32 = 1;
    let clock = Clock::new(call.int(0))?;
    let absolute = call.int(1) & ABSTIME != 0;
    let until = call.deadline.map_or(0, Instant::as_ns);
    if let Clock::Process(_) = clock {
        return processor_sleep(call, clock, absolute).await;
    }
    if absolute {
        return sleep_absolute(call, clock).await;
    }
    sleep(call, until, call.arg(3)).await
}

/// Sleeps until a monotonic time. A signal ends it with the rest written to `remaining`, and restart_syscall(2) goes on.
pub async fn sleep(call: &mut Call<'_>, until: u64, remaining: u64) -> Result<u64> {
    match call
        .thread
        .interruptible(sleep_until(Instant::from_ns(until)))
        .await
    {
        Ok(()) => Ok(0),
        Err(_) => {
            let rest = until.saturating_sub(timekeeping::monotonic_ns());
            if rest == 0 {
                return Ok(0);
            }
            if remaining != 0 {
                write_timespec(remaining, rest)?;
            }
            *call.thread.restart.lock() = Some(Restart::Sleep { until, remaining });
            Err(Errno::ERESTART_RESTARTBLOCK)
        }
    }
}

/// Sleeps until a clock shows a time. Where that is a time of day, setting the clock moves the end.
async fn sleep_absolute(call: &mut Call<'_>, clock: Clock) -> Result<u64> {
    let end = read_timespec(call.arg(2))?;
    loop {
        let settings = timekeeping::settings();
        let until = match clock {
            Clock::Tai => timekeeping::from_tai(end),
            _ if clock.is_realtime() => timekeeping::from_realtime(end),
            _ => end,
        };
        if until <= timekeeping::monotonic_ns() {
            return Ok(0);
        }
        let mut nap = pin!(sleep_until(Instant::from_ns(until)));
        let changed = || (timekeeping::settings() != settings).then_some(());
        let mut clock_set = pin!(timekeeping::CLOCK_SET.wait_until(changed));
        let nap = core::future::poll_fn(|cx| {
            if clock.is_realtime() && clock_set.as_mut().poll(cx).is_ready() {
                return core::task::Poll::Ready(());
            }
            nap.as_mut().poll(cx)
        });
        call.thread
            .interruptible(nap)
            .await
            .map_err(|_| Errno::ERESTARTNOHAND)?;
    }
}

/// Sleeps until a process has used up processor time: looks again whenever it could have.
async fn processor_sleep(call: &mut Call<'_>, clock: Clock, absolute: bool) -> Result<u64> {
    let asked = read_timespec(call.arg(2))?;
    let end = if absolute {
        asked
    } else {
        clock.now(call)?.saturating_add(asked)
    };
    loop {
        let now = clock.now(call)?;
        if now >= end {
            return Ok(0);
        }
        let look = Instant::now().add_ns((end - now).max(COARSE_NS));
        if call.thread.interruptible(sleep_until(look)).await.is_err() {
            let rest = end.saturating_sub(clock.now(call)?);
            if !absolute && call.arg(3) != 0 {
                write_timespec(call.arg(3), rest)?;
            }
            return Err(if absolute {
                Errno::ERESTARTNOHAND
            } else {
                Errno::EINTR
            });
        }
    }
}

/// restart_syscall: goes on with what a signal without a handler interrupted.
pub async fn restart(call: &mut Call<'_>) -> Result<u64> {
    let restart = call.thread.restart.lock().take();
    match restart {
        None => Err(Errno::EINTR),
        Some(Restart::Sleep { until, remaining }) => sleep(call, until, remaining).await,
        Some(Restart::Futex(wait)) => super::futex::run(call, wait).await,
        Some(Restart::Poll { fds, len, until }) => {
            super::poll::restartable(call, fds, len, until.map(Instant::from_ns)).await
        }
    }
}
