//! The kernel's own page tables, built once at boot.
//!
//! They hold the direct map of memory, with the largest pages the CPU has, and the image page by page: text read-only and
//! executable, constants read-only, data writable, nothing else executable. The direct map sees text and constants
//! read-only as well, so that no writable alias is left. The tables of the vmalloc area and the fixmap are made here down
//! to the level that every address space shares.

#![allow(unsafe_code, reason = "page tables")]

use super::early_alloc::EarlyAllocator;
use super::memory_map::{MemoryMap, PhysRange};
use crate::arch::cpu::Features;
use crate::arch::layout::{
    self, DIRECT_MAP, FIXMAP, PAGE_SIZE, VMALLOC_END, VMALLOC_START, image_to_phys, phys_to_virt,
};

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const LARGE: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

const MIB2: u64 = 2 << 20;
const GIB: u64 = 1 << 30;
const PML4_SPAN: u64 = 1 << 39;

/// The page tables under construction.
struct Builder<'a> {
    pml4: u64,
    frames: &'a mut EarlyAllocator,
    features: Features,
    /// Bits for every leaf: global where the CPU has it.
    leaf: u64,
    /// [`NO_EXECUTE`] where the CPU has it.
    no_execute: u64,
}

/// Builds the kernel's page tables and returns the physical address of the top one.
///
/// # Context
/// Boot, on the boot page tables, with [`crate::arch::cpu::enable_protections`] done.
pub fn build(map: &MemoryMap, frames: &mut EarlyAllocator, features: &Features) -> u64 {
    let pml4 = frames.zeroed_frame();
    let mut builder = Builder {
        pml4,
        frames,
        features: *features,
        leaf: PRESENT | if features.global_pages { GLOBAL } else { 0 },
        no_execute: if features.nx { NO_EXECUTE } else { 0 },
    };
    builder.map_image();
    builder.map_memory(map);
    for entry in (VMALLOC_START..VMALLOC_END).step_by(PML4_SPAN as usize) {
        builder.table(pml4, index(entry, 3));
    }
    let fixmap = builder.walk(FIXMAP, 0);
    crate::arch::fixmap::init(fixmap);
    pml4
}

impl Builder<'_> {
    fn map_image(&mut self) {
        let no_execute = self.no_execute;
        let stack = layout::boot_stack();
        let guard_end = stack.start + PAGE_SIZE;
        let parts = [
            (layout::text(), 0),
            (layout::rodata(), no_execute),
            (layout::data(), WRITABLE | no_execute),
            (layout::bss().start..stack.start, WRITABLE | no_execute),
            (guard_end..layout::bss().end, WRITABLE | no_execute),
        ];
        for (part, bits) in parts {
            let phys = PhysRange::new(image_to_phys(part.start), image_to_phys(part.end));
            // Page by page, so that neighbours with other rights, and the guard, stay apart.
            self.map(part.start, phys, bits, PAGE_SIZE);
        }
    }

    fn map_memory(&mut self, map: &MemoryMap) {
        let read_only = PhysRange::new(
            image_to_phys(layout::text().start),
            image_to_phys(layout::rodata().end),
        );
        let read_write = WRITABLE | self.no_execute;
        let largest = if self.features.gib_pages { GIB } else { MIB2 };
        for range in map.direct_mapped() {
            let cut = |from: u64, to: u64| PhysRange::new(range.start.max(from), range.end.min(to));
            for (piece, bits) in [
                (cut(0, read_only.start), read_write),
                (cut(read_only.start, read_only.end), self.no_execute),
                (cut(read_only.end, u64::MAX), read_write),
            ] {
                self.map(DIRECT_MAP + piece.start, piece, bits, largest);
            }
        }
    }

    /// Maps `phys` at `virt` with pages of up to `largest` bytes.
    fn map(&mut self, mut virt: u64, phys: PhysRange, bits: u64, largest: u64) {
        let mut at = phys.start;
        while at < phys.end {
            let fits = |size: u64| {
                largest >= size && (at | virt) & (size - 1) == 0 && phys.end - at >= size
            };
            let (size, level, large) = match () {
                () if fits(GIB) => (GIB, 2, LARGE),
                () if fits(MIB2) => (MIB2, 1, LARGE),
                () => (PAGE_SIZE, 0, 0),
            };
            let table = self.walk(virt, level);
            write_entry(table, index(virt, level), at | bits | large | self.leaf);
            at += size;
            virt += size;
        }
    }

    /// The table of `level` (0 is the last) that translates `virt`, made where it is missing.
    fn walk(&mut self, virt: u64, level: u32) -> u64 {
        (level + 1..4).rev().fold(self.pml4, |table, above| {
            self.table(table, index(virt, above))
        })
    }

    /// The table that entry `slot` of `table` points to, made where it is missing.
    fn table(&mut self, table: u64, slot: usize) -> u64 {
        let entry = read_entry(table, slot);
        if entry & PRESENT != 0 {
            debug_assert!(entry & LARGE == 0, "a table where a large page is");
            return entry & ADDRESS;
        }
        let next = self.frames.zeroed_frame();
        write_entry(table, slot, next | PRESENT | WRITABLE);
        next
    }
}

/// The slot of `virt` in its table of `level`.
const fn index(virt: u64, level: u32) -> usize {
    (virt >> (12 + 9 * level) & 511) as usize
}

fn read_entry(table: u64, slot: usize) -> u64 {
    assert!(slot < 512);
    // SAFETY: `table` is a frame of the early allocator, which the direct map of the boot page tables reaches.
    unsafe { (phys_to_virt(table) as *const u64).add(slot).read() }
}

fn write_entry(table: u64, slot: usize, value: u64) {
    assert!(slot < 512);
    // SAFETY: as in `read_entry`; the table is ours alone, and not loaded yet.
    unsafe { (phys_to_virt(table) as *mut u64).add(slot).write(value) };
}
