//! Disciplining the clock: the state behind adjtimex(2), as arithmetic.
//!
//! A loop outside (ntpd, chrony) measures how far the clock is off and says so; here that becomes a frequency and an
//! offset that is worked off little by little, a share of it each second. Scaled values have 32 bits behind the point.
//!
//! Source: Linux's `kernel/time/ntp.c`; RFC 5905, appendix A.5.5; adjtimex(2).

mod leap;
mod timex;

pub use leap::Leap;
pub use timex::{Refused, Timex, adj, sta};

/// What adjtimex(2) answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u64)]
#[expect(missing_docs, reason = "the names are adjtimex(2)'s")]
pub enum State {
    #[default]
    Ok = 0,
    Insert = 1,
    Delete = 2,
    InProgress = 3,
    Waiting = 4,
}

/// The answer while the clock is not synchronised.
pub const TIME_ERROR: u64 = 5;

const SCALE: u32 = 32;
/// A frequency of the interface has 16 bits behind the point, and is in parts per million.
const PPM_SCALE: i64 = 1000 << (SCALE - 16);
/// Largest frequency, 500 ppm, in scaled ns per second.
const MAX_FREQ: i64 = 500_000 << SCALE;
/// Largest offset, in ns.
const MAX_PHASE: i64 = 500_000_000;
/// Largest error, in us: then nobody synchronises the clock any more.
const PHASE_LIMIT: i64 = (MAX_PHASE / 1000) << 5;
/// By how much the error is taken to grow each second, in us.
const ERROR_GROWTH: i64 = 500;
/// Most that adjtime(3) slews in a second, in us.
const MAX_TICKADJ: i64 = 500;
const SHIFT_PLL: u32 = 2;
const SHIFT_FLL: u32 = 2;
/// Intervals between measurements from which on, and up to which, the frequency is estimated in the other way.
const MIN_SEC: i64 = 256;
const MAX_SEC: i64 = 2048;
const MAX_CONSTANT: i64 = 10;
const MAX_TAI: i64 = 100_000;
/// Ticks of `tick` in a second.
const USER_HZ: i64 = 100;

/// The state of the discipline.
#[derive(Clone, Copy, Debug)]
pub struct Ntp {
    state: State,
    status: i32,
    /// Still to be worked off, scaled ns.
    offset: i64,
    constant: i64,
    maxerror: i64,
    esterror: i64,
    /// Scaled ns per second.
    freq: i64,
    /// Second of the last measurement.
    reference: i64,
    /// Still to be slewed for adjtime(3), in us.
    adjust: i64,
    /// Length of a tick of 1/100 s, in us.
    tick: i64,
    /// What this second is longer by, scaled ns.
    this_second: i64,
    next_leap: i64,
    tai: i32,
}

impl Ntp {
    /// Nobody has synchronised the clock yet.
    pub const NEW: Self = Self {
        state: State::Ok,
        status: sta::UNSYNC,
        offset: 0,
        constant: 2,
        maxerror: PHASE_LIMIT,
        esterror: PHASE_LIMIT,
        freq: 0,
        reference: 0,
        adjust: 0,
        tick: 1_000_000 / USER_HZ,
        this_second: 0,
        next_leap: i64::MAX,
        tai: 0,
    };
}

impl Default for Ntp {
    fn default() -> Self {
        Self::NEW
    }
}

impl Ntp {
    /// Nanoseconds that the clock makes in each of the counter's, times 2^32.
    pub fn rate(&self) -> u64 {
        let second = (i128::from(self.tick) * 1000 * i128::from(USER_HZ)) << SCALE;
        let second = second + i128::from(self.freq) + i128::from(self.this_second);
        (second / 1_000_000_000).max(1) as u64
    }

    /// Seconds by which atomic time is ahead of the time of day.
    pub fn tai(&self) -> i32 {
        self.tai
    }

    /// Whether the end of a second changes anything: if not, nobody need look.
    pub fn is_active(&self) -> bool {
        let steady = self.offset == 0
            && self.this_second == 0
            && self.adjust == 0
            && self.maxerror == PHASE_LIMIT
            && self.state == State::Ok
            && self.status & (sta::INS | sta::DEL) == 0;
        !steady
    }

    /// The time of day was set: what was known of it is void.
    pub fn clear(&mut self) {
        self.adjust = 0;
        self.status |= sta::UNSYNC;
        (self.maxerror, self.esterror) = (PHASE_LIMIT, PHASE_LIMIT);
        (self.offset, self.this_second) = (0, 0);
        self.next_leap = i64::MAX;
    }

    /// Does what `timex` asks, which has been checked ([`Timex::check`]), and fills in how things stand. `now` is the
    /// time of day in s. Gives what the call answers.
    pub fn adjust(&mut self, timex: &mut Timex, now: i64) -> u64 {
        if timex.modes & adj::ADJTIME != 0 {
            let old = self.adjust;
            // adjtime(3) only asks with this bit.
            if timex.modes & adj::NANO == 0 {
                self.adjust = timex.offset;
            }
            timex.offset = old;
        } else {
            self.set(timex, now);
            timex.offset = self.offset >> SCALE;
            if self.status & sta::NANO == 0 {
                // As Linux has it: the lower half, without its sign.
                timex.offset = i64::from(timex.offset as u32 / 1000);
            }
        }
        let error = self.status & (sta::UNSYNC | sta::CLOCKERR) != 0;
        // To the interface's scale, rounded as Linux rounds: towards minus infinity.
        timex.freq = (i128::from(self.freq) / i128::from(PPM_SCALE)) as i64;
        timex.maxerror = self.maxerror;
        timex.esterror = self.esterror;
        timex.status = self.status;
        timex.constant = self.constant;
        timex.precision = 1;
        timex.tolerance = MAX_FREQ / PPM_SCALE;
        timex.tick = self.tick;
        timex.tai = self.tai;
        if error { TIME_ERROR } else { self.state as u64 }
    }

    fn set(&mut self, timex: &Timex, now: i64) {
        let asks = |mode: u32| timex.modes & mode != 0;
        if asks(adj::STATUS) {
            self.set_status(timex.status, now);
        }
        if asks(adj::NANO) {
            self.status |= sta::NANO;
        }
        if asks(adj::MICRO) {
            self.status &= !sta::NANO;
        }
        if asks(adj::FREQUENCY) {
            self.freq = timex
                .freq
                .saturating_mul(PPM_SCALE)
                .clamp(-MAX_FREQ, MAX_FREQ);
        }
        if asks(adj::MAXERROR) {
            self.maxerror = timex.maxerror.clamp(0, PHASE_LIMIT);
        }
        if asks(adj::ESTERROR) {
            self.esterror = timex.esterror.clamp(0, PHASE_LIMIT);
        }
        if asks(adj::TIMECONST) {
            let coarse = if self.status & sta::NANO == 0 { 4 } else { 0 };
            self.constant = timex.constant.clamp(0, MAX_CONSTANT);
            self.constant = (self.constant + coarse).min(MAX_CONSTANT);
        }
        if asks(adj::TAI) && (0..=MAX_TAI).contains(&timex.constant) {
            self.tai = timex.constant as i32;
        }
        if asks(adj::OFFSET) {
            self.measured(timex.offset, now);
        }
        if asks(adj::TICK) {
            self.tick = timex.tick;
        }
    }

    fn set_status(&mut self, status: i32, now: i64) {
        if self.status & sta::PLL != 0 && status & sta::PLL == 0 {
            self.state = State::Ok;
            self.status = sta::UNSYNC;
            self.next_leap = i64::MAX;
        }
        if self.status & sta::PLL == 0 && status & sta::PLL != 0 {
            self.reference = now;
        }
        self.status = self.status & sta::READ_ONLY | status & !sta::READ_ONLY;
    }

    /// The clock was measured to be off by `offset`, in us or ns.
    fn measured(&mut self, offset: i64, now: i64) {
        if self.status & sta::PLL == 0 {
            return;
        }
        let offset = if self.status & sta::NANO == 0 {
            offset.clamp(-1_000_000, 1_000_000) * 1000
        } else {
            offset
        };
        let offset = i128::from(offset.clamp(-MAX_PHASE, MAX_PHASE));
        let mut seconds = now - self.reference;
        if self.status & sta::FREQHOLD != 0 {
            seconds = 0;
        }
        self.reference = now;
        let mut freq = i128::from(self.freq);
        self.status &= !sta::MODE;
        if seconds >= MIN_SEC && (self.status & sta::FLL != 0 || seconds > MAX_SEC) {
            self.status |= sta::MODE;
            freq += (offset << (SCALE - SHIFT_FLL)) / i128::from(seconds);
        }
        let constant = self.constant as u32;
        let seconds = seconds.clamp(0, 1 << (SHIFT_PLL + 1 + constant));
        freq += (offset * i128::from(seconds)) << (SCALE - 2 * (SHIFT_PLL + 2 + constant));
        self.freq = freq.clamp(i128::from(-MAX_FREQ), i128::from(MAX_FREQ)) as i64;
        self.offset = (offset << SCALE) as i64;
    }

    /// A second of the time of day is over, and second `now` begins: works off a share, and gives what to do about a leap.
    pub fn second(&mut self, now: i64) -> Leap {
        let leap = self.leap(now);
        self.maxerror += ERROR_GROWTH;
        if self.maxerror > PHASE_LIMIT {
            self.maxerror = PHASE_LIMIT;
            self.status |= sta::UNSYNC;
        }
        let share = share(self.offset, SHIFT_PLL + self.constant as u32);
        self.offset -= share;
        let slewed = self.adjust.clamp(-MAX_TICKADJ, MAX_TICKADJ);
        self.adjust -= slewed;
        self.this_second = share + ((slewed * 1000) << SCALE);
        leap
    }
}

/// `value / 2^shift`, towards zero, but all of it once that is nothing.
const fn share(value: i64, shift: u32) -> i64 {
    let part = if value < 0 {
        -(-value >> shift)
    } else {
        value >> shift
    };
    // Below a nanosecond nothing is left to be gained by waiting.
    if value.unsigned_abs() >> SCALE == 0 {
        value
    } else {
        part
    }
}

#[cfg(test)]
mod tests;
