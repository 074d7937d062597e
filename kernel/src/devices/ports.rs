//! Registers at I/O ports.
#![allow(unsafe_code, reason = "port I/O")]

use alloc::sync::Arc;

use drivers::io::{Io, Width};
use x86_64::instructions::port::Port;

/// A block of ports.
pub(super) struct Ports {
    base: u16,
    len: usize,
}

impl Ports {
    /// The `len` ports from `base` on; `None` if there are not so many.
    ///
    /// # Safety
    /// They belong to a device that the caller may drive.
    pub(super) unsafe fn at(base: u64, len: usize) -> Option<Arc<dyn Io>> {
        let base = u16::try_from(base).ok()?;
        let fits = usize::from(base) + len <= 1 << 16;
        fits.then(|| Arc::new(Self { base, len }) as Arc<dyn Io>)
    }
}

impl Io for Ports {
    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, offset: usize, width: Width) -> u64 {
        let port = self.base + offset as u16;
        // SAFETY: the port is one of the block, whose device the maker of this may drive.
        unsafe {
            match width {
                Width::U8 => Port::<u8>::new(port).read().into(),
                Width::U16 => Port::<u16>::new(port).read().into(),
                Width::U32 => Port::<u32>::new(port).read().into(),
                // There are no such accesses.
                Width::U64 => u64::MAX,
            }
        }
    }

    fn write(&self, offset: usize, width: Width, value: u64) {
        let port = self.base + offset as u16;
        // SAFETY: as for `read`.
        unsafe {
            match width {
                Width::U8 => Port::new(port).write(value as u8),
                Width::U16 => Port::new(port).write(value as u16),
                Width::U32 => Port::new(port).write(value as u32),
                Width::U64 => {}
            }
        }
    }
}
