//! Where a task runs that is woken: on a CPU that sleeps, if its own is busy.
//!
//! The waker chooses. Having turned SCHEDULED on it is the only one that may queue the task, which waits and is in no queue, so
//! it may also set the task's home. A CPU that sleeps is *claimed*, its bit taken, so that two wakers do not choose the
//! same one; a claim that comes to nothing is harmless, since the CPU sets its bit again when it next goes to sleep.

use core::{
    ptr::{self, NonNull},
    sync::atomic::Ordering,
};

use super::{
    header::{Header, WANT_REFRESH},
    shared::{CpuShared, LevelKind},
    state::{PINNED, ROAMS},
};
use crate::{facade::fence, platform};

/// CPUs from this number on sleep unseen: tasks are not placed there.
const SEEN: u32 = u64::BITS;

#[cfg(not(loom))]
mod idle {
    use core::sync::atomic::AtomicU64;

    /// The CPUs that sleep and are not claimed.
    static IDLE: AtomicU64 = AtomicU64::new(0);

    #[inline(always)]
    pub(super) fn cpus() -> &'static AtomicU64 {
        &IDLE
    }
}

#[cfg(loom)]
mod idle {
    loom::lazy_static! {
        static ref IDLE: loom::sync::atomic::AtomicU64 = loom::sync::atomic::AtomicU64::new(0);
    }

    pub(super) fn cpus() -> &'static loom::sync::atomic::AtomicU64 {
        &IDLE
    }
}

/// CPU `cpu` goes to sleep. Context: that CPU, interrupts off.
pub(super) fn idle_begins(cpu: u32) {
    if cpu < SEEN {
        idle::cpus().fetch_or(1 << cpu, Ordering::Relaxed);
    }
}

/// CPU `cpu` is awake, or will be. Context: any.
pub(super) fn idle_ends(cpu: u32) {
    if cpu < SEEN && idle::cpus().load(Ordering::Relaxed) & 1 << cpu != 0 {
        idle::cpus().fetch_and(!(1 << cpu), Ordering::Relaxed);
    }
}

/// Takes one of the CPUs that sleep, chosen by `choose` among them (a bit each), so that nobody else gives it work before it
/// has slept again.
///
/// # Context
/// Any.
pub fn claim_idle(mut choose: impl FnMut(u64) -> Option<u32>) -> Option<u32> {
    loop {
        let idle = idle::cpus().load(Ordering::Relaxed);
        if idle == 0 {
            return None;
        }
        let cpu = choose(idle).filter(|cpu| *cpu < SEEN)?;
        if idle::cpus().fetch_and(!(1 << cpu), Ordering::Relaxed) & 1 << cpu != 0 {
            return Some(cpu);
        }
    }
}

/// The CPU to push a task to that its only waker has just turned SCHEDULED.
///
/// # Safety
/// The caller turned SCHEDULED on with RUNNING and COMPLETE off, and has not queued the task.
#[inline(always)]
pub(super) unsafe fn destination(task: NonNull<Header>) -> &'static CpuShared {
    // SAFETY: a scheduled task lives.
    let header = unsafe { task.as_ref() };
    let home = header.home();
    if idle::cpus().load(Ordering::Relaxed) == 0 {
        return home;
    }
    find_idle(header, home)
}

/// Whether the waker may choose the task's CPU.
fn may_be_placed(header: &Header, tag: *mut ()) -> bool {
    let state = header.state.load();
    // One that roams goes where it was asked to first.
    let roams = || state.has(ROAMS) && header.want.load(Ordering::Relaxed) >= WANT_REFRESH;
    !state.has(PINNED) && (!tag.is_null() || roams())
}

fn find_idle(header: &Header, home: &'static CpuShared) -> &'static CpuShared {
    let tag = header.tag.load(Ordering::Acquire);
    if home.kind() != LevelKind::Task || home.sleeps() || !may_be_placed(header, tag) {
        return home;
    }
    let platform = platform::get();
    let claimed = claim_idle(|idle| platform.place(tag, idle));
    let Some(target) = claimed.and_then(CpuShared::of) else {
        return home;
    };
    header
        .home
        .store(ptr::from_ref(target).cast_mut(), Ordering::Release);
    // Pairs with the fence in `notify_owner`: either that sees the new home, or the platform what it forbids by now.
    fence(Ordering::SeqCst);
    if platform.place(tag, 1 << target.cpu()).is_none() {
        header
            .home
            .store(ptr::from_ref(home).cast_mut(), Ordering::Release);
        return home;
    }
    target
}
