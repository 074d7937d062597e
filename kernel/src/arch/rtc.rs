//! The battery-backed clock (MC146818), read once for the wall time.

#![allow(unsafe_code, reason = "port I/O")]

use crate::calendar::DateTime;
use x86_64::instructions::port::Port;

const SECONDS: u8 = 0x00;
const MINUTES: u8 = 0x02;
const HOURS: u8 = 0x04;
const DAY: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;
const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;
const UPDATE_IN_PROGRESS: u8 = 0x80;
const HOURS_24: u8 = 0x02;
const BINARY: u8 = 0x04;
const PM: u8 = 0x80;

/// Reads until two readings agree; more than this many means that there is no clock.
const ATTEMPTS: u32 = 10;
/// An update takes up to 2 ms; a port read takes about a microsecond where it is fast.
const UPDATE_POLLS: u32 = 10_000;

/// The wall time in seconds since 1970, or 0 if the clock does not answer sensibly.
///
/// # Context
/// Boot, or task with the CMOS ports to itself. Spins: up to 20 ms if the clock keeps being caught in its update.
pub fn read() -> i64 {
    let mut previous = None;
    for _ in 0..ATTEMPTS {
        let now = read_once();
        if now.is_some() && now == previous {
            return now.map_or(0, DateTime::to_unix);
        }
        previous = now;
    }
    0
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

fn register(index: u8) -> u8 {
    let mut address: Port<u8> = Port::new(0x70);
    let mut data: Port<u8> = Port::new(0x71);
    // SAFETY: these ports are the CMOS clock's on every PC. Bit 7 clear leaves NMIs on.
    unsafe { address.write(index & 0x7f) };
    // SAFETY: as above; reading the data port has no effect but on status C, which is not read here.
    unsafe { data.read() }
}
