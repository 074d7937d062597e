//! Making pages present ahead of an access, and access to a space that need not be loaded.
#![allow(unsafe_code, reason = "copies to and from frames")]

use super::fault::{Failure, allows};
use super::state::State;
use super::{Access, AddressSpace, TASK_SIZE};
use crate::mm::frame::{get, put};
use crate::mm::oom;
use crate::mm::pagetable::bits;
use crate::mm::phys::{PAGE_SHIFT, PAGE_SIZE, Pfn};
use crate::mm::tlb::CpuSet;
use crate::mm::vma::VmFlags;
use core::ops::Range;
use executor::cpu;
use fs::{Errno, Result};

const PAGE: u64 = PAGE_SIZE as u64;
/// Pages that are made present under one hold of the lock.
const BATCH: usize = 64;

impl AddressSpace {
    /// Makes `len` bytes at `addr` present (and writable), so that a copy without faults goes on.
    ///
    /// # Errors
    /// `EFAULT`; `ENOMEM` where memory has run out.
    ///
    /// # Context
    /// Task, no lock held.
    pub fn fault_in(&self, addr: u64, len: usize, write: bool) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        let end = addr.checked_add(len as u64).filter(|end| *end <= TASK_SIZE);
        let range = addr & !(PAGE - 1)..end.ok_or(Errno::EFAULT)?;
        let access = Access {
            write,
            ..Access::default()
        };
        self.make_present(range, |_| Some(access))
            .map_err(|failure| match failure {
                Failure::NoMemory => Errno::ENOMEM,
                _ => Errno::EFAULT,
            })
    }

    /// Makes the pages of a range present as `mlock` and `MAP_POPULATE` do: private memory that may be written is. Ends where
    /// the rights allow no access.
    pub(super) fn populate(&self, range: Range<u64>) -> core::result::Result<(), Failure> {
        self.make_present(range, |flags| {
            let write = flags & (VmFlags::WRITE | VmFlags::MAYSHARE) == VmFlags::WRITE;
            Some(Access {
                write,
                ..Access::default()
            })
        })
    }

    /// Makes the pages of a range present for the access that `how` says for the flags of their VMA; `None` skips them.
    pub(super) fn make_present(
        &self,
        range: Range<u64>,
        how: impl Fn(VmFlags) -> Option<Access>,
    ) -> core::result::Result<(), Failure> {
        let mut page = range.start;
        while page < range.end {
            // Not at once: a thread that ends has words to write for those who wait for its end.
            if page > range.start && killed() {
                return Err(Failure::NoMemory);
            }
            let mut state = self.state.lock();
            let mut done = Ok(());
            for _ in 0..BATCH {
                if page >= range.end {
                    break;
                }
                done = state.make_page_present(page, &how, &self.cpus);
                if done.is_err() {
                    break;
                }
                page += PAGE;
            }
            drop(state);
            cpu::point();
            match done {
                Ok(()) => {}
                Err(failure) => {
                    if failure == Failure::NoMemory {
                        oom::out_of_memory(self);
                    }
                    return Err(failure);
                }
            }
        }
        Ok(())
    }

    /// Copies out of a space that need not be loaded, and answers how many bytes were there. `force` ignores missing
    /// read rights, as `ptrace` does.
    pub fn read_memory(&self, addr: u64, buf: &mut [u8], force: bool) -> usize {
        let mut done = 0;
        while done < buf.len() {
            let (at, part) = next_part(addr, done, buf.len());
            let Some(pfn) = self.pin(at, false, force) else {
                break;
            };
            // SAFETY: the part lies in one frame, which the pin keeps, and `buf` is the kernel's own memory.
            unsafe {
                let from = pfn.virt().add(at as usize % PAGE_SIZE);
                core::ptr::copy_nonoverlapping(from, buf[done..].as_mut_ptr(), part);
            }
            put_pin(pfn);
            done += part;
        }
        done
    }

    /// Copies into a space that need not be loaded, and answers how many bytes went. `force` ignores missing write
    /// rights of private mappings, as `ptrace` does.
    pub fn write_memory(&self, addr: u64, bytes: &[u8], force: bool) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let (at, part) = next_part(addr, done, bytes.len());
            let Some(pfn) = self.pin(at, true, force) else {
                break;
            };
            // SAFETY: the part lies in one frame, which the pin keeps and which is mapped for writing or a private copy.
            unsafe {
                let to = pfn.virt().add(at as usize % PAGE_SIZE);
                core::ptr::copy_nonoverlapping(bytes[done..].as_ptr(), to, part);
            }
            put_pin(pfn);
            done += part;
        }
        done
    }

    /// The frame that shows `addr`, present for the access, with a reference of its own.
    fn pin(&self, addr: u64, write: bool, force: bool) -> Option<Pfn> {
        let pinned = self.state.lock().pin(addr, write, force, &self.cpus);
        if pinned == Err(Failure::NoMemory) {
            oom::out_of_memory(self);
        }
        pinned.ok()
    }
}

/// Whether the running thread was killed, so that a long loop need not go on.
fn killed() -> bool {
    #[cfg(target_os = "none")]
    return crate::process::current::with_current(|thread| thread.fatal_signal_pending())
        .unwrap_or(false);
    #[cfg(not(target_os = "none"))]
    false
}

/// The address and length of the part that comes after `done` bytes, within one page.
fn next_part(addr: u64, done: usize, len: usize) -> (u64, usize) {
    let at = addr.wrapping_add(done as u64);
    (at, (PAGE_SIZE - at as usize % PAGE_SIZE).min(len - done))
}

fn put_pin(pfn: Pfn) {
    if pfn != crate::mm::phys::zero_pfn() {
        put(pfn);
    }
}

impl State {
    fn make_page_present(
        &mut self,
        page: u64,
        how: &impl Fn(VmFlags) -> Option<Access>,
        cpus: &CpuSet,
    ) -> core::result::Result<(), Failure> {
        let flags = match self.vmas.find(page).and_then(|at| self.vmas.at(at)) {
            Some(vma) => vma.flags,
            None => VmFlags::ACCESS, // beneath a stack, perhaps
        };
        let Some(access) = how(flags) else {
            return Ok(());
        };
        if allows(flags, access)
            && let Some((entry, 0)) = self.pages.find(page)
            && entry.get().has(bits::PRESENT)
            && (!access.write || entry.get().has(bits::WRITE))
        {
            return Ok(());
        }
        self.fault(page, access, cpus)
    }

    fn pin(
        &mut self,
        addr: u64,
        write: bool,
        force: bool,
        cpus: &CpuSet,
    ) -> core::result::Result<Pfn, Failure> {
        if addr >= TASK_SIZE {
            return Err(Failure::Unmapped);
        }
        let at = match self.vmas.find(addr) {
            Some(at) => at,
            None => self.grow_stack(addr)?,
        };
        let flags = self.vmas.at(at).ok_or(Failure::Unmapped)?.flags;
        let access = Access {
            write,
            ..Access::default()
        };
        // A debugger may read what may become readable, and write into a private copy.
        let forced = match write {
            true => flags & (VmFlags::MAYWRITE | VmFlags::MAYSHARE) == VmFlags::MAYWRITE,
            false => flags.contains(VmFlags::MAYREAD),
        };
        let allowed = allows(flags, access) || force && forced;
        if !allowed {
            return Err(Failure::Forbidden);
        }
        let present = |state: &State| {
            let (entry, _) = state.pages.find(addr)?;
            let pte = entry.get();
            let private = !flags.contains(VmFlags::MAYSHARE);
            let owned = pte.has(bits::ANON) && crate::mm::frame::frame(pte.pfn()).refs() == 1;
            let ready = if write {
                pte.has(bits::WRITE) || private && owned
            } else {
                true
            };
            (!pte.is_none() && ready).then_some(pte.pfn())
        };
        let pfn = match present(self) {
            Some(pfn) => pfn,
            None => {
                self.resolve(at, addr, write, cpus)?;
                let (entry, _) = self.pages.find(addr).ok_or(Failure::Unmapped)?;
                entry.get().pfn()
            }
        };
        if pfn != crate::mm::phys::zero_pfn() {
            get(pfn);
        }
        Ok(pfn)
    }
}

const _: () = assert!(PAGE == 1 << PAGE_SHIFT);
