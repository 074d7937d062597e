//! What each CPU shows the others of its run queue, for decisions where tasks run.
//!
//! A view may be old by the time it is read: each CPU writes its own, at its ticks and where it turns to or from what is urgent.
//! So a decision by views is a wish, and who has the task decides again by what it knows exactly.

use core::sync::atomic::{AtomicU64, Ordering};

use executor::CpuShared;
use sched::pelt::SCALE;
use sched::smp::{CpuView, Urgency};

use super::place;
use crate::arch::percpu::{self, MAX_CPUS};
use crate::arch::smp;

/// One CPU's, on a cache line of its own.
#[repr(align(64))]
struct Shown {
    load: AtomicU64,
    capacity: AtomicU64,
    progress: AtomicU64,
    /// As [`Urgency::to_bits`] has it.
    running: AtomicU64,
    waiting: AtomicU64,
}

static SHOWN: [Shown; MAX_CPUS] = [const {
    Shown {
        load: AtomicU64::new(0),
        capacity: AtomicU64::new(SCALE),
        progress: AtomicU64::new(0),
        running: AtomicU64::new(0),
        waiting: AtomicU64::new(0),
    }
}; MAX_CPUS];

/// Gives `decide` the views of all CPUs, by number.
///
/// They take much room: this is no part of the caller, whose place on the stack stays small.
///
/// # Context
/// Any.
#[inline(never)]
pub(super) fn with_all<R>(decide: impl FnOnce(&mut [CpuView]) -> R) -> R {
    let mut all = [CpuView::ABSENT; MAX_CPUS];
    let views = &mut all[..smp::cpu_count() as usize];
    for (cpu, view) in views.iter_mut().enumerate() {
        *view = of(cpu as u32);
    }
    decide(views)
}

/// The farthest that any CPU has come.
///
/// # Context
/// Any.
pub(super) fn farthest() -> u64 {
    let all = SHOWN.iter().take(smp::cpu_count() as usize);
    let progress = all.map(|shown| shown.progress.load(Ordering::Relaxed));
    progress.max().unwrap_or(0)
}

/// What CPU `cpu` shows.
///
/// # Context
/// Any.
pub(super) fn of(cpu: u32) -> CpuView {
    let (Some(shown), Some(area)) = (SHOWN.get(cpu as usize), percpu::of(cpu)) else {
        return CpuView::default();
    };
    let read = |word: &AtomicU64| word.load(Ordering::Relaxed);
    let waiting = CpuShared::of(cpu).map_or(0, CpuShared::waiting);
    CpuView {
        active: place::present() & !place::isolated() & 1 << cpu != 0,
        runnable: waiting + u32::from(!area.idle.load(Ordering::Relaxed)),
        load: read(&shown.load),
        capacity: read(&shown.capacity).max(1),
        progress: read(&shown.progress),
        running: Urgency::from_bits(read(&shown.running)),
        waiting: Urgency::from_bits(read(&shown.waiting)),
    }
}

/// Shows the load of CPU `cpu`, and how far that has come. Only that CPU calls it.
pub(super) fn show_load(cpu: u32, load: u64, capacity: u64, progress: u64) {
    let shown = &SHOWN[cpu as usize];
    shown.load.store(load, Ordering::Relaxed);
    shown.capacity.store(capacity, Ordering::Relaxed);
    shown.progress.store(progress, Ordering::Relaxed);
}

/// Notes that a task that weighs `load` is on its way to CPU `cpu`, until that shows its load again.
pub(super) fn announce(cpu: u32, load: u64) {
    SHOWN[cpu as usize].load.fetch_add(load, Ordering::Relaxed);
}

/// Shows what CPU `cpu` runs, and what waits there. Only that CPU calls it.
pub(super) fn show_urgency(cpu: u32, running: Urgency, waiting: Urgency) {
    let shown = &SHOWN[cpu as usize];
    shown.running.store(running.to_bits(), Ordering::Relaxed);
    shown.waiting.store(waiting.to_bits(), Ordering::Relaxed);
}

/// Notes that something of this urgency is on its way to CPU `cpu`, until that shows what it runs.
pub(super) fn announce_urgency(cpu: u32, urgency: Urgency) {
    SHOWN[cpu as usize]
        .running
        .store(urgency.to_bits(), Ordering::Relaxed);
}
