//! The kernel's log.

use crate::arch::serial::{COM1, PolledPort};
use core::fmt::Write;
use log::{LevelFilter, Log, Metadata, Record};

struct Printk;

impl Log for Printk {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // A write to the port cannot fail.
        let _ = writeln!(PolledPort::new(COM1), "{}", record.args());
    }

    fn flush(&self) {}
}

/// Installs the log and its first console.
pub fn init() {
    PolledPort::new(COM1).init();
    // Only a second call fails, and then the log is installed.
    let _ = log::set_logger(&Printk);
    log::set_max_level(LevelFilter::Info);
}
