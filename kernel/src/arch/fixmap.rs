//! Mappings of device registers made at boot, before `vmalloc` is there: uncached, and for ever.

#![allow(unsafe_code, reason = "page tables")]

use super::layout::{FIXMAP, PAGE_SIZE, phys_to_virt};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const SLOTS: usize = 512;
/// Present, writable, write-through, uncached, accessed, dirty.
const DEVICE: u64 = 0b111_1011 & !(1 << 2);
const NO_EXECUTE: u64 = 1 << 63;

/// Physical address of the page table, fixed once at boot.
static TABLE: AtomicU64 = AtomicU64::new(0);
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Tells where the page table of the fixmap is.
pub fn init(table: u64) {
    TABLE.store(table, Ordering::Relaxed);
}

/// Maps the `len` bytes of device registers at physical address `phys` and returns their virtual address, or nothing when
/// the 2 MiB of the fixmap are used up.
///
/// # Context
/// Boot, on the final page tables.
pub fn map_device(phys: u64, len: u64) -> Option<u64> {
    let first = phys & !(PAGE_SIZE - 1);
    let pages = ((phys + len).div_ceil(PAGE_SIZE) - first / PAGE_SIZE) as usize;
    let slot = NEXT.fetch_add(pages, Ordering::Relaxed);
    let table = TABLE.load(Ordering::Relaxed);
    if table == 0 || slot + pages > SLOTS {
        return None;
    }
    let no_execute = if super::cpu::Features::read().nx {
        NO_EXECUTE
    } else {
        0
    };
    for page in 0..pages {
        let entry = (first + page as u64 * PAGE_SIZE) | DEVICE | no_execute;
        // SAFETY: the slot is in the fixmap's page table and was handed out to nobody else; it was not present before, so
        // no TLB holds it.
        unsafe {
            (phys_to_virt(table) as *mut u64)
                .add(slot + page)
                .write_volatile(entry)
        };
    }
    Some(FIXMAP + slot as u64 * PAGE_SIZE + phys % PAGE_SIZE)
}
