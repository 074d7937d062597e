//! The thread being polled.
#![allow(
    unsafe_code,
    reason = "the pointer to this CPU's thread becomes a counted one"
)]

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use executor::cpu;

use super::thread::Thread;
use crate::arch::percpu;

/// Says which thread this CPU polls from now on. It stays counted (by its future) until this CPU is told of another.
///
/// # Context
/// Preemption off, where polls begin and end and where suspended ones go on.
#[inline]
pub fn set_current(thread: Option<&Thread>) {
    let pointer = thread.map_or(core::ptr::null_mut(), |thread| {
        core::ptr::from_ref(thread).cast_mut()
    });
    percpu::this().thread.store(pointer, Ordering::Relaxed);
}

/// Calls `f` with the thread that this CPU polls, if it polls one.
///
/// # Context
/// Any; in an interrupt, the thread that was interrupted.
pub fn with_current<R>(f: impl FnOnce(&Thread) -> R) -> Option<R> {
    let _here = cpu::preempt_disable();
    let pointer = percpu::this().thread.load(Ordering::Relaxed);
    // SAFETY: null, or counted until this CPU is told of another (`set_current`), which it is not before preemption is
    // on again.
    unsafe { pointer.as_ref() }.map(f)
}

/// The user thread that this code runs for, if it does so for one.
pub fn try_current() -> Option<Arc<Thread>> {
    let _here = cpu::preempt_disable();
    let pointer = percpu::this().thread.load(Ordering::Relaxed);
    if pointer.is_null() {
        return None;
    }
    // SAFETY: it came from an `Arc` that stays counted while it is this CPU's current one (`set_current`), which it is
    // until preemption is on again.
    unsafe { Arc::increment_strong_count(pointer) };
    // SAFETY: the count taken above is the one that this `Arc` gives back.
    Some(unsafe { Arc::from_raw(pointer) })
}

/// The user thread that this code runs for.
///
/// # Panics
/// In a task that is no user thread; [`try_current`] there.
pub fn current() -> Arc<Thread> {
    try_current().expect("a user thread is being polled")
}
