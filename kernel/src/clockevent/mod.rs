//! Clock events: devices that interrupt at a time, which of them a CPU gets, and what the tick makes of them.
//!
//! A [`Device`] is told a delay or a period; here is the arithmetic that all share: a delay in ns becomes ticks that the
//! device can count ([`Rate`]), a CPU gets the best device that is its own ([`best`]), and CPUs whose own device does not
//! run are served by one that is not ([`Broadcast`]). The machine's devices are in `arch::event`.
//!
//! | in Linux | here |
//! | --- | --- |
//! | `struct clock_event_device` | [`Device`], [`Traits`], [`Rate`] |
//! | `clockevents_config_and_register`, `tick_check_new_device` | [`best`] |
//! | `clockevents_program_event`, `clockevents_program_min_delta` | [`program`] |
//! | `tick_broadcast_oneshot_control`, `tick_handle_oneshot_broadcast` | [`Broadcast`] |
//! | `tick_handle_periodic`, `tick_nohz_handler`, `hrtimer_interrupt` | [`Mode`] |

mod broadcast;
mod mode;
mod rate;
#[cfg(test)]
mod tests;

pub use broadcast::Broadcast;
pub use mode::Mode;
pub use rate::Rate;

use bitflags::bitflags;

bitflags! {
    /// What a device can do; values as Linux's `CLOCK_EVT_FEAT_*`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Features: u32 {
        /// Interrupt again and again.
        const PERIODIC = 1;
        /// Interrupt once.
        const ONESHOT = 2;
        /// It stops while its CPU sleeps deeply.
        const C3STOP = 8;
        /// It does not run at all: another device stands in for it.
        const DUMMY = 16;
        /// Each CPU has one of its own.
        const PERCPU = 64;
    }
}

/// What is known of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Traits {
    /// Its name, as Linux has it.
    pub name: &'static str,
    /// How good it is.
    pub rating: u32,
    /// What it can do.
    pub features: Features,
    /// How it counts.
    pub rate: Rate,
}

/// A device that interrupts at a time.
///
/// Every operation runs with interrupts off, on the device's CPU or under the lock of who shares it.
pub trait Device: Sync {
    /// What is known of it.
    fn traits(&self) -> Traits;

    /// Has it interrupt once, `ticks` of its own from now, in place of what it was to do. False if the moment went by
    /// meanwhile.
    fn set_next(&self, ticks: u64) -> bool;

    /// Has it interrupt every `ticks` of its own.
    fn set_periodic(&self, ticks: u64);

    /// Has it interrupt no more.
    fn shutdown(&self);
}

/// How often a delay is doubled that the device was too slow for.
const MAX_RETRIES: u32 = 10;

/// Has `device` interrupt once, `delta_ns` from now: not sooner than it can, and not later than it can count, since an
/// interrupt that comes early finds nothing due. Gives how often it had to be tried again.
pub fn program(device: &dyn Device, delta_ns: u64) -> u32 {
    let rate = device.traits().rate;
    let mut ticks = rate.ticks(delta_ns);
    for retry in 0..MAX_RETRIES {
        if device.set_next(ticks) {
            return retry;
        }
        ticks = (ticks * 2).min(rate.max_ticks);
    }
    MAX_RETRIES
}

/// The best of `devices` that does all of `wanted` and nothing of `unwanted`.
pub fn best<'a>(
    devices: impl IntoIterator<Item = &'a dyn Device>,
    wanted: Features,
    unwanted: Features,
) -> Option<&'a dyn Device> {
    let fits = |device: &&dyn Device| {
        let features = device.traits().features;
        features.contains(wanted) && !features.intersects(unwanted)
    };
    devices
        .into_iter()
        .filter(fits)
        .max_by_key(|device| device.traits().rating)
}
