//! Frame descriptors: what the kernel knows about each 4 KiB of memory.
//!
//! # Who counts what
//! - `refs`: one for each owner: the code that allocated the frame, a slot of a page cache, a page-table entry that
//!   maps it, a kernel pointer held for a while. The frame is freed when the last goes.
//! - `maps`: how many user page-table entries map it. Each of them has one of the `refs` as well, so
//!   `maps <= refs`. An anonymous frame with one ref belongs to the one entry that maps it, and copy on write may
//!   reuse it.
//!
//! Both live in one 64-bit word, so that mapping and unmapping are one instruction each.
#![allow(
    unsafe_code,
    reason = "descriptors lie in a table that is found at boot"
)]

use super::phys::{PAGE_SHIFT, Pfn};
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::*};

pub use super::page_alloc::{Gfp, admit, alloc_frames, alloc_zeroed, free_frames};

/// No frame: the end of a list.
pub const NONE: u32 = u32::MAX;

/// What a frame is used for; the low bits of a descriptor's flags.
pub mod state {
    /// Allocated, or inside a free block but not its head.
    pub const PLAIN: u32 = 0;
    /// Head of a free block in the buddy allocator; the order is in the high bits.
    pub const FREE: u32 = 1;
    /// Not for allocation: firmware, kernel image, memory hole.
    pub const RESERVED: u32 = 2;
    /// Head of a slab.
    pub const SLAB: u32 = 3;
    /// A page table.
    pub const TABLE: u32 = 4;
    /// The bits the states occupy.
    pub const MASK: u32 = 0xff;
    /// Where the order starts.
    pub const ORDER_SHIFT: u32 = 24;
}

const REF: u64 = 1;
const MAP: u64 = 1 << 32;

/// The descriptor of one frame.
#[repr(C, align(32))]
#[derive(Debug, Default)]
pub struct Frame {
    /// Low half: references. High half: page-table entries that map the frame.
    counts: AtomicU64,
    /// A `state`, and the order for the head of a free block.
    pub(super) flags: AtomicU32,
    /// For the owner: a slab's counts, a page table's live entries.
    pub(super) private: AtomicU32,
    /// Neighbours in the one list the frame is in, guarded by that list's lock.
    pub(super) next: AtomicU32,
    pub(super) prev: AtomicU32,
    /// For the owner: a slab's first free object.
    pub(super) word: AtomicU64,
}

const _: () = assert!(size_of::<Frame>() == 32);

impl Frame {
    /// How many owners the frame has.
    #[inline]
    pub fn refs(&self) -> u32 {
        self.counts.load(Acquire) as u32
    }

    /// How many user page-table entries map the frame.
    #[inline]
    pub fn maps(&self) -> u32 {
        (self.counts.load(Relaxed) >> 32) as u32
    }

    /// Makes the caller the one owner of a frame that had none.
    #[inline]
    pub(super) fn init_owned(&self) {
        self.counts.store(REF, Relaxed);
    }

    /// Makes a descriptor that may be garbage one of `state`, without owners.
    pub(super) fn reset(&self, state: u32) {
        self.counts.store(0, Relaxed);
        self.flags.store(state, Relaxed);
    }

    /// Adds an owner.
    #[inline]
    pub fn get(&self) {
        let old = self.counts.fetch_add(REF, Relaxed);
        debug_assert!(old as u32 != 0, "reference to a free frame");
    }

    /// Adds a page-table entry, which is an owner as well.
    #[inline]
    pub fn get_mapped(&self) {
        let old = self.counts.fetch_add(REF + MAP, Relaxed);
        debug_assert!(old as u32 != 0, "mapping of a free frame");
    }

    /// Turns the caller's own reference into that of a page-table entry, for a frame that nobody else knows.
    #[inline]
    pub(super) fn own_to_mapped(&self) {
        self.counts.store(REF + MAP, Relaxed);
    }

    /// Turns the caller's reference into that of a page-table entry.
    #[inline]
    pub fn ref_to_mapped(&self) {
        self.counts.fetch_add(MAP, Relaxed);
    }

    /// Takes a page-table entry away but leaves its reference to the caller.
    #[inline]
    pub fn unmap(&self) {
        let old = self.counts.fetch_sub(MAP, Release);
        debug_assert!(old >= MAP, "frame unmapped too often");
    }

    /// Takes a page-table entry and its reference away. True if that was the last owner: the caller then frees the frame.
    #[inline]
    #[must_use]
    pub fn drop_mapped(&self) -> bool {
        let old = self.counts.fetch_sub(REF + MAP, AcqRel);
        debug_assert!(old >= MAP && old as u32 != 0, "frame unmapped too often");
        old as u32 == 1
    }

    /// Takes an owner away. True if it was the last: the caller then frees the frame.
    #[inline]
    #[must_use]
    pub fn drop_ref(&self) -> bool {
        let old = self.counts.fetch_sub(REF, AcqRel);
        debug_assert!(old as u32 != 0, "reference to a free frame dropped");
        old as u32 == 1
    }

    pub(super) fn state(&self) -> u32 {
        self.flags.load(Relaxed) & state::MASK
    }

    pub(super) fn set_state(&self, state: u32) {
        self.flags.store(state, Relaxed);
    }

    pub(super) fn is_free_of_order(&self, order: usize) -> bool {
        self.flags.load(Relaxed) == state::FREE | (order as u32) << state::ORDER_SHIFT
    }

    pub(super) fn set_free(&self, order: usize) {
        self.flags
            .store(state::FREE | (order as u32) << state::ORDER_SHIFT, Relaxed);
    }
}

/// A table of descriptors, indexed by frame number.
#[derive(Clone, Copy, Debug)]
pub struct FrameTable {
    base: *const Frame,
}

// SAFETY: descriptors are made of atomics, and the table never goes away.
unsafe impl Send for FrameTable {}
// SAFETY: as above.
unsafe impl Sync for FrameTable {}

impl FrameTable {
    /// The table whose descriptor of frame 0 would be at `base`.
    ///
    /// # Safety
    /// Every frame number that will be asked for has its descriptor there, for ever.
    pub const unsafe fn new(base: *const Frame) -> Self {
        Self { base }
    }

    /// The descriptor of a frame.
    #[inline(always)]
    pub fn get(self, pfn: Pfn) -> &'static Frame {
        // SAFETY: whoever made the table promised that the numbers asked for are in it.
        unsafe { &*self.base.add(pfn.0 as usize) }
    }
}

static BASE: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicU32 = AtomicU32::new(0);

/// Installs the machine's table.
///
/// # Safety
/// As for [`FrameTable::new`], for all frames of memory below `limit`. Before any other call in this module.
pub(super) unsafe fn install(base: *const Frame, limit: Pfn) {
    BASE.store(base as usize, Release);
    LIMIT.store(limit.0, Release);
}

/// The machine's table.
#[inline(always)]
pub fn table() -> FrameTable {
    // SAFETY: `install` came first, and its caller made the promise.
    unsafe { FrameTable::new(BASE.load(Relaxed) as *const Frame) }
}

/// The descriptor of a frame of memory.
#[inline(always)]
pub fn frame(pfn: Pfn) -> &'static Frame {
    debug_assert!(
        pfn.0 < LIMIT.load(Relaxed),
        "frame {pfn:?} is beyond memory"
    );
    table().get(pfn)
}

/// One past the highest frame of memory.
pub fn limit() -> Pfn {
    Pfn(LIMIT.load(Relaxed))
}

/// Adds an owner to a frame.
#[inline]
pub fn get(pfn: Pfn) {
    frame(pfn).get();
}

/// Takes an owner from a frame, and frees it if that was the last.
#[inline]
pub fn put(pfn: Pfn) {
    if frame(pfn).drop_ref() {
        free_frames(pfn, 0);
    }
}

/// Frames that hold `bytes`, as an order of the buddy allocator.
pub const fn order_for(bytes: usize) -> usize {
    let pages = bytes.div_ceil(1 << PAGE_SHIFT);
    pages.next_power_of_two().trailing_zeros() as usize
}
