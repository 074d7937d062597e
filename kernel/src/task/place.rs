//! On which CPU a thread runs: where a new or woken one goes, and how a CPU without work gets some.
//!
//! - A thread that is woken stays on its CPU while that sleeps or nobody else does; otherwise it goes to the nearest CPU that
//!   sleeps (`executor::Platform::place`).
//! - A new one, and one that runs a new program, goes to a CPU that sleeps, or else to the one with the least load.
//! - A CPU about to sleep asks one that has more tasks than it can run; so does, at times, one whose load is less than another's,
//!   and one that turns to something less urgent ([`super::spread`]).
//!
//! CPUs that are isolated (`isolcpus=`) take part in none of this: a thread gets there by its affinity only.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use conquer_once::spin::OnceCell;
use executor::{CpuShared, TaskRef};
use sched::smp::domain::{Domains, Place};
use sched::smp::{CpuSet, wake};

use crate::arch::{percpu, smp, topology};
use crate::process::Thread;

/// CPUs that threads are not placed on unless they may be nowhere else. Fixed at boot.
static ISOLATED: AtomicU64 = AtomicU64::new(0);

/// What the CPUs share, from the closest to the widest.
static DOMAINS: OnceCell<Domains> = OnceCell::uninit();

/// Takes note of `isolcpus=`. Context: boot, once the CPUs are counted.
pub fn init() {
    let line = crate::boot::info().cmdline();
    let isolated = line
        .value("isolcpus")
        .map_or(0, crate::cmdline::parse_cpu_list);
    // The first CPU does the housekeeping.
    ISOLATED.store(isolated & !1 & present(), Ordering::Relaxed);
    domains();
}

/// What the CPUs share, but for those that are isolated.
pub(super) fn domains() -> &'static Domains {
    DOMAINS.get_or_init(|| {
        let place = |cpu| {
            let at = topology::locate(cpu);
            Place {
                core: at.core,
                cache: at.cache,
                package: at.package,
                ..Place::default()
            }
        };
        let places: Vec<Place> = (0..smp::cpu_count()).map(place).collect();
        Domains::new(&places, &CpuSet::from_bits(isolated()))
    })
}

/// The CPUs that threads may be on at the moment, a bit each: those that have left are not among them.
#[inline]
pub fn present() -> u64 {
    smp::active()
}

/// The CPUs that there are, whether they take part or not.
pub fn possible() -> u64 {
    match smp::cpu_count() {
        64.. => u64::MAX,
        n => (1 << n) - 1,
    }
}

/// The CPUs that `isolcpus=` names.
pub fn isolated() -> u64 {
    ISOLATED.load(Ordering::Relaxed)
}

/// The CPUs among which the kernel moves a thread with mask `affinity`: never none.
fn candidates(affinity: u64) -> u64 {
    let allowed = affinity & present();
    match allowed & !isolated() {
        0 if allowed == 0 => present() & !isolated(),
        0 => allowed,
        usual => usual,
    }
}

/// The CPUs among which the kernel moves `thread`: never none.
pub(super) fn mask_of(thread: &Thread) -> u64 {
    candidates(thread.affinity.load(Ordering::Relaxed))
}

/// The CPUs that sleep at about this time.
pub(super) fn idle() -> u64 {
    let mut sleeping = 0;
    executor::claim_idle(|idle| {
        sleeping = idle;
        None
    });
    sleeping
}

/// Chooses among `idle` for a thread with mask `affinity`, and data near CPU `near`.
fn among(affinity: u64, idle: u64, near: u32) -> Option<u32> {
    let candidates = candidates(affinity);
    match candidates & idle {
        0 => None,
        one if one.is_power_of_two() => Some(one.trailing_zeros()),
        _ => {
            let [idle, allowed] = [idle, candidates].map(CpuSet::from_bits);
            let cpu = wake::nearest_idle(domains(), &idle, &allowed, near as usize)?;
            Some(cpu as u32)
        }
    }
}

/// The CPU that sleeps where a woken thread shall run; see `executor::Platform::place`.
///
/// # Context
/// Any.
pub(super) fn woken(thread: &Thread, idle: u64) -> Option<u32> {
    if thread.attributes().deadline().is_some() {
        // It counts where it slept.
        return None;
    }
    let last = thread.task().map_or_else(executor::cpu::id, TaskRef::cpu);
    among(thread.affinity.load(Ordering::SeqCst), idle, last)
}

/// The CPU that sleeps where a kernel task shall run that may run anywhere.
///
/// # Context
/// Any.
pub(super) fn anywhere(idle: u64) -> Option<u32> {
    among(present(), idle, executor::cpu::id())
}

/// Tasks that wait on CPU `cpu`, at about this time.
fn waiting(cpu: u32) -> u32 {
    CpuShared::of(cpu).map_or(0, CpuShared::waiting)
}

/// Tasks that run or wait on CPU `cpu`, at about this time.
fn load(cpu: u32) -> u32 {
    percpu::of(cpu).map_or(u32::MAX, |area| {
        waiting(cpu) + u32::from(!area.idle.load(Ordering::Relaxed))
    })
}

/// The CPU for a new thread with mask `affinity`.
///
/// # Context
/// Task.
pub fn new(affinity: u64) -> u32 {
    let here = executor::cpu::id();
    if smp::cpu_count() == 1 {
        return here;
    }
    if let Some(cpu) = executor::claim_idle(|idle| among(affinity, idle, here)) {
        return cpu;
    }
    let candidates = candidates(affinity);
    bits(candidates)
        // The caller's own CPU, where memory is warm, if it is no worse.
        .min_by_key(|cpu| (load(*cpu), *cpu != here))
        .unwrap_or(here)
}

/// The CPU where `thread` had better go on, which begins anew and has nothing in any cache; `None` for here.
///
/// # Context
/// The thread's own poll.
pub fn renewed(thread: &Thread) -> Option<u32> {
    let here = executor::cpu::id();
    let own = load(here);
    if smp::cpu_count() == 1 || own < 2 || thread.attributes().deadline().is_some() {
        return None;
    }
    let cpu = new(thread.affinity.load(Ordering::Relaxed));
    (cpu != here && load(cpu) + 1 < own).then_some(cpu)
}

/// The CPU that `thread` on CPU `here` has to go to, since its mask has changed or the CPU leaves; `None` if it may stay. If all
/// CPUs of its mask have left it may run anywhere from now on.
pub fn banished(thread: &Thread, here: u32) -> Option<u32> {
    let affinity = thread.affinity.load(Ordering::SeqCst);
    let present = present();
    if affinity & present & 1 << here != 0 {
        return None;
    }
    if affinity & present != 0 {
        return Some(new(affinity));
    }
    // Unless it has got another mask at this moment, by which it is looked at again.
    let broken =
        thread
            .affinity
            .compare_exchange(affinity, u64::MAX, Ordering::SeqCst, Ordering::Relaxed);
    if broken.is_ok() {
        let comm = thread.comm();
        let name = comm.split(|byte| *byte == 0).next().unwrap_or_default();
        log::info!(
            "process {} ({}) no longer affine to cpu{here}",
            thread.tid(),
            name.escape_ascii()
        );
    }
    (present & 1 << here == 0).then(|| new(u64::MAX))
}

/// A tick has passed on this CPU, which is to look around ([`super::spread`]).
///
/// # Context
/// Timer interrupt.
pub(super) fn ticked() {
    if smp::cpu_count() > 1 {
        let here = percpu::this();
        here.asked
            .fetch_or(1 << executor::cpu::id(), Ordering::Relaxed);
    }
}

/// The numbers of the bits that are set.
pub(super) fn bits(mut mask: u64) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || {
        let bit = mask.trailing_zeros();
        mask &= mask.wrapping_sub(1);
        (bit < u64::BITS).then_some(bit)
    })
}
