//! One entry of a page table, as the CPU reads it.

use crate::mm::phys::Pfn;
use core::sync::atomic::{AtomicU64, Ordering::*};

/// The bits of an entry.
///
/// Source: Intel SDM volume 3, 4.5.
pub mod bits {
    /// The CPU may use the entry.
    pub const PRESENT: u64 = 1;
    /// Writes are allowed.
    pub const WRITE: u64 = 1 << 1;
    /// User mode is allowed.
    pub const USER: u64 = 1 << 2;
    /// Write-through, for device registers.
    pub const WRITE_THROUGH: u64 = 1 << 3;
    /// Not cached, for device registers.
    pub const NO_CACHE: u64 = 1 << 4;
    /// Set by the CPU when it uses the entry.
    pub const ACCESSED: u64 = 1 << 5;
    /// Set by the CPU when it writes.
    pub const DIRTY: u64 = 1 << 6;
    /// The entry of an upper table maps a large page.
    pub const HUGE: u64 = 1 << 7;
    /// Stays in the TLB when another address space is loaded.
    pub const GLOBAL: u64 = 1 << 8;
    /// Ours: the frame is not counted (zero frame, device memory).
    pub const SPECIAL: u64 = 1 << 9;
    /// Ours: the frame is anonymous memory.
    pub const ANON: u64 = 1 << 10;
    /// Ours: there is a frame, but nobody may touch it now (`PROT_NONE`); the entry is not present.
    pub const HELD: u64 = 1 << 11;
    /// Ours: the page was written before `clear_refs` forgot who was.
    pub const WAS_DIRTY: u64 = 1 << 52;
    /// Instructions are not fetched.
    pub const NO_EXEC: u64 = 1 << 63;
    /// The frame's address.
    pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    /// What a change of rights changes.
    pub const RIGHTS: u64 = PRESENT | WRITE | USER | HELD | NO_EXEC;
    /// An entry that leads to another table: the last one decides about rights.
    pub const TABLE: u64 = PRESENT | WRITE | USER | ACCESSED;
}
use bits::*;

/// The value of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Pte(pub u64);

impl Pte {
    /// Nothing is mapped.
    pub const NONE: Pte = Pte(0);

    /// An entry for a frame.
    #[inline]
    pub const fn new(pfn: Pfn, bits: u64) -> Pte {
        Pte(pfn.phys().0 | bits)
    }

    /// Whether nothing is mapped.
    #[inline]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `bits` are set.
    #[inline]
    pub const fn has(self, bits: u64) -> bool {
        self.0 & bits == bits
    }

    /// With `bits` set.
    #[inline]
    pub const fn with(self, bits: u64) -> Pte {
        Pte(self.0 | bits)
    }

    /// With `bits` clear.
    #[inline]
    pub const fn without(self, bits: u64) -> Pte {
        Pte(self.0 & !bits)
    }

    /// The frame.
    #[inline]
    pub const fn pfn(self) -> Pfn {
        Pfn(((self.0 & ADDRESS) >> 12) as u32)
    }

    /// Whether the page was ever written by way of this entry.
    #[inline]
    pub const fn is_dirty(self) -> bool {
        self.0 & (DIRTY | WAS_DIRTY) != 0
    }

    /// Whether the frame is counted by its descriptor.
    #[inline]
    pub const fn is_counted(self) -> bool {
        !self.is_none() && self.0 & SPECIAL == 0
    }
}

/// An entry in its table. The CPU changes accessed and dirty bits at any time; all else happens under the lock of the
/// address space.
#[derive(Debug)]
#[repr(transparent)]
pub struct Entry(AtomicU64);

impl Entry {
    /// The value now.
    #[inline]
    pub fn get(&self) -> Pte {
        Pte(self.0.load(Relaxed))
    }

    /// Overwrites an entry that was not present, so the CPU had nothing to write into it.
    #[inline]
    pub fn set(&self, value: Pte) {
        debug_assert!(!self.get().has(PRESENT), "a live entry is overwritten");
        self.0.store(value.0, Release);
    }

    /// Clears the entry and returns it with the CPU's last bits.
    #[inline]
    pub fn take(&self) -> Pte {
        Pte(self.0.swap(0, AcqRel))
    }

    /// Clears an entry of tables that no CPU has loaded.
    #[inline]
    pub fn erase(&self) {
        self.0.store(0, Relaxed);
    }

    /// Replaces the entry and returns the old value with the CPU's last bits.
    #[inline]
    pub fn replace(&self, value: Pte) -> Pte {
        Pte(self.0.swap(value.0, AcqRel))
    }

    /// Sets bits in a live entry.
    #[inline]
    pub fn add(&self, bits: u64) {
        self.0.fetch_or(bits, AcqRel);
    }

    /// Clears bits in a live entry and returns it as it was.
    #[inline]
    pub fn remove(&self, bits: u64) -> Pte {
        Pte(self.0.fetch_and(!bits, AcqRel))
    }

    /// Gives a live entry new rights and keeps the CPU's bits.
    pub fn set_rights(&self, rights: u64) {
        let change = |old| Some(old & !RIGHTS | rights);
        // The closure never refuses.
        let _ = self.0.try_update(AcqRel, Relaxed, change);
    }
}
