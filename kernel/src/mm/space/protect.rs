//! `mprotect`.

use super::map::{commit, is_page, page_up, uncommit};
use super::state::{State, entry_bits};
use super::{AddressSpace, Prot};
use crate::mm::frame::frame;
use crate::mm::pagetable::{Entry, bits};
use crate::mm::phys::PAGE_SIZE;
use crate::mm::tlb::Gather;
use crate::mm::vma::{VmFlags, Vma};
use core::ops::Range;
use fs::{Errno, Result};

impl AddressSpace {
    /// `mprotect(2)`.
    ///
    /// # Errors
    /// Those of the man page. As on Linux, mappings before the one that failed have changed.
    pub fn mprotect(&self, addr: u64, len: u64, prot: Prot) -> Result<()> {
        let grows = Prot::GROWSDOWN | Prot::GROWSUP;
        if prot.contains(grows) || !is_page(addr) {
            return Err(Errno::EINVAL);
        }
        if len == 0 {
            return Ok(());
        }
        let len = page_up(len).ok_or(Errno::ENOMEM)?;
        let end = addr.checked_add(len).ok_or(Errno::ENOMEM)?;
        let known = Prot::READ | Prot::WRITE | Prot::EXEC | Prot::SEM | grows;
        if !known.contains(prot) {
            return Err(Errno::EINVAL);
        }
        let mut state = self.state.lock();
        let mut gather = Gather::new(&self.cpus);
        let first = state.vmas.lower_bound(addr);
        let vma = state.vmas.at(first).ok_or(Errno::ENOMEM)?;
        let mut at = addr;
        if prot.contains(Prot::GROWSDOWN) {
            if vma.start >= end {
                return Err(Errno::ENOMEM);
            }
            if !vma.flags.contains(VmFlags::GROWSDOWN) {
                return Err(Errno::EINVAL);
            }
            at = vma.start;
        } else if vma.start > addr {
            return Err(Errno::ENOMEM);
        } else if prot.contains(Prot::GROWSUP) {
            return Err(Errno::EINVAL);
        }
        let access = VmFlags::of_prot(prot);
        while at < end {
            let vma = state.vmas.get(at).ok_or(Errno::ENOMEM)?;
            let range = at..vma.end.min(end);
            state.protect(range.clone(), access, &mut gather)?;
            at = range.end;
        }
        Ok(())
    }
}

impl State {
    /// Gives a part of one VMA other rights.
    fn protect(
        &mut self,
        range: Range<u64>,
        access: VmFlags,
        gather: &mut Gather<'_>,
    ) -> Result<()> {
        let old = self.vmas.get(range.start).ok_or(Errno::ENOMEM)?.flags;
        let mut new = (old - VmFlags::ACCESS) | access;
        if new == old {
            return Ok(());
        }
        let allowed = VmFlags::from_bits_truncate((old & VmFlags::MAY).bits() >> 4);
        if !allowed.contains(access) {
            return Err(Errno::EACCES);
        }
        let pages = (range.end - range.start) / PAGE_SIZE as u64;
        if new.is_data() && !old.is_data() && !self.may_become_data(pages) {
            return Err(Errno::ENOMEM);
        }
        let books = VmFlags::ACCOUNT | VmFlags::SHARED | VmFlags::NORESERVE | VmFlags::WRITE;
        let charged = new & books == VmFlags::WRITE;
        if charged {
            commit(pages, self.total_vm)?;
            new |= VmFlags::ACCOUNT;
        }
        if let Err(error) = self.split_at_ends(&range) {
            if charged {
                uncommit(pages);
            }
            return Err(error);
        }
        self.count_out(old, pages);
        self.count_in(new, pages);
        let Some(vma) = self.vmas.get(range.start).cloned() else {
            return Err(Errno::ENOMEM);
        };
        self.change_rights(&Vma { flags: new, ..vma }, gather);
        self.vmas.update(range, |vma| {
            vma.flags = new | (vma.flags & VmFlags::HAS_ANON)
        });
        Ok(())
    }

    fn may_become_data(&self, pages: u64) -> bool {
        self.data_vm + pages <= self.limits.data >> 12
    }

    /// Gives the pages of a VMA the rights in its flags.
    fn change_rights(&mut self, vma: &Vma, gather: &mut Gather<'_>) {
        let rights = entry_bits(vma.flags);
        let may_write = vma.flags.contains(VmFlags::WRITE);
        let shared = vma.flags.contains(VmFlags::MAYSHARE);
        let change = |entry: &Entry| {
            let pte = entry.get();
            // A private page is written at once only where it is its owner's alone.
            let own = || pte.has(bits::ANON) && frame(pte.pfn()).refs() == 1;
            let write = if may_write && (shared || own()) {
                bits::WRITE
            } else {
                0
            };
            entry.set_rights(rights | write);
            pte
        };
        let visited = self
            .pages
            .visit(vma.start, vma.end, &mut |first, entries, _| {
                for (i, entry) in entries.iter().enumerate() {
                    if !entry.get().is_none() && change(entry).has(bits::PRESENT) {
                        gather.page(first + (i * PAGE_SIZE) as u64);
                    }
                }
            });
        debug_assert_eq!(visited, Ok(()), "users have no large pages to split");
    }
}
