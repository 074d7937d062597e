//! `madvise`, `mincore` and `msync`.

use super::fault::Failure;
use super::map::{BATCH, is_page, page_up};
use super::state::State;
use super::zap::Which;
use super::{Access, AddressSpace, TASK_SIZE};
use crate::mm::pagetable::bits;
use crate::mm::phys::{PAGE_SHIFT, PAGE_SIZE};
use crate::mm::tlb::Gather;
use crate::mm::vma::{MapObject, VmFlags, Vma};
use alloc::sync::Arc;
use core::ops::Range;
use executor::cpu;
use fs::{Errno, Result};

const PAGE: u64 = PAGE_SIZE as u64;

/// `MADV_*`.
mod madv {
    pub const NORMAL: i32 = 0;
    pub const RANDOM: i32 = 1;
    pub const SEQUENTIAL: i32 = 2;
    pub const WILLNEED: i32 = 3;
    pub const DONTNEED: i32 = 4;
    pub const FREE: i32 = 8;
    pub const REMOVE: i32 = 9;
    pub const DONTFORK: i32 = 10;
    pub const DOFORK: i32 = 11;
    pub const MERGEABLE: i32 = 12;
    pub const UNMERGEABLE: i32 = 13;
    pub const HUGEPAGE: i32 = 14;
    pub const NOHUGEPAGE: i32 = 15;
    pub const DONTDUMP: i32 = 16;
    pub const DODUMP: i32 = 17;
    pub const WIPEONFORK: i32 = 18;
    pub const KEEPONFORK: i32 = 19;
    pub const COLD: i32 = 20;
    pub const PAGEOUT: i32 = 21;
    pub const POPULATE_READ: i32 = 22;
    pub const POPULATE_WRITE: i32 = 23;
    pub const DONTNEED_LOCKED: i32 = 24;
}

/// `MS_*` of `msync(2)`.
mod ms {
    pub const ASYNC: u32 = 1;
    pub const INVALIDATE: u32 = 2;
    pub const SYNC: u32 = 4;
}

/// `FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE`
const PUNCH_HOLE: u32 = 1 | 2;

impl AddressSpace {
    /// `madvise(2)`.
    ///
    /// # Errors
    /// Those of the man page. As on Linux, a hole in the range is `ENOMEM` after all that is mapped was advised.
    pub fn madvise(&self, addr: u64, len: u64, advice: i32) -> Result<()> {
        if !(madv::NORMAL..=madv::DONTNEED).contains(&advice)
            && !(madv::FREE..=madv::DONTNEED_LOCKED).contains(&advice)
            || !is_page(addr)
        {
            return Err(Errno::EINVAL);
        }
        let len = page_up(len).ok_or(Errno::EINVAL)?;
        let end = addr.checked_add(len).ok_or(Errno::EINVAL)?;
        if len == 0 {
            return Ok(());
        }
        match advice {
            madv::POPULATE_READ => return self.advise_populate(addr..end, false),
            madv::POPULATE_WRITE => return self.advise_populate(addr..end, true),
            madv::REMOVE => return self.advise_remove(addr..end),
            _ => {}
        }
        let mut hole = false;
        let mut at = addr;
        while at < end {
            at = self.advise_part(at..end, advice, &mut hole)?;
            cpu::point();
        }
        if hole { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// Follows the advice for a range, or as much of it as may be done under one hold of the lock; where the rest begins.
    fn advise_part(&self, range: Range<u64>, advice: i32, hole: &mut bool) -> Result<u64> {
        let gives_up = matches!(advice, madv::DONTNEED | madv::DONTNEED_LOCKED | madv::FREE);
        let mut left = if gives_up { BATCH } else { u64::MAX };
        let mut state = self.state.lock();
        let mut gather = Gather::new(&self.cpus);
        let mut at = range.start;
        while at < range.end && left > 0 {
            let next = state.vmas.lower_bound(at);
            let Some(vma) = state.vmas.at(next).filter(|vma| vma.start < range.end) else {
                *hole = true;
                return Ok(range.end);
            };
            *hole |= vma.start > at;
            let start = vma.start.max(at);
            let part = start..vma.end.min(range.end).min(start.saturating_add(left));
            let vma = vma.clone();
            left -= part.end - part.start;
            at = part.end;
            state.advise(&vma, part, advice, &mut gather)?;
        }
        Ok(at)
    }

    /// `MADV_POPULATE_READ` and `MADV_POPULATE_WRITE`.
    fn advise_populate(&self, range: Range<u64>, write: bool) -> Result<()> {
        let access = Access {
            write,
            ..Access::default()
        };
        self.make_present(range, |_| Some(access))
            .map_err(|failure| match failure {
                Failure::Unmapped | Failure::NoMemory => Errno::ENOMEM,
                Failure::Forbidden => Errno::EINVAL,
                Failure::BeyondFile => Errno::EFAULT,
            })
    }

    /// `MADV_REMOVE`: takes the pages out of the file itself.
    fn advise_remove(&self, range: Range<u64>) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            let (object, offset, end) = {
                let state = self.state.lock();
                let vma = state.vmas.get(at).ok_or(Errno::ENOMEM)?;
                let object = vma
                    .object
                    .clone()
                    .filter(|_| !vma.flags.contains(VmFlags::LOCKED));
                let object: Arc<MapObject> = object.ok_or(Errno::EINVAL)?;
                if !vma.flags.contains(VmFlags::SHARED | VmFlags::MAYWRITE) {
                    return Err(Errno::EACCES);
                }
                (
                    object,
                    vma.index_of(at) << PAGE_SHIFT,
                    vma.end.min(range.end),
                )
            };
            match &object.file {
                Some(file) => file.ops().fallocate(file, PUNCH_HOLE, offset, end - at)?,
                None => object.mapping.punch(offset..offset + (end - at)),
            }
            at = end;
        }
        Ok(())
    }

    /// `mincore(2)`: hands `put` the vector piece by piece.
    ///
    /// # Errors
    /// `EINVAL` for no page address, `ENOMEM` for what is not mapped, and those of `put`.
    pub fn mincore(
        &self,
        addr: u64,
        len: u64,
        put: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        if !is_page(addr) {
            return Err(Errno::EINVAL);
        }
        let end = addr.checked_add(len).filter(|end| *end <= TASK_SIZE);
        let end = page_up(end.ok_or(Errno::ENOMEM)?).ok_or(Errno::ENOMEM)?;
        let mut vector = [0; 256];
        let mut at = addr;
        while at < end {
            let count = (((end - at) >> PAGE_SHIFT) as usize).min(vector.len());
            {
                let state = self.state.lock();
                for (i, slot) in vector[..count].iter_mut().enumerate() {
                    let page = at + ((i as u64) << PAGE_SHIFT);
                    *slot = u8::from(state.is_in_core(page).ok_or(Errno::ENOMEM)?);
                }
            }
            put(&vector[..count])?;
            at += (count as u64) << PAGE_SHIFT;
        }
        Ok(())
    }

    /// `msync(2)`.
    ///
    /// # Errors
    /// Those of the man page. As on Linux, a hole in the range is `ENOMEM` after all that is mapped was written.
    pub fn msync(&self, addr: u64, len: u64, flags: u32) -> Result<()> {
        if flags & !(ms::ASYNC | ms::INVALIDATE | ms::SYNC) != 0
            || !is_page(addr)
            || flags & ms::ASYNC != 0 && flags & ms::SYNC != 0
        {
            return Err(Errno::EINVAL);
        }
        let len = page_up(len).ok_or(Errno::ENOMEM)?;
        let end = addr.checked_add(len).ok_or(Errno::ENOMEM)?;
        let mut hole = false;
        let mut at = addr;
        while at < end {
            let (file, next) = {
                let state = self.state.lock();
                let position = state.vmas.lower_bound(at);
                let Some(vma) = state.vmas.at(position).filter(|vma| vma.start < end) else {
                    hole = true;
                    break;
                };
                hole |= vma.start > at;
                if flags & ms::INVALIDATE != 0 && vma.flags.contains(VmFlags::LOCKED) {
                    return Err(Errno::EBUSY);
                }
                let written = flags & ms::SYNC != 0 && vma.flags.contains(VmFlags::SHARED);
                let object = vma.object.clone().filter(|_| written);
                (object.and_then(|object| object.file.clone()), vma.end)
            };
            at = next;
            if let Some(file) = file {
                file.ops().fsync(&file, true)?;
            }
        }
        if hole { Err(Errno::ENOMEM) } else { Ok(()) }
    }
}

impl State {
    /// Follows the advice for a part of a VMA.
    fn advise(
        &mut self,
        vma: &Vma,
        range: Range<u64>,
        advice: i32,
        gather: &mut Gather<'_>,
    ) -> Result<()> {
        let locked = vma.flags.contains(VmFlags::LOCKED);
        let none = VmFlags::empty();
        let reads = VmFlags::RAND_READ | VmFlags::SEQ_READ;
        let pages = VmFlags::HUGEPAGE | VmFlags::NOHUGEPAGE;
        let (set, clear) = match advice {
            madv::NORMAL => (none, reads),
            madv::RANDOM => (VmFlags::RAND_READ, reads),
            madv::SEQUENTIAL => (VmFlags::SEQ_READ, reads),
            madv::WILLNEED | madv::MERGEABLE | madv::UNMERGEABLE => return Ok(()),
            madv::COLD | madv::PAGEOUT if locked => return Err(Errno::EINVAL),
            madv::COLD | madv::PAGEOUT => return Ok(()),
            madv::DONTNEED if locked => return Err(Errno::EINVAL),
            madv::DONTNEED | madv::DONTNEED_LOCKED => {
                self.zap(vma, range, Which::All, gather);
                return Ok(());
            }
            madv::FREE if vma.object.is_some() => return Err(Errno::EINVAL),
            // Linux may free the pages at any time from now on; here it is now.
            madv::FREE => {
                self.zap(vma, range, Which::Anon, gather);
                return Ok(());
            }
            madv::DONTFORK => (VmFlags::DONTCOPY, none),
            madv::DOFORK if vma.flags.contains(VmFlags::IO) => return Err(Errno::EINVAL),
            madv::DOFORK => (none, VmFlags::DONTCOPY),
            madv::HUGEPAGE => (VmFlags::HUGEPAGE, pages),
            madv::NOHUGEPAGE => (VmFlags::NOHUGEPAGE, pages),
            madv::DONTDUMP => (VmFlags::DONTDUMP, none),
            madv::DODUMP => (none, VmFlags::DONTDUMP),
            madv::WIPEONFORK if vma.object.is_some() => return Err(Errno::EINVAL),
            madv::WIPEONFORK => (VmFlags::WIPEONFORK, none),
            madv::KEEPONFORK => (none, VmFlags::WIPEONFORK),
            _ => return Err(Errno::EINVAL),
        };
        if (vma.flags - clear) | set == vma.flags {
            return Ok(());
        }
        self.split_at_ends(&range)?;
        self.vmas
            .update(range, |vma| vma.flags = (vma.flags - clear) | set);
        Ok(())
    }

    /// Whether a page is in memory; `None` where nothing is mapped.
    fn is_in_core(&self, page: u64) -> Option<bool> {
        let vma = self.vmas.get(page)?;
        let entry = self.pages.find(page).map(|(entry, _)| entry.get());
        let present = entry.is_some_and(|pte| pte.has(bits::PRESENT) || pte.has(bits::HELD));
        let cached = || {
            let object = vma.object.as_ref()?;
            object.mapping.find(vma.index_of(page))
        };
        Some(present || cached().is_some())
    }
}

const _: () = assert!(PAGE == 1 << PAGE_SHIFT);
