//! Signals for threads that ran too long without waiting: `RLIMIT_RTTIME`, and deadline threads that want to know
//! (`SCHED_FLAG_DL_OVERRUN`).
//!
//! The scheduler notes it where nothing may be locked, and the thread is told on its way to user mode. Source: setrlimit(2),
//! sched(7); the order is that of Linux's `check_thread_timers`.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use super::Thread;
use super::rlimit::{RLIM_INFINITY, Resource, Rlimit};
use super::thread::{WORK_OVERRUN, WORK_RT_TIME};
use crate::signal::{Signal, send};

const NS_PER_US: u64 = 1000;
const US_PER_S: u64 = 1_000_000;

/// A real-time thread has run for `ns` since it last waited.
///
/// # Context
/// The thread's CPU, preemption off, no lock held.
pub fn note_realtime(thread: &Thread, ns: u64) {
    let us = ns / NS_PER_US;
    if us >= thread.process().limit(Resource::RtTime) {
        thread.unbroken_run_us.store(us, Ordering::Relaxed);
        thread.set_bits(WORK_RT_TIME);
    }
}

/// Sends `thread` what was noted.
///
/// # Context
/// Task: the thread's own poll, nothing held.
#[cold]
pub fn tell(thread: &Arc<Thread>) {
    let process = thread.process();
    let bits = thread.bits();
    thread.clear_bits(WORK_OVERRUN | WORK_RT_TIME);
    if bits & WORK_OVERRUN != 0 {
        send::send_kernel(process, Signal::SIGXCPU);
    }
    if bits & WORK_RT_TIME != 0 {
        let us = thread.unbroken_run_us.load(Ordering::Relaxed);
        let signal = {
            let mut limits = process.rlimits.lock();
            let (signal, next) = verdict(limits.get(Resource::RtTime), us);
            limits.put(Resource::RtTime, next);
            signal
        };
        if let Some(signal) = signal {
            send::send_kernel(process, signal);
        }
    }
}

/// What a thread is sent that ran for `us`, and the limit from then on: the soft one sends again each second.
fn verdict(limit: Rlimit, us: u64) -> (Option<Signal>, Rlimit) {
    if limit.cur == RLIM_INFINITY || us < limit.cur {
        (None, limit)
    } else if us >= limit.max {
        (Some(Signal::SIGKILL), limit)
    } else {
        let cur = limit.cur.saturating_add(US_PER_S);
        (Some(Signal::SIGXCPU), Rlimit { cur, ..limit })
    }
}
