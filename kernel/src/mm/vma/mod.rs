//! What is mapped where: [`Vma`], and the ordered [`VmaSet`] of an address space.

mod gap;
mod set;
#[cfg(test)]
mod tests;

pub use gap::{GapRequest, STACK_GUARD, find_gap, find_gap_upwards, guarded_start};
pub use set::{Position, VmaSet};

use super::phys::PAGE_SHIFT;
use super::space::Prot;
use alloc::sync::Arc;
use bitflags::bitflags;
use fs::seal::WritableMap;
use fs::{File, Mapping};

bitflags! {
    /// What is known of a VMA. Bits that Linux has too are where Linux has them.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct VmFlags: u32 {
        /// May be read.
        const READ = 1;
        /// May be written.
        const WRITE = 2;
        /// May be executed.
        const EXEC = 4;
        /// Writes are seen by all who map the same.
        const SHARED = 8;
        /// `mprotect` may allow reading.
        const MAYREAD = 0x10;
        /// `mprotect` may allow writing.
        const MAYWRITE = 0x20;
        /// `mprotect` may allow execution.
        const MAYEXEC = 0x40;
        /// Mapped with `MAP_SHARED`, even where the file forbids writing.
        const MAYSHARE = 0x80;
        /// Grows down when touched beneath.
        const GROWSDOWN = 0x100;
        /// `mlock`.
        const LOCKED = 0x2000;
        /// Device memory.
        const IO = 0x4000;
        /// `MADV_SEQUENTIAL`
        const SEQ_READ = 0x8000;
        /// `MADV_RANDOM`
        const RAND_READ = 0x1_0000;
        /// `MADV_DONTFORK`
        const DONTCOPY = 0x2_0000;
        /// `mremap` may not make it larger.
        const DONTEXPAND = 0x4_0000;
        /// `MLOCK_ONFAULT`
        const LOCKONFAULT = 0x8_0000;
        /// Its pages count as committed.
        const ACCOUNT = 0x10_0000;
        /// `MAP_NORESERVE`
        const NORESERVE = 0x20_0000;
        /// `MADV_WIPEONFORK`
        const WIPEONFORK = 0x200_0000;
        /// `MADV_DONTDUMP`
        const DONTDUMP = 0x400_0000;
        /// All its pages count as written since `clear_refs` forgot.
        const SOFTDIRTY = 0x800_0000;
        /// `MADV_HUGEPAGE`
        const HUGEPAGE = 0x2000_0000;
        /// `MADV_NOHUGEPAGE`
        const NOHUGEPAGE = 0x4000_0000;
        /// Ours: anonymous frames were put here, which `fork` must copy.
        const HAS_ANON = 0x8000_0000;

        /// The rights.
        const ACCESS = 7;
        /// The rights that `mprotect` may give.
        const MAY = 0x70;
        /// What does not keep neighbours from being one.
        const MERGE_IGNORES = 0x8800_0000;
    }
}

impl VmFlags {
    /// The rights as `PROT_*`.
    pub fn prot(self) -> Prot {
        Prot::from_bits_truncate((self & VmFlags::ACCESS).bits())
    }

    /// `PROT_*` as rights.
    pub fn of_prot(prot: Prot) -> VmFlags {
        VmFlags::from_bits_truncate(prot.bits()) & VmFlags::ACCESS
    }

    /// Whether its pages are data in the sense of `RLIMIT_DATA`.
    pub fn is_data(self) -> bool {
        self & (VmFlags::WRITE | VmFlags::SHARED | VmFlags::GROWSDOWN) == VmFlags::WRITE
    }
}

/// A file's part in a VMA; shared by all VMAs that one `mmap` became.
pub struct MapObject {
    /// The page cache.
    pub mapping: Arc<Mapping>,
    /// The open file.
    pub file: Option<Arc<File>>,
    /// What `/proc/PID/maps` shows where there is no file.
    pub name: Option<&'static str>,
    /// Its pages count as shared memory, not as file pages.
    pub shmem: bool,
    /// The file can be written through it.
    pub writable: Option<WritableMap>,
}

/// A range of addresses with the same rights and the same contents.
#[derive(Clone)]
pub struct Vma {
    /// First byte.
    pub start: u64,
    /// Behind the last byte.
    pub end: u64,
    /// Page index in the object of the first page.
    pub pgoff: u64,
    /// Rights and properties.
    pub flags: VmFlags,
    /// The file; none for anonymous private memory.
    pub object: Option<Arc<MapObject>>,
}

impl Vma {
    /// Bytes.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether it has no bytes, as no VMA in a set has.
    pub fn is_empty(&self) -> bool {
        self.end == self.start
    }

    /// Pages.
    pub fn pages(&self) -> u64 {
        self.len() >> PAGE_SHIFT
    }

    /// Whether an address lies in it.
    #[inline]
    pub fn contains(&self, address: u64) -> bool {
        self.start <= address && address < self.end
    }

    /// The page index in the object for an address.
    #[inline]
    pub fn index_of(&self, address: u64) -> u64 {
        self.pgoff + ((address - self.start) >> PAGE_SHIFT)
    }

    /// Whether it and `next`, which starts where it ends, can be one.
    pub fn merges_with(&self, next: &Vma) -> bool {
        let differs = (self.flags ^ next.flags).difference(VmFlags::MERGE_IGNORES);
        self.end == next.start
            && differs.is_empty()
            && match (&self.object, &next.object) {
                (None, None) => true,
                (Some(a), Some(b)) => {
                    self.pgoff + self.pages() == next.pgoff && (Arc::ptr_eq(a, b) || same(a, b))
                }
                _ => false,
            }
    }
}

fn same(a: &MapObject, b: &MapObject) -> bool {
    let same_file = match (&a.file, &b.file) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    };
    same_file && a.name == b.name && Arc::ptr_eq(&a.mapping, &b.mapping)
}
