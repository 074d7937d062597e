//! Time: a clock, timers per CPU, and futures that wait for a moment.
#![allow(
    unsafe_code,
    reason = "timers are linked in place, in a heap that others share"
)]

mod armed;
mod delay;
mod heap;
mod hrtimer;
mod instant;
pub mod jiffies;
mod queue;
mod sleep;

pub use armed::{Armed, Expiry, armed};
pub use delay::{mdelay, ndelay, udelay};
pub use hrtimer::HrTimer;
pub use instant::Instant;
pub use queue::{TimerQueue, adopt, run_expired, set_timer_again};
pub use sleep::{Elapsed, Interval, Sleep, Timeout, sleep, sleep_until, timeout, timeout_at};
