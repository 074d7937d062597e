//! Registers in memory.
#![allow(unsafe_code, reason = "volatile access to device registers")]

use alloc::sync::Arc;
use core::ptr::NonNull;

use drivers::io::{Io, Width};

use crate::mm::phys::{PAGE_SIZE, PhysAddr};
use crate::mm::vmalloc;

/// A mapped block of registers.
pub(super) struct Mmio {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is the same on every CPU, and registers are accessed whole.
unsafe impl Send for Mmio {}
// SAFETY: as for `Send`.
unsafe impl Sync for Mmio {}

impl Mmio {
    /// Maps the `len` bytes at `phys`, uncached; `None` without memory for it.
    ///
    /// # Safety
    /// Registers of a device are there, no memory.
    pub(super) unsafe fn map(phys: u64, len: usize) -> Option<Arc<dyn Io>> {
        let start = vmalloc::ioremap(PhysAddr(phys), len)?;
        Some(Arc::new(Self { start, len }))
    }
}

impl Io for Mmio {
    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, offset: usize, width: Width) -> u64 {
        debug_assert!(offset + width.bytes() <= self.len);
        let at = self.start.as_ptr().wrapping_add(offset);
        // SAFETY: the caller stays inside the mapping and aligned (`Io`); it lives as long as this.
        unsafe {
            match width {
                Width::U8 => at.read_volatile().into(),
                Width::U16 => at.cast::<u16>().read_volatile().into(),
                Width::U32 => at.cast::<u32>().read_volatile().into(),
                Width::U64 => at.cast::<u64>().read_volatile(),
            }
        }
    }

    fn write(&self, offset: usize, width: Width, value: u64) {
        debug_assert!(offset + width.bytes() <= self.len);
        let at = self.start.as_ptr().wrapping_add(offset);
        // SAFETY: as for `read`; what the device does then is its driver's affair.
        unsafe {
            match width {
                Width::U8 => at.write_volatile(value as u8),
                Width::U16 => at.cast::<u16>().write_volatile(value as u16),
                Width::U32 => at.cast::<u32>().write_volatile(value as u32),
                Width::U64 => at.cast::<u64>().write_volatile(value),
            }
        }
    }
}

impl Drop for Mmio {
    fn drop(&mut self) {
        let page = self.start.as_ptr() as usize & !(PAGE_SIZE - 1);
        if let Some(page) = NonNull::new(page as *mut u8) {
            vmalloc::free(page);
        }
    }
}
