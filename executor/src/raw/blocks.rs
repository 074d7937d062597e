//! Memory of tasks that have ended, kept on each CPU for those to come.
//!
//! An allocator must be ready for blocks of any size from anywhere; tasks come and go in a few sizes, and most end where they
//! were spawned. So each CPU keeps some of each size, which nobody else touches: to take or give one is a link and a count.

use alloc::alloc::{alloc, dealloc};
use core::{alloc::Layout, ptr::NonNull};

use super::shared::CpuShared;
use crate::cpu;

/// Sizes are multiples of this, which is also what blocks are aligned to.
const UNIT: usize = 16;

/// The largest block that is kept.
const LARGEST: usize = 1024;

/// Bytes that are kept of each size.
const KEPT: usize = 16 * 1024;

/// Whether blocks are kept. The checkers have to see that memory is given back, and used no more; and a kernel's allocator keeps
/// some of each size on each CPU itself.
const KEEPS: bool = !cfg!(any(loom, miri, target_os = "none"));

/// A block that waits, by its first bytes.
struct Free {
    next: Option<NonNull<Free>>,
}

/// Blocks of one size.
#[derive(Clone, Copy)]
struct Kept {
    first: Option<NonNull<Free>>,
    len: usize,
}

/// The blocks that a CPU keeps.
pub(super) struct Blocks {
    sizes: [Kept; LARGEST / UNIT],
    /// No more are kept: nobody would take them.
    closed: bool,
}

// SAFETY: the blocks are nobody else's.
unsafe impl Send for Blocks {}

impl Blocks {
    pub(super) const fn new() -> Self {
        const EMPTY: Kept = Kept {
            first: None,
            len: 0,
        };
        Self {
            sizes: [EMPTY; LARGEST / UNIT],
            closed: false,
        }
    }

    /// Where blocks of this layout are, if such are kept.
    #[inline(always)]
    fn size(&mut self, layout: Layout) -> Option<&mut Kept> {
        let fits = layout.align() == UNIT && layout.size().is_multiple_of(UNIT);
        if !fits {
            return None;
        }
        self.sizes.get_mut((layout.size() / UNIT).wrapping_sub(1))
    }

    /// Takes a block of this layout, if there is one.
    #[inline(always)]
    fn take(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        let kept = self.size(layout)?;
        let block = kept.first?;
        // SAFETY: a block that is kept has been given a link, and is ours.
        kept.first = unsafe { block.as_ref() }.next;
        kept.len -= 1;
        Some(block.cast())
    }

    /// Keeps a block; false if it is not kept.
    ///
    /// # Safety
    /// The block is of this layout, from the allocator, and the caller's; if it is kept, it is so no more.
    #[inline(always)]
    unsafe fn give(&mut self, block: NonNull<u8>, layout: Layout) -> bool {
        if self.closed {
            return false;
        }
        let Some(kept) = self.size(layout) else {
            return false;
        };
        if (kept.len + 1) * layout.size() > KEPT {
            return false;
        }
        let block = block.cast::<Free>();
        // SAFETY: the block is ours, aligned for a link and at least as large, being a unit or more.
        unsafe { block.write(Free { next: kept.first }) };
        kept.first = Some(block);
        kept.len += 1;
        true
    }

    /// Gives all back to the allocator, and keeps none from now on.
    fn close(&mut self) {
        self.closed = true;
        for i in 0..self.sizes.len() {
            let layout = Layout::from_size_align((i + 1) * UNIT, UNIT);
            let layout = layout.expect("a multiple of its alignment, and small");
            while let Some(block) = self.take(layout) {
                // SAFETY: it was given with this layout, came from the allocator, and is kept no more.
                unsafe { dealloc(block.as_ptr(), layout) };
            }
        }
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        self.close();
    }
}

impl CpuShared {
    /// Ends the keeping of blocks, when no task is to be spawned here any more.
    ///
    /// # Context
    /// This CPU.
    pub(crate) fn close_blocks(&self) {
        self.blocks.with(Blocks::close);
    }
}

/// Calls `f` with what this CPU keeps, if it has an executor.
#[inline(always)]
fn with<T>(f: impl FnOnce(&mut Blocks) -> Option<T>) -> Option<T> {
    if !KEEPS {
        return None;
    }
    // Softirqs, which may spawn as well, come only where nothing is counted: never in the midst of this.
    let stay = cpu::preempt_disable();
    cpu::shared()?.blocks.with_held(&stay, f)
}

/// Memory for a task; `None` if there is none.
///
/// # Safety
/// The layout has a size.
#[inline(always)]
pub(super) unsafe fn allocate(layout: Layout) -> Option<NonNull<u8>> {
    if let Some(block) = with(|blocks| blocks.take(layout)) {
        return Some(block);
    }
    // SAFETY: the contract is the same.
    NonNull::new(unsafe { alloc(layout) })
}

/// Gives a task's memory back.
///
/// # Context
/// Task.
/// # Safety
/// It is from [`allocate`] with this layout, and not used again.
#[inline(always)]
pub(super) unsafe fn free(block: NonNull<u8>, layout: Layout) {
    // SAFETY: the contract is the same.
    let kept = with(|blocks| unsafe { blocks.give(block, layout) }.then_some(()));
    if kept.is_none() {
        // SAFETY: the contract is the same, and nobody keeps it.
        unsafe { dealloc(block.as_ptr(), layout) };
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, UNIT).unwrap()
    }

    fn new_block(size: usize) -> NonNull<u8> {
        // SAFETY: the layout has a size.
        NonNull::new(unsafe { alloc(layout(size)) }).unwrap()
    }

    #[test]
    fn a_block_is_taken_again_by_one_of_its_size() {
        let mut blocks = Blocks::new();
        let (small, large) = (new_block(128), new_block(LARGEST));
        // SAFETY: both are ours, and not used but through `blocks`.
        unsafe { assert!(blocks.give(small, layout(128)) && blocks.give(large, layout(LARGEST))) };
        assert_eq!(blocks.take(layout(144)), None);
        assert_eq!(blocks.take(layout(128)), Some(small));
        assert_eq!(blocks.take(layout(128)), None);
        assert_eq!(blocks.take(layout(LARGEST)), Some(large));
        // SAFETY: as above; what is kept still is freed with `blocks`.
        unsafe { assert!(blocks.give(small, layout(128)) && blocks.give(large, layout(LARGEST))) };
    }

    #[test]
    fn some_are_kept_and_no_more() {
        let mut blocks = Blocks::new();
        for kept in 0.. {
            let block = new_block(512);
            // SAFETY: it is ours, and not used but through `blocks` if that keeps it.
            if unsafe { blocks.give(block, layout(512)) } {
                continue;
            }
            assert_eq!(kept, KEPT / 512);
            // SAFETY: it was not kept.
            unsafe { dealloc(block.as_ptr(), layout(512)) };
            break;
        }
        blocks.close();
        assert_eq!(blocks.take(layout(512)), None);
        let late = new_block(512);
        // SAFETY: it is ours, and not kept.
        unsafe {
            assert!(!blocks.give(late, layout(512)), "closed");
            dealloc(late.as_ptr(), layout(512));
        }
    }

    #[test]
    fn neither_the_large_nor_the_oddly_aligned_are_kept() {
        let mut blocks = Blocks::new();
        let odd = Layout::from_size_align(128, 64).unwrap();
        for layout in [layout(LARGEST + UNIT), odd] {
            // SAFETY: the layout has a size.
            let block = NonNull::new(unsafe { alloc(layout) }).unwrap();
            // SAFETY: it is ours, and not kept.
            unsafe {
                assert!(!blocks.give(block, layout));
                dealloc(block.as_ptr(), layout);
            }
        }
    }
}
