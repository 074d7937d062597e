//! Scheduling: policies and priorities, who may set which, and what they do; processors.

mod accounting;
mod attributes;
mod order;
mod policies;
mod processors;

use crate::cases::parts;
use crate::sys::*;
use std::sync::atomic::{AtomicU64, Ordering};

parts![policies, attributes, processors, order, accounting];

const RESET_ON_FORK: i32 = 0x4000_0000;

fn set(pid: i32, policy: i32, priority: i32) -> Result<usize> {
    // Not the C library's, which refuses by itself.
    let param = [priority];
    call(
        libc::SYS_sched_setscheduler,
        &[pid as usize, policy as usize, param.as_ptr() as usize],
    )
}

fn policy(pid: i32) -> i32 {
    ok(call(libc::SYS_sched_getscheduler, &[pid as usize])) as i32
}

fn priority(pid: i32) -> i32 {
    let mut param = [-1];
    ok(call(
        libc::SYS_sched_getparam,
        &[pid as usize, param.as_mut_ptr() as usize],
    ));
    param[0]
}

/// A number in field `n` of `stat`.
fn stat_field(pid: i32, n: usize) -> i64 {
    crate::sys::stat_field(pid, n).parse().expect("a number")
}

const PROCESSOR: usize = 39;

pub(super) fn pin(pid: i32, set: &[usize]) {
    ok(sched_setaffinity(pid, set));
}

pub(super) fn mask(pid: i32) -> Vec<usize> {
    ok(sched_getaffinity(pid))
}

/// The clock of a process's processor time, as `clock_getcpuclockid(3)` makes it.
fn processor_clock(pid: i32) -> i32 {
    !pid << 3 | 2
}

/// A child that spins, counting, until it is killed.
pub(super) struct Spinner(i32);

impl Spinner {
    pub(super) fn new(count: &'static AtomicU64, prepare: impl FnOnce()) -> Self {
        Self(child(|| {
            prepare();
            loop {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }))
    }

    pub(super) fn id(&self) -> i32 {
        self.0
    }

    pub(super) fn cpu(&self) -> usize {
        stat_field(self.0, PROCESSOR) as usize
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        ok(kill(self.0, libc::SIGKILL));
        ignore(wait(self.0));
    }
}
