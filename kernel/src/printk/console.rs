//! Printing the log on the console.
//!
//! Whoever writes a record tries to become the printer; the printer prints all there is, up to the newest, and looks again
//! after it has let go, so nothing is left behind. Nobody ever waits for the printer, so interrupts may log.
//! In a panic the lock is passed over: its holder has been stopped.

use super::format::{Stamp, utf8};
use super::ring::{Read, TEXT_LEN};
use super::{LOG, QUIET_CONSOLE_LEVEL, console_level, set_console_level};
use crate::arch::serial::{COM1, PolledPort};
use crate::cmdline::CommandLine;
use conquer_once::noblock::OnceCell;
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Something that shows the log to people.
pub trait Console: Sync {
    /// Prints `text`, in which lines end in `\n`.
    ///
    /// # Context
    /// Any, in a panic even NMI; one caller at a time, but then.
    fn write(&self, text: &str);
}

/// The first serial port, polled.
struct SerialConsole;

impl Console for SerialConsole {
    fn write(&self, text: &str) {
        // Writing to the port cannot fail.
        let _ = PolledPort::new(COM1).write_str(text);
    }
}

/// Takes the place of the polled port once a driver has the hardware.
static DRIVER: OnceCell<&'static dyn Console> = OnceCell::uninit();
/// Whether the log is printed at all.
static ENABLED: AtomicBool = AtomicBool::new(false);
/// Whether somebody is printing.
static BUSY: AtomicBool = AtomicBool::new(false);
static PANIC: AtomicBool = AtomicBool::new(false);
/// The first record that has not been printed. Written by the printer only.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Starts printing, as the command line says, with what has been logged so far.
///
/// `console=` names other than a serial port are for hardware that this kernel does not drive; `console=null` and an empty
/// name print nothing.
///
/// # Context
/// Boot.
pub fn start(line: CommandLine<'_>) {
    if line.has("quiet") {
        set_console_level(QUIET_CONSOLE_LEVEL);
    }
    if line.has("debug") {
        set_console_level(10);
        log::set_max_level(log::LevelFilter::Debug);
    }
    if let Some(level) = line.number("loglevel") {
        set_console_level(level.clamp(0, 15) as u8);
        if level > 7 {
            log::set_max_level(log::LevelFilter::Debug);
        }
    }
    if line.has("ignore_loglevel") {
        set_console_level(15);
    }
    let silent = matches!(line.value("console"), Some("" | "null"));
    if !silent {
        PolledPort::new(COM1).init();
        ENABLED.store(true, Ordering::Release);
        flush();
    }
}

/// Prints through `driver` from now on. Only the first one counts.
pub fn set_driver(driver: &'static dyn Console) {
    // Refuses the second.
    let _ = DRIVER.try_init_once(|| driver);
}

/// Prints what has not been printed, unless somebody else is at it.
///
/// # Context
/// Any. Spins: as long as the port takes for the text.
pub fn flush() {
    if !ENABLED.load(Ordering::Acquire) {
        return;
    }
    // Again after letting go: a record that came in between found us busy.
    while NEXT.load(Ordering::Acquire) < LOG.next_seq() {
        if BUSY.swap(true, Ordering::Acquire) && !PANIC.load(Ordering::Relaxed) {
            return;
        }
        let all = print_pending();
        BUSY.store(false, Ordering::Release);
        if !all {
            return;
        }
    }
}

/// Prints everything from now on, and without regard for who was printing.
///
/// # Context
/// Any, once the other CPUs have been stopped.
pub fn enter_panic() {
    PANIC.store(true, Ordering::Relaxed);
    set_console_level(15);
    if !ENABLED.swap(true, Ordering::AcqRel) {
        PolledPort::new(COM1).init();
    }
    flush();
}

/// Prints up to the newest record; false if one is still being written, whose writer will come here.
fn print_pending() -> bool {
    let mut text = [0; TEXT_LEN];
    loop {
        let seq = NEXT.load(Ordering::Relaxed);
        if seq >= LOG.next_seq() {
            return true;
        }
        match LOG.read(seq, &mut text) {
            Read::NotYet => return false,
            Read::Lost(first) => NEXT.store(first, Ordering::Release),
            Read::Record(record) => {
                if record.level() < console_level() {
                    print(record.time_ns, utf8(&text[..record.len]));
                }
                NEXT.store(seq + 1, Ordering::Release);
            }
        }
    }
}

/// Prints a line with its time.
fn print(time_ns: u64, text: &str) {
    let mut out = Out(DRIVER.try_get().map_or(&SerialConsole, |driver| *driver));
    // Neither the console nor these values fail.
    let _ = writeln!(out, "{}{text}", Stamp(time_ns));
}

struct Out(&'static dyn Console);

impl core::fmt::Write for Out {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0.write(text);
        Ok(())
    }
}
