//! What happens when memory for users has run out: a process is chosen to end.
//!
//! This module knows address spaces, not processes: whoever knows those registers a chooser, which kills the process with the
//! most resident pages, and says whether that is the one that asked.

use super::space::AddressSpace;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering::*};

/// What becomes of the one who found no memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Another process gives way: try again later.
    Retry,
    /// It is the one to end: `SIGKILL`.
    Die,
}

/// Chooses who ends, sends it `SIGKILL`, and says whether it is the process of this space.
pub type Chooser = fn(&AddressSpace) -> Verdict;

static CHOOSER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static KILLS: AtomicU64 = AtomicU64::new(0);

/// Registers who chooses. Context: boot.
pub fn set_chooser(chooser: Chooser) {
    CHOOSER.store(chooser as *mut (), Release);
}

/// How often memory ran out, for `/proc/vmstat`.
pub fn kills() -> u64 {
    KILLS.load(Relaxed)
}

/// Memory for a user of this space has run out. Without a chooser, the one who asked ends.
///
/// # Context
/// Task, no lock held.
pub fn out_of_memory(space: &AddressSpace) -> Verdict {
    KILLS.fetch_add(1, Relaxed);
    let chooser = CHOOSER.load(Acquire);
    if chooser.is_null() {
        return Verdict::Die;
    }
    #[expect(unsafe_code, reason = "a function pointer kept in an atomic")]
    // SAFETY: only `set_chooser` stores here, and what it stores is a `Chooser`.
    let chooser = unsafe { core::mem::transmute::<*mut (), Chooser>(chooser) };
    chooser(space)
}
