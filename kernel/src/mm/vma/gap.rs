//! Where a new mapping goes.

use super::{VmFlags, Vma, VmaSet};
use crate::mm::phys::PAGE_SIZE;

/// Pages that stay unmapped beneath a mapping that grows down: Linux's `stack_guard_gap`.
pub const STACK_GUARD: u64 = 256 * PAGE_SIZE as u64;

/// A gap that is looked for.
#[derive(Clone, Copy, Debug)]
pub struct GapRequest {
    /// Bytes, whole pages.
    pub len: u64,
    /// The lowest address allowed.
    pub low: u64,
    /// The gap ends here or beneath.
    pub high: u64,
}

/// Where the space that keeps others away from a VMA begins: lower than it for a stack.
pub fn guarded_start(vma: &Vma) -> u64 {
    if vma.flags.contains(VmFlags::GROWSDOWN) {
        vma.start.saturating_sub(STACK_GUARD)
    } else {
        vma.start
    }
}

/// The highest gap of `len` bytes between `low` and `high`: the address where it starts.
pub fn find_gap(set: &VmaSet, request: GapRequest) -> Option<u64> {
    let GapRequest { len, low, high } = request;
    let mut end = high;
    for leaf in set.leaves.iter().rev() {
        if leaf.first().is_some_and(|vma| vma.start >= high) {
            continue;
        }
        for vma in leaf.iter().rev() {
            if vma.end <= end && end - vma.end >= len {
                return end.checked_sub(len).filter(|start| *start >= low);
            }
            end = end.min(guarded_start(vma));
            if end < low {
                return None;
            }
        }
    }
    end.checked_sub(len).filter(|start| *start >= low)
}

/// The lowest gap of `len` bytes between `low` and `high`: what is tried where there is none from the top.
pub fn find_gap_upwards(set: &VmaSet, request: GapRequest) -> Option<u64> {
    let GapRequest { len, low, high } = request;
    let mut start = low;
    for vma in set.iter_from(low) {
        if guarded_start(vma) >= start && guarded_start(vma) - start >= len {
            break;
        }
        start = start.max(vma.end);
    }
    start
        .checked_add(len)
        .filter(|end| *end <= high)
        .map(|_| start)
}
