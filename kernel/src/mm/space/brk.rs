//! `brk`.

use super::map::{Dropped, page_up};
use super::state::State;
use super::{AddressSpace, TASK_SIZE};
use crate::mm::phys::PAGE_SIZE;
use crate::mm::tlb::Gather;
use crate::mm::vma::{VmFlags, Vma};
use fs::{Errno, Result};

impl AddressSpace {
    /// `brk(2)`: moves the end of the heap and answers where it is now, which is where it was if that cannot be.
    pub fn brk(&self, end: u64) -> u64 {
        let mut dropped = Dropped::new();
        let (brk, populate) = {
            let mut state = self.state.lock();
            let mut gather = Gather::new(&self.cpus);
            let old = state.brk;
            let moved = state.move_brk(end, &mut gather, &mut dropped);
            let locked = moved.is_ok() && state.future.contains(VmFlags::LOCKED) && state.brk > old;
            (state.brk, locked.then_some(old..state.brk))
        };
        drop(dropped);
        if let Some(range) = populate {
            // What does not work out now will when it is touched.
            let _ = self.populate(range.start & !(PAGE_SIZE as u64 - 1)..range.end);
        }
        brk
    }

    /// `exec` says where the heap starts.
    pub fn set_brk_start(&self, start: u64) {
        let mut state = self.state.lock();
        state.brk_start = start;
        state.brk = start;
    }
}

impl State {
    fn move_brk(&mut self, end: u64, gather: &mut Gather<'_>, dropped: &mut Dropped) -> Result<()> {
        let layout = &self.layout;
        let data = layout.end_data.saturating_sub(layout.start_data);
        if end < self.brk_start || end > TASK_SIZE {
            return Err(Errno::EINVAL);
        }
        if (end - self.brk_start).saturating_add(data) > self.limits.data {
            return Err(Errno::ENOMEM);
        }
        let old = page_up(self.brk).ok_or(Errno::ENOMEM)?;
        let new = page_up(end).ok_or(Errno::ENOMEM)?;
        if new < old {
            self.unmap(new..old, gather, dropped)?;
        } else if new > old {
            // A page stays free above the heap, and the room a stack needs.
            if !self.is_free(old, new - old + PAGE_SIZE as u64) {
                return Err(Errno::ENOMEM);
            }
            let rights = VmFlags::READ | VmFlags::WRITE | VmFlags::MAY;
            let flags = rights | VmFlags::SOFTDIRTY | self.future;
            self.check_locked(flags, new - old, false)?;
            let heap = Vma {
                start: old,
                end: new,
                pgoff: 0,
                flags,
                object: None,
            };
            self.map(heap, gather, dropped)?;
        }
        self.brk = end;
        Ok(())
    }
}
