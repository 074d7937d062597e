//! `mlock` and its relatives. Nothing is paged out yet, so a locked page is one that is present and counted.

use super::fault::Failure;
use super::map::{is_page, page_up};
use super::state::State;
use super::{AddressSpace, TASK_SIZE};
use crate::mm::phys::{PAGE_SHIFT, PAGE_SIZE};
use crate::mm::vma::VmFlags;
use core::ops::Range;
use fs::{Errno, Result};

const PAGE: u64 = PAGE_SIZE as u64;
const LOCKS: VmFlags = VmFlags::LOCKED.union(VmFlags::LOCKONFAULT);

/// `MCL_*` of `mlockall(2)`.
mod mcl {
    pub const CURRENT: u32 = 1;
    pub const FUTURE: u32 = 2;
    pub const ONFAULT: u32 = 4;
}

/// Whether the caller is bound by no limit.
#[cfg(target_os = "none")]
fn may_lock_all() -> bool {
    use crate::process::current::with_current;
    with_current(|thread| thread.cred().capable(fs::Cap::IpcLock)) == Some(true)
}

/// Whether the caller is bound by no limit: on the host nobody has capabilities.
#[cfg(not(target_os = "none"))]
fn may_lock_all() -> bool {
    false
}

fn flags_of(on_fault: bool) -> VmFlags {
    if on_fault { LOCKS } else { VmFlags::LOCKED }
}

impl AddressSpace {
    /// `mlock(2)` and `mlock2(2)`.
    ///
    /// # Errors
    /// `EPERM` where nothing may be locked, `ENOMEM` beyond `RLIMIT_MEMLOCK` and for what is not mapped, `EINVAL` for what
    /// is no range, `EAGAIN` where memory has run out.
    pub fn mlock(&self, addr: u64, len: u64, on_fault: bool) -> Result<()> {
        // More than there is is more than anybody's limit, for those who have one.
        let range = pages_of(addr, len).map_err(|error| match may_lock_all() {
            true => error,
            false => Errno::ENOMEM,
        })?;
        {
            let mut state = self.state.lock();
            if state.memlock() == 0 {
                return Err(Errno::EPERM);
            }
            let pages = (range.end - range.start) >> PAGE_SHIFT;
            let again: u64 = state
                .vmas
                .overlapping(range.clone())
                .filter(|vma| vma.flags.contains(VmFlags::LOCKED))
                .map(|vma| (vma.end.min(range.end) - vma.start.max(range.start)) >> PAGE_SHIFT)
                .sum();
            if state.locked_vm + pages - again > state.memlock() >> PAGE_SHIFT {
                return Err(Errno::ENOMEM);
            }
            state.set_locks(range.clone(), flags_of(on_fault))?;
        }
        if on_fault {
            return Ok(());
        }
        self.populate(range).map_err(|failure| match failure {
            Failure::NoMemory => Errno::EAGAIN,
            _ => Errno::ENOMEM,
        })
    }

    /// `munlock(2)`.
    ///
    /// # Errors
    /// `ENOMEM` for what is not mapped.
    pub fn munlock(&self, addr: u64, len: u64) -> Result<()> {
        let range = pages_of(addr, len)?;
        self.state.lock().set_locks(range, VmFlags::empty())
    }

    /// `mlockall(2)`.
    ///
    /// # Errors
    /// `EINVAL` for unknown flags, `EPERM` where nothing may be locked, `ENOMEM` beyond `RLIMIT_MEMLOCK`.
    pub fn mlockall(&self, flags: u32) -> Result<()> {
        let known = mcl::CURRENT | mcl::FUTURE | mcl::ONFAULT;
        if flags & !known != 0 || flags & (mcl::CURRENT | mcl::FUTURE) == 0 {
            return Err(Errno::EINVAL);
        }
        let locks = flags_of(flags & mcl::ONFAULT != 0);
        {
            let mut state = self.state.lock();
            if state.memlock() == 0 {
                return Err(Errno::EPERM);
            }
            if flags & mcl::CURRENT != 0 && state.total_vm > state.memlock() >> PAGE_SHIFT {
                return Err(Errno::ENOMEM);
            }
            state.future = if flags & mcl::FUTURE != 0 {
                locks
            } else {
                VmFlags::empty()
            };
            if flags & mcl::CURRENT == 0 {
                return Ok(());
            }
            state.lock_all(locks)?;
        }
        if flags & mcl::ONFAULT == 0 {
            // As Linux: pages that cannot be made present now are left.
            self.populate_all();
        }
        Ok(())
    }

    /// `munlockall(2)`.
    pub fn munlockall(&self) {
        let mut state = self.state.lock();
        state.future = VmFlags::empty();
        // Taking locks away splits nothing, so it cannot fail.
        let _ = state.lock_all(VmFlags::empty());
    }

    fn populate_all(&self) {
        let mut at = 0;
        loop {
            let range = self.state.with(|state| {
                let next = state.vmas.at(state.vmas.lower_bound(at));
                next.map(|vma| vma.start..vma.end)
            });
            let Some(range) = range else { return };
            at = range.end;
            let _ = self.populate(range);
        }
    }
}

/// The pages that hold the bytes of a range.
fn pages_of(addr: u64, len: u64) -> Result<Range<u64>> {
    let start = addr & !(PAGE - 1);
    let end = addr
        .checked_add(len)
        .and_then(page_up)
        .ok_or(Errno::EINVAL)?;
    if end > TASK_SIZE.max(start) && end > start {
        return Err(Errno::ENOMEM);
    }
    debug_assert!(is_page(end));
    Ok(start..end)
}

impl State {
    /// How much may be locked: all for a caller with `CAP_IPC_LOCK`, for others as much as their limit says.
    pub fn memlock(&self) -> u64 {
        if may_lock_all() {
            u64::MAX
        } else {
            self.limits.memlock
        }
    }

    /// Whether a new mapping may be locked, if its flags ask for that.
    ///
    /// # Errors
    /// `EPERM` where nothing may be locked and `explicit` asks for it; `EAGAIN` beyond the limit.
    pub fn check_locked(&self, flags: VmFlags, len: u64, explicit: bool) -> Result<()> {
        if !flags.contains(VmFlags::LOCKED) {
            return Ok(());
        }
        if explicit && self.memlock() == 0 {
            return Err(Errno::EPERM);
        }
        let fits = self.locked_vm + (len >> PAGE_SHIFT) <= self.memlock() >> PAGE_SHIFT;
        if fits { Ok(()) } else { Err(Errno::EAGAIN) }
    }

    /// Sets the lock flags of a range; all of it must be mapped, but what comes before a hole is changed.
    fn set_locks(&mut self, range: Range<u64>, locks: VmFlags) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            let vma = self.vmas.get(at).ok_or(Errno::ENOMEM)?;
            let (part, old) = (at..vma.end.min(range.end), vma.flags);
            at = part.end;
            let new = (old - LOCKS) | locks;
            if new == old {
                continue;
            }
            self.split_at_ends(&part)?;
            let pages = (part.end - part.start) >> PAGE_SHIFT;
            self.count_out(old, pages);
            self.count_in(new, pages);
            self.vmas.update(part, |vma| vma.flags = new);
        }
        Ok(())
    }

    fn lock_all(&mut self, locks: VmFlags) -> Result<()> {
        let mut at = 0;
        loop {
            let next = self.vmas.at(self.vmas.lower_bound(at));
            let Some(range) = next.map(|vma| vma.start..vma.end) else {
                return Ok(());
            };
            at = range.end;
            self.set_locks(range, locks)?;
        }
    }
}
