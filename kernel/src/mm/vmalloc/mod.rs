//! Kernel memory that is contiguous only virtually: guarded kernel stacks, device registers, large buffers.
//!
//! Frames that are unmapped here are freed at once, but their addresses are used again only after all CPUs have flushed their
//! TLBs, which is done for many areas together.

mod areas;
mod stack;

pub use stack::{KernelStack, STACK_SIZE, stacks};

use super::frame::{Gfp, alloc_frames, put};
use super::pagetable::{NoMemory, PageTable, Pte, bits, no_exec};
use super::phys::{PAGE_SHIFT, PAGE_SIZE, Pfn, PhysAddr};
use super::sync::SpinLock;
use super::tlb;
use areas::Areas;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

/// Where the area starts; its top-level entries exist from boot.
const START: u64 = 0xffff_c900_0000_0000;
const END: u64 = START + (1 << 40);
/// Stale pages that are worth a flush of all TLBs.
const STALE_LIMIT: u64 = 1024;

struct Vmalloc {
    areas: Areas,
    /// The kernel's tables, which live for ever.
    pages: Option<ManuallyDrop<PageTable>>,
}

static VMALLOC: SpinLock<Vmalloc> = SpinLock::new(Vmalloc {
    areas: Areas::new(START..END),
    pages: None,
});

/// Takes the kernel's own page tables. Context: boot, once, on those tables.
#[cfg(target_os = "none")]
#[allow(unsafe_code, reason = "the root comes from boot")]
pub(super) fn init() {
    // SAFETY: boot built these tables to stay, and only this module changes the part for the vmalloc area.
    let pages = unsafe { PageTable::from_root(super::pagetable::tables::kernel_root()) };
    VMALLOC.lock().pages = Some(ManuallyDrop::new(pages));
}

/// What an area shows.
enum Contents {
    /// Fresh frames, which go with the area.
    Memory,
    /// Device registers from this frame on.
    Device(u64),
}

impl Vmalloc {
    fn map(&mut self, pages: usize, contents: &Contents) -> Option<u64> {
        let start = self.areas.take(pages)?;
        if self.fill(start, pages, contents).is_err() {
            self.unmap(start);
            return None;
        }
        Some(start)
    }

    fn fill(&mut self, start: u64, pages: usize, contents: &Contents) -> Result<(), NoMemory> {
        let table = self.pages.as_mut().ok_or(NoMemory)?;
        let rights =
            bits::PRESENT | bits::WRITE | bits::GLOBAL | bits::ACCESSED | bits::DIRTY | no_exec();
        for i in 0..pages {
            let pte = match contents {
                Contents::Memory => Pte::new(alloc_frames(0, Gfp::KERNEL).ok_or(NoMemory)?, rights),
                Contents::Device(first) => Pte(((first + i as u64) << PAGE_SHIFT) | rights)
                    .with(bits::SPECIAL | bits::NO_CACHE | bits::WRITE_THROUGH),
            };
            let address = start + ((i as u64) << PAGE_SHIFT);
            match table.leaf(address) {
                Ok(leaf) => leaf[(address >> PAGE_SHIFT) as usize % leaf.len()].set(pte),
                Err(error) => {
                    free_counted(pte);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Unmaps an area and makes it stale; true if it is time to flush.
    fn unmap(&mut self, start: u64) -> bool {
        let Some(pages) = self.areas.pages(start) else {
            debug_assert!(false, "no area at {start:#x}");
            return false;
        };
        if let Some(table) = self.pages.as_mut() {
            let end = start + ((pages as u64) << PAGE_SHIFT);
            let visited = table.visit(start, end, &mut |_, entries, _| {
                entries.iter().for_each(|entry| free_counted(entry.take()));
            });
            debug_assert_eq!(visited, Ok(()), "there are no large pages here to split");
        }
        self.areas.retire(start) >= Some(STALE_LIMIT)
    }
}

fn free_counted(pte: Pte) {
    if pte.is_counted() {
        put(pte.pfn());
    }
}

fn map(pages: usize, contents: &Contents) -> Option<NonNull<u8>> {
    let start = VMALLOC.lock().map(pages, contents)?;
    NonNull::new(start as *mut u8)
}

/// Maps device registers at `phys`, uncached, for good; `None` where there is no memory for page tables.
///
/// # Context
/// Task. Takes the vmalloc lock.
pub fn ioremap(phys: PhysAddr, len: usize) -> Option<NonNull<u8>> {
    let offset = phys.0 as usize % PAGE_SIZE;
    let pages = offset.checked_add(len)?.div_ceil(PAGE_SIZE);
    let start = map(pages, &Contents::Device(phys.0 >> PAGE_SHIFT))?;
    NonNull::new(start.as_ptr().wrapping_add(offset))
}

/// Allocates pages that follow each other in the vmalloc area.
///
/// # Context
/// Task. Takes the vmalloc lock.
pub fn alloc(pages: usize) -> Option<NonNull<u8>> {
    map(pages, &Contents::Memory)
}

/// Frees what [`alloc`] or [`ioremap`] returned (the latter at its page).
///
/// # Context
/// Task. Takes the vmalloc lock.
pub fn free(start: NonNull<u8>) {
    let start = start.as_ptr() as u64;
    let mut vmalloc = VMALLOC.lock();
    if vmalloc.unmap(start) {
        // Under the lock, so that no area becomes stale between the flush and the purge. Whoever waits for the lock lets
        // interrupts in, and so answers.
        tlb::flush_kernel();
        vmalloc.areas.purge();
    }
}

/// Whether an address lies in the vmalloc area.
pub fn contains(address: usize) -> bool {
    (START..END).contains(&(address as u64))
}

/// The frame behind an address of the vmalloc area, for DMA and tests.
pub fn frame_of(address: usize) -> Option<Pfn> {
    let vmalloc = VMALLOC.lock();
    let (entry, _) = vmalloc.pages.as_ref()?.find(address as u64)?;
    let pte = entry.get();
    pte.has(bits::PRESENT).then(|| pte.pfn())
}
