//! In an image with feature `ktest`: running the in-kernel tests in place of init.

use crate::arch::serial::{COM2, PolledPort};
use crate::arch::{power, smp};
use crate::ktest::{self, Selection};

/// Runs the tests that the command line selects, reports on the second serial port, and switches the machine off.
///
/// # Context
/// Task.
pub async fn run() -> ! {
    PolledPort::new(COM2).init();
    let selection = Selection::parse(super::info().cmdline().text());
    let summary = ktest::run(ktest::collected(), selection, smp::cpu_count(), report).await;
    log::info!("ktest: {summary:?}");
    power::poweroff()
}

fn report(text: &str) {
    for byte in text.bytes() {
        PolledPort::new(COM2).send(byte);
    }
}
