//! The kernel's log: records in a ring, written from any context, and printed on the console.
//!
//! The `log` macros end here. Each line becomes a record of [`ring::Ring`] with a number, a time and a level; whoever wants
//! to know ([`LOG`]: `dmesg`, `/dev/kmsg`, `syslog(2)`) reads there. On the machine, the writer then prints what has not
//! been printed ([`console`]): one CPU at a time, the others leave theirs to it.

#[cfg(target_os = "none")]
pub mod console;
pub mod format;
pub mod lines;
pub mod ring;
pub mod syslog;

pub use lines::Lines;
pub use ring::{Read, Record, Ring, TEXT_LEN};

use alloc::sync::Arc;
use conquer_once::noblock::OnceCell;
use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use executor::sync::WaitQueue;

/// The log of this kernel.
pub static LOG: Ring = Ring::new();

/// Levels of urgency, as in syslog.
#[expect(missing_docs, reason = "the names are syslog's")]
pub mod level {
    pub const EMERG: u8 = 0;
    pub const ALERT: u8 = 1;
    pub const CRIT: u8 = 2;
    pub const ERR: u8 = 3;
    pub const WARNING: u8 = 4;
    pub const NOTICE: u8 = 5;
    pub const INFO: u8 = 6;
    pub const DEBUG: u8 = 7;
}

/// What is printed if the command line does not say: all but debugging.
pub const DEFAULT_CONSOLE_LEVEL: u8 = 7;
/// What is printed with `quiet`: errors and worse.
pub const QUIET_CONSOLE_LEVEL: u8 = 4;
/// The least that `loglevel=` and `syslog(2)` can set: emergencies are always printed.
pub const MINIMUM_CONSOLE_LEVEL: u8 = 1;

/// Records of a level below this are printed.
static CONSOLE_LEVEL: AtomicU8 = AtomicU8::new(DEFAULT_CONSOLE_LEVEL);

/// Records of a level below this are printed on the console.
pub fn console_level() -> u8 {
    CONSOLE_LEVEL.load(Ordering::Relaxed)
}

/// Sets what is printed on the console; at least [`MINIMUM_CONSOLE_LEVEL`].
pub fn set_console_level(level: u8) {
    CONSOLE_LEVEL.store(level.max(MINIMUM_CONSOLE_LEVEL), Ordering::Relaxed);
}

/// The level to go back to when the console is let speak again, or 0.
static SILENCED: AtomicU8 = AtomicU8::new(0);

/// Prints emergencies only, or as before (`SYSLOG_ACTION_CONSOLE_OFF`, `_ON`).
pub fn silence_console(silent: bool) {
    if silent {
        let level = CONSOLE_LEVEL.swap(MINIMUM_CONSOLE_LEVEL, Ordering::Relaxed);
        let _ = SILENCED.compare_exchange(0, level, Ordering::Relaxed, Ordering::Relaxed);
    } else {
        match SILENCED.swap(0, Ordering::Relaxed) {
            0 => {}
            level => set_console_level(level),
        }
    }
}

/// Writes a message of the kernel to the log, a record for each line, and prints it.
///
/// # Context
/// Any.
pub fn emit(level: u8, args: fmt::Arguments<'_>) {
    write(u32::from(level), args);
}

/// Writes a message with any facility (`priority` is facility times 8 plus level), as `/dev/kmsg` does for user space.
///
/// # Context
/// Any.
pub fn write(priority: u32, args: fmt::Arguments<'_>) {
    #[cfg(target_os = "none")]
    let now = crate::arch::tsc::now_ns();
    #[cfg(not(target_os = "none"))]
    let now = 0;
    let mut lines = Lines::new(|line| {
        LOG.write(now, priority, line);
    });
    // Formatting fails only if a value's own code says so; what it wrote until then is kept.
    let _ = fmt::write(&mut lines, args);
    lines.finish();
    wake_readers();
    #[cfg(target_os = "none")]
    console::flush();
}

/// Those who wait for the next record.
static READERS: OnceCell<Arc<WaitQueue>> = OnceCell::uninit();
/// Whether reading the log needs a privilege (`kernel.dmesg_restrict`).
pub static DMESG_RESTRICT: fs::Tunable = fs::Tunable::switch(true);

/// The first record after the last `SYSLOG_ACTION_CLEAR`.
static CLEARED: AtomicU64 = AtomicU64::new(0);

/// The queue of those who wait for the next record.
///
/// # Context
/// Task.
pub fn readers() -> Arc<WaitQueue> {
    if READERS.try_get().is_err() {
        // Lost if another was quicker.
        let _ = READERS.try_init_once(|| Arc::new(WaitQueue::new()));
    }
    READERS.try_get().expect("made above").clone()
}

/// The first record that was not cleared.
pub fn cleared_seq() -> u64 {
    CLEARED.load(Ordering::Relaxed).max(LOG.first_seq())
}

/// Clears the log, as `dmesg -C` sees it.
pub fn clear() {
    CLEARED.store(LOG.next_seq(), Ordering::Relaxed);
}

fn wake_readers() {
    // An NMI may have interrupted code that has the queue locked.
    if let Ok(readers) = READERS.try_get()
        && !executor::cpu::in_nmi()
    {
        readers.wake_all();
    }
}

#[cfg(target_os = "none")]
pub use backend::init;

#[cfg(target_os = "none")]
mod backend {
    use super::{emit, level};
    use log::{Level, LevelFilter, Log, Metadata, Record};

    struct Printk;

    impl Log for Printk {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &Record<'_>) {
            let level = match record.level() {
                Level::Error => level::ERR,
                Level::Warn => level::WARNING,
                Level::Info => level::INFO,
                Level::Debug | Level::Trace => level::DEBUG,
            };
            emit(level, *record.args());
        }

        fn flush(&self) {}
    }

    /// Makes the `log` macros write to the log. Nothing is printed until [`super::console::start`].
    ///
    /// # Context
    /// Boot.
    pub fn init() {
        // Only a second call fails, and then the log is installed.
        let _ = log::set_logger(&Printk);
        log::set_max_level(LevelFilter::Info);
    }
}
