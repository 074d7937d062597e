//! Device registers in memory that the machine's own code needs at boot.

#![allow(unsafe_code, reason = "volatile access to device registers")]

use super::fixmap;

/// A block of device registers, mapped for good.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    base: u64,
    len: u64,
}

impl Registers {
    /// Maps the `len` bytes of registers at physical address `phys`; nothing if the fixmap is full.
    ///
    /// # Safety
    /// A device whose registers the caller may drive is there, and nobody else maps it to memory.
    ///
    /// # Context
    /// Boot.
    pub unsafe fn map(phys: u64, len: u64) -> Option<Self> {
        fixmap::map_device(phys, len).map(|base| Self { base, len })
    }

    fn at(self, offset: u64, size: u64) -> u64 {
        assert!(
            offset.is_multiple_of(size) && offset + size <= self.len,
            "register {offset:#x} is not in the block"
        );
        self.base + offset
    }

    /// Reads the 32-bit register at `offset`.
    #[inline]
    pub fn read32(self, offset: u64) -> u32 {
        // SAFETY: the register lies in the block, which is mapped for ever; `map`'s caller vouched for the device.
        unsafe { (self.at(offset, 4) as *const u32).read_volatile() }
    }

    /// Writes the 32-bit register at `offset`.
    #[inline]
    pub fn write32(self, offset: u64, value: u32) {
        // SAFETY: as in `read32`.
        unsafe { (self.at(offset, 4) as *mut u32).write_volatile(value) }
    }

    /// Reads the 64-bit register at `offset`.
    #[inline]
    pub fn read64(self, offset: u64) -> u64 {
        // SAFETY: as in `read32`.
        unsafe { (self.at(offset, 8) as *const u64).read_volatile() }
    }

    /// Writes the 64-bit register at `offset`.
    #[inline]
    pub fn write64(self, offset: u64, value: u64) {
        // SAFETY: as in `read32`.
        unsafe { (self.at(offset, 8) as *mut u64).write_volatile(value) }
    }
}
