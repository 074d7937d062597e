//! How much of each CPU the real-time threads may have, and the slice of round-robin ones: settings of the whole machine.
//!
//! Every CPU's run queue keeps its own copy and takes a new setting over when it next looks whether to switch, which a tick
//! makes it do.

use core::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use executor::sync::SpinLock;
use fs::{Errno, Result};
use sched::rt::{self, bandwidth::UNLIMITED};

use super::deadline;

const NS_PER_US: i64 = 1000;
const NS_PER_MS: i64 = 1_000_000;
/// A period is at least this long.
const PERIOD_MIN_US: i64 = 1;
/// Run time without limit.
const UNLIMITED_US: i64 = -1;

/// Guards changes of the two below, which go together.
static CHANGE: SpinLock<()> = SpinLock::new(());
static PERIOD_US: AtomicI64 = AtomicI64::new(rt::bandwidth::PERIOD_NS as i64 / NS_PER_US);
static RUNTIME_US: AtomicI64 = AtomicI64::new(rt::bandwidth::RUNTIME_NS as i64 / NS_PER_US);
static RR_SLICE_MS: AtomicI64 = AtomicI64::new(rt::RR_SLICE_NS as i64 / NS_PER_MS);
/// Counts the changes.
static VERSION: AtomicU32 = AtomicU32::new(0);

/// `sched_rt_period_us`.
pub fn period_us() -> i64 {
    PERIOD_US.load(Ordering::Relaxed)
}

/// `sched_rt_runtime_us`; -1 for no limit.
pub fn runtime_us() -> i64 {
    RUNTIME_US.load(Ordering::Relaxed)
}

/// `sched_rr_timeslice_ms`.
pub fn rr_slice_ms() -> i64 {
    RR_SLICE_MS.load(Ordering::Relaxed)
}

/// The round-robin slice in ns.
pub fn rr_slice_ns() -> u64 {
    (rr_slice_ms() * NS_PER_MS) as u64
}

/// The run time in each period in ns; [`UNLIMITED`] for no limit.
pub fn runtime_ns() -> u64 {
    ns_of(runtime_us())
}

fn ns_of(runtime_us: i64) -> u64 {
    match runtime_us {
        UNLIMITED_US => UNLIMITED,
        us => (us * NS_PER_US) as u64,
    }
}

/// Sets the period.
///
/// # Errors
/// `EINVAL` if it is not positive, beyond 32 bits, or less than the run time; `EBUSY` if deadline threads need more.
pub fn set_period_us(period: i64) -> Result<()> {
    let _guard = CHANGE.lock();
    check(period, runtime_us())?;
    PERIOD_US.store(period, Ordering::Relaxed);
    announce();
    Ok(())
}

/// Sets the run time in each period.
///
/// # Errors
/// `EINVAL` if it is below -1, or more than the period; `EBUSY` if deadline threads need more.
pub fn set_runtime_us(runtime: i64) -> Result<()> {
    let _guard = CHANGE.lock();
    check(period_us(), runtime)?;
    RUNTIME_US.store(runtime, Ordering::Relaxed);
    announce();
    Ok(())
}

/// Checks new settings, and that the deadline threads fit them.
fn check(period: i64, runtime: i64) -> Result<()> {
    let period_fits = (PERIOD_MIN_US..=i64::from(i32::MAX)).contains(&period);
    let runtime_fits = (UNLIMITED_US..=i64::from(i32::MAX)).contains(&runtime);
    if !period_fits || !runtime_fits || runtime > period {
        return Err(Errno::EINVAL);
    }
    deadline::set_limit(ns_of(runtime), (period * NS_PER_US) as u64)
}

/// Sets the round-robin slice; 0 or less for the usual one, as on Linux.
pub fn set_rr_slice_ms(slice: i64) {
    let slice = match slice {
        1.. => slice.min(i64::from(i32::MAX)),
        _ => rt::RR_SLICE_NS as i64 / NS_PER_MS,
    };
    RR_SLICE_MS.store(slice, Ordering::Relaxed);
    announce();
}

/// Has every CPU take over the settings, and what deadline threads were promised.
pub(super) fn announce() {
    VERSION.fetch_add(1, Ordering::Release);
}

/// One run queue's knowledge of the settings.
#[derive(Debug, Default)]
pub(super) struct Seen(u32);

impl Seen {
    /// Whether there were changes since the last look.
    #[inline(always)]
    pub(super) fn look(&mut self) -> bool {
        let version = VERSION.load(Ordering::Acquire);
        core::mem::replace(&mut self.0, version) != version
    }
}

/// Gives the class the settings as they are now.
#[cold]
pub(super) fn apply<T>(class: &mut rt::Realtime<T>) {
    class.set_bandwidth(runtime_ns(), (period_us() * NS_PER_US) as u64);
    class.set_rr_slice_ns(rr_slice_ns());
}
