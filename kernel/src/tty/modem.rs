//! Requests about the serial line itself: modem lines, counters, `setserial`.

use core::sync::atomic::Ordering;

use fs::{Errno, Result};

use super::ioctl::Request;

const TIOCMGET: u32 = 0x5415;
const TIOCMBIS: u32 = 0x5416;
const TIOCMBIC: u32 = 0x5417;
const TIOCMSET: u32 = 0x5418;
const TIOCGSERIAL: u32 = 0x541e;
const TIOCSERGETLSR: u32 = 0x5459;
const TIOCGICOUNT: u32 = 0x545d;

/// Data terminal ready.
pub const TIOCM_DTR: u32 = 0x002;
/// Request to send.
pub const TIOCM_RTS: u32 = 0x004;
/// Clear to send.
pub const TIOCM_CTS: u32 = 0x020;
/// Carrier.
pub const TIOCM_CAR: u32 = 0x040;
/// Ring.
pub const TIOCM_RNG: u32 = 0x080;
/// Data set ready.
pub const TIOCM_DSR: u32 = 0x100;
/// First user output.
pub const TIOCM_OUT1: u32 = 0x2000;
/// Second user output.
pub const TIOCM_OUT2: u32 = 0x4000;
/// Local loopback.
pub const TIOCM_LOOP: u32 = 0x8000;
/// What a program may change.
const SETTABLE: u32 = TIOCM_DTR | TIOCM_RTS | TIOCM_OUT1 | TIOCM_OUT2 | TIOCM_LOOP;

/// `PORT_16550A` of `struct serial_struct`.
const PORT_16550A: i32 = 4;
const SERIAL_STRUCT_LEN: usize = 72;

/// Answers a request that is not one of every terminal.
pub(super) fn request(request: &Request<'_>) -> Result<u64> {
    let driver = &request.tty.driver;
    match request.cmd {
        TIOCMGET => request.put_int(driver.modem_lines()? as i32),
        TIOCMBIS | TIOCMBIC | TIOCMSET => {
            driver.modem_lines()?;
            let lines = request.get_int()? as u32 & SETTABLE;
            let (set, clear) = match request.cmd {
                TIOCMBIS => (lines, 0),
                TIOCMBIC => (0, lines),
                _ => (lines, !lines & SETTABLE),
            };
            driver.set_modem_lines(set, clear).map(|()| 0)
        }
        TIOCGSERIAL | TIOCSERGETLSR | TIOCGICOUNT => {
            let port = driver.serial().ok_or(Errno::ENOTTY)?;
            match request.cmd {
                TIOCSERGETLSR => request.put_int(i32::from(port.is_idle())),
                TIOCGSERIAL => {
                    let mut raw = [0; SERIAL_STRUCT_LEN];
                    let mut word = |at: usize, value: i32| {
                        raw[at..at + 4].copy_from_slice(&value.to_ne_bytes())
                    };
                    word(0, PORT_16550A);
                    word(4, port.index() as i32);
                    word(8, i32::from(port.base()));
                    word(12, i32::from(port.irq()));
                    word(20, 16);
                    word(28, drivers::serial::CLOCK_HZ as i32);
                    request.mem.write(request.arg, &raw)?;
                    Ok(0)
                }
                _ => {
                    // `struct serial_icounter_struct`: cts dsr rng dcd rx tx frame overrun parity brk buf_overrun.
                    let counters = port.counters();
                    let values = [
                        &counters.received,
                        &counters.sent,
                        &counters.framing,
                        &counters.overruns,
                        &counters.parity,
                        &counters.breaks,
                    ];
                    let mut raw = [0; 80];
                    for (at, value) in values.into_iter().enumerate() {
                        let at = 16 + at * 4;
                        let value = value.load(Ordering::Relaxed) as u32;
                        raw[at..at + 4].copy_from_slice(&value.to_ne_bytes());
                    }
                    request.mem.write(request.arg, &raw)?;
                    Ok(0)
                }
            }
        }
        _ => Err(Errno::ENOTTY),
    }
}
