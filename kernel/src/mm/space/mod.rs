//! User address spaces: [`AddressSpace`].

mod api;

pub use api::*;

use alloc::sync::Arc;
use fs::{Errno, Result};

/// Behind the last address of a user: 47 bits, without the last page.
pub const TASK_SIZE: u64 = (1 << 47) - 4096;

/// What a process sees as memory: the mappings, and the page tables that show them to the CPU.
///
/// Shared by threads; gone when the last `Arc` is, which is never while a CPU has it loaded.
pub struct AddressSpace {}

impl AddressSpace {
    /// An empty address space.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(limits: Limits) -> Result<Arc<AddressSpace>> {
        let _ = limits;
        Err(Errno::ENOMEM)
    }

    /// A copy, as `fork(2)` makes it: private memory is shared until one side writes.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn fork(&self) -> Result<Arc<AddressSpace>> {
        Err(Errno::ENOMEM)
    }

    /// Loads it into this CPU. The caller holds preemption off, and an `Arc` of it until another one is loaded.
    pub fn activate(&self) {}

    /// Notes that this CPU, which had it loaded, has loaded another one.
    pub fn deactivate(&self) {}

    /// `setrlimit` has changed the limits.
    pub fn set_limits(&self, limits: Limits) {
        let _ = limits;
    }

    /// `mmap(2)`; answers the address.
    ///
    /// # Errors
    /// Those of the man page.
    pub fn mmap(&self, request: MapRequest) -> Result<u64> {
        let _ = request;
        Err(Errno::ENOMEM)
    }

    /// `munmap(2)`.
    pub fn munmap(&self, addr: u64, len: u64) -> Result<()> {
        let _ = (addr, len);
        Err(Errno::ENOMEM)
    }

    /// `mprotect(2)`.
    pub fn mprotect(&self, addr: u64, len: u64, prot: Prot) -> Result<()> {
        let _ = (addr, len, prot);
        Err(Errno::ENOMEM)
    }

    /// `mremap(2)`; answers the new address.
    pub fn mremap(
        &self,
        addr: u64,
        old_len: u64,
        new_len: u64,
        flags: u32,
        to: u64,
    ) -> Result<u64> {
        let _ = (addr, old_len, new_len, flags, to);
        Err(Errno::ENOMEM)
    }

    /// `brk(2)`: moves the end of the heap and answers where it is now.
    pub fn brk(&self, end: u64) -> u64 {
        end
    }

    /// `exec` says where the heap starts.
    pub fn set_brk_start(&self, start: u64) {
        let _ = start;
    }

    /// `madvise(2)`.
    pub fn madvise(&self, addr: u64, len: u64, advice: i32) -> Result<()> {
        let _ = (addr, len, advice);
        Err(Errno::ENOMEM)
    }

    /// `mincore(2)`: hands `put` the vector piece by piece.
    pub fn mincore(
        &self,
        addr: u64,
        len: u64,
        put: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let _ = (addr, len, put);
        Err(Errno::ENOMEM)
    }

    /// `msync(2)`.
    pub fn msync(&self, addr: u64, len: u64, flags: u32) -> Result<()> {
        let _ = (addr, len, flags);
        Err(Errno::ENOMEM)
    }

    /// `mlock2(2)`.
    pub fn mlock(&self, addr: u64, len: u64, on_fault: bool) -> Result<()> {
        let _ = (addr, len, on_fault);
        Err(Errno::ENOMEM)
    }

    /// `munlock(2)`.
    pub fn munlock(&self, addr: u64, len: u64) -> Result<()> {
        let _ = (addr, len);
        Err(Errno::ENOMEM)
    }

    /// `mlockall(2)`, flags decoded by the caller's number.
    pub fn mlockall(&self, flags: u32) -> Result<()> {
        let _ = flags;
        Err(Errno::ENOMEM)
    }

    /// `munlockall(2)`.
    pub fn munlockall(&self) {}

    /// Resolves a page fault, or says which signal it becomes.
    ///
    /// # Context
    /// Task, interrupts on, no lock held.
    pub fn handle_fault(&self, addr: u64, access: Access) -> core::result::Result<(), Fault> {
        let _ = access;
        Err(Fault::unmapped(addr))
    }

    /// Makes `len` bytes at `addr` present (and writable), so that a copy without faults goes on.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn fault_in(&self, addr: u64, len: usize, write: bool) -> Result<()> {
        let _ = (addr, len, write);
        Err(Errno::EFAULT)
    }

    /// Copies out of a space that need not be loaded, and answers how many bytes were there. `force` ignores missing
    /// read rights, as `ptrace` does.
    pub fn read_memory(&self, addr: u64, buf: &mut [u8], force: bool) -> usize {
        let _ = (addr, buf, force);
        0
    }

    /// Copies into a space that need not be loaded, and answers how many bytes went. `force` ignores missing write
    /// rights of private mappings, as `ptrace` does.
    pub fn write_memory(&self, addr: u64, bytes: &[u8], force: bool) -> usize {
        let _ = (addr, bytes, force);
        0
    }

    /// Where `exec` has put the program.
    pub fn layout(&self) -> ProgramLayout {
        ProgramLayout::default()
    }

    /// `exec` says where it has put the program.
    pub fn set_layout(&self, layout: ProgramLayout) {
        let _ = layout;
    }

    /// Calls `f` for the mappings from `from` on, in order, until it answers false. `f` runs under the lock of the space.
    pub fn for_each_vma(&self, from: u64, f: &mut dyn FnMut(&VmaInfo<'_>) -> bool) {
        let _ = (from, f);
    }

    /// The sizes.
    pub fn stats(&self) -> SpaceStats {
        SpaceStats::default()
    }
}
