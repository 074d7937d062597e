//! A CPU's armed timers.

use super::Instant;

/// The armed timers of a CPU.
#[derive(Debug)]
pub struct TimerQueue {}

impl TimerQueue {
    pub(crate) fn new(_cpu: u32) -> Self {
        Self {}
    }

    /// When the next timer expires.
    pub fn next_deadline(&self) -> Option<Instant> {
        None
    }
}

/// Expires this CPU's timers up to `now`, and asks the platform for the next interrupt. The timer interrupt calls it.
pub fn run_expired(now: Instant) {
    let _ = now;
}
