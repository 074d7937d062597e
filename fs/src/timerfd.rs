//! `timerfd_create(2)`: a timer whose expirations are read.
//!
//! The timer interrupt only wakes who waits: how often the timer has expired follows from the time alone, and is worked out
//! when somebody asks. As on Linux a periodic timer that nobody reads causes one interrupt, not one for each period.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;

use executor::time::{HrTimer, Instant};

use crate::file::{File, FileOps};
use crate::iobuf::Sink;
use crate::poll::{PollEvents, PollTable};
use crate::sync::{SpinLock, WaitQueue};
use crate::{Errno, Result};

/// Which clock a timer follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerClock {
    /// Time of day.
    Realtime,
    /// Time since boot.
    Monotonic,
}

/// What a timer is set to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// Nanoseconds to the first expiration, or its time if `absolute`; zero disarms.
    pub value: u64,
    /// Nanoseconds from one expiration to the next; zero for a single one.
    pub interval: u64,
    /// `value` is a time on the timer's clock.
    pub absolute: bool,
    /// Reading fails once after the clock was set (`TFD_TIMER_CANCEL_ON_SET`).
    pub cancel_on_set: bool,
}

/// The state of a timer, in monotonic nanoseconds.
#[derive(Debug, Default)]
struct State {
    /// The next expiration that is not counted in `ticks`.
    next: Option<u64>,
    interval: u64,
    ticks: u64,
    /// Follows changes of the time of day.
    follows_clock: bool,
    cancel_on_set: bool,
    canceled: bool,
    /// How far the time of day was ahead when `next` was worked out.
    offset: i64,
}

impl State {
    /// Counts the expirations up to `now`.
    fn advance(&mut self, now: u64) {
        let Some(next) = self.next.filter(|&next| next <= now) else {
            return;
        };
        match (now - next).checked_div(self.interval) {
            Some(passed) => {
                self.ticks = self.ticks.saturating_add(passed + 1);
                let further = (passed + 1).saturating_mul(self.interval);
                self.next = next.checked_add(further);
            }
            None => {
                self.ticks += 1;
                self.next = None;
            }
        }
    }

    fn set(&mut self, setting: Setting, clock: TimerClock, offset: i64, now: u64) {
        let realtime = clock == TimerClock::Realtime;
        let first = match (setting.absolute, realtime) {
            (false, _) => now.saturating_add(setting.value),
            (true, false) => setting.value,
            (true, true) => shift(setting.value, offset),
        };
        *self = State {
            next: (setting.value != 0).then_some(first),
            interval: setting.interval,
            follows_clock: realtime && setting.absolute,
            cancel_on_set: realtime && setting.absolute && setting.cancel_on_set,
            offset,
            ..State::default()
        };
    }

    /// Returns the time to the next expiration (at least 1 while armed) and the interval.
    fn remaining(&mut self, now: u64) -> (u64, u64) {
        self.advance(now);
        let left = self.next.map_or(0, |next| (next - now).max(1));
        (left, self.interval)
    }

    /// Takes the expirations.
    fn take(&mut self, now: u64) -> Result<u64> {
        if core::mem::take(&mut self.canceled) {
            self.ticks = 0;
            return Err(Errno::ECANCELED);
        }
        self.advance(now);
        match core::mem::take(&mut self.ticks) {
            0 => Err(Errno::EAGAIN),
            ticks => Ok(ticks),
        }
    }

    fn readable(&mut self, now: u64) -> bool {
        self.advance(now);
        self.ticks > 0 || self.canceled
    }

    /// The time of day was set and is `offset` ahead now.
    fn clock_was_set(&mut self, offset: i64) {
        if self.follows_clock {
            self.next = self.next.map(|next| shift(next, offset - self.offset));
        }
        self.canceled |= self.cancel_on_set && offset != self.offset;
        self.offset = offset;
    }
}

/// Returns the monotonic time that is `ahead` behind `at`; zero if that was before boot.
fn shift(at: u64, ahead: i64) -> u64 {
    match ahead {
        0.. => at.saturating_sub(ahead as u64),
        _ => at.saturating_add(ahead.unsigned_abs()),
    }
}

/// The object behind a timerfd.
pub struct TimerFd {
    clock: TimerClock,
    state: SpinLock<State>,
    readers: Arc<WaitQueue>,
    timer: HrTimer,
}

/// The timers that follow the time of day.
static REALTIME: SpinLock<Vec<Weak<TimerFd>>> = SpinLock::new(Vec::new());

impl TimerFd {
    /// Makes a timer that is not armed.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(clock: TimerClock) -> Result<Arc<TimerFd>> {
        let readers = Arc::new(WaitQueue::new());
        let woken = readers.clone();
        let timer = Arc::new(TimerFd {
            clock,
            state: SpinLock::new(State::default()),
            readers,
            timer: HrTimer::new(move |_| {
                woken.wake_all();
                None
            }),
        });
        if clock == TimerClock::Realtime {
            let mut all = REALTIME.lock();
            all.retain(|timer| timer.strong_count() > 0);
            all.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            all.push(Arc::downgrade(&timer));
        }
        Ok(timer)
    }

    /// Arms or disarms the timer and returns what was left to the next expiration before, and the interval.
    ///
    /// `offset` is how far the time of day is ahead of the time since boot, in nanoseconds.
    pub fn set(&self, setting: Setting, offset: i64) -> (u64, u64) {
        let now = Instant::now().as_ns();
        let mut state = self.state.lock();
        let old = state.remaining(now);
        state.set(setting, self.clock, offset, now);
        self.rearm(&state);
        old
    }

    /// Returns what is left to the next expiration, and the interval.
    pub fn get(&self) -> (u64, u64) {
        self.state.lock().remaining(Instant::now().as_ns())
    }

    /// Arms the interrupt for the next expiration. Under the state's lock, so that the last one to change it wins.
    fn rearm(&self, state: &State) {
        match state.next {
            Some(next) => {
                self.timer.arm(Instant::from_ns(next));
            }
            None => {
                self.timer.cancel();
            }
        }
    }

    /// Reads the number of expirations since the last read.
    ///
    /// # Errors
    /// `EAGAIN` if there are none; `ECANCELED` once after the clock was set; `EINVAL` for a short buffer; `EFAULT`, the expirations
    /// being lost then, as on Linux.
    pub fn read(&self, buf: &mut dyn Sink) -> Result<usize> {
        if buf.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let mut state = self.state.lock();
        let ticks = state.take(Instant::now().as_ns())?;
        if buf.put(&ticks.to_ne_bytes()) < 8 {
            // The page may only be missing for the moment: they are still there for the next attempt.
            state.ticks = ticks;
            return Err(Errno::EFAULT);
        }
        self.rearm(&state);
        Ok(8)
    }
}

/// Tells all timers that the time of day was set; it is `offset` nanoseconds ahead of the time since boot now.
///
/// # Context
/// Task.
pub fn clock_was_set(offset: i64) {
    for at in 0.. {
        let timer = match REALTIME.lock().get(at) {
            Some(timer) => timer.upgrade(),
            None => return,
        };
        let Some(timer) = timer else { continue };
        let mut state = timer.state.lock();
        state.clock_was_set(offset);
        timer.rearm(&state);
        drop(state);
        timer.readers.wake_all();
    }
}

impl FileOps for TimerFd {
    fn read(&self, _: &File, _: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        TimerFd::read(self, buf)
    }

    fn poll(&self, _: &File, table: Option<&mut PollTable<'_>>) -> PollEvents {
        if let Some(table) = table {
            table.register(&self.readers);
        }
        if self.state.lock().readable(Instant::now().as_ns()) {
            PollEvents::IN
        } else {
            PollEvents::empty()
        }
    }

    fn show_fdinfo(&self, _: &File, out: &mut dyn fmt::Write) -> fmt::Result {
        let (ticks, (left, interval)) = {
            let mut state = self.state.lock();
            let left = state.remaining(Instant::now().as_ns());
            (state.ticks, left)
        };
        const NS: u64 = 1_000_000_000;
        writeln!(
            out,
            "clockid: {}",
            i32::from(self.clock == TimerClock::Monotonic)
        )?;
        writeln!(out, "ticks: {ticks}")?;
        writeln!(out, "settime flags: 00")?;
        writeln!(out, "it_value: ({}, {})", left / NS, left % NS)?;
        writeln!(out, "it_interval: ({}, {})", interval / NS, interval % NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn armed(setting: Setting, clock: TimerClock, offset: i64, now: u64) -> State {
        let mut state = State::default();
        state.set(setting, clock, offset, now);
        state
    }

    #[test]
    fn a_single_expiration_is_read_once() {
        let once = Setting {
            value: 100,
            ..Setting::default()
        };
        let mut state = armed(once, TimerClock::Monotonic, 0, 1000);
        assert_eq!(state.take(1099), Err(Errno::EAGAIN));
        assert_eq!(state.remaining(1099), (1, 0));
        assert!(state.readable(1100));
        assert_eq!(state.take(5000), Ok(1));
        assert_eq!(state.take(9000), Err(Errno::EAGAIN));
        assert_eq!(state.remaining(9000), (0, 0));
    }

    #[test]
    fn periods_add_up_until_read() {
        let periodic = Setting {
            value: 10,
            interval: 25,
            ..Setting::default()
        };
        let mut state = armed(periodic, TimerClock::Monotonic, 0, 0);
        assert_eq!(state.take(60), Ok(3));
        assert_eq!(state.remaining(60), (25, 25));
        assert_eq!(state.take(84), Err(Errno::EAGAIN));
        assert_eq!(state.take(85), Ok(1));
    }

    #[test]
    fn absolute_times_follow_the_clock_and_relative_ones_do_not() {
        let absolute = Setting {
            value: 5000,
            absolute: true,
            ..Setting::default()
        };
        let mut state = armed(absolute, TimerClock::Realtime, 1000, 100);
        assert_eq!(state.next, Some(4000));
        state.clock_was_set(3000);
        assert_eq!(state.next, Some(2000));
        assert_eq!(state.take(2000), Ok(1));
        let relative = Setting {
            absolute: false,
            ..absolute
        };
        let mut state = armed(relative, TimerClock::Realtime, 1000, 100);
        state.clock_was_set(3000);
        assert_eq!(state.next, Some(5100));
        let mut state = armed(absolute, TimerClock::Realtime, 1000, 100);
        state.clock_was_set(9000);
        assert!(state.readable(100));
    }

    #[test]
    fn setting_the_clock_cancels_where_asked() {
        let cancel = Setting {
            value: 5000,
            absolute: true,
            cancel_on_set: true,
            ..Setting::default()
        };
        let mut state = armed(cancel, TimerClock::Realtime, 0, 0);
        state.clock_was_set(0);
        assert!(!state.readable(0));
        state.clock_was_set(7);
        assert!(state.readable(0));
        assert_eq!(state.take(0), Err(Errno::ECANCELED));
        assert_eq!(state.take(0), Err(Errno::EAGAIN));
        let mut state = armed(cancel, TimerClock::Monotonic, 0, 0);
        state.clock_was_set(7);
        assert!(!state.readable(0));
    }

    proptest! {
        #[test]
        fn every_expiration_is_counted_once(
            value in 1..1000_u64, interval in 1..1000_u64, steps in prop::collection::vec(0..5000_u64, 0..50)
        ) {
            let setting = Setting { value, interval, ..Setting::default() };
            let mut state = armed(setting, TimerClock::Monotonic, 0, 0);
            let (mut now, mut sum) = (0, 0);
            for step in steps {
                now += step;
                sum += state.take(now).unwrap_or(0);
                let want = if now < value { 0 } else { (now - value) / interval + 1 };
                prop_assert_eq!(sum, want);
            }
        }
    }
}
