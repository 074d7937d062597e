//! `mremap`.

use super::map::{Dropped, commit, is_page, page_up, uncommit};
use super::state::State;
use super::{AddressSpace, TASK_SIZE};
use crate::mm::pagetable::bits;
use crate::mm::phys::{PAGE_SHIFT, PAGE_SIZE};
use crate::mm::sysctl::{max_map_count, mmap_min_addr};
use crate::mm::tlb::Gather;
use crate::mm::vma::{VmFlags, Vma};
use core::ops::Range;
use fs::{Errno, Result};

const MAYMOVE: u32 = 1;
const FIXED: u32 = 2;
const DONTUNMAP: u32 = 4;

/// The arguments of a call, in whole pages.
#[derive(Clone, Copy)]
struct Remap {
    addr: u64,
    old_len: u64,
    new_len: u64,
    flags: u32,
    to: u64,
}

impl AddressSpace {
    /// `mremap(2)`; answers the new address.
    ///
    /// # Errors
    /// Those of the man page.
    pub fn mremap(
        &self,
        addr: u64,
        old_len: u64,
        new_len: u64,
        flags: u32,
        to: u64,
    ) -> Result<u64> {
        if flags & !(MAYMOVE | FIXED | DONTUNMAP) != 0
            || flags & FIXED != 0 && flags & MAYMOVE == 0
            || flags & DONTUNMAP != 0 && (flags & MAYMOVE == 0 || old_len != new_len)
            || !is_page(addr)
        {
            return Err(Errno::EINVAL);
        }
        let old_len = page_up(old_len).ok_or(Errno::EINVAL)?;
        let new_len = page_up(new_len)
            .filter(|len| *len != 0)
            .ok_or(Errno::EINVAL)?;
        let call = Remap {
            addr,
            old_len,
            new_len,
            flags,
            to,
        };
        let mut dropped = Dropped::new();
        let result = {
            let mut state = self.state.lock();
            let mut gather = Gather::new(&self.cpus);
            state.remap(call, &mut gather, &mut dropped)
        };
        drop(dropped);
        let (start, populate) = result?;
        if let Some(range) = populate {
            // What does not work out now will when it is touched.
            let _ = self.populate(range);
        }
        Ok(start)
    }
}

type Remapped = (u64, Option<Range<u64>>);

impl State {
    fn remap(
        &mut self,
        call: Remap,
        gather: &mut Gather<'_>,
        dropped: &mut Dropped,
    ) -> Result<Remapped> {
        let Remap {
            addr,
            old_len,
            new_len,
            flags,
            ..
        } = call;
        if self.vmas.get(addr).is_none() {
            return Err(Errno::EFAULT);
        }
        if flags & (FIXED | DONTUNMAP) != 0 {
            return self.remap_to(call, gather, dropped);
        }
        if old_len >= new_len {
            if old_len > new_len {
                let end = addr.checked_add(old_len).filter(|end| *end <= TASK_SIZE);
                let end = end.ok_or(Errno::EINVAL)?;
                self.unmap(addr + new_len..end, gather, dropped)?;
            }
            return Ok((addr, None));
        }
        if new_len > TASK_SIZE {
            return Err(Errno::ENOMEM);
        }
        let vma = self.resizable(call)?;
        let grow = new_len - old_len;
        let at_end = old_len == vma.end - addr;
        if at_end && vma.end + grow <= TASK_SIZE && self.is_free(vma.end, grow) {
            if vma.flags.contains(VmFlags::ACCOUNT) {
                commit(grow >> PAGE_SHIFT, self.total_vm)?;
            }
            let at = self.vmas.lower_bound(addr);
            if let Some(vma) = self.vmas.at_mut(at) {
                vma.end += grow;
            }
            self.vmas.merge(vma.start..vma.end + grow);
            self.count_in(vma.flags, grow >> PAGE_SHIFT);
            let locked = vma.flags.contains(VmFlags::LOCKED);
            return Ok((addr, locked.then_some(vma.end..vma.end + grow)));
        }
        if flags & MAYMOVE == 0 {
            return Err(Errno::ENOMEM);
        }
        let to = self.find_gap(new_len)?;
        self.move_vma(&vma, Remap { to, ..call }, gather, dropped)
    }

    /// With `MREMAP_FIXED` or `MREMAP_DONTUNMAP`.
    fn remap_to(
        &mut self,
        call: Remap,
        gather: &mut Gather<'_>,
        dropped: &mut Dropped,
    ) -> Result<Remapped> {
        let Remap {
            addr,
            mut old_len,
            new_len,
            flags,
            to,
        } = call;
        if !is_page(to) || new_len > TASK_SIZE || to > TASK_SIZE - new_len {
            return Err(Errno::EINVAL);
        }
        let overlap = addr.saturating_add(old_len) > to && to + new_len > addr;
        if overlap {
            return Err(Errno::EINVAL);
        }
        if self.vmas.len() + 5 >= max_map_count() {
            return Err(Errno::ENOMEM);
        }
        if flags & FIXED != 0 {
            if to < mmap_min_addr() {
                return Err(Errno::EPERM);
            }
            self.unmap(to..to + new_len, gather, dropped)?;
        }
        if old_len > new_len {
            let end = addr.checked_add(old_len).filter(|end| *end <= TASK_SIZE);
            self.unmap(addr + new_len..end.ok_or(Errno::EINVAL)?, gather, dropped)?;
            old_len = new_len;
        }
        let call = Remap { old_len, ..call };
        let vma = self.resizable(call)?;
        if flags & DONTUNMAP != 0 && !self.may_expand(vma.flags, old_len >> PAGE_SHIFT) {
            return Err(Errno::ENOMEM);
        }
        let to = match flags & FIXED != 0 {
            true => to,
            false if to != 0 && to >= mmap_min_addr() && self.is_free(to, new_len) => to,
            false => self.find_gap(new_len)?,
        };
        self.move_vma(&vma, Remap { to, ..call }, gather, dropped)
    }

    /// The VMA that is to change its size, if it may.
    fn resizable(&self, call: Remap) -> Result<Vma> {
        let Remap {
            addr,
            old_len,
            new_len,
            ..
        } = call;
        let vma = self.vmas.get(addr).ok_or(Errno::EFAULT)?;
        if old_len == 0 && !vma.flags.contains(VmFlags::MAYSHARE) {
            return Err(Errno::EINVAL);
        }
        if old_len > vma.end - addr {
            return Err(Errno::EFAULT);
        }
        if new_len == old_len {
            return Ok(vma.clone());
        }
        if vma
            .index_of(addr)
            .checked_add(new_len >> PAGE_SHIFT)
            .is_none()
        {
            return Err(Errno::EINVAL);
        }
        if vma.flags.contains(VmFlags::DONTEXPAND) {
            return Err(Errno::EFAULT);
        }
        let grow = new_len - old_len;
        self.check_locked(vma.flags, grow, false)?;
        if !self.may_expand(vma.flags, grow >> PAGE_SHIFT) {
            return Err(Errno::ENOMEM);
        }
        Ok(vma.clone())
    }

    /// Moves a part of a VMA to where nothing is.
    fn move_vma(
        &mut self,
        vma: &Vma,
        call: Remap,
        gather: &mut Gather<'_>,
        dropped: &mut Dropped,
    ) -> Result<Remapped> {
        let Remap {
            addr,
            old_len,
            new_len,
            flags,
            to,
        } = call;
        if self.vmas.len() + 3 >= max_map_count() {
            return Err(Errno::ENOMEM);
        }
        let pages = new_len >> PAGE_SHIFT;
        if vma.flags.contains(VmFlags::ACCOUNT) {
            commit(pages, self.total_vm)?;
        }
        let new = Vma {
            start: to,
            end: to + new_len,
            pgoff: vma.index_of(addr),
            // What is somewhere else now has changed.
            flags: vma.flags | VmFlags::SOFTDIRTY,
            ..vma.clone()
        };
        let placed = self
            .make_tables(addr, to, old_len)
            .and_then(|()| self.vmas.insert(new));
        if let Err(error) = placed {
            if vma.flags.contains(VmFlags::ACCOUNT) {
                uncommit(pages);
            }
            let room = self.room_around(&(to..to + new_len));
            self.pages
                .free_tables(to, to + new_len, room.start, room.end, &mut |table| {
                    gather.table(table)
                });
            return Err(error);
        }
        self.count_in(vma.flags, pages);
        self.move_pages(addr, to, old_len, gather);
        if flags & DONTUNMAP == 0 {
            self.unmap(addr..addr + old_len, gather, dropped)?;
        } else if vma.flags.contains(VmFlags::LOCKED) {
            self.unlock_moved(addr..addr + old_len)?;
        }
        let locked = vma.flags.contains(VmFlags::LOCKED);
        Ok((to, locked.then_some(to..to + new_len)))
    }

    /// What `MREMAP_DONTUNMAP` leaves behind is empty and not locked.
    fn unlock_moved(&mut self, range: Range<u64>) -> Result<()> {
        self.split_at_ends(&range)?;
        let pages = (range.end - range.start) >> PAGE_SHIFT;
        let old = self.vmas.get(range.start).ok_or(Errno::EFAULT)?.flags;
        let new = old - (VmFlags::LOCKED | VmFlags::LOCKONFAULT);
        self.count_out(old, pages);
        self.count_in(new, pages);
        self.vmas.update(range, |vma| vma.flags = new);
        Ok(())
    }

    /// Makes the last-level tables that moving `len` bytes needs, so that the move itself cannot fail.
    fn make_tables(&mut self, from: u64, to: u64, len: u64) -> Result<()> {
        let mut rest = from..from + len;
        while let Some(part) = self.pages.next_leaf(rest.clone()) {
            // One table's entries may come to lie in two.
            for address in [part.start, part.end - 1] {
                let made = self.pages.leaf(address - from + to).map(drop);
                made.map_err(|_| Errno::ENOMEM)?;
            }
            rest.start = part.end;
        }
        Ok(())
    }

    /// Moves the entries of `len` bytes; the tables for the new place exist.
    fn move_pages(&mut self, from: u64, to: u64, len: u64, gather: &mut Gather<'_>) {
        let mut rest = from..from + len;
        while let Some(part) = self.pages.next_leaf(rest.clone()) {
            for page in part.clone().step_by(PAGE_SIZE) {
                let old = self.pages.find(page).map(|(entry, _)| entry.take());
                let Some(pte) = old.filter(|pte| !pte.is_none()) else {
                    continue;
                };
                if pte.has(bits::PRESENT) {
                    gather.page(page);
                }
                if let Some((entry, _)) = self.pages.find(page - from + to) {
                    entry.set(pte);
                }
            }
            rest.start = part.end;
        }
        // Before anybody can write through the new place, nobody may write through the old one.
        gather.flush();
    }
}
