//! The battery-backed clock (MC146818): time, alarm, and why it interrupts.
//!
//! The chip is reached by an index and a data port, which are no pair unless [`CMOS`] is held. Who programs it, and what
//! its interrupts are for, is `crate::rtc`'s business.
//!
//! Source: Motorola MC146818A data sheet.

#![allow(unsafe_code, reason = "port I/O")]

use crate::calendar::DateTime;
use executor::sync::SpinLockIrq;
use x86_64::instructions::port::Port;

const SECONDS: u8 = 0x00;
const SECONDS_ALARM: u8 = 0x01;
const MINUTES: u8 = 0x02;
const MINUTES_ALARM: u8 = 0x03;
const HOURS: u8 = 0x04;
const HOURS_ALARM: u8 = 0x05;
const DAY: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;
const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;
const STATUS_C: u8 = 0x0c;
const STATUS_D: u8 = 0x0d;
const UPDATE_IN_PROGRESS: u8 = 0x80;
const HOURS_24: u8 = 0x02;
const BINARY: u8 = 0x04;
const PM: u8 = 0x80;
/// In status B: the time is being set.
const SETTING: u8 = 0x80;
/// In status D: the battery is good.
const VALID: u8 = 0x80;

/// In status C, what has happened; and in status B, what is to interrupt.
pub const UPDATED: u8 = 0x10;
/// As [`UPDATED`]: the alarm.
pub const ALARM: u8 = 0x20;
/// As [`UPDATED`]: the periodic rate.
pub const PERIODIC: u8 = 0x40;

/// Held from writing the index to using the data.
static CMOS: SpinLockIrq<()> = SpinLockIrq::new(());

/// Reads until two readings agree; more than this many means that there is no clock.
const ATTEMPTS: u32 = 10;
/// An update takes up to 2 ms; a port read takes about a microsecond where it is fast.
const UPDATE_POLLS: u32 = 10_000;

/// The wall time in seconds since 1970, or 0 if the clock does not answer sensibly.
///
/// # Context
/// Boot or task. Spins: up to 20 ms if the clock keeps being caught in its update.
pub fn read() -> i64 {
    time().map_or(0, DateTime::to_unix)
}

/// The wall time, if the clock answers sensibly.
///
/// # Context
/// As [`read`].
pub fn time() -> Option<DateTime> {
    let mut previous = None;
    for _ in 0..ATTEMPTS {
        let now = read_once();
        if now.is_some() && now == previous {
            return now;
        }
        previous = now;
    }
    None
}

/// Sets the wall time.
///
/// # Context
/// Any, NMI aside.
pub fn set_time(time: DateTime) {
    CMOS.with(|()| {
        let status = raw_read(STATUS_B);
        raw_write(STATUS_B, status | SETTING);
        let century = crate::boot::acpi::tables().century_register;
        let set = |index: u8, value: u8| raw_write(index, encode(value, status));
        set(SECONDS, time.second);
        set(MINUTES, time.minute);
        raw_write(HOURS, encode_hour(time.hour, status));
        set(DAY, time.day);
        set(MONTH, time.month);
        set(YEAR, time.year.rem_euclid(100) as u8);
        if century != 0 {
            set(century, (time.year / 100) as u8);
        }
        raw_write(STATUS_B, status & !SETTING);
    });
}

/// Sets the time of day at which the alarm comes.
///
/// # Context
/// Any, NMI aside.
pub fn set_alarm(time: DateTime) {
    CMOS.with(|()| {
        let status = raw_read(STATUS_B);
        raw_write(SECONDS_ALARM, encode(time.second, status));
        raw_write(MINUTES_ALARM, encode(time.minute, status));
        raw_write(HOURS_ALARM, encode_hour(time.hour, status));
    });
}

/// Has those of `what` ([`UPDATED`], [`ALARM`], [`PERIODIC`]) interrupt, or not.
///
/// # Context
/// Any, NMI aside.
pub fn enable(what: u8, on: bool) {
    CMOS.with(|()| {
        let status = raw_read(STATUS_B);
        let status = if on { status | what } else { status & !what };
        raw_write(STATUS_B, status);
        // What happened before is not told.
        raw_read(STATUS_C);
    });
}

/// Sets the periodic rate to 2^(16 - `selector`) a second; `selector` is 3 to 15.
#[cfg(feature = "ktest")]
pub fn set_rate(selector: u8) {
    CMOS.with(|()| {
        let status = raw_read(STATUS_A);
        raw_write(STATUS_A, status & 0xf0 | selector & 0xf);
    });
}

/// What interrupts and has happened since this was asked last, which lets the chip interrupt again.
///
/// # Context
/// Any, NMI aside: the top half.
pub fn take_events() -> u8 {
    CMOS.with(|()| raw_read(STATUS_C) & raw_read(STATUS_B)) & (UPDATED | ALARM | PERIODIC)
}

/// How it is set up: whether it counts in decimal digits, in 24 hours, and its battery is good.
pub fn condition() -> (bool, bool, bool) {
    let status = register(STATUS_B);
    (
        status & BINARY == 0,
        status & HOURS_24 != 0,
        register(STATUS_D) & VALID != 0,
    )
}

/// Reads all registers outside an update, or gives up.
fn read_once() -> Option<DateTime> {
    let ready = (0..UPDATE_POLLS).any(|_| register(STATUS_A) & UPDATE_IN_PROGRESS == 0);
    if !ready {
        return None;
    }
    let status = register(STATUS_B);
    let field = |index| decode(register(index), status);
    let raw_hour = register(HOURS);
    let hour = decode(raw_hour & !PM, status);
    let hour = match (status & HOURS_24 != 0, raw_hour & PM != 0) {
        (true, _) => decode(raw_hour, status),
        (false, false) => hour % 12,
        (false, true) => hour % 12 + 12,
    };
    let century = match crate::boot::acpi::tables().century_register {
        0 => 0,
        index => i32::from(field(index)),
    };
    let year = i32::from(field(YEAR));
    let year = match century {
        19..=21 => century * 100 + year,
        _ if year < 70 => 2000 + year,
        _ => 1900 + year,
    };
    let now = DateTime {
        year,
        month: field(MONTH),
        day: field(DAY),
        hour,
        minute: field(MINUTES),
        second: field(SECONDS),
    };
    now.is_plausible().then_some(now)
}

/// The value of a field, which the clock keeps in binary or in decimal digits as status register B says.
fn decode(raw: u8, status: u8) -> u8 {
    if status & BINARY != 0 {
        raw
    } else {
        (raw >> 4).wrapping_mul(10).wrapping_add(raw & 0xf)
    }
}

/// The other way round.
fn encode(value: u8, status: u8) -> u8 {
    if status & BINARY != 0 {
        value
    } else {
        ((value / 10) << 4) | (value % 10)
    }
}

fn encode_hour(hour: u8, status: u8) -> u8 {
    if status & HOURS_24 != 0 {
        return encode(hour, status);
    }
    let half = encode((hour + 11) % 12 + 1, status);
    if hour >= 12 { half | PM } else { half }
}

fn register(index: u8) -> u8 {
    CMOS.with(|()| raw_read(index))
}

/// Reads a register; [`CMOS`] is held.
fn raw_read(index: u8) -> u8 {
    let mut address: Port<u8> = Port::new(0x70);
    let mut data: Port<u8> = Port::new(0x71);
    // SAFETY: these ports are the CMOS clock's on every PC. Bit 7 clear leaves NMIs on.
    unsafe { address.write(index & 0x7f) };
    // SAFETY: as above; reading the data port has no effect but on status C, which is meant to be cleared so.
    unsafe { data.read() }
}

/// Writes a register; [`CMOS`] is held.
fn raw_write(index: u8, value: u8) {
    let mut address: Port<u8> = Port::new(0x70);
    let mut data: Port<u8> = Port::new(0x71);
    // SAFETY: as in `raw_read`.
    unsafe { address.write(index & 0x7f) };
    // SAFETY: the registers of the clock hold time and what interrupts; no memory hangs on them.
    unsafe { data.write(value) };
}
