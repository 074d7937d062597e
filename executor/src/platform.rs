//! What the executor asks of the machine: a clock, an interrupt at a time, and an interrupt on another CPU.
//!
//! The kernel implements [`Platform`] on the machine and registers it once at boot. On the host a real clock and real
//! threads stand in for it, and a test may put a fake in their place for its own thread.
#![allow(
    unsafe_code,
    reason = "the registered platform is published through a pointer"
)]

use crate::time::Instant;

/// The machine, as far as the executor needs it.
///
/// Every function is called from any context, with interrupts on or off: none may wait, allocate, or take a lock that
/// is not an interrupt lock.
pub trait Platform: Sync {
    /// The monotonic clock. It never goes back, across CPUs as well.
    fn now(&self) -> Instant;

    /// Makes CPU `cpu` look at its queues: an interrupt whose way out sees `need_resched`, which its handler sets.
    ///
    /// Never called for the CPU that calls.
    fn pend(&self, cpu: u32);

    /// Asks for a timer interrupt on this CPU at `deadline`, in place of what was asked before; [`Instant::MAX`]
    /// for none.
    ///
    /// Called with interrupts masked. A deadline in the past means at once.
    fn set_timer(&self, deadline: Instant);

    /// Chooses among `idle`, CPUs that sleep (a bit each), one where the waiting task that carries `tag` may run, to be woken
    /// there; `None` if it is to stay where it is. A null tag is that of a task which may run
    /// [anywhere](crate::Spawner::anywhere).
    ///
    /// Called by the task's only waker, and again with the one CPU that was chosen: what
    /// forbids that by then (an affinity that changes) is met by the second call at the latest.
    fn place(&self, tag: *mut (), idle: u64) -> Option<u32> {
        let _ = (tag, idle);
        None
    }

    /// The task that is being polled could make way for another one here, and was asked to: a guard was dropped, or a task
    /// was woken. A machine that suspends polls may do so ([`suspend`](crate::suspend)).
    ///
    /// Called with interrupts on and preemption on, where nothing but this poll is under way.
    fn preempt(&self) {}

    /// As [`Platform::preempt`], in a long loop that offers it ([`cpu::point`](crate::cpu::point)).
    ///
    /// Called with preemption on.
    fn point(&self) {
        self.preempt();
    }

    /// Calls `run` on the stack that this CPU keeps for softirqs.
    ///
    /// Called with the softirq count raised.
    fn on_softirq_stack(&self, run: &mut dyn FnMut()) {
        run();
    }
}

#[cfg(target_os = "none")]
mod registered {
    use core::sync::atomic::{AtomicPtr, Ordering};

    use super::Platform;

    static PLATFORM: AtomicPtr<&'static dyn Platform> = AtomicPtr::new(core::ptr::null_mut());

    /// Names the machine's platform.
    ///
    /// # Context
    /// Boot, once, before the first task, lock with interrupts or timer.
    pub fn register(platform: &'static &'static dyn Platform) {
        PLATFORM.store(core::ptr::from_ref(platform).cast_mut(), Ordering::Release);
    }

    /// The registered platform.
    ///
    /// # Panics
    /// Before [`register`].
    #[inline]
    pub fn get() -> &'static dyn Platform {
        let ptr = PLATFORM.load(Ordering::Acquire);
        // SAFETY: null, or stored by `register` from a shared reference that lives for ever.
        *unsafe { ptr.as_ref() }.expect("the platform is registered at boot")
    }
}

#[cfg(not(target_os = "none"))]
mod registered {
    use core::cell::Cell;

    use super::Platform;
    use crate::platform::host::HostPlatform;

    #[cfg(not(loom))]
    std::thread_local! {
        static PLATFORM: Cell<&'static dyn Platform> = const { Cell::new(&HostPlatform) };
    }
    #[cfg(loom)]
    loom::thread_local! {
        static PLATFORM: Cell<&'static dyn Platform> = Cell::new(&HostPlatform);
    }

    /// Names the platform that the calling thread uses.
    pub fn register(platform: &'static &'static dyn Platform) {
        PLATFORM.with(|p| p.set(*platform));
    }

    /// The calling thread's platform.
    pub fn get() -> &'static dyn Platform {
        PLATFORM.with(Cell::get)
    }
}

#[cfg(not(target_os = "none"))]
pub mod host;
#[cfg(not(target_os = "none"))]
mod virtual_time;

#[cfg(not(target_os = "none"))]
pub use virtual_time::VirtualTime;

pub use registered::{get, register};
