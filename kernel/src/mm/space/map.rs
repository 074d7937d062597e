//! `mmap` and `munmap`.

use super::state::{GapHint, State};
use super::zap::Which;
use super::{AddressSpace, Backing, FileBacking, MapFlags, MapRequest, Prot, TASK_SIZE, watch};
use crate::mm::page_alloc;
use crate::mm::phys::{PAGE_SHIFT, PAGE_SIZE};
use crate::mm::sysctl::{self, max_map_count, mmap_min_addr, overcommit};
use crate::mm::tlb::Gather;
use crate::mm::vma::{
    GapRequest, MapObject, VmFlags, Vma, find_gap, find_gap_upwards, guarded_start,
};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use executor::cpu;
use fs::seal::{self, WritableMap};
use fs::{Errno, Mapping, Result};

const PAGE: u64 = PAGE_SIZE as u64;

/// Pages that all processes together could fill with their own data.
static COMMITTED: AtomicU64 = AtomicU64::new(0);

/// `Committed_AS` of `/proc/meminfo`, in pages.
pub fn committed() -> u64 {
    COMMITTED.load(Relaxed)
}

/// `CommitLimit`, in pages: what [`sysctl::OVERCOMMIT_KBYTES`] or else [`sysctl::OVERCOMMIT_RATIO`] says.
pub fn overcommit_limit() -> u64 {
    match sysctl::OVERCOMMIT_KBYTES.count() as u64 {
        0 => page_alloc::total() as u64 * sysctl::OVERCOMMIT_RATIO.count() as u64 / 100,
        kib => kib / (PAGE / 1024),
    }
}

/// Books pages that an address space of `space` pages will fill perhaps.
///
/// # Errors
/// `ENOMEM` where [`sysctl::OVERCOMMIT_MEMORY`] does not let so much be promised. Source: Linux's
/// Documentation/mm/overcommit-accounting.rst.
pub(super) fn commit(pages: u64, space: u64) -> Result<()> {
    let fits = match sysctl::OVERCOMMIT_MEMORY.get() {
        overcommit::ALWAYS => true,
        overcommit::GUESS => pages <= page_alloc::total() as u64,
        _ => {
            let reserve = sysctl::USER_RESERVE_KBYTES.count() as u64 / (PAGE / 1024);
            let limit = overcommit_limit().saturating_sub(reserve.min(space / 32));
            committed().saturating_add(pages) < limit
        }
    };
    if !fits {
        return Err(Errno::ENOMEM);
    }
    COMMITTED.fetch_add(pages, Relaxed);
    Ok(())
}

/// Takes pages off the book.
pub(super) fn uncommit(pages: u64) {
    COMMITTED.fetch_sub(pages, Relaxed);
}

/// `addr` up to the next page; `None` beyond the last.
pub(super) fn page_up(addr: u64) -> Option<u64> {
    Some(addr.checked_add(PAGE - 1)? & !(PAGE - 1))
}

pub(super) fn is_page(addr: u64) -> bool {
    addr.is_multiple_of(PAGE)
}

/// Files that unmapped VMAs held; dropped after the lock of the space.
pub(super) type Dropped = Vec<Arc<MapObject>>;

impl AddressSpace {
    /// `mmap(2)`; answers the address.
    ///
    /// # Errors
    /// Those of the man page.
    pub fn mmap(&self, request: MapRequest) -> Result<u64> {
        if request.len == 0 || !is_page(request.addr) && request.flags.contains(MapFlags::FIXED) {
            return Err(Errno::EINVAL);
        }
        let len = page_up(request.len).ok_or(Errno::ENOMEM)?;
        let mut flags = request.flags;
        if flags.contains(MapFlags::HUGETLB) {
            return Err(refuse_large_pages(&request));
        }
        if flags.contains(MapFlags::FIXED_NOREPLACE) {
            flags |= MapFlags::FIXED;
        }
        let mut vm = VmFlags::of_prot(request.prot) | VmFlags::MAY | VmFlags::SOFTDIRTY;
        let object = match &request.backing {
            Backing::Anon => anonymous(flags, len, &mut vm)?,
            Backing::File(file) => Some(self::file(file, flags, request.prot, len, &mut vm)?),
        };
        if flags.contains(MapFlags::GROWSDOWN) {
            if object.is_some() {
                return Err(Errno::EINVAL);
            }
            vm |= VmFlags::GROWSDOWN;
        }
        if flags.contains(MapFlags::NORESERVE) {
            vm |= VmFlags::NORESERVE;
        }
        let pgoff = match &request.backing {
            Backing::File(file) => file.offset >> PAGE_SHIFT,
            Backing::Anon => 0,
        };

        let mut dropped = Dropped::new();
        let (start, populate) = {
            let mut state = self.state.lock();
            vm |= state.future;
            if flags.contains(MapFlags::LOCKED) {
                vm |= VmFlags::LOCKED;
            }
            state.check_locked(vm, len, flags.contains(MapFlags::LOCKED))?;
            let start = state.place(&request, len, flags)?;
            let range = start..start + len;
            let vma = Vma {
                start,
                end: range.end,
                pgoff,
                flags: vm,
                object: object.clone(),
            };
            let mut gather = Gather::new(&self.cpus);
            state.map(vma, &mut gather, &mut dropped)?;
            let locked = vm.contains(VmFlags::LOCKED) && !vm.contains(VmFlags::LOCKONFAULT);
            let wanted = flags.contains(MapFlags::POPULATE) && !flags.contains(MapFlags::NONBLOCK);
            (start, locked || wanted)
        };
        drop(dropped);
        if let Some(object) = object {
            watch::watch(&object);
        }
        if populate {
            // What does not work out now will when it is touched.
            let _ = self.populate(start..start + len);
        }
        Ok(start)
    }

    /// `munmap(2)`.
    ///
    /// # Errors
    /// `EINVAL` for what is no range of pages; `ENOMEM` if the split makes too many mappings.
    pub fn munmap(&self, addr: u64, len: u64) -> Result<()> {
        let mut range = user_range(addr, len)?;
        // Other threads may see a part of it gone, as they may on Linux see its pages go.
        while let Some(rest) = self.unmap_part(range)? {
            range = rest;
            cpu::point();
        }
        Ok(())
    }

    /// Unmaps the first [`BATCH`] of a range, holes in front of it not counted, and gives the rest.
    fn unmap_part(&self, range: Range<u64>) -> Result<Option<Range<u64>>> {
        let mut dropped = Dropped::new();
        let mut state = self.state.lock();
        let mut gather = Gather::new(&self.cpus);
        let Some(first) = state.vmas.overlapping(range.clone()).next() else {
            return Ok(None);
        };
        let end = first.start.max(range.start).saturating_add(BATCH);
        if end < range.end {
            let part = range.start..end;
            if state.unmap(part, &mut gather, &mut dropped).is_ok() {
                return Ok(Some(end..range.end));
            }
            // A part may need a split more than the whole, which may be one too many.
        }
        state.unmap(range, &mut gather, &mut dropped)?;
        Ok(None)
    }
}

/// Bytes that are unmapped or given up under one hold of the lock, so that preemption is not off for long.
pub(super) const BATCH: u64 = 4 << 20;

/// The pages of a range, as `munmap` checks them.
pub(super) fn user_range(addr: u64, len: u64) -> Result<Range<u64>> {
    if !is_page(addr) || addr > TASK_SIZE || len > TASK_SIZE - addr || len == 0 {
        return Err(Errno::EINVAL);
    }
    Ok(addr..addr + page_up(len).ok_or(Errno::EINVAL)?)
}

/// Why there are no large pages for a request: it is for a file that has none, or of a size that the CPU has not, or else
/// the pool of the size is empty.
fn refuse_large_pages(request: &MapRequest) -> Errno {
    const SIZES: [u32; 3] = [0, 21, 30];
    let size = (request.flags & MapFlags::HUGE_SIZE).bits() >> 26;
    match request.backing {
        Backing::Anon if SIZES.contains(&size) => Errno::ENOMEM,
        _ => Errno::EINVAL,
    }
}

/// Checks `MAP_ANONYMOUS` and makes the object that shared memory needs.
fn anonymous(flags: MapFlags, len: u64, vm: &mut VmFlags) -> Result<Option<Arc<MapObject>>> {
    match flags & MapFlags::SHARED_VALIDATE {
        MapFlags::PRIVATE => Ok(None),
        MapFlags::SHARED if flags.contains(MapFlags::GROWSDOWN) => Err(Errno::EINVAL),
        MapFlags::SHARED => {
            *vm |= VmFlags::SHARED | VmFlags::MAYSHARE;
            if len >> PAGE_SHIFT > page_alloc::total() as u64 {
                return Err(Errno::ENOMEM);
            }
            Ok(Some(Arc::new(MapObject {
                mapping: Mapping::anonymous(len),
                file: None,
                name: Some("/dev/zero (deleted)"),
                shmem: true,
                writable: None,
            })))
        }
        _ => Err(Errno::EINVAL),
    }
}

/// Checks the rights that the open file gives, and makes the object.
fn file(
    backing: &FileBacking,
    flags: MapFlags,
    prot: Prot,
    len: u64,
    vm: &mut VmFlags,
) -> Result<Arc<MapObject>> {
    if !is_page(backing.offset) {
        return Err(Errno::EINVAL);
    }
    backing.offset.checked_add(len).ok_or(Errno::EOVERFLOW)?;
    let (readable, writable) = backing
        .file
        .as_ref()
        .map_or((true, true), |file| (file.readable(), file.writable()));
    let mut writable_map = None;
    match flags & MapFlags::SHARED_VALIDATE {
        kind @ (MapFlags::SHARED | MapFlags::SHARED_VALIDATE) => {
            if kind == MapFlags::SHARED_VALIDATE && !MapFlags::LEGACY.contains(flags) {
                return Err(Errno::EOPNOTSUPP);
            }
            if prot.contains(Prot::WRITE) && !writable {
                return Err(Errno::EACCES);
            }
            *vm |= VmFlags::SHARED | VmFlags::MAYSHARE;
            if !writable {
                *vm -= VmFlags::SHARED | VmFlags::MAYWRITE;
            }
            if backing.mapping.seals() & (seal::WRITE | seal::FUTURE_WRITE) != 0 {
                if prot.contains(Prot::WRITE) {
                    return Err(Errno::EPERM);
                }
                *vm -= VmFlags::MAYWRITE;
            }
            if vm.contains(VmFlags::SHARED | VmFlags::MAYWRITE) {
                writable_map = Some(WritableMap::new(&backing.mapping)?);
            }
        }
        MapFlags::PRIVATE => {}
        _ => return Err(Errno::EINVAL),
    }
    if !readable {
        return Err(Errno::EACCES);
    }
    Ok(Arc::new(MapObject {
        mapping: backing.mapping.clone(),
        file: backing.file.clone(),
        name: backing.name,
        shmem: false,
        writable: writable_map,
    }))
}

impl State {
    /// Chooses where a mapping goes.
    fn place(&mut self, request: &MapRequest, len: u64, flags: MapFlags) -> Result<u64> {
        let addr = request.addr;
        if len > TASK_SIZE {
            return Err(Errno::ENOMEM);
        }
        if flags.contains(MapFlags::FIXED) {
            if addr > TASK_SIZE - len {
                return Err(Errno::ENOMEM);
            }
            if addr < mmap_min_addr() && !request.low {
                return Err(Errno::EPERM);
            }
            let taken = || self.vmas.overlapping(addr..addr + len).next().is_some();
            if flags.contains(MapFlags::FIXED_NOREPLACE) && taken() {
                return Err(Errno::EEXIST);
            }
            return Ok(addr);
        }
        if addr != 0 {
            // A hint, at least the lowest address.
            let hint = (addr & !(PAGE - 1)).max(mmap_min_addr());
            if hint <= TASK_SIZE - len && self.is_free(hint, len) {
                return Ok(hint);
            }
        }
        if flags.contains(MapFlags::BIT32) {
            let low = GapRequest {
                len,
                low: 0x4000_0000,
                high: 0x8000_0000,
            };
            return find_gap_upwards(&self.vmas, low).ok_or(Errno::ENOMEM);
        }
        self.find_gap(len)
    }

    /// Whether nothing is mapped there, and no stack above needs the room.
    pub fn is_free(&self, start: u64, len: u64) -> bool {
        let at = self.vmas.lower_bound(start);
        self.vmas
            .at(at)
            .is_none_or(|next| start + len <= guarded_start(next))
    }

    /// The place that `mmap` chooses: as high as there is room beneath the base.
    pub fn find_gap(&mut self, len: u64) -> Result<u64> {
        let hint = self.gap_hint;
        let high = if len >= hint.len {
            hint.end
        } else {
            self.mmap_base
        };
        let down = GapRequest {
            len,
            low: mmap_min_addr(),
            high,
        };
        if let Some(start) = find_gap(&self.vmas, down) {
            self.gap_hint = GapHint {
                end: start + len,
                len,
            };
            return Ok(start);
        }
        // As Linux: bottom-up from a third of the space, where the stack limit has left no room beneath the base.
        let up = GapRequest {
            len,
            low: (TASK_SIZE / 3) & !(PAGE - 1),
            high: TASK_SIZE,
        };
        find_gap_upwards(&self.vmas, up).ok_or(Errno::ENOMEM)
    }

    /// Puts a VMA in, over what was there.
    pub fn map(
        &mut self,
        mut vma: Vma,
        gather: &mut Gather<'_>,
        dropped: &mut Dropped,
    ) -> Result<()> {
        let range = vma.start..vma.end;
        let overlap = overlap_pages(self, &range);
        if !self.may_expand(vma.flags, vma.pages().saturating_sub(overlap)) {
            return Err(Errno::ENOMEM);
        }
        if overlap > 0 {
            self.unmap(range, gather, dropped)?;
        }
        if sysctl::OVERCOMMIT_MEMORY.get() == overcommit::NEVER {
            vma.flags -= VmFlags::NORESERVE;
        }
        let private_write = VmFlags::NORESERVE | VmFlags::SHARED | VmFlags::WRITE;
        if vma.flags & private_write == VmFlags::WRITE {
            commit(vma.pages(), self.total_vm)?;
            vma.flags |= VmFlags::ACCOUNT;
        }
        let (flags, pages) = (vma.flags, vma.pages());
        if let Err(error) = self.vmas.insert(vma) {
            if flags.contains(VmFlags::ACCOUNT) {
                uncommit(pages);
            }
            return Err(error);
        }
        self.count_in(flags, pages);
        Ok(())
    }

    /// Makes the ends of a range boundaries of VMAs, within the limit on their number.
    pub fn split_at_ends(&mut self, range: &Range<u64>) -> Result<()> {
        let inside = |address: u64| {
            self.vmas
                .get(address)
                .is_some_and(|vma| vma.start < address)
        };
        let splits = usize::from(inside(range.start)) + usize::from(inside(range.end));
        if splits > 0 && self.vmas.len() + splits > max_map_count() + 1 {
            return Err(Errno::ENOMEM);
        }
        self.vmas.split(range.start)?;
        let second = self.vmas.split(range.end);
        if second.is_err() {
            self.vmas.merge(range.clone());
        }
        second
    }

    /// Removes all that is mapped in a range of pages.
    pub fn unmap(
        &mut self,
        range: Range<u64>,
        gather: &mut Gather<'_>,
        dropped: &mut Dropped,
    ) -> Result<()> {
        let first = self.vmas.lower_bound(range.start);
        if self.vmas.at(first).is_none_or(|vma| vma.start >= range.end) {
            return Ok(());
        }
        self.split_at_ends(&range)?;
        let objects = self
            .vmas
            .overlapping(range.clone())
            .filter(|vma| vma.object.is_some())
            .count();
        if dropped.try_reserve(objects).is_err() {
            self.vmas.merge(range);
            return Err(Errno::ENOMEM);
        }
        loop {
            let at = self.vmas.lower_bound(range.start);
            if self.vmas.at(at).is_none_or(|vma| vma.start >= range.end) {
                break;
            }
            let Some(vma) = self.vmas.remove(at) else {
                break;
            };
            self.zap(&vma, vma.start..vma.end, Which::All, gather);
            self.count_out(vma.flags, vma.pages());
            if vma.flags.contains(VmFlags::ACCOUNT) {
                uncommit(vma.pages());
            }
            dropped.extend(vma.object);
        }
        let room = self.room_around(&range);
        self.pages
            .free_tables(range.start, range.end, room.start, room.end, &mut |table| {
                gather.table(table)
            });
        if range.end > self.gap_hint.end {
            self.reset_gap_hint();
        }
        Ok(())
    }
}

fn overlap_pages(state: &State, range: &Range<u64>) -> u64 {
    let vmas = state.vmas.overlapping(range.clone());
    vmas.map(|vma| (vma.end.min(range.end) - vma.start.max(range.start)) >> PAGE_SHIFT)
        .sum()
}
