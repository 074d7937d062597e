//! Which threads may have a deadline: what the CPUs are promised for, together.
//!
//! All CPUs are one domain: a deadline thread may run on each of them, and their promises are summed up. A promise is made
//! when a thread gets the policy, and holds until it gives that up or ends, whether it sleeps or not.

use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicU32, Ordering};

use executor::sync::{SpinLock, SpinLockIrq};
use fs::{Errno, Result};
use sched::dl::params::{MAX_PERIOD_NS, MIN_PERIOD_NS};
use sched::dl::{Admission, Busy};
use sched::rt::bandwidth::UNLIMITED;

use super::{place, realtime};
use crate::arch::smp;
use crate::process::attributes::Attributes;

/// What was promised. `None` until the CPUs are counted. Innermost lock.
static PROMISED: SpinLockIrq<Option<Admission>> = SpinLockIrq::new(None);

const NS_PER_US: u64 = 1000;
/// Guards changes of the two below, which go together.
static PERIODS: SpinLock<()> = SpinLock::new(());
static PERIOD_MIN_US: AtomicU32 = AtomicU32::new((MIN_PERIOD_NS / NS_PER_US) as u32);
static PERIOD_MAX_US: AtomicU32 = AtomicU32::new((MAX_PERIOD_NS / NS_PER_US) as u32);

/// The periods that a thread may ask for, in µs (`sched_deadline_period_min_us` and `sched_deadline_period_max_us`).
pub fn periods_us() -> RangeInclusive<u32> {
    PERIOD_MIN_US.load(Ordering::Relaxed)..=PERIOD_MAX_US.load(Ordering::Relaxed)
}

/// The periods that a thread may ask for, in ns.
pub fn periods_ns() -> RangeInclusive<u64> {
    let (shortest, longest) = periods_us().into_inner();
    u64::from(shortest) * NS_PER_US..=u64::from(longest) * NS_PER_US
}

/// Sets the shortest period. Threads that have a deadline keep theirs.
///
/// # Errors
/// `EINVAL` beyond 32 bits; `ERANGE` above the longest.
pub fn set_shortest_us(us: i64) -> Result<()> {
    let us = u32::try_from(us).map_err(|_| Errno::EINVAL)?;
    let _change = PERIODS.lock();
    if us > *periods_us().end() {
        return Err(Errno::ERANGE);
    }
    PERIOD_MIN_US.store(us, Ordering::Relaxed);
    Ok(())
}

/// Sets the longest period. Threads that have a deadline keep theirs.
///
/// # Errors
/// `EINVAL` beyond 32 bits; `ERANGE` below the shortest.
pub fn set_longest_us(us: i64) -> Result<()> {
    let us = u32::try_from(us).map_err(|_| Errno::EINVAL)?;
    let _change = PERIODS.lock();
    if us < *periods_us().start() {
        return Err(Errno::ERANGE);
    }
    PERIOD_MAX_US.store(us, Ordering::Relaxed);
    Ok(())
}

fn with<R>(f: impl FnOnce(&mut Admission) -> R) -> R {
    let mut promised = PROMISED.lock();
    f(promised.get_or_insert_with(|| Admission::new(smp::cpu_count().into())))
}

/// Changes the number of CPUs, for one that leaves or comes.
///
/// # Errors
/// `EBUSY` if more was promised than the rest can keep.
pub(super) fn set_cpus(cpus: u32) -> Result<()> {
    with(|admission| admission.set_cpus(cpus.into())).map_err(|Busy| Errno::EBUSY)?;
    realtime::announce();
    Ok(())
}

/// Lets a thread with CPU mask `affinity` go from one set of attributes to another.
///
/// # Errors
/// `EPERM` if a deadline thread could not run everywhere; `EBUSY` if the CPUs are promised to others.
pub fn admit(from: &Attributes, to: &Attributes, affinity: u64) -> Result<()> {
    let (old, new) = (from.deadline(), to.deadline());
    if old.is_none() && new.is_none() {
        return Ok(());
    }
    if new.is_some() && is_limited() && !everywhere(affinity) {
        return Err(Errno::EPERM);
    }
    with(|admission| admission.replace(old, new)).map_err(|Busy| Errno::EBUSY)?;
    realtime::announce();
    Ok(())
}

/// Tells a CPU's class what its reclaiming tasks may count on.
#[cold]
pub(super) fn apply<T>(class: &mut sched::dl::Deadline<T>) {
    let (max, extra) = with(|admission| admission.of_each_cpu());
    class.set_reclaim_limits(max, extra);
}

/// Whether a deadline thread may be confined to the CPUs of `affinity`.
///
/// # Errors
/// `EBUSY`.
pub fn check_affinity(attributes: &Attributes, affinity: u64) -> Result<()> {
    if attributes.deadline().is_some() && is_limited() && !everywhere(affinity) {
        return Err(Errno::EBUSY);
    }
    Ok(())
}

/// Sets how much of each CPU may be promised, together with the real-time threads: `runtime_ns`, or [`UNLIMITED`], in each
/// `period_ns`.
///
/// # Errors
/// `EBUSY` if more is promised already.
pub(super) fn set_limit(runtime_ns: u64, period_ns: u64) -> Result<()> {
    with(|admission| admission.set_limit(runtime_ns, period_ns)).map_err(|Busy| Errno::EBUSY)
}

fn is_limited() -> bool {
    realtime::runtime_ns() != UNLIMITED
}

fn everywhere(affinity: u64) -> bool {
    place::present() & !place::isolated() & !affinity == 0
}
