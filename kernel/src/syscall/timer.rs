//! Calls on timers that send signals.

use alloc::sync::Arc;

use fs::{Errno, Result};

use super::time::{Clock, read_timespec, write_timespec};
use super::{Call, Plain, SysResult};
use crate::process::table;
use crate::process::timers::{Base, Notify, Setting};
use crate::signal::Signal;
use crate::usermem;

/// The calls of this area.
pub const CALLS: &[(u16, Plain)] = &[
    (36, getitimer),
    (37, alarm),
    (38, setitimer),
    (222, timer_create),
    (223, timer_settime),
    (224, timer_gettime),
    (225, timer_getoverrun),
    (226, timer_delete),
];

const NS: u64 = 1_000_000_000;
const US: u64 = 1000;

fn alarm(call: &mut Call<'_>) -> SysResult {
    let seconds = call.arg(0) & 0xffff_ffff;
    let (left, _) = call
        .thread
        .process()
        .set_interval_timer(0, seconds * NS, 0)?;
    // Rounded to the nearest second, but never to "none".
    let rounded = (left + NS / 2) / NS;
    Ok(if left > 0 { rounded.max(1) } else { 0 })
}

fn which(call: &Call<'_>) -> Result<usize> {
    let which = call.arg(0) as u32 as usize;
    if which < 3 {
        Ok(which)
    } else {
        Err(Errno::EINVAL)
    }
}

/// `struct itimerval`: interval and rest.
fn write_itimerval(at: u64, left: u64, interval: u64) -> Result<()> {
    usermem::write(
        at,
        &[interval / NS, interval % NS / US, left / NS, left % NS / US],
    )
}

fn getitimer(call: &mut Call<'_>) -> SysResult {
    let (left, interval) = call.thread.process().interval_timer(which(call)?);
    write_itimerval(call.arg(1), left, interval)?;
    Ok(0)
}

fn setitimer(call: &mut Call<'_>) -> SysResult {
    let which = which(call)?;
    let words = if call.arg(1) == 0 {
        [0; 4]
    } else {
        usermem::read::<[i64; 4]>(call.arg(1))?
    };
    let ns = |sec: i64, usec: i64| {
        if sec < 0 || !(0..1_000_000).contains(&usec) {
            return Err(Errno::EINVAL);
        }
        Ok((sec as u64)
            .saturating_mul(NS)
            .saturating_add(usec as u64 * US))
    };
    let (interval, first) = (ns(words[0], words[1])?, ns(words[2], words[3])?);
    let (left, old) = call
        .thread
        .process()
        .set_interval_timer(which, first, interval)?;
    if call.arg(2) != 0 {
        write_itimerval(call.arg(2), left, old)?;
    }
    Ok(0)
}

fn base(call: &Call<'_>, clock: Clock) -> Result<Base> {
    Ok(match clock {
        Clock::Realtime => Base::Realtime,
        Clock::Tai => Base::Tai,
        Clock::Monotonic | Clock::Boottime => Base::Monotonic,
        Clock::RealtimeAlarm | Clock::BoottimeAlarm => {
            if !call.thread.cred().capable(fs::Cap::WakeAlarm) {
                return Err(Errno::EPERM);
            }
            if clock == Clock::RealtimeAlarm {
                Base::Realtime
            } else {
                Base::Monotonic
            }
        }
        Clock::RealtimeCoarse | Clock::MonotonicCoarse | Clock::MonotonicRaw => {
            return Err(Errno::EOPNOTSUPP);
        }
        Clock::Process(0) => Base::Process,
        Clock::Process(pid) if pid == call.thread.process().pid => Base::Process,
        Clock::Thread(0) => Base::Thread(call.thread.tid()),
        Clock::Thread(tid) => Base::Thread(tid),
        // Another process's time would have to be watched from here.
        Clock::Process(_) => return Err(Errno::EINVAL),
    })
}

fn timer_create(call: &mut Call<'_>) -> SysResult {
    const SIGEV_SIGNAL: i32 = 0;
    const SIGEV_NONE: i32 = 1;
    const SIGEV_THREAD: i32 = 2;
    const SIGEV_THREAD_ID: i32 = 4;
    let clock = Clock::new(call.int(0))?;
    let base = base(call, clock)?;
    let process = call.thread.process();
    // struct sigevent: value, signal, kind, thread.
    let (value, number, kind, tid) = if call.arg(1) == 0 {
        (None, Signal::SIGALRM.number(), SIGEV_SIGNAL, 0)
    } else {
        let value = usermem::read::<u64>(call.arg(1))?;
        let [number, kind, tid] = usermem::read::<[i32; 3]>(call.arg(1) + 8)?;
        (Some(value), number, kind, tid)
    };
    let signal = || Signal::new(number).ok_or(Errno::EINVAL);
    let sent = value.unwrap_or(0);
    let notify = match kind {
        SIGEV_NONE => Notify::None,
        SIGEV_SIGNAL | SIGEV_THREAD => Notify::Process(signal()?, sent),
        SIGEV_THREAD_ID => {
            let thread = table::lock().thread(tid).cloned().ok_or(Errno::EINVAL)?;
            if !Arc::ptr_eq(thread.process(), process) {
                return Err(Errno::EINVAL.into());
            }
            Notify::Thread(signal()?, sent, Arc::downgrade(&thread))
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    let id = process.create_timer(base, notify)?;
    if value.is_none() {
        // Without a sigevent, the value is the timer's number.
        process.with_timer(id, |timer| {
            if let Notify::Process(_, value) = &mut timer.notify {
                *value = id as u64;
            }
        })?;
    }
    if let Err(e) = usermem::write(call.arg(2), &id) {
        process.delete_timer(id)?;
        return Err(e.into());
    }
    Ok(0)
}

/// What is left of a timer, and its interval.
fn left(call: &Call<'_>, id: i32) -> Result<(u64, u64)> {
    let process = call.thread.process();
    let (base, setting) = process.with_timer(id, |timer| (timer.base, timer.setting))?;
    let now = process.base_now(base);
    Ok((
        setting.end.map_or(0, |end| end.saturating_sub(now).max(1)),
        setting.interval,
    ))
}

/// `struct itimerspec`: interval and rest.
fn write_itimerspec(at: u64, (left, interval): (u64, u64)) -> Result<()> {
    write_timespec(at, interval)?;
    write_timespec(at + 16, left)
}

fn timer_gettime(call: &mut Call<'_>) -> SysResult {
    let rest = left(call, call.int(0))?;
    write_itimerspec(call.arg(1), rest)?;
    Ok(0)
}

fn timer_settime(call: &mut Call<'_>) -> SysResult {
    const ABSTIME: i32 = 1;
    let id = call.int(0);
    if call.arg(2) == 0 {
        return Err(Errno::EINVAL.into());
    }
    let (interval, first) = (
        read_timespec(call.arg(2))?,
        read_timespec(call.arg(2) + 16)?,
    );
    let old = left(call, id)?;
    let process = call.thread.process();
    let base = process.with_timer(id, |timer| timer.base)?;
    // A relative time of day is not moved by setting the clock.
    let absolute = call.int(1) & ABSTIME != 0;
    let end = if absolute {
        first
    } else {
        process.base_now(base).saturating_add(first)
    };
    process.with_timer(id, |timer| {
        timer.setting = Setting {
            end: (first != 0).then_some(end),
            interval,
        };
        timer.overrun = 0;
    })?;
    if call.arg(3) != 0 {
        write_itimerspec(call.arg(3), old)?;
    }
    Ok(0)
}

fn timer_getoverrun(call: &mut Call<'_>) -> SysResult {
    Ok(call
        .thread
        .process()
        .with_timer(call.int(0), |timer| timer.overrun)? as u64)
}

fn timer_delete(call: &mut Call<'_>) -> SysResult {
    call.thread.process().delete_timer(call.int(0))?;
    Ok(0)
}
