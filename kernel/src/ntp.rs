//! Disciplining the clock: the state behind adjtimex(2), as arithmetic.
//!
//! A loop outside (ntpd, chrony) measures how far the clock is off and says so; here that becomes a frequency and an
//! offset that is worked off little by little, a share of it each second. Scaled values have 32 bits behind the point.
//!
//! Source: Linux's `kernel/time/ntp.c`; RFC 5905, appendix A.5.5; adjtimex(2).

/// Bits of `modes`.
#[expect(missing_docs, reason = "the names are adjtimex(2)'s")]
pub mod adj {
    pub const OFFSET: u32 = 0x1;
    pub const FREQUENCY: u32 = 0x2;
    pub const MAXERROR: u32 = 0x4;
    pub const ESTERROR: u32 = 0x8;
    pub const STATUS: u32 = 0x10;
    pub const TIMECONST: u32 = 0x20;
    pub const TAI: u32 = 0x80;
    pub const SETOFFSET: u32 = 0x100;
    pub const MICRO: u32 = 0x1000;
    pub const NANO: u32 = 0x2000;
    pub const TICK: u32 = 0x4000;
    /// adjtime(3): with it `OFFSET` means "slew by that", and `NANO`'s bit "only tell".
    pub const ADJTIME: u32 = 0x8000;
}

/// Bits of the status.
#[expect(missing_docs, reason = "the names are adjtimex(2)'s")]
pub mod sta {
    pub const PLL: i32 = 0x1;
    pub const FLL: i32 = 0x8;
    pub const INS: i32 = 0x10;
    pub const DEL: i32 = 0x20;
    pub const UNSYNC: i32 = 0x40;
    pub const FREQHOLD: i32 = 0x80;
    pub const CLOCKERR: i32 = 0x1000;
    pub const NANO: i32 = 0x2000;
    pub const MODE: i32 = 0x4000;
    /// Those that programs cannot set: the pulse-per-second ones, the clock's own.
    pub const READ_ONLY: i32 = 0x100 | 0x200 | 0x400 | 0x800 | CLOCKERR | NANO | MODE | 0x8000;
}

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
const DAY: i64 = 86_400;
/// Ticks of `tick` in a second.
const USER_HZ: i64 = 100;

/// `struct timex`, as far as it is not about pulses.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are adjtimex(2)'s")]
pub struct Timex {
    pub modes: u32,
    pub offset: i64,
    pub freq: i64,
    pub maxerror: i64,
    pub esterror: i64,
    pub status: i32,
    pub constant: i64,
    pub precision: i64,
    pub tolerance: i64,
    pub tick: i64,
    pub tai: i32,
}

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

/// What the clock's owner has to do at the end of a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leap {
    /// Nothing.
    None,
    /// Set the time of day back by one second.
    Insert,
    /// Set it forward by one.
    Delete,
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

    fn leap(&mut self, now: i64) -> Leap {
        let wants = |bit: i32| self.status & bit != 0;
        match self.state {
            State::Ok if wants(sta::INS) => {
                self.state = State::Insert;
                self.next_leap = now + DAY - now.rem_euclid(DAY);
            }
            State::Ok if wants(sta::DEL) => {
                self.state = State::Delete;
                self.next_leap = now + DAY - (now + 1).rem_euclid(DAY);
            }
            State::Insert if !wants(sta::INS) => self.forget_leap(State::Ok),
            State::Delete if !wants(sta::DEL) => self.forget_leap(State::Ok),
            State::Insert if now >= self.next_leap => {
                self.state = State::InProgress;
                self.tai += 1;
                return Leap::Insert;
            }
            State::Delete if now >= self.next_leap => {
                self.forget_leap(State::Waiting);
                self.tai -= 1;
                return Leap::Delete;
            }
            State::InProgress => self.forget_leap(State::Waiting),
            State::Waiting if !wants(sta::INS | sta::DEL) => self.state = State::Ok,
            _ => {}
        }
        Leap::None
    }

    fn forget_leap(&mut self, next: State) {
        self.state = next;
        self.next_leap = i64::MAX;
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

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It makes no sense: `EINVAL`.
    Invalid,
    /// Only who may set the clock may: `EPERM`.
    Permission,
}

impl Timex {
    /// Whether the request makes sense; the time to add, of [`adj::SETOFFSET`], has a fraction of `fraction`.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn check(&self, privileged: bool, fraction: i64) -> Result<(), Refused> {
        let asks = |mode: u32| self.modes & mode != 0;
        if asks(adj::ADJTIME) {
            // Together with nothing else.
            if !asks(adj::OFFSET) {
                return Err(Refused::Invalid);
            }
            if !asks(adj::NANO) && !privileged {
                return Err(Refused::Permission);
            }
        } else {
            if self.modes != 0 && !privileged {
                return Err(Refused::Permission);
            }
            if asks(adj::TICK) && !(900_000 / USER_HZ..=1_100_000 / USER_HZ).contains(&self.tick) {
                return Err(Refused::Invalid);
            }
        }
        if asks(adj::SETOFFSET) {
            if !privileged {
                return Err(Refused::Permission);
            }
            let whole = if asks(adj::NANO) {
                1_000_000_000
            } else {
                1_000_000
            };
            if !(0..whole).contains(&fraction) {
                return Err(Refused::Invalid);
            }
        }
        if asks(adj::FREQUENCY) && self.freq.checked_mul(PPM_SCALE).is_none() {
            return Err(Refused::Invalid);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: u64 = 1 << 32;

    fn asked(modes: u32) -> Timex {
        Timex {
            modes,
            ..Timex::default()
        }
    }

    /// How far the rate is from one, in parts per billion.
    fn ppb(ntp: &Ntp) -> i64 {
        ((i128::from(ntp.rate()) - i128::from(ONE)) * 1_000_000_000 / i128::from(ONE)) as i64
    }

    #[test]
    fn nobody_has_asked_for_anything() {
        let mut ntp = Ntp::default();
        let mut timex = asked(0);
        assert_eq!(ntp.adjust(&mut timex, 0), TIME_ERROR);
        assert_eq!(
            (timex.status, timex.tick, timex.tolerance),
            (sta::UNSYNC, 10_000, 32_768_000)
        );
        assert_eq!(
            (timex.maxerror, timex.freq, ntp.rate()),
            (16_000_000, 0, ONE)
        );
        assert!(!ntp.is_active());
    }

    #[test]
    fn a_frequency_is_kept_and_bounded() {
        let mut ntp = Ntp::default();
        let mut timex = Timex {
            freq: 100 << 16,
            ..asked(adj::FREQUENCY)
        };
        ntp.adjust(&mut timex, 0);
        assert_eq!(timex.freq, 100 << 16);
        assert!((ppb(&ntp) - 100_000).abs() <= 1);
        let mut timex = Timex {
            freq: -(900 << 16),
            ..asked(adj::FREQUENCY)
        };
        ntp.adjust(&mut timex, 0);
        assert_eq!(timex.freq, -(500 << 16));
        assert!((ppb(&ntp) + 500_000).abs() <= 1);
    }

    #[test]
    fn a_tick_changes_the_rate() {
        let mut ntp = Ntp::default();
        let mut timex = Timex {
            tick: 10_100,
            ..asked(adj::TICK)
        };
        assert_eq!(timex.check(true, 0), Ok(()));
        ntp.adjust(&mut timex, 0);
        assert!((ppb(&ntp) - 10_000_000).abs() <= 1);
        assert_eq!(
            Timex {
                tick: 8999,
                ..asked(adj::TICK)
            }
            .check(true, 0),
            Err(Refused::Invalid)
        );
    }

    #[test]
    fn adjtime_slews_half_a_millisecond_a_second_and_tells_what_is_left() {
        let mut ntp = Ntp::default();
        let mut timex = Timex {
            offset: 1200,
            ..asked(adj::ADJTIME | adj::OFFSET)
        };
        ntp.adjust(&mut timex, 0);
        assert_eq!(timex.offset, 0);
        let mut gained = 0;
        for second in 1..=3 {
            ntp.second(second);
            gained += ppb(&ntp);
        }
        assert!((gained - 1_200_000).abs() <= 3, "{gained}");
        ntp.second(4);
        assert_eq!(ppb(&ntp), 0);
        let mut timex = asked(adj::ADJTIME | adj::OFFSET | adj::NANO);
        assert_eq!(timex.check(false, 0), Ok(()));
        ntp.adjust(&mut timex, 4);
        assert_eq!(timex.offset, 0);
    }

    #[test]
    fn an_offset_is_worked_off_by_shares() {
        let mut ntp = Ntp::default();
        let modes = adj::STATUS | adj::OFFSET | adj::NANO | adj::TIMECONST;
        let mut timex = Timex {
            status: sta::PLL | sta::FREQHOLD,
            offset: 1_000_000,
            ..asked(modes)
        };
        ntp.adjust(&mut timex, 1000);
        assert_eq!((timex.offset, timex.freq), (1_000_000, 0));
        let mut gained = 0;
        for second in 1001..1400 {
            ntp.second(second);
            gained += ppb(&ntp);
        }
        assert!((gained - 1_000_000).abs() < 1000, "{gained}");
    }

    #[test]
    fn a_second_is_inserted_at_the_end_of_the_day() {
        let mut ntp = Ntp::default();
        let mut timex = Timex {
            status: sta::PLL | sta::INS,
            maxerror: 0,
            ..asked(adj::STATUS | adj::MAXERROR)
        };
        ntp.adjust(&mut timex, 0);
        let mut leaps = Vec::new();
        for now in DAY - 10..DAY + 5 {
            if ntp.second(now) != Leap::None {
                leaps.push(now);
            }
        }
        assert_eq!(leaps, [DAY]);
        assert_eq!((ntp.tai(), ntp.state), (1, State::Waiting));
        let mut timex = Timex {
            status: sta::PLL,
            ..asked(adj::STATUS)
        };
        ntp.adjust(&mut timex, DAY + 5);
        ntp.second(DAY + 6);
        assert_eq!(ntp.adjust(&mut asked(0), DAY + 6), State::Ok as u64);
    }

    #[test]
    fn who_may_not_set_the_clock_may_look() {
        assert_eq!(asked(0).check(false, 0), Ok(()));
        assert_eq!(asked(adj::STATUS).check(false, 0), Err(Refused::Permission));
        assert_eq!(asked(adj::ADJTIME).check(true, 0), Err(Refused::Invalid));
        assert_eq!(
            asked(adj::ADJTIME | adj::OFFSET).check(false, 0),
            Err(Refused::Permission)
        );
        assert_eq!(
            asked(adj::SETOFFSET).check(true, 1_000_000),
            Err(Refused::Invalid)
        );
        assert_eq!(
            asked(adj::SETOFFSET | adj::NANO).check(true, 1_000_000),
            Ok(())
        );
    }

    proptest! {
        #[test]
        fn whatever_is_asked_the_rate_stays_within_bounds(
            asked in prop::collection::vec((any::<u32>(), any::<i64>(), any::<i32>(), 9000..=11_000_i64), 0..20)
        ) {
            let mut ntp = Ntp::default();
            let mut now = 1_000_000;
            for (modes, value, status, tick) in asked {
                let mut timex = Timex {
                    modes, offset: value, freq: value, maxerror: value, esterror: value, status, constant: value, tick,
                    ..Timex::default()
                };
                if timex.check(true, 0).is_ok() {
                    ntp.adjust(&mut timex, now);
                }
                now += value.rem_euclid(5000);
                ntp.second(now);
                // A tenth by the tick, half a second in one by the offset, and then some.
                prop_assert!(ppb(&ntp).abs() <= 400_000_000);
            }
        }
    }
}
