//! What happens when memory for users has run out: a process is chosen to end.
//!
//! This module knows address spaces, not processes: whoever knows those registers a chooser, which kills the process with the
//! highest [`badness`], and says whether that is the one that asked.

use super::space::{AddressSpace, SpaceStats};
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

/// How many processes were chosen, for `/proc/vmstat`.
pub fn kills() -> u64 {
    KILLS.load(Relaxed)
}

/// One more process was chosen.
pub fn count_kill() {
    KILLS.fetch_add(1, Relaxed);
}

/// The `oom_score_adj` of what is never chosen.
pub const NEVER: i16 = -1000;

/// How much of `total` pages the end of a process would give back, shifted by its `oom_score_adj`, which is in thousandths of
/// all; `None` for a process that is never chosen.
///
/// Source: proc(5), `/proc/PID/oom_score_adj`.
pub fn badness(stats: &SpaceStats, adjustment: i16, total: u64) -> Option<i64> {
    if adjustment == NEVER {
        return None;
    }
    // Pages in use and all pages are numbers of frames, so far below what overflows.
    let pages = (stats.rss() + stats.page_tables) as i64;
    Some(pages + i64::from(adjustment) * (total / 1000) as i64)
}

/// A badness as `/proc/PID/oom_score` shows it: 666 for next to nothing, 0 for what is never chosen.
pub fn score(badness: Option<i64>, total: u64) -> u64 {
    let total = total.max(1) as i64;
    badness.map_or(0, |badness| {
        ((1000 + badness * 1000 / total) * 2 / 3).max(0) as u64
    })
}

/// Memory for a user of this space has run out. Without a chooser, the one who asked ends.
///
/// # Context
/// Task, no lock held.
pub fn out_of_memory(space: &AddressSpace) -> Verdict {
    let chooser = CHOOSER.load(Acquire);
    if chooser.is_null() {
        return Verdict::Die;
    }
    #[expect(unsafe_code, reason = "a function pointer kept in an atomic")]
    // SAFETY: only `set_chooser` stores here, and what it stores is a `Chooser`.
    let chooser = unsafe { core::mem::transmute::<*mut (), Chooser>(chooser) };
    chooser(space)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: u64 = 100_000;

    fn of(pages: u64, adjustment: i16) -> Option<i64> {
        let stats = SpaceStats {
            rss_anon: pages / 2,
            rss_shmem: pages - pages / 2 - 1,
            page_tables: 1,
            ..SpaceStats::default()
        };
        badness(&stats, adjustment, TOTAL)
    }

    #[test]
    fn adjustments_outweigh_pages_by_thousandths_of_all() {
        assert_eq!(of(500, 0), Some(500));
        assert_eq!(of(500, 10), Some(1500));
        assert!(of(50_000, 0) > of(400, 490) && of(50_000, 0) < of(400, 500));
        assert!(of(60_000, -999) < of(1, 0));
        assert_eq!(of(60_000, NEVER), None);
    }

    #[test]
    fn scores_are_thirds_of_two_thousandths() {
        assert_eq!(score(of(1, 0), TOTAL), 666);
        assert_eq!(score(of(TOTAL / 2, 0), TOTAL), 1000);
        assert_eq!(score(of(TOTAL / 2, 1000), TOTAL), 1666);
        assert_eq!(score(of(1, -999), TOTAL), 1);
        assert_eq!(score(None, TOTAL), 0);
    }
}
