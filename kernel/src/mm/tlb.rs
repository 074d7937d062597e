//! Making CPUs forget translations.
//!
//! Frames and tables that an address space gives up are gathered and freed only after the flush, since another CPU may go
//! on using them until then.
#![allow(unsafe_code, reason = "flushes by instructions")]

use super::frame::{frame, free_frames, put};
use super::pagetable::tables;
use super::phys::{PAGE_SHIFT, PAGE_SIZE, Pfn};
use core::mem::MaybeUninit;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use executor::cpu;

/// Pages that are flushed one by one; beyond that, all are.
const FEW: u64 = 32;
/// Frames that wait for a flush at most.
const BATCH: usize = 64;

/// The CPUs that have an address space loaded.
#[derive(Debug)]
pub struct CpuSet(AtomicU64);

impl CpuSet {
    /// None.
    pub const fn new() -> CpuSet {
        CpuSet(AtomicU64::new(0))
    }

    /// Adds this CPU, before it loads the tables: whoever changes them then flushes this CPU too, or the CPU sees the change.
    pub fn add_this(&self) {
        self.0.fetch_or(this(), SeqCst);
    }

    /// Removes this CPU, after it loaded others.
    pub fn remove_this(&self) {
        self.0.fetch_and(!this(), SeqCst);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.load(SeqCst) == 0
    }

    /// Whether other CPUs are in it.
    #[inline]
    pub fn has_others(&self) -> bool {
        self.0.load(SeqCst) & !this() != 0
    }

    /// Flushes the range on all of them. Preemption is off.
    pub fn flush(&self, range: Range<u64>) {
        let cpus = self.0.load(SeqCst);
        if cpus & this() != 0 {
            flush_here(&range);
        }
        if cpus & !this() != 0 {
            machine::on_others(cpus & !this(), &|| flush_here(&range));
        }
    }
}

#[inline]
fn this() -> u64 {
    1 << (cpu::id() & 63)
}

fn flush_here(range: &Range<u64>) {
    if range.end.saturating_sub(range.start) <= FEW << PAGE_SHIFT {
        range
            .clone()
            .step_by(PAGE_SIZE)
            .for_each(machine::flush_page);
    } else {
        machine::flush();
    }
}

/// What waits for a flush: the addresses, and what they led to. Flushes at the end.
///
/// Made and used under the lock of the address space, so with preemption off.
pub struct Gather<'a> {
    cpus: &'a CpuSet,
    /// The addresses to flush, from the first to behind the last; none where `start` is not before `end`.
    start: u64,
    end: u64,
    frames: Waiting,
    tables: Waiting,
}

/// Frames that wait for a flush.
struct Waiting {
    // Not initialised beyond `len`: most gathers are short, and all are on the stack.
    frames: [MaybeUninit<Pfn>; BATCH],
    len: usize,
}

impl Waiting {
    const fn new() -> Self {
        Self {
            frames: [MaybeUninit::uninit(); BATCH],
            len: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.len == BATCH
    }

    fn push(&mut self, pfn: Pfn) {
        self.frames[self.len].write(pfn);
        self.len += 1;
    }

    fn drain(&mut self, mut f: impl FnMut(Pfn)) {
        for pfn in &self.frames[..self.len] {
            // SAFETY: `push` initialised all before `len`.
            f(unsafe { pfn.assume_init() });
        }
        self.len = 0;
    }
}

impl<'a> Gather<'a> {
    /// Nothing waits.
    #[inline]
    pub fn new(cpus: &'a CpuSet) -> Self {
        Self {
            cpus,
            start: u64::MAX,
            end: 0,
            frames: Waiting::new(),
            tables: Waiting::new(),
        }
    }

    /// The page at this address was present and is not any more, or has fewer rights.
    #[inline]
    pub fn page(&mut self, address: u64) {
        self.start = self.start.min(address);
        self.end = self.end.max(address + PAGE_SIZE as u64);
    }

    /// The reference of a page-table entry to a frame, to be dropped. The entry is cleared.
    #[inline]
    pub fn mapped(&mut self, pfn: Pfn) {
        // The entry was cleared before this look at the set, and a CPU enters the set before it walks the tables: one that is
        // not in it will not find the frame. This one does not touch user memory before the flush.
        if !self.cpus.has_others() {
            if frame(pfn).drop_mapped() {
                free_frames(pfn, 0);
            }
            return;
        }
        frame(pfn).unmap();
        if self.frames.is_full() {
            self.flush();
        }
        self.frames.push(pfn);
    }

    /// An empty table that no entry leads to any more.
    pub fn table(&mut self, pfn: Pfn) {
        // CPUs remember tables too, so even this one must forget it before it is used for something else.
        if self.tables.is_full() {
            self.flush();
        }
        self.tables.push(pfn);
    }

    /// Flushes, and frees what waited.
    pub fn flush(&mut self) {
        if self.start < self.end {
            self.cpus.flush(self.start..self.end);
        } else if self.tables.len > 0 {
            // Forgetting one page forgets all remembered tables (SDM 3A, 4.10.4.1).
            self.cpus.flush(0..PAGE_SIZE as u64);
        }
        (self.start, self.end) = (u64::MAX, 0);
        self.frames.drain(put);
        self.tables.drain(tables::free);
    }
}

impl Drop for Gather<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Loads the page tables with this root into this CPU.
pub fn load(root: Pfn) {
    machine::load(root);
}

/// Flushes everything, global entries included, on this CPU.
pub fn flush_all_here() {
    machine::flush_global();
}

/// Flushes everything, global entries included, on all CPUs.
pub fn flush_kernel() {
    machine::flush_global();
    let _stay = cpu::preempt_disable();
    machine::on_others(!this(), &machine::flush_global);
}

#[cfg(target_os = "none")]
mod machine {
    use crate::mm::Pfn;
    use x86_64::instructions::tlb;
    use x86_64::registers::control::{Cr3, Cr3Flags, Cr4, Cr4Flags};
    use x86_64::structures::paging::PhysFrame;
    use x86_64::{PhysAddr, VirtAddr};

    #[inline]
    pub fn load(root: Pfn) {
        let frame = PhysFrame::containing_address(PhysAddr::new_truncate(root.phys().0));
        // SAFETY: the tables have the kernel's half, which maps this code and stack; their owner keeps them while loaded.
        unsafe { Cr3::write(frame, Cr3Flags::empty()) };
    }

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

    /// Calls `f` on these CPUs, as far as they run.
    pub fn on_others(cpus: u64, f: &(dyn Fn() + Sync)) {
        crate::arch::smp::shootdown(cpus, f);
    }
}

/// The host has no TLB of its own to flush.
#[cfg(not(target_os = "none"))]
mod machine {
    use crate::mm::Pfn;

    pub fn load(_: Pfn) {}
    pub fn flush_page(_: u64) {}
    pub fn flush() {}
    pub fn flush_global() {}
    pub fn on_others(_: u64, _: &(dyn Fn() + Sync)) {}
}
