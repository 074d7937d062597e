//! Making CPUs forget translations.
//!
//! Frames and tables that an address space gives up are gathered and freed only after the flush, since another CPU may go
//! on using them until then.
#![allow(unsafe_code, reason = "flushes by instructions")]

/// Flushes everything, global entries included, on all CPUs.
pub fn flush_kernel() {
    machine::flush_global();
}

/// Flushes this CPU's TLB for one page.
#[inline]
pub fn flush_local_page(address: u64) {
    machine::flush_page(address);
}

/// Flushes this CPU's TLB, global entries excepted.
#[inline]
pub fn flush_local() {
    machine::flush();
}

#[cfg(target_os = "none")]
mod machine {
    use x86_64::VirtAddr;
    use x86_64::instructions::tlb;
    use x86_64::registers::control::{Cr4, Cr4Flags};

    #[inline]
    pub fn flush_page(address: u64) {
        tlb::flush(VirtAddr::new_truncate(address));
    }

    #[inline]
    pub fn flush() {
        tlb::flush_all();
    }

    /// Turning global pages off and on again forgets all entries.
    pub fn flush_global() {
        let cr4 = Cr4::read();
        // SAFETY: the bit only decides what the TLB keeps.
        unsafe { Cr4::write(cr4 ^ Cr4Flags::PAGE_GLOBAL) };
        // SAFETY: as above; back to what it was.
        unsafe { Cr4::write(cr4) };
    }
}

/// The host has no TLB of its own to flush.
#[cfg(not(target_os = "none"))]
mod machine {
    pub fn flush_page(_: u64) {}
    pub fn flush() {}
    pub fn flush_global() {}
}
