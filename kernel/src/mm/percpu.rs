//! What each CPU keeps for the allocators: a stack of free frames, and a magazine of free objects per cache.
//!
//! Reached with preemption off, which excludes everything else that may allocate on the same CPU: hard interrupts do not
//! (rule 26), and softirqs run only where preemption is on (rule 7).
#![allow(unsafe_code, reason = "hands out the running CPU's own area mutably")]

use super::page_alloc::FrameStack;
use super::pagetable::tables::TableStacks;
use super::slab::Magazine;
use core::cell::UnsafeCell;
#[cfg(target_os = "none")]
use executor::cpu;

/// The most CPUs the allocators serve.
pub const MAX_CPUS: usize = 64;
/// The most caches, size classes and named ones together.
pub const MAX_CACHES: usize = 32;

/// One CPU's part of the allocators.
#[derive(Debug)]
#[repr(align(64))]
pub struct CpuMemory {
    pub(super) frames: FrameStack,
    pub(super) tables: TableStacks,
    pub(super) magazines: [Magazine; MAX_CACHES],
}

struct Slot(UnsafeCell<CpuMemory>);

// SAFETY: `with` alone reaches a slot, on the CPU it belongs to, with preemption off (on the host: under a mutex).
unsafe impl Sync for Slot {}

const CPUS: usize = if cfg!(target_os = "none") {
    MAX_CPUS
} else {
    1
};

static SLOTS: [Slot; CPUS] = [const {
    Slot(UnsafeCell::new(CpuMemory {
        frames: FrameStack::new(),
        tables: TableStacks::new(),
        magazines: [const { Magazine::new() }; MAX_CACHES],
    }))
}; CPUS];

/// Calls `f` with the running CPU's part. `f` must not come back here.
#[inline(always)]
#[cfg(target_os = "none")]
pub fn with<R>(f: impl FnOnce(&mut CpuMemory) -> R) -> R {
    let _guard = cpu::preempt_disable();
    debug_assert!(
        cpu::may_alloc(),
        "the allocator was entered from a hard interrupt or a wake-up"
    );
    let slot = &SLOTS[cpu::id() as usize % MAX_CPUS];
    // SAFETY: the slot is this CPU's, the guard keeps everyone else on it out, and `f` does not come back here.
    f(unsafe { &mut *slot.0.get() })
}

/// Calls `f` with the one part that all threads of the host share. `f` must not come back here.
#[cfg(not(target_os = "none"))]
pub fn with<R>(f: impl FnOnce(&mut CpuMemory) -> R) -> R {
    static HOST: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = HOST
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    // SAFETY: the mutex is held, and `f` does not come back here.
    f(unsafe { &mut *SLOTS[0].0.get() })
}

/// Gives back the frames that this CPU keeps, which is about to leave. What it keeps of tables and small objects, a bounded
/// number, stays until it is back.
///
/// # Context
/// Task, or the CPU's loop.
pub fn give_back() {
    with(|cpu| cpu.frames.give_back());
}

/// How many frames the CPUs hold back in their stacks; a snapshot without locks, for statistics.
pub fn frames_held() -> usize {
    // SAFETY: reads one word of each slot, which its CPU may be changing; any recent value will do.
    SLOTS
        .iter()
        .map(
            |slot| unsafe { core::ptr::read_volatile(&raw const (*slot.0.get()).frames.len) }
                as usize,
        )
        .sum()
}
