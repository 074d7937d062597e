//! What programs ask with adjtimex(2), and whether it makes sense.

use super::{PPM_SCALE, USER_HZ};

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
