//! Automatic groups: the threads of a session count on the CPUs as one, so that a build in one terminal takes no more than
//! a shell in another.
//!
//! A session that setsid(2) makes has a group; those of the first session, and threads that a control group counts, are not in one.
//! Off at first, as in Debian's Linux: with `autogroup` on the command line, or by [`ENABLED`], groups count.
//!
//! Source: sched(7), "The autogroup feature".

use alloc::sync::Arc;
use core::sync::atomic::{AtomicI8, AtomicU64, Ordering};

use executor::sync::SpinLock;
use executor::time::Instant;
use fs::{Cap, Errno, Result, Tunable};
use sched::fair::autogroup::shares_of_nice;

use super::attributes::{NICE_MAX, NICE_MIN};
use super::rlimit::Resource;
use super::{Process, Thread, table};
use crate::cgroup::Scheduled;

/// `/proc/sys/kernel/sched_autogroup_enabled`.
pub static ENABLED: Tunable = Tunable::new(0, 0, 1);
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Who is not privileged may set a level only so long after the last one was set.
const PAUSE_NS: u64 = 100_000_000;
/// Until when that is.
static PAUSE_ENDS: SpinLock<u64> = SpinLock::new(0);

/// The group of a session.
pub struct Autogroup {
    id: u64,
    nice: AtomicI8,
    scheduled: Arc<Scheduled>,
}

impl Autogroup {
    /// That of a new session. `None` if there are too many groups: the session's threads count as those of the first do.
    ///
    /// # Context
    /// Task.
    pub fn new() -> Option<Arc<Self>> {
        let scheduled = Arc::new(Scheduled::new(None).ok()?);
        Some(Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            nice: AtomicI8::new(0),
            scheduled,
        }))
    }

    /// Its number, which no other ever has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its nice level among groups.
    pub fn nice(&self) -> i8 {
        self.nice.load(Ordering::Relaxed)
    }
}

/// Takes note of `autogroup` and `noautogroup`. Context: boot.
pub fn init() {
    let line = crate::boot::info().cmdline();
    let on = line.has("autogroup") && !line.has("noautogroup");
    ENABLED.set(on.into()).expect("it is within the bounds");
}

/// The part in the scheduler of the group of `process`, if there is one and groups are on.
///
/// # Context
/// Any.
pub fn scheduled_in(process: &Process) -> Option<Arc<Scheduled>> {
    if ENABLED.get() == 0 {
        return None;
    }
    Some(process.autogroup()?.scheduled.clone())
}

/// Has the CPUs look where the threads of `process` count, now that it has joined another session.
///
/// # Context
/// Task; takes the signal lock.
pub fn look_again(process: &Process) {
    for thread in process.threads() {
        thread.look_again();
    }
}

/// Has groups count, or not, from now on.
///
/// # Errors
/// `EINVAL` for anything but 0 and 1.
/// # Context
/// Task.
pub fn enable(value: i64) -> Result<()> {
    ENABLED.set(value)?;
    for process in table::each_process() {
        look_again(&process);
    }
    Ok(())
}

/// Sets the nice level of the group of `process`, as `caller` asks.
///
/// # Errors
/// `EINVAL` for a level that there is not, or if `process` is in no group; `EPERM` for one below 0 that the caller might not give
/// itself; `EAGAIN` too soon after the last change.
pub fn set_nice(caller: &Thread, process: &Process, nice: i32) -> Result<()> {
    if !(NICE_MIN..=NICE_MAX).contains(&nice) {
        return Err(Errno::EINVAL);
    }
    let level = nice as i8;
    let cred = caller.cred();
    let limit = caller.process().limit(Resource::Nice);
    if level < 0 && (20 - i64::from(level)) as u64 > limit && !cred.capable(Cap::SysNice) {
        return Err(Errno::EPERM);
    }
    {
        let mut pause_ends = PAUSE_ENDS.lock();
        let now = Instant::now().as_ns();
        if now < *pause_ends && !cred.capable(Cap::SysAdmin) {
            return Err(Errno::EAGAIN);
        }
        *pause_ends = now + PAUSE_NS;
    }
    let group = process.autogroup().ok_or(Errno::EINVAL)?;
    group.nice.store(level, Ordering::Relaxed);
    group.scheduled.shared().set_shares(shares_of_nice(level));
    Ok(())
}
