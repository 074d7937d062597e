//! Physical addresses, frame numbers, and where the kernel sees them.
//!
//! All memory is mapped once, at [`DIRECT_MAP`]. On the host the "physical memory" is one block of the test
//! process, so that everything above this file runs there unchanged.
#![allow(unsafe_code, reason = "hands out pointers into the direct map")]

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Bytes in a page and in a frame.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;
/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;
/// Where the direct map of all memory starts.
pub const DIRECT_MAP: usize = 0xffff_8880_0000_0000;

/// A physical address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct PhysAddr(pub u64);

impl PhysAddr {
    /// The frame that holds this address.
    pub const fn pfn(self) -> Pfn {
        Pfn((self.0 >> PAGE_SHIFT) as u32)
    }
}

/// The number of a 4 KiB frame of physical memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct Pfn(pub u32);

impl Pfn {
    /// The address of the frame's first byte.
    pub const fn phys(self) -> PhysAddr {
        PhysAddr((self.0 as u64) << PAGE_SHIFT)
    }

    /// The `n`th frame after this one.
    pub const fn add(self, n: u32) -> Pfn {
        Pfn(self.0 + n)
    }

    /// The frame's first byte in the direct map.
    pub fn virt(self) -> *mut u8 {
        phys_to_virt(self.phys())
    }
}

/// Where the kernel sees physical address `phys`.
#[inline(always)]
pub fn phys_to_virt(phys: PhysAddr) -> *mut u8 {
    (direct_map() + phys.0 as usize) as *mut u8
}

/// The physical address behind `virt`, an address in the direct map.
#[inline(always)]
pub fn virt_to_phys(virt: *const u8) -> PhysAddr {
    PhysAddr((virt as usize - direct_map()) as u64)
}

static ZERO: AtomicU32 = AtomicU32::new(0);

/// The frame of zeros that all untouched memory shows. Never written, not counted.
#[inline]
pub fn zero_pfn() -> Pfn {
    Pfn(ZERO.load(Relaxed))
}

/// Says which frame is the zero frame. Context: boot.
pub(super) fn set_zero_pfn(pfn: Pfn) {
    ZERO.store(pfn.0, Relaxed);
}

#[cfg(target_os = "none")]
#[inline(always)]
fn direct_map() -> usize {
    DIRECT_MAP
}

#[cfg(not(target_os = "none"))]
use host::direct_map;

/// Fills a frame with zeros.
///
/// # Safety
/// The caller owns the frame: nobody else reads or writes it.
#[inline]
pub unsafe fn zero_frame(pfn: Pfn) {
    let page = pfn.virt();
    // SAFETY: the frame is in the direct map, page-aligned, and the caller's alone.
    unsafe { core::ptr::write_bytes(page.cast::<u64>(), 0, PAGE_SIZE / 8) };
}

/// Copies the contents of frame `from` into frame `to`.
///
/// # Safety
/// The caller owns `to`, and holds a reference to `from`. User code may write `from` meanwhile; then `to` gets either
/// value of each word, as on any machine.
#[inline]
pub unsafe fn copy_frame(from: Pfn, to: Pfn) {
    // SAFETY: both frames are in the direct map and page-aligned; they differ, for the caller alone owns `to`.
    unsafe {
        core::ptr::copy_nonoverlapping(
            from.virt().cast::<u64>(),
            to.virt().cast::<u64>(),
            PAGE_SIZE / 8,
        )
    };
}

/// The physical memory of the host: a block of the test process.
#[cfg(not(target_os = "none"))]
pub mod host {
    use std::alloc::{Layout, alloc_zeroed};
    use std::sync::OnceLock;

    /// Bytes of memory the host's machine has.
    pub const MEMORY: usize = 256 << 20;

    /// Where physical address 0 of the host's machine is. The system gives the pages when they are touched.
    pub fn direct_map() -> usize {
        static BASE: OnceLock<usize> = OnceLock::new();
        *BASE.get_or_init(|| {
            let layout = Layout::from_size_align(MEMORY, 4 << 20).expect("a constant layout");
            // SAFETY: the layout is not empty.
            let block = unsafe { alloc_zeroed(layout) };
            assert!(!block.is_null(), "no memory for the host's machine");
            block as usize
        })
    }
}
