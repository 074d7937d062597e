//! Which threads may have a deadline: what the CPUs are promised for, together.
//!
//! All CPUs are one domain: a deadline thread may run on each of them, and their promises are summed up. A promise is made
//! when a thread gets the policy, and holds until it gives that up or ends, whether it sleeps or not.

use executor::sync::SpinLockIrq;
use fs::{Errno, Result};
use sched::dl::{Admission, Busy};
use sched::rt::bandwidth::UNLIMITED;

use super::{place, realtime};
use crate::arch::smp;
use crate::process::attributes::Attributes;

/// What was promised. `None` until the CPUs are counted. Innermost lock.
static PROMISED: SpinLockIrq<Option<Admission>> = SpinLockIrq::new(None);

fn with<R>(f: impl FnOnce(&mut Admission) -> R) -> R {
    let mut promised = PROMISED.lock();
    f(promised.get_or_insert_with(|| Admission::new(smp::cpu_count().into())))
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
    with(|admission| admission.replace(old, new)).map_err(|Busy| Errno::EBUSY)
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
