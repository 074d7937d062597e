//! The frame allocator as crate `fs` sees it: the pages of page caches and pipes are frames like others.
#![allow(
    unsafe_code,
    reason = "promises that frames are what `fs` takes them for"
)]

use super::frame::{Gfp, alloc_frames, alloc_zeroed, frame, get, put};
use super::phys::{Pfn, PhysAddr, phys_to_virt};
use core::num::NonZeroU64;
use fs::page::FrameOps;

struct Frames;

fn pfn(number: NonZeroU64) -> Pfn {
    Pfn(number.get() as u32)
}

// SAFETY: frames come from the frame allocator with one reference, are all in the direct map, and are freed with the last
// reference.
unsafe impl FrameOps for Frames {
    fn direct_map(&self) -> usize {
        phys_to_virt(PhysAddr(0)) as usize
    }

    fn alloc(&self, zeroed: bool) -> Option<NonZeroU64> {
        let pfn = if zeroed {
            alloc_zeroed(Gfp::USER)
        } else {
            alloc_frames(0, Gfp::USER)
        };
        NonZeroU64::new(u64::from(pfn?.0))
    }

    fn get(&self, number: NonZeroU64) {
        get(pfn(number));
    }

    fn put(&self, number: NonZeroU64) {
        put(pfn(number));
    }

    fn refs(&self, number: NonZeroU64) -> usize {
        frame(pfn(number)).refs() as usize
    }
}

/// Gives `fs` the frame allocator. Context: boot, after memory was taken over.
pub(super) fn register() {
    fs::page::register_frames(&Frames);
}
