//! Whether two CPUs' time-stamp counters agree.
//!
//! Both read the counter in turns under a lock and look whether it went back between one's reading and the other's. It is
//! the comparison that Linux makes (`arch/x86/kernel/tsc_sync.c`), shorter.

use super::tsc;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Turns that each CPU takes.
const TURNS: u32 = 300;

static TOGETHER: AtomicU32 = AtomicU32::new(0);
static LOCKED: AtomicBool = AtomicBool::new(false);
static LAST: AtomicU64 = AtomicU64::new(0);
static WORST: AtomicU64 = AtomicU64::new(0);

/// The boot CPU's side: returns by how many nanoseconds time went back between the CPUs, if it did.
///
/// # Context
/// Boot, with the other CPU on its way to [`compare_as_second`]. Spins: for that, and some microseconds.
pub fn compare_as_first() -> Option<u64> {
    LAST.store(0, Ordering::Relaxed);
    WORST.store(0, Ordering::Relaxed);
    meet(2);
    take_turns();
    meet(4);
    let worst = WORST.load(Ordering::Relaxed);
    TOGETHER.store(0, Ordering::Release);
    let ticks_per_us = (tsc::hz() / 1_000_000).max(1);
    (worst > 0).then(|| (worst * 1000 / ticks_per_us).max(1))
}

/// The other CPU's side.
pub fn compare_as_second() {
    meet(2);
    take_turns();
    meet(4);
}

/// Waits until `count` arrivals have been counted.
fn meet(count: u32) {
    TOGETHER.fetch_add(1, Ordering::AcqRel);
    // The first CPU clears the count after the second meeting.
    while !(TOGETHER.load(Ordering::Acquire) >= count
        || count == 4 && TOGETHER.load(Ordering::Acquire) == 0)
    {
        core::hint::spin_loop();
    }
}

fn take_turns() {
    for _ in 0..TURNS {
        while LOCKED.swap(true, Ordering::Acquire) {
            core::hint::spin_loop();
        }
        let last = LAST.load(Ordering::Relaxed);
        let now = tsc::read();
        LAST.store(now, Ordering::Relaxed);
        if now < last {
            WORST.fetch_max(last - now, Ordering::Relaxed);
        }
        LOCKED.store(false, Ordering::Release);
    }
}
