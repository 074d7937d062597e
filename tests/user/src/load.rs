//! What cases about scheduling share: counters that parent and children see, children that spin, `sched_setattr(2)`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::sys::{Ended, call, child, shared, sleep_ms, wait};

/// Numbers that parent and children share, zero at first.
#[derive(Clone, Copy)]
pub struct Shared(&'static [AtomicU64; 64]);

impl Shared {
    /// New ones.
    pub fn new() -> Self {
        Self(shared())
    }

    /// Number `n`.
    pub fn get(&self, n: usize) -> u64 {
        self.0[n].load(Ordering::SeqCst)
    }

    /// Sets number `n`.
    pub fn set(&self, n: usize, value: u64) {
        self.0[n].store(value, Ordering::SeqCst);
    }

    /// Adds to number `n`.
    pub fn add(&self, n: usize, value: u64) {
        self.0[n].fetch_add(value, Ordering::SeqCst);
    }
}

/// A child that goes on until it is killed, when this is dropped.
pub struct Running(pub i32);

impl Running {
    /// A child that calls `turn` for ever, after `prepare`.
    pub fn new(prepare: impl FnOnce(), mut turn: impl FnMut()) -> Self {
        Self(child(|| {
            prepare();
            loop {
                turn();
            }
        }))
    }

    /// A child that spins, after `prepare`.
    pub fn spinning(prepare: impl FnOnce()) -> Self {
        Self::new(prepare, std::hint::spin_loop)
    }

    /// Ends it.
    pub fn end(self) {
        drop(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let killed = call(libc::SYS_kill, &[self.0 as usize, libc::SIGKILL as usize]);
        assert!(killed.is_ok(), "a child that was not waited for is there");
        assert_eq!(wait(self.0), Ended::Signal(libc::SIGKILL));
    }
}

/// Waits until `done`, for a while.
#[track_caller]
pub fn soon(done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(15), "not in time");
        sleep_ms(2);
    }
}

/// A clock of clock_gettime(2).
fn clock(id: i32) -> Duration {
    let mut time = [0u64; 2];
    call(
        libc::SYS_clock_gettime,
        &[id as usize, time.as_mut_ptr() as usize],
    )
    .expect("it is there");
    Duration::new(time[0], time[1] as u32)
}

/// The monotonic clock.
pub fn monotonic() -> Duration {
    clock(libc::CLOCK_MONOTONIC)
}

/// Processor time of process `pid`.
pub fn cpu_time(pid: i32) -> Duration {
    const CLOCK_OF_PROCESS: i32 = 2;
    clock(!pid << 3 | CLOCK_OF_PROCESS)
}

/// Processor time of the caller.
fn own_time() -> Duration {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Spins until it has used `time` of a processor.
pub fn work(time: Duration) {
    let end = own_time() + time;
    while own_time() < end {
        std::hint::spin_loop();
    }
}

/// `struct sched_attr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Attr {
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// `SCHED_DEADLINE`.
pub const DEADLINE: u32 = 6;
/// `SCHED_FLAG_RESET_ON_FORK`.
pub const RESET_ON_FORK: u64 = 1;
/// `SCHED_FLAG_RECLAIM`.
pub const RECLAIM: u64 = 2;
/// `SCHED_FLAG_DL_OVERRUN`.
pub const OVERRUN: u64 = 4;

impl Attr {
    /// A deadline thread's: `runtime` in each `period`, both in microseconds.
    pub fn deadline(runtime: u64, period: u64) -> Self {
        Self {
            size: size_of::<Self>() as u32,
            policy: DEADLINE,
            runtime: runtime * 1000,
            deadline: period * 1000,
            period: period * 1000,
            ..Self::default()
        }
    }

    /// Those of another policy.
    pub fn policy(policy: u32, priority: u32) -> Self {
        Self {
            size: size_of::<Self>() as u32,
            policy,
            priority,
            ..Self::default()
        }
    }

    /// Sets them for thread `pid`, or the caller if that is 0.
    pub fn set(self, pid: i32) -> Result<(), i32> {
        let args = [pid as usize, &raw const self as usize, 0];
        call(libc::SYS_sched_setattr, &args).map(drop)
    }

    /// Those of thread `pid`, or the caller if that is 0.
    pub fn get(pid: i32) -> Self {
        let mut attr = Self::default();
        let at = &raw mut attr as usize;
        let args = [pid as usize, at, size_of::<Self>(), 0];
        call(libc::SYS_sched_getattr, &args).expect("the thread is there");
        attr
    }
}

/// Sets the processors that thread `pid` may run on, a bit each.
pub fn set_affinity(pid: i32, mask: u64) -> Result<(), i32> {
    let args = [pid as usize, size_of::<u64>(), &raw const mask as usize];
    call(libc::SYS_sched_setaffinity, &args).map(drop)
}

/// The processors that thread `pid` may run on, a bit each.
pub fn affinity(pid: i32) -> u64 {
    let mut mask = [0u64; 16];
    let args = [pid as usize, size_of_val(&mask), mask.as_mut_ptr() as usize];
    call(libc::SYS_sched_getaffinity, &args).expect("the thread is there");
    mask[0]
}

/// Gives the processor up.
pub fn give_way() {
    call(libc::SYS_sched_yield, &[]).expect("it never fails");
}
