//! The Rust global allocator of the kernel: size classes, then frames, then the vmalloc area.
#![allow(unsafe_code, reason = "implements GlobalAlloc")]

use super::buddy::MAX_ORDER;
use super::frame::{Gfp, alloc_frames, free_frames, order_for};
use super::phys::{PAGE_SIZE, virt_to_phys};
use super::slab::{Cache, CacheStats};
use super::vmalloc;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The size classes below a page.
static CLASSES: [Cache; 11] = [
    Cache::new("kmalloc-8", 0, 8),
    Cache::new("kmalloc-16", 1, 16),
    Cache::new("kmalloc-32", 2, 32),
    Cache::new("kmalloc-64", 3, 64),
    Cache::new("kmalloc-96", 4, 96),
    Cache::new("kmalloc-128", 5, 128),
    Cache::new("kmalloc-192", 6, 192),
    Cache::new("kmalloc-256", 7, 256),
    Cache::new("kmalloc-512", 8, 512),
    Cache::new("kmalloc-1k", 9, 1024),
    Cache::new("kmalloc-2k", 10, 2048),
];
const SIZES: [usize; 11] = [8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048];
const LARGEST: usize = SIZES[10];

/// The class of each size, in steps of 8 bytes.
static CLASS_OF: [u8; LARGEST / 8 + 1] = {
    let mut table = [0; LARGEST / 8 + 1];
    let mut i = 0;
    let mut class = 0;
    while i < table.len() {
        if i * 8 > SIZES[class] {
            class += 1;
        }
        table[i] = class as u8;
        i += 1;
    }
    table
};

/// The class for a layout: the smallest that has room for it and is aligned as it asks.
#[inline(always)]
fn class_of(layout: Layout) -> Option<&'static Cache> {
    let mut size = layout.size();
    // Objects of 96 and 192 bytes are aligned to 32 and 64; those of other classes to their size.
    if layout.align() > 32 {
        size = size.max(layout.align());
        if layout.align() > 64 || size <= 96 {
            size = size.next_power_of_two();
        }
    } else {
        size = size.max(layout.align());
    }
    let class = *CLASS_OF.get(size.div_ceil(8))?;
    CLASSES.get(usize::from(class))
}

/// Blocks of at least this size may come from the vmalloc area.
pub const VMALLOC_FROM: usize = 256 << 10;

static LARGE_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The kernel's allocator.
#[derive(Debug)]
pub struct KernelHeap;

#[cfg(target_os = "none")]
#[global_allocator]
static HEAP: KernelHeap = KernelHeap;

// SAFETY: 1. blocks come from a cache with room and alignment for the layout, from whole frames aligned to their size,
// or from vmalloc, and nobody else gets them until they are freed; 2. a block's origin follows from its layout, and beyond
// the classes from its address, so it is given back to where it came from; 3. nothing here unwinds.
unsafe impl GlobalAlloc for KernelHeap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match class_of(layout) {
            Some(cache) => cache.alloc().map_or(ptr::null_mut(), NonNull::as_ptr),
            None => alloc_large(layout),
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match class_of(layout) {
            Some(cache) => {
                if let Some(object) = NonNull::new(block) {
                    // SAFETY: the layout leads to the cache it came from, and the caller has done with it.
                    unsafe { cache.free(object) };
                }
            }
            None => free_large(block, layout),
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the new size, rounded up to the alignment, fits `isize`.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        let stays = match (class_of(layout), class_of(new)) {
            (Some(old), Some(new)) => ptr::eq(old, new),
            (None, None) => order_of(layout) == order_of(new) && !vmalloc::contains(block as usize),
            _ => false,
        };
        if stays {
            return block;
        }
        // SAFETY: the new layout is not empty, as the caller promises.
        let to = unsafe { self.alloc(new) };
        if !to.is_null() {
            // SAFETY: both blocks are live, differ, and have this many bytes.
            unsafe { ptr::copy_nonoverlapping(block, to, layout.size().min(new_size)) };
            // SAFETY: the caller's promise, passed on.
            unsafe { self.dealloc(block, layout) };
        }
        to
    }
}

fn order_of(layout: Layout) -> usize {
    order_for(layout.size().max(layout.align()))
}

#[cold]
fn alloc_large(layout: Layout) -> *mut u8 {
    let order = order_of(layout);
    let block = alloc_frames(order, Gfp::KERNEL).map(|block| block.virt());
    // Memory too scattered, or the request too large for a block.
    let block = block.or_else(|| {
        if layout.size() < VMALLOC_FROM || layout.align() > PAGE_SIZE {
            return None;
        }
        let block = vmalloc::alloc(layout.size().div_ceil(PAGE_SIZE))?;
        Some(block.as_ptr())
    });
    if block.is_some() {
        LARGE_BYTES.fetch_add(layout.size(), Relaxed);
    }
    block.unwrap_or(ptr::null_mut())
}

#[cold]
fn free_large(block: *mut u8, layout: Layout) {
    LARGE_BYTES.fetch_sub(layout.size(), Relaxed);
    if vmalloc::contains(block as usize) {
        if let Some(block) = NonNull::new(block) {
            vmalloc::free(block);
        }
    } else {
        debug_assert!(order_of(layout) <= MAX_ORDER);
        free_frames(virt_to_phys(block).pfn(), order_of(layout));
    }
}

/// The numbers of the size classes, for `/proc/slabinfo`.
pub fn classes() -> impl Iterator<Item = CacheStats> {
    CLASSES.iter().map(Cache::stats)
}

/// Bytes that the size classes hold in slabs.
pub fn slab_bytes() -> usize {
    classes().map(|class| class.total * class.size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn classes_fit_size_and_alignment() {
        for size in 1..=LARGEST {
            for align in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048] {
                let layout = Layout::from_size_align(size, align).unwrap();
                let class = class_of(layout)
                    .expect("small layouts have a class")
                    .stats();
                assert!(class.size >= size, "{layout:?} in {class:?}");
                assert!(class.size.is_multiple_of(align), "{layout:?} in {class:?}");
                if align <= 8 {
                    let best = SIZES.iter().find(|s| **s >= size.max(align)).unwrap();
                    assert_eq!(class.size, *best);
                }
            }
        }
        assert!(class_of(Layout::from_size_align(2049, 1).unwrap()).is_none());
        assert!(class_of(Layout::from_size_align(8, 4096).unwrap()).is_none());
    }

    proptest! {
        /// Random allocations keep what is written into them, and do not overlap.
        #[test]
        fn blocks_keep_their_contents(ops in prop::collection::vec((any::<bool>(), 1..9000usize, 0..8u32, any::<usize>()), 1..300)) {
            super::super::init::init_host();
            let heap = KernelHeap;
            let mut live: Vec<(*mut u8, Layout, u8)> = Vec::new();
            let check = |(block, layout, tag): (*mut u8, Layout, u8)| {
                // SAFETY: the block is live and was filled.
                let bytes = unsafe { core::slice::from_raw_parts(block, layout.size()) };
                assert!(bytes.iter().all(|byte| *byte == tag));
            };
            for (i, (alloc, size, align, pick)) in ops.into_iter().enumerate() {
                let tag = i as u8;
                if alloc || live.is_empty() {
                    let layout = Layout::from_size_align(size, 1 << align).unwrap();
                    // SAFETY: the layout is not empty.
                    let block = unsafe { heap.alloc(layout) };
                    prop_assert!(!block.is_null() && (block as usize).is_multiple_of(layout.align()));
                    // SAFETY: the block has this many bytes.
                    unsafe { ptr::write_bytes(block, tag, size) };
                    live.push((block, layout, tag));
                } else if size % 3 == 0 {
                    let at = pick % live.len();
                    let (block, layout, tag) = live[at];
                    // SAFETY: the block is live and of this layout, and the new size is not 0.
                    let block = unsafe { heap.realloc(block, layout, size) };
                    let kept = Layout::from_size_align(size.min(layout.size()), 1).unwrap();
                    check((block, kept, tag));
                    // SAFETY: the block has this many bytes.
                    unsafe { ptr::write_bytes(block, tag, size) };
                    live[at] = (block, Layout::from_size_align(size, layout.align()).unwrap(), tag);
                } else {
                    let (block, layout, tag) = live.swap_remove(pick % live.len());
                    check((block, layout, tag));
                    // SAFETY: the block is live and of this layout.
                    unsafe { heap.dealloc(block, layout) };
                }
            }
            for (block, layout, tag) in live {
                check((block, layout, tag));
                // SAFETY: as above.
                unsafe { heap.dealloc(block, layout) };
            }
        }
    }
}
