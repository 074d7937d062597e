//! The kernel's half of the address space.
//!
//! | from | what |
//! | --- | --- |
//! | `0xffff888000000000` | direct map: all memory, at its physical address, writable, never executable |
//! | `0xffffc90000000000` | vmalloc: kernel stacks, mapped device registers |
//! | `0xffffffff80000000` | the image, at its physical address; text, read-only data and data with just their rights |
//! | `0xffffffffff000000` | fixmap: device registers that are needed before vmalloc is there |
//!
//! The top-level entries of all of these exist from boot and never change, so every address space copies them once.

#![allow(unsafe_code, reason = "the linker's symbols")]

use core::ops::Range;

/// Size of a page and of a frame.
pub const PAGE_SIZE: u64 = 4096;
/// Where the direct map of physical memory starts.
pub const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;
/// Start of the area for kernel stacks and mapped device registers.
pub const VMALLOC_START: u64 = 0xffff_c900_0000_0000;
/// End of that area: two top-level entries, 1 TiB.
pub const VMALLOC_END: u64 = VMALLOC_START + (1 << 40);
/// Virtual minus physical address of everything in the image.
pub const KERNEL_BASE: u64 = 0xffff_ffff_8000_0000;
/// Start of the early mappings of device registers: one page table, 2 MiB.
pub const FIXMAP: u64 = 0xffff_ffff_ff00_0000;

/// Where the direct map has the byte at physical address `phys`.
pub const fn phys_to_virt(phys: u64) -> u64 {
    DIRECT_MAP + phys
}

/// The physical address of what the direct map has at `virt`.
pub const fn direct_to_phys(virt: u64) -> u64 {
    virt - DIRECT_MAP
}

/// The physical address of a static of the kernel image.
pub fn image_to_phys(virt: u64) -> u64 {
    debug_assert!(virt >= KERNEL_BASE);
    virt - KERNEL_BASE
}

macro_rules! image_ranges {
    ($($(#[$doc:meta])* $name:ident: $start:ident .. $end:ident;)*) => {
        $($(#[$doc])*
        pub fn $name() -> Range<u64> {
            unsafe extern "C" {
                static $start: u8;
                static $end: u8;
            }
            (&raw const $start as u64)..(&raw const $end as u64)
        })*
    };
}

image_ranges! {
    /// The whole image with `.bss`, as virtual addresses.
    image: __image_start .. __image_end;
    /// Code.
    text: __text_start .. __text_end;
    /// Constants and tables.
    rodata: __rodata_start .. __rodata_end;
    /// Statics with a value.
    data: __data_start .. __bss_start;
    /// Statics that start as zero, the boot stack and the boot page tables among them.
    bss: __bss_start .. __bss_end;
    /// Where the instructions stand that [`super::sites`] writes, as distances from the entries.
    cpu_sites: __cpu_sites_start .. __cpu_sites_end;
    /// The symbol table that the runner writes into the image.
    ksyms: __ksyms_start .. __ksyms_end;
    /// The page beneath the boot stack, never mapped, and the end of the stack.
    boot_stack: boot_stack_guard .. boot_stack_top;
}

/// The section for the symbol table, filled or not.
pub fn ksyms_bytes() -> &'static [u8] {
    let range = ksyms();
    // SAFETY: the section is part of the image, and nothing writes to it.
    unsafe {
        core::slice::from_raw_parts(range.start as *const u8, (range.end - range.start) as usize)
    }
}
