//! Copying an address space for `fork`.
//!
//! Frames are shared, without the right to write on either side; the first write copies. Only anonymous frames are copied
//! into the child's tables: pages of files come back by a fault, and most children run another program before they
//! would touch them.

use super::map::{commit, uncommit};
use super::state::State;
use super::{AddressSpace, ProgramLayout};
use crate::mm::frame::frame;
use crate::mm::pagetable::{Entry, NoMemory, PageTable, Pte, bits};
use crate::mm::phys::{PAGE_SHIFT, PAGE_SIZE};
use crate::mm::tlb::Gather;
use crate::mm::vma::{VmFlags, Vma, VmaSet};
use alloc::sync::Arc;
use fs::{Errno, Result};

impl AddressSpace {
    /// A copy, as `fork(2)` makes it: private memory is shared until one side writes.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn fork(&self) -> Result<Arc<AddressSpace>> {
        let pages = PageTable::new().map_err(|_| Errno::ENOMEM)?;
        let child = {
            let mut parent = self.state.lock();
            let mut child = State::new(pages, VmaSet::new(), parent.limits);
            let mut gather = Gather::new(&self.cpus);
            let copied = parent.copy_to(&mut child, &mut gather);
            drop(gather);
            if let Err(error) = copied {
                child.clear();
                return Err(error);
            }
            child
        };
        Self::from_state(child)
    }
}

impl State {
    fn copy_to(&mut self, child: &mut State, gather: &mut Gather<'_>) -> Result<()> {
        commit(self.accounted, self.total_vm)?;
        child.mmap_base = self.mmap_base;
        child.reset_gap_hint();
        child.brk_start = self.brk_start;
        child.brk = self.brk;
        child.layout = ProgramLayout { ..self.layout };
        let mut missing = self.accounted;
        let State { pages, vmas, .. } = self;
        for vma in vmas.iter() {
            if vma.flags.contains(VmFlags::DONTCOPY) {
                continue;
            }
            let wiped = vma.flags.contains(VmFlags::WIPEONFORK);
            let mut copy = vma.clone();
            // Locks are not inherited.
            copy.flags -= VmFlags::LOCKED | VmFlags::LOCKONFAULT;
            if wiped {
                copy.flags -= VmFlags::HAS_ANON;
            }
            let (flags, count) = (copy.flags, copy.pages());
            let pushed = child.vmas.push(copy);
            if pushed.is_ok() {
                child.count_in(flags, count);
                if flags.contains(VmFlags::ACCOUNT) {
                    missing -= count;
                }
            }
            let copied = pushed.and_then(|()| {
                if wiped || !vma.flags.contains(VmFlags::HAS_ANON) {
                    return Ok(());
                }
                copy_pages(pages, vma, child, gather).map_err(|_| Errno::ENOMEM)
            });
            if let Err(error) = copied {
                uncommit(missing);
                return Err(error);
            }
        }
        // What the child does not get it does not owe either.
        uncommit(missing);
        child.peak_vm = child.total_vm;
        Ok(())
    }
}

/// Copies the entries of anonymous frames of a VMA, and takes away the parent's right to write them.
fn copy_pages(
    parent: &mut PageTable,
    vma: &Vma,
    child: &mut State,
    gather: &mut Gather<'_>,
) -> core::result::Result<(), NoMemory> {
    let mut result = Ok(());
    let mut copied = 0;
    let visited = parent.visit(vma.start, vma.end, &mut |first, entries, _| {
        if result.is_ok() {
            match copy_table(&mut child.pages, first, entries, gather) {
                Ok(count) => copied += count,
                Err(error) => result = Err(error),
            }
        }
    });
    child.rss.anon += copied;
    visited.and(result)
}

fn copy_table(
    child: &mut PageTable,
    first: u64,
    entries: &[Entry],
    gather: &mut Gather<'_>,
) -> core::result::Result<u64, NoMemory> {
    let is_anon = |entry: &Entry| entry.get().has(bits::ANON);
    let Some(begin) = entries.iter().position(is_anon) else {
        return Ok(0);
    };
    let leaf = child.leaf(first)?;
    let offset = (first >> PAGE_SHIFT) as usize % leaf.len();
    let to = &leaf[offset + begin..offset + entries.len()];
    let mut copied = 0;
    let mut address = first + (begin * PAGE_SIZE) as u64;
    for (from, to) in entries[begin..].iter().zip(to) {
        let pte: Pte = from.get();
        if pte.has(bits::ANON) {
            frame(pte.pfn()).get_mapped();
            if pte.has(bits::WRITE) {
                from.remove(bits::WRITE);
                gather.page(address);
            }
            to.set(pte.without(bits::WRITE));
            copied += 1;
        }
        address += PAGE_SIZE as u64;
    }
    Ok(copied)
}
