//! Page faults: demand zero, page cache, copy on write.

use super::state::{Rss, State, entry_bits};
use super::{Access, AddressSpace, Fault, TASK_SIZE};
use crate::mm::frame::{Gfp, alloc_frames, alloc_zeroed, frame, put};
use crate::mm::oom;
use crate::mm::pagetable::{Entry, Pte, Table, bits};
use crate::mm::phys::{PAGE_SHIFT, PAGE_SIZE, Pfn, copy_frame, zero_pfn};
use crate::mm::tlb::CpuSet;
use crate::mm::vma::{MapObject, Position, VmFlags, Vma};
use fs::Errno;

/// Pages around a read fault that are mapped with it where the page cache has them: Linux's `fault_around_bytes`.
const AROUND: u64 = 16;
const ENTRY_MASK: usize = 511;

/// Why a fault cannot be resolved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    /// Nothing is mapped there.
    Unmapped,
    /// The mapping forbids it.
    Forbidden,
    /// The file has no such page, or no room for it.
    BeyondFile,
    /// Memory ran out.
    NoMemory,
}

impl AddressSpace {
    /// Resolves a page fault, or says which signal it becomes.
    ///
    /// Where memory has run out and another process was chosen to give way, the answer is success: the access faults again.
    ///
    /// # Context
    /// Task, interrupts on, no lock held.
    pub fn handle_fault(&self, addr: u64, access: Access) -> core::result::Result<(), Fault> {
        let failure = {
            let mut state = self.state.lock();
            match state.fault(addr, access, &self.cpus) {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            }
        };
        match failure {
            Failure::Unmapped => Err(Fault::unmapped(addr)),
            Failure::Forbidden => Err(Fault::forbidden(addr)),
            Failure::BeyondFile => Err(Fault::beyond_file(addr)),
            Failure::NoMemory => match oom::out_of_memory(self) {
                oom::Verdict::Retry => Ok(()),
                oom::Verdict::Die => Err(Fault::out_of_memory(addr)),
            },
        }
    }
}

impl State {
    /// Makes the page at `addr` present for `access`.
    pub(super) fn fault(
        &mut self,
        addr: u64,
        access: Access,
        cpus: &CpuSet,
    ) -> Result<(), Failure> {
        if addr >= TASK_SIZE {
            return Err(Failure::Unmapped);
        }
        let at = match self.vmas.find(addr) {
            Some(at) => at,
            None => self.grow_stack(addr)?,
        };
        let vma = self.vmas.at(at).ok_or(Failure::Unmapped)?;
        if !allows(vma.flags, access) {
            return Err(Failure::Forbidden);
        }
        self.resolve(at, addr, access.write, cpus)
    }

    /// Makes a page present, whose VMA allows the access. `write` is also right where a debugger writes a private page.
    pub(super) fn resolve(
        &mut self,
        at: Position,
        addr: u64,
        write: bool,
        cpus: &CpuSet,
    ) -> Result<(), Failure> {
        let State {
            pages, vmas, rss, ..
        } = self;
        let vma = vmas.at_mut(at).ok_or(Failure::Unmapped)?;
        let page = addr & !(PAGE_SIZE as u64 - 1);
        let leaf = pages.leaf(page).map_err(|_| Failure::NoMemory)?;
        let entry = &leaf[(page >> PAGE_SHIFT) as usize & ENTRY_MASK];
        let pte = entry.get();
        let private = !vma.flags.contains(VmFlags::MAYSHARE);
        let rights = entry_bits(vma.flags) | bits::ACCESSED;
        if !pte.is_none() {
            if !write || pte.has(bits::WRITE | bits::PRESENT) {
                // Another thread was faster, or this CPU remembered fewer rights than the entry has.
                cpus.flush(page..page + PAGE_SIZE as u64);
                return Ok(());
            }
            if !private {
                entry.add(bits::WRITE | bits::DIRTY);
                return Ok(());
            }
            return copy_on_write(entry, vma, rss, page, rights, cpus);
        }
        let new = match &vma.object {
            None if write => alloc_zeroed(Gfp::USER).ok_or(Failure::NoMemory)?,
            None => {
                entry.set(Pte::new(zero_pfn(), rights | bits::SPECIAL));
                return Ok(());
            }
            Some(object) if write && private => copy_of_object(object, vma.index_of(page))?,
            Some(object) => {
                return map_object(leaf, vma, object, page, write, rss.of_object(vma));
            }
        };
        frame(new).own_to_mapped();
        entry.set(anon_entry(vma, new, rights));
        rss.anon += 1;
        Ok(())
    }
}

/// The entry for an anonymous frame that was just made for a write.
#[inline]
fn anon_entry(vma: &mut Vma, new: Pfn, rights: u64) -> Pte {
    vma.flags |= VmFlags::HAS_ANON;
    // A debugger writes where the program may not.
    let writable = if vma.flags.contains(VmFlags::WRITE) {
        bits::WRITE
    } else {
        0
    };
    Pte::new(new, rights | writable | bits::DIRTY | bits::ANON)
}

/// Gives the writer of a private page that is not its own a copy; one that nobody else has any more becomes its own.
fn copy_on_write(
    entry: &Entry,
    vma: &mut Vma,
    rss: &mut Rss,
    page: u64,
    rights: u64,
    cpus: &CpuSet,
) -> Result<(), Failure> {
    let old = entry.get();
    if old.has(bits::ANON) && frame(old.pfn()).refs() == 1 {
        let writable = if vma.flags.contains(VmFlags::WRITE) {
            bits::WRITE
        } else {
            0
        };
        entry.add(writable | bits::DIRTY);
        return Ok(());
    }
    let new = if old.has(bits::SPECIAL) {
        alloc_zeroed(Gfp::USER)
    } else {
        copy_of(old.pfn())
    };
    let new = new.ok_or(Failure::NoMemory)?;
    frame(new).own_to_mapped();
    let old = replace(entry, anon_entry(vma, new, rights), page, cpus);
    if old.is_counted() {
        frame(old.pfn()).unmap();
        put(old.pfn());
    }
    if !old.has(bits::ANON) {
        rss.anon += 1;
        if !old.has(bits::SPECIAL) {
            *rss.of_object(vma) -= 1;
        }
    }
    Ok(())
}

/// Maps a page of the object and, for a read, those around it. `resident` counts what is mapped, also where the page
/// itself cannot be had.
fn map_object(
    leaf: &Table,
    vma: &Vma,
    object: &MapObject,
    page: u64,
    write: bool,
    resident: &mut u64,
) -> Result<(), Failure> {
    let writable = vma.flags.contains(VmFlags::MAYSHARE | VmFlags::WRITE);
    let rights = entry_bits(vma.flags) | if writable { bits::WRITE } else { 0 };
    let around = !write && !vma.flags.contains(VmFlags::RAND_READ);
    if around {
        *resident += map_around(leaf, vma, object, page, rights);
    }
    let entry = &leaf[(page >> PAGE_SHIFT) as usize & ENTRY_MASK];
    if !entry.get().is_none() {
        return Ok(());
    }
    let got = object
        .mapping
        .get_page(vma.index_of(page))
        .map_err(failure)?;
    let pfn = Pfn(got.into_pfn() as u32);
    frame(pfn).ref_to_mapped();
    let dirty = if write { bits::DIRTY } else { 0 };
    entry.set(Pte::new(pfn, rights | bits::ACCESSED | dirty));
    *resident += 1;
    Ok(())
}

/// Replaces a present entry by one for another frame, with no moment at which one CPU sees the old frame and another the new.
fn replace(entry: &Entry, value: Pte, page: u64, cpus: &CpuSet) -> Pte {
    let range = page..page + PAGE_SIZE as u64;
    if cpus.has_others() {
        let old = entry.take();
        cpus.flush(range);
        entry.set(value);
        return old;
    }
    let old = entry.replace(value);
    cpus.flush(range);
    old
}

/// Whether the rights of a VMA allow an access. A page that may be written or executed may be read on x86.
#[inline]
pub(super) fn allows(flags: VmFlags, access: Access) -> bool {
    let needed = if access.write {
        VmFlags::WRITE
    } else if access.exec {
        VmFlags::EXEC
    } else {
        VmFlags::ACCESS
    };
    flags.intersects(needed)
}

/// A copy of a frame, whose one owner is the caller.
fn copy_of(old: Pfn) -> Option<Pfn> {
    let new = alloc_frames(0, Gfp::USER)?;
    #[expect(unsafe_code, reason = "fills a frame")]
    // SAFETY: the new frame is ours alone, and the old one has the reference of the entry that maps it.
    unsafe {
        copy_frame(old, new);
    }
    Some(new)
}

fn copy_of_object(object: &MapObject, index: u64) -> Result<Pfn, Failure> {
    let page = object.mapping.get_page(index).map_err(failure)?;
    // The handle is a reference until the copy is made.
    copy_of(Pfn(page.pfn() as u32)).ok_or(Failure::NoMemory)
}

fn failure(error: Errno) -> Failure {
    if error == Errno::ENOMEM {
        Failure::NoMemory
    } else {
        Failure::BeyondFile
    }
}

/// Maps the pages around `page` that the page cache has and that are not mapped, and answers how many.
fn map_around(leaf: &Table, vma: &Vma, object: &MapObject, page: u64, rights: u64) -> u64 {
    let window = page & !((AROUND << PAGE_SHIFT) - 1);
    let start = window.max(vma.start);
    let end = (window + (AROUND << PAGE_SHIFT)).min(vma.end);
    let first = vma.index_of(start);
    let mut mapped = 0;
    object.mapping.for_each_page(
        first..first + ((end - start) >> PAGE_SHIFT),
        &mut |index, cached| {
            let address = start + ((index - first) << PAGE_SHIFT);
            let entry = &leaf[(address >> PAGE_SHIFT) as usize & ENTRY_MASK];
            if entry.get().is_none() {
                let pfn = Pfn(cached.pfn() as u32);
                frame(pfn).get_mapped();
                entry.set(Pte::new(pfn, rights));
                mapped += 1;
            }
        },
    );
    mapped
}
