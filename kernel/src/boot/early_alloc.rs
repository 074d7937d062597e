//! Frames for what is needed before the frame allocator is there.

#![allow(unsafe_code, reason = "clears frames through the direct map")]

use super::memory_map::{MemoryMap, PhysRange};
use crate::arch::layout::{PAGE_SIZE, phys_to_virt};

/// The direct map of the boot page tables ends here.
const REACHABLE: u64 = 1 << 32;

/// Hands out frames from the start of the largest free range, and takes them for good.
pub struct EarlyAllocator {
    range: PhysRange,
    next: u64,
}

impl EarlyAllocator {
    /// Takes the largest free range of `map` that the boot page tables reach; [`Self::finish`] gives the rest back.
    ///
    /// # Panics
    /// If there is no free memory at all.
    pub fn new(map: &mut MemoryMap) -> Self {
        let range = map
            .largest_free_below(REACHABLE)
            .expect("too little memory to boot");
        map.take(range);
        Self {
            range,
            next: range.start,
        }
    }

    /// A frame of zeroes, as its physical address.
    ///
    /// # Panics
    /// If memory ends: the machine is too small to boot.
    pub fn zeroed_frame(&mut self) -> u64 {
        let frame = self.next;
        assert!(frame < self.range.end, "too little memory to boot");
        self.next += PAGE_SIZE;
        // SAFETY: the frame lies in memory that was free and is now ours, and the boot page tables map it.
        unsafe { core::ptr::write_bytes(phys_to_virt(frame) as *mut u8, 0, PAGE_SIZE as usize) };
        frame
    }

    /// Gives back what was not used.
    pub fn finish(self, map: &mut MemoryMap) {
        map.shrink_last_taken(self.next);
    }
}
