//! Where the CPUs' time goes, and the load average.
//!
//! Time in user mode and in the kernel is sampled by the tick, as each thread's is; idle time is measured.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use executor::cpu;
use executor::time::Instant;

use crate::arch::percpu;

/// One CPU's time, in ns.
#[derive(Default)]
struct Times {
    user: AtomicU64,
    nice: AtomicU64,
    system: AtomicU64,
    idle: AtomicU64,
    /// When the CPU went idle, or 0.
    idle_since: AtomicU64,
    /// How often it did.
    idle_calls: AtomicU64,
}

/// What [`times`] answers, in ns.
#[derive(Clone, Copy, Default, Debug)]
#[expect(missing_docs, reason = "the names are those of /proc/stat")]
pub struct CpuTimes {
    pub user: u64,
    pub nice: u64,
    pub system: u64,
    pub idle: u64,
}

static TIMES: [Times; cpu::MAX_CPUS] = [const {
    Times {
        user: AtomicU64::new(0),
        nice: AtomicU64::new(0),
        system: AtomicU64::new(0),
        idle: AtomicU64::new(0),
        idle_since: AtomicU64::new(0),
        idle_calls: AtomicU64::new(0),
    }
}; cpu::MAX_CPUS];

/// Books a tick of `ns` on this CPU.
///
/// # Context
/// Timer interrupt.
pub(super) fn tick(ns: u64, user: bool, nice: bool) {
    let times = &TIMES[cpu::id() as usize];
    let bucket = match (user, nice) {
        (true, false) => &times.user,
        (true, true) => &times.nice,
        (false, _) => &times.system,
    };
    bucket.fetch_add(ns, Ordering::Relaxed);
}

/// This CPU goes idle. Context: its own loop, interrupts off.
pub(super) fn idle_begins() {
    let times = &TIMES[cpu::id() as usize];
    let now = Instant::now().as_ns();
    times.idle_since.store(now, Ordering::Relaxed);
    // Written by its own CPU alone.
    let calls = times.idle_calls.load(Ordering::Relaxed);
    times.idle_calls.store(calls + 1, Ordering::Relaxed);
}

/// This CPU is idle no more. Context: its own loop.
pub(super) fn idle_ends() {
    let times = &TIMES[cpu::id() as usize];
    let since = times.idle_since.swap(0, Ordering::Relaxed);
    times.idle.fetch_add(
        Instant::now().as_ns().saturating_sub(since),
        Ordering::Relaxed,
    );
}

/// This CPU polls a user thread. Context: its own loop.
#[inline]
pub(super) fn switched() {
    let count = &percpu::this().switches;
    // Written by its own CPU alone.
    count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// Where the time of CPU `cpu` went.
pub fn times(cpu: u32) -> CpuTimes {
    let Some(times) = TIMES.get(cpu as usize) else {
        return CpuTimes::default();
    };
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let under_way = match read(&times.idle_since) {
        0 => 0,
        since => Instant::now().as_ns().saturating_sub(since),
    };
    CpuTimes {
        user: read(&times.user),
        nice: read(&times.nice),
        system: read(&times.system),
        idle: read(&times.idle) + under_way,
    }
}

/// How often CPU `cpu` went idle.
pub fn idle_calls(cpu: u32) -> u64 {
    let times = TIMES.get(cpu as usize);
    times.map_or(0, |times| times.idle_calls.load(Ordering::Relaxed))
}

/// How often the CPUs turned to a user thread (`ctxt`).
pub fn switches() -> u64 {
    (0..percpu::MAX_CPUS as u32)
        .filter_map(percpu::of)
        .map(|cpu| cpu.switches.load(Ordering::Relaxed))
        .sum()
}

/// Bits behind the binary point of a load average.
pub const LOAD_SHIFT: u32 = 11;
const LOAD_ONE: u64 = 1 << LOAD_SHIFT;
/// How often the number of runnable tasks is looked at.
const LOAD_PERIOD: Duration = Duration::from_secs(5);
/// `exp(-5 s / t)` for 1, 5 and 15 minutes, with [`LOAD_SHIFT`] bits.
const DECAY: [u64; 3] = [1884, 2014, 2037];

static AVERAGES: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// The load averages over 1, 5 and 15 minutes, with [`LOAD_SHIFT`] bits behind the point.
pub fn averages() -> [u64; 3] {
    core::array::from_fn(|i| AVERAGES[i].load(Ordering::Relaxed))
}

/// Moves an average one period on. Source: Linux's `calc_load`.
fn decay(average: u64, decay: u64, active: u64) -> u64 {
    let mut new = average * decay + active * (LOAD_ONE - decay);
    if active >= average {
        new += LOAD_ONE - 1;
    }
    new / LOAD_ONE
}

/// Keeps the averages, for ever. `active` counts the tasks that run or could.
pub async fn watch(active: impl Fn() -> u64) {
    loop {
        executor::time::sleep(LOAD_PERIOD).await;
        let active = active() * LOAD_ONE;
        for (average, factor) in AVERAGES.iter().zip(DECAY) {
            average.store(
                decay(average.load(Ordering::Relaxed), factor, active),
                Ordering::Relaxed,
            );
        }
    }
}
