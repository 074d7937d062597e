//! Reading kernel memory that may not be there, for reports.

#![allow(
    unsafe_code,
    reason = "walks the live page tables and reads what they map"
)]

use super::layout::{DIRECT_MAP, phys_to_virt};
use x86_64::registers::control::Cr3;

const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The aligned word at `address` of the kernel's half, or nothing if no memory is mapped there.
///
/// # Context
/// Any.
pub fn read(address: u64) -> Option<u64> {
    // Device registers, which may not be read just so, live above the image.
    let sound = (DIRECT_MAP..super::layout::FIXMAP).contains(&address) && address.is_multiple_of(8);
    if !sound || flags(address).is_none() {
        return None;
    }
    // SAFETY: the page is mapped, and an aligned word does not cross into the next. Whoever writes it meanwhile makes the
    // value stale, no more.
    Some(unsafe { (address as *const u64).read_volatile() })
}

/// The page table entry that maps `address`, or nothing if nothing is mapped there.
pub fn flags(address: u64) -> Option<u64> {
    let mut table = Cr3::read_raw().0.start_address().as_u64();
    for level in (0..4).rev() {
        let slot = address >> (12 + 9 * level) & 511;
        // SAFETY: `table` is a page table that is in use, and the direct map reaches it.
        let entry = unsafe { (phys_to_virt(table + slot * 8) as *const u64).read_volatile() };
        if entry & PRESENT == 0 {
            return None;
        }
        if level == 0 || entry & LARGE != 0 {
            return Some(entry);
        }
        table = entry & ADDRESS;
    }
    None
}
