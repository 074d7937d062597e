//! Memory for DMA: frames, which devices find at their physical addresses.
#![allow(unsafe_code, reason = "hands frames to devices")]

use core::ptr::NonNull;

use drivers::dma::{DmaMemory, Piece};

use crate::mm::buddy::MAX_ORDER;
use crate::mm::page_alloc::{Gfp, alloc_frames, free_frames};
use crate::mm::phys::{PAGE_SIZE, Pfn};

/// The frame allocator.
pub(super) struct Frames;

/// The largest addresses of the zones for devices that do not reach everything.
const LIMIT_24: u64 = (1 << 24) - 1;
const LIMIT_32: u64 = (1 << 32) - 1;

/// The order of the smallest block with room for `len` bytes.
fn order(len: usize) -> usize {
    len.div_ceil(PAGE_SIZE).next_power_of_two().trailing_zeros() as usize
}

// SAFETY: (1) frames are zeroed below and follow each other; (2) a block is aligned to its size, a page at least; (3) each
// is checked against the limit; (4) it is the caller's until it is given back.
unsafe impl DmaMemory for Frames {
    fn allocate(&self, len: usize, align: usize, limit: u64) -> Option<Piece> {
        let order = order(len);
        if order > MAX_ORDER || align > PAGE_SIZE {
            return None;
        }
        let zone = match limit {
            ..LIMIT_24 => return None,
            LIMIT_24..LIMIT_32 => Gfp::DMA,
            LIMIT_32..u64::MAX => Gfp::DMA32,
            u64::MAX => Gfp::KERNEL,
        };
        let pfn = alloc_frames(order, Gfp::KERNEL.with(zone))?;
        let start = NonNull::new(pfn.virt())?;
        // SAFETY: the block was just allocated, and lies in the direct map as a whole.
        unsafe { start.write_bytes(0, PAGE_SIZE << order) };
        Some(Piece {
            start,
            bus: u64::from(pfn.0) * PAGE_SIZE as u64,
            len,
        })
    }

    unsafe fn free(&self, piece: Piece) {
        let pfn = Pfn((piece.bus / PAGE_SIZE as u64) as u32);
        free_frames(pfn, order(piece.len));
    }
}
