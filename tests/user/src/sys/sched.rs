//! Scheduling: processors and yielding. Policies are set by the cases that test them.

use super::{Result, call, calls, ok};

calls! {
    /// Lets others run.
    sched_yield() = SYS_sched_yield;
    /// The highest priority of a policy.
    sched_get_priority_max(policy: i32) -> i32 = SYS_sched_get_priority_max;
    /// The lowest priority of a policy.
    sched_get_priority_min(policy: i32) -> i32 = SYS_sched_get_priority_min;
    /// How long a thread runs at a time.
    sched_rr_get_interval(pid: i32, to: &mut libc::timespec) = SYS_sched_rr_get_interval;
}

/// A set of processors as the calls take it: bit `n` of word `n / 64`.
pub type Cpus = [u64; 16];

/// The set of these processors.
pub fn cpus(numbers: &[usize]) -> Cpus {
    let mut set = [0; 16];
    for cpu in numbers {
        set[cpu / 64] |= 1 << (cpu % 64);
    }
    set
}

/// Sets where a thread may run.
pub fn sched_setaffinity(pid: i32, set: &[usize]) -> Result {
    let set = cpus(set);
    let args = [pid as usize, size_of_val(&set), set.as_ptr() as usize];
    call(libc::SYS_sched_setaffinity, &args).map(|_| ())
}

/// Where a thread may run.
pub fn sched_getaffinity(pid: i32) -> Result<Vec<usize>> {
    let mut set: Cpus = [0; 16];
    let args = [pid as usize, size_of_val(&set), set.as_mut_ptr() as usize];
    call(libc::SYS_sched_getaffinity, &args)?;
    let is_set = |cpu: &usize| set[cpu / 64] >> (cpu % 64) & 1 == 1;
    Ok((0..1024).filter(is_set).collect())
}

/// The processor that this thread runs on.
pub fn current_cpu() -> usize {
    let mut cpu = 0_u32;
    ok(call(libc::SYS_getcpu, &[&raw mut cpu as usize, 0, 0]));
    cpu as usize
}
