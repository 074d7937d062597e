//! Scheduling: policies, priorities, nice levels, processors. Source: sched(7) and the page of each call.

use alloc::sync::Arc;
use alloc::vec::Vec;

use core::sync::atomic::Ordering;

use fs::{Cap, Errno, Result};
use sched::dl;

use super::{Call, Plain, Stop, SysResult};
use crate::arch::smp;
use crate::process::attributes::{
    self, Attributes, Kind, MAX_PRIORITY, NICE_MAX, NICE_MIN, Rights, Wanted,
};
use crate::process::rlimit::Resource;
use crate::process::thread::STATE_EXITING;
use crate::process::{Thread, table};
use crate::task::{deadline, place};
use crate::{task, usermem};

/// The calls of this area.
pub const CALLS: &[(u16, Plain)] = &[
    (24, sched_yield),
    (140, getpriority),
    (141, setpriority),
    (142, sched_setparam),
    (143, sched_getparam),
    (144, sched_setscheduler),
    (145, sched_getscheduler),
    (146, sched_get_priority_max),
    (147, sched_get_priority_min),
    (148, sched_rr_get_interval),
    (203, sched_setaffinity),
    (204, sched_getaffinity),
    (314, sched_setattr),
    (315, sched_getattr),
];

/// In a policy's number: children get the usual attributes.
const RESET_ON_FORK: i32 = 0x4000_0000;

fn sched_yield(call: &mut Call<'_>) -> SysResult {
    // With nobody to give way to, it is nothing, but for a deadline thread: it gives the rest of its budget up.
    if task::others_wait() || call.thread.attributes().deadline().is_some() {
        Err(Stop::Yield)
    } else {
        Ok(0)
    }
}

/// The thread with number `tid`, or the caller for 0.
fn thread_of(call: &Call<'_>, tid: i32) -> Result<Arc<Thread>> {
    match tid {
        0 => Ok(call.thread.clone()),
        tid if tid < 0 => Err(Errno::EINVAL),
        tid => table::lock().thread(tid).cloned().ok_or(Errno::ESRCH),
    }
}

/// What the caller may do to `thread`.
fn rights(call: &Call<'_>, thread: &Thread) -> Rights {
    let (mine, theirs) = (call.thread.cred(), thread.cred());
    Rights {
        privileged: mine.capable(Cap::SysNice),
        own: mine.euid == theirs.euid || mine.euid == theirs.uid,
        priority_limit: thread.process().limit(Resource::RtPriority),
        nice_limit: thread.process().limit(Resource::Nice),
    }
}

/// Changes a thread's attributes to what is wanted.
fn set_attributes(call: &Call<'_>, thread: &Thread, wanted: &Wanted) -> SysResult {
    let rights = rights(call, thread);
    let affinity = thread.affinity.load(Ordering::SeqCst);
    thread.set_attributes(|from| {
        if thread.bits() & STATE_EXITING != 0 {
            return Err(Errno::ESRCH);
        }
        let to = attributes::change(from, wanted, &rights)?;
        deadline::admit(&from, &to, affinity)?;
        Ok::<_, Errno>(to)
    })?;
    Ok(0)
}

fn sched_getscheduler(call: &mut Call<'_>) -> SysResult {
    let attributes = thread_of(call, call.int(0))?.attributes();
    let reset = if attributes.reset_on_fork {
        RESET_ON_FORK
    } else {
        0
    };
    Ok((attributes.kind as i32 | reset) as u64)
}

fn sched_setscheduler(call: &mut Call<'_>) -> SysResult {
    let policy = call.int(1);
    if policy < 0 {
        return Err(Errno::EINVAL.into());
    }
    set_policy(call, Some(policy), call.arg(2))
}

fn sched_setparam(call: &mut Call<'_>) -> SysResult {
    set_policy(call, None, call.arg(1))
}

/// Sets the priority from the `sched_param` at `param`, and the policy if one is given.
fn set_policy(call: &Call<'_>, policy: Option<i32>, param: u64) -> SysResult {
    if param == 0 || call.int(0) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let priority = usermem::read::<i32>(param)?;
    let thread = thread_of(call, call.int(0))?;
    let wanted = Wanted {
        policy: policy.map(|policy| policy & !RESET_ON_FORK),
        nice: None,
        priority: Some(priority as u32),
        deadline: None,
        reset_on_fork: policy.is_some_and(|policy| policy & RESET_ON_FORK != 0),
    };
    set_attributes(call, &thread, &wanted)
}

fn sched_getparam(call: &mut Call<'_>) -> SysResult {
    if call.arg(1) == 0 {
        return Err(Errno::EINVAL.into());
    }
    let attributes = thread_of(call, call.int(0))?.attributes();
    usermem::write(call.arg(1), &i32::from(attributes.priority))?;
    Ok(0)
}

/// `struct sched_attr`.
mod attr {
    /// Bytes of the first version.
    pub const SIZE_FIRST: usize = 48;
    /// Bytes of the one with utilisation clamps.
    pub const SIZE: usize = 56;
    /// A longer one is an error.
    pub const SIZE_MAX: usize = 4096;

    pub const RESET_ON_FORK: u64 = 1;
    pub const RECLAIM: u64 = 2;
    pub const DL_OVERRUN: u64 = 4;
    pub const KEEP_POLICY: u64 = 8;
    pub const KEEP_PARAMS: u64 = 0x10;
    pub const UTIL_CLAMP: u64 = 0x60;
    pub const ALL: u64 = 0x7f;
}

/// The fields of a `sched_attr` that matter here.
struct Attr {
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

impl Attr {
    fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }

    /// The parameters of a deadline thread, if they are valid.
    fn deadline(&self) -> Option<dl::Params> {
        let flags = dl::Flags {
            reclaim: self.has(attr::RECLAIM),
            overrun: self.has(attr::DL_OVERRUN),
        };
        let periods = task::deadline::periods_ns();
        dl::Params::with_periods(self.runtime, self.deadline, self.period, flags, periods).ok()
    }
}

/// Reads a `sched_attr` of whatever size.
fn read_attr(at: u64) -> Result<Attr> {
    let size = match usermem::read::<u32>(at)? as usize {
        0 => attr::SIZE_FIRST,
        size => size,
    };
    let too_big = || {
        // Linux tells what it knows, as far as it can.
        let _ = usermem::write(at, &(attr::SIZE as u32));
        Errno::E2BIG
    };
    if !(attr::SIZE_FIRST..=attr::SIZE_MAX).contains(&size) {
        return Err(too_big());
    }
    let mut bytes = [0u8; attr::SIZE];
    usermem::read_bytes(at, &mut bytes[..size.min(attr::SIZE)])?;
    for n in attr::SIZE..size {
        if usermem::read::<u8>(at + n as u64)? != 0 {
            return Err(too_big());
        }
    }
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    let flags = long(8);
    if flags & attr::UTIL_CLAMP != 0 && size < attr::SIZE {
        return Err(Errno::EINVAL);
    }
    Ok(Attr {
        policy: word(4),
        flags,
        nice: (word(16) as i32).clamp(NICE_MIN, NICE_MAX),
        priority: word(20),
        runtime: long(24),
        deadline: long(32),
        period: long(40),
    })
}

fn sched_setattr(call: &mut Call<'_>) -> SysResult {
    if call.arg(1) == 0 || call.int(0) < 0 || call.arg(2) as u32 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let given = read_attr(call.arg(1))?;
    if (given.policy as i32) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let thread = thread_of(call, call.int(0))?;
    let params = !given.has(attr::KEEP_PARAMS);
    let wanted = Wanted {
        policy: (!given.has(attr::KEEP_POLICY)).then_some(given.policy as i32),
        nice: params.then_some(given.nice as i8),
        priority: params.then_some(given.priority),
        deadline: given.deadline(),
        reset_on_fork: given.has(attr::RESET_ON_FORK),
    };
    if given.flags & !attr::ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    if given.has(attr::UTIL_CLAMP) {
        // The rest is looked at first, as by a Linux without utilisation clamps.
        attributes::change(thread.attributes(), &wanted, &rights(call, &thread))?;
        return Err(Errno::EOPNOTSUPP.into());
    }
    set_attributes(call, &thread, &wanted)
}

fn sched_getattr(call: &mut Call<'_>) -> SysResult {
    let (at, size) = (call.arg(1), call.arg(2) as u32 as usize);
    if at == 0
        || call.int(0) < 0
        || !(attr::SIZE_FIRST..=attr::SIZE_MAX).contains(&size)
        || call.arg(3) as u32 != 0
    {
        return Err(Errno::EINVAL.into());
    }
    let attributes = thread_of(call, call.int(0))?.attributes();
    let known = size.min(attr::SIZE);
    let asked = attributes.deadline().copied().unwrap_or_default();
    let flag = |set: bool, flag| if set { flag } else { 0 };
    let flags = flag(attributes.reset_on_fork, attr::RESET_ON_FORK)
        | flag(asked.flags.reclaim, attr::RECLAIM)
        | flag(asked.flags.overrun, attr::DL_OVERRUN);
    let heeds_nice = !attributes.kind.is_realtime() && attributes.kind != Kind::Deadline;
    let nice = if heeds_nice { attributes.nice } else { 0 };
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let longs = [
        pair(known as u32, attributes.kind as u32),
        flags,
        pair(i32::from(nice) as u32, attributes.priority.into()),
        asked.runtime_ns,
        asked.deadline_ns,
        asked.period_ns,
    ];
    let mut bytes = [0u8; attr::SIZE];
    for (to, long) in bytes.chunks_exact_mut(8).zip(longs) {
        to.copy_from_slice(&long.to_le_bytes());
    }
    usermem::write_bytes(at, &bytes[..known])?;
    Ok(0)
}

fn sched_get_priority_max(call: &mut Call<'_>) -> SysResult {
    match Kind::from_number(call.int(0)) {
        Some(kind) if kind.is_realtime() => Ok(u64::from(MAX_PRIORITY)),
        Some(_) => Ok(0),
        None => Err(Errno::EINVAL.into()),
    }
}

fn sched_get_priority_min(call: &mut Call<'_>) -> SysResult {
    sched_get_priority_max(call).map(|max| max.min(1))
}

fn sched_rr_get_interval(call: &mut Call<'_>) -> SysResult {
    /// The slice of a fair task, in whole ticks as Linux has it.
    const FAIR_NS: u64 = task::tick::TICK_NS;
    let interval = match thread_of(call, call.int(0))?.attributes().kind {
        Kind::Fifo | Kind::Deadline => 0,
        Kind::RoundRobin => task::realtime::rr_slice_ns(),
        Kind::Other | Kind::Batch | Kind::Idle => FAIR_NS,
    };
    super::time::write_timespec(call.arg(1), interval)?;
    Ok(0)
}

// Processors.

/// Bytes of a mask with all processors: whole words.
fn mask_len() -> usize {
    smp::cpu_count().div_ceil(u64::BITS) as usize * 8
}

fn sched_getaffinity(call: &mut Call<'_>) -> SysResult {
    let len = call.arg(1) as u32 as usize;
    if len * 8 < smp::cpu_count() as usize || !len.is_multiple_of(8) {
        return Err(Errno::EINVAL.into());
    }
    let thread = thread_of(call, call.int(0))?;
    let allowed = thread.affinity.load(Ordering::Relaxed) & place::present();
    let len = len.min(mask_len());
    usermem::write_bytes(call.arg(2), &allowed.to_le_bytes()[..len])?;
    Ok(len as u64)
}

fn sched_setaffinity(call: &mut Call<'_>) -> SysResult {
    let mut mask = [0u8; 8];
    let len = (call.arg(1) as u32 as usize).min(mask.len());
    usermem::read_bytes(call.arg(2), &mut mask[..len])?;
    let thread = thread_of(call, call.int(0))?;
    let rights = rights(call, &thread);
    if !rights.own && !rights.privileged {
        return Err(Errno::EPERM.into());
    }
    let allowed = u64::from_le_bytes(mask) & place::present();
    if allowed == 0 {
        return Err(Errno::EINVAL.into());
    }
    deadline::check_affinity(&thread.attributes(), allowed)?;
    thread.affinity.store(allowed, Ordering::SeqCst);
    if let Some(task) = thread.task() {
        // Its CPU sees to it; the caller itself goes over before the call returns.
        task.notify_owner();
        if Arc::ptr_eq(&thread, call.thread) && allowed & 1 << task.cpu() == 0 {
            return Err(Stop::Yield);
        }
    }
    Ok(0)
}

// Nice values.

/// The threads that getpriority(2) and its like are about.
pub(super) fn by_kind(call: &Call<'_>, kind: i32, who: i32) -> Result<Vec<Arc<Thread>>> {
    const PROCESS: i32 = 0;
    const GROUP: i32 = 1;
    const USER: i32 = 2;
    let mut threads = Vec::new();
    match kind {
        PROCESS if who == 0 => threads.push(call.thread.clone()),
        PROCESS => threads.extend(table::lock().thread(who).cloned()),
        GROUP => {
            let own = call.thread.process().group().id;
            let table = table::lock();
            if let Some(group) = table.group(if who == 0 { own } else { who }) {
                for member in group.members(&table) {
                    threads.extend(member.threads());
                }
            } else if who == 0 {
                drop(table);
                threads.extend(call.thread.process().threads());
            }
        }
        USER => {
            let uid = if who == 0 {
                call.thread.cred().uid
            } else {
                who as u32
            };
            let table = table::lock();
            for process in table.processes() {
                threads.extend(
                    process
                        .threads()
                        .into_iter()
                        .filter(|thread| thread.cred().uid == uid),
                );
            }
        }
        _ => return Err(Errno::EINVAL),
    }
    if threads.is_empty() {
        Err(Errno::ESRCH)
    } else {
        Ok(threads)
    }
}

fn getpriority(call: &mut Call<'_>) -> SysResult {
    let threads = by_kind(call, call.int(0), call.int(1))?;
    let nice = threads.iter().map(|thread| thread.attributes().nice);
    let least = nice.min().unwrap_or(0);
    // Between 1 and 40, so that it is no error.
    Ok((20 - i64::from(least)) as u64)
}

fn setpriority(call: &mut Call<'_>) -> SysResult {
    let nice = call.int(2).clamp(NICE_MIN, NICE_MAX) as i8;
    let mine = call.thread.cred();
    let mut outcome = Err(Errno::ESRCH);
    for thread in by_kind(call, call.int(0), call.int(1))? {
        let theirs = thread.cred();
        let rights = rights(call, &thread);
        if theirs.uid != mine.euid && theirs.euid != mine.euid && !rights.privileged {
            outcome = Err(Errno::EPERM);
            continue;
        }
        if nice < thread.attributes().nice && !rights.privileged && !rights.reach_nice(nice) {
            outcome = Err(Errno::EACCES);
            continue;
        }
        if outcome == Err(Errno::ESRCH) {
            outcome = Ok(());
        }
        thread.set_attributes(|from| Ok::<_, Errno>(Attributes { nice, ..from }))?;
    }
    outcome?;
    Ok(0)
}
