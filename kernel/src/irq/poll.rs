//! Lines that were shut off since nobody answered them are asked now and then: what made them storm may have been another
//! device's, and theirs still want something.
//!
//! Linux's `poll_spurious_irqs`, which looks as often.

use conquer_once::noblock::OnceCell;
use executor::time::{HrTimer, Instant};

use super::table;

/// How long until the next look.
pub(super) const INTERVAL_NS: u64 = 100_000_000;

static TIMER: OnceCell<HrTimer> = OnceCell::uninit();

/// Makes ready to ask. Context: boot, on a CPU that has timers.
pub fn init() {
    // Fails only if it was done before.
    let _ = TIMER.try_init_once(|| HrTimer::new(look));
}

/// Has the lines that are shut off asked from now on.
///
/// # Context
/// Any; a line's lock may be held.
pub(super) fn start() {
    if let Ok(timer) = TIMER.try_get() {
        timer.arm(Instant::now().add_ns(INTERVAL_NS));
    }
}

/// Asks all that are shut off, and again later if any still is. Context: timer interrupt.
fn look(now: Instant) -> Option<Instant> {
    let asked = table::existing().filter(|line| line.poll()).count();
    (asked != 0).then(|| now.add_ns(INTERVAL_NS))
}
