//! Stacks that grow down as they are touched.

use super::fault::Failure;
use super::map::commit;
use super::state::State;
use crate::mm::phys::{PAGE_SHIFT, PAGE_SIZE};
use crate::mm::vma::{Position, STACK_GUARD, VmFlags};

impl State {
    /// Grows the stack above `addr` down to its page, where there is one and the limits allow it.
    #[cold]
    pub(super) fn grow_stack(&mut self, addr: u64) -> Result<Position, Failure> {
        let at = self.vmas.lower_bound(addr);
        let Some(vma) = self.vmas.at(at) else {
            return Err(Failure::Unmapped);
        };
        if !vma.flags.contains(VmFlags::GROWSDOWN) || vma.start <= addr {
            return Err(Failure::Unmapped);
        }
        let start = addr & !(PAGE_SIZE as u64 - 1);
        let (flags, size, pages) = (
            vma.flags,
            vma.end - start,
            (vma.start - start) >> PAGE_SHIFT,
        );
        // What is beneath keeps its distance, unless nobody can touch it, or it is a stack itself.
        let before = self
            .vmas
            .previous(at)
            .and_then(|before| self.vmas.at(before));
        let too_near = before.is_some_and(|before| {
            !before.flags.contains(VmFlags::GROWSDOWN)
                && before.flags.intersects(VmFlags::ACCESS)
                && start - before.end < STACK_GUARD
        });
        let locked = flags.contains(VmFlags::LOCKED)
            && self.locked_vm + pages > self.memlock() >> PAGE_SHIFT;
        if start < crate::mm::sysctl::mmap_min_addr()
            || too_near
            || locked
            || size > self.limits.stack
            || !self.may_expand(flags, pages)
        {
            return Err(Failure::Unmapped);
        }
        if flags.contains(VmFlags::ACCOUNT) && commit(pages, self.total_vm).is_err() {
            return Err(Failure::Unmapped);
        }
        if let Some(vma) = self.vmas.at_mut(at) {
            vma.start = start;
        }
        self.count_in(flags, pages);
        Ok(at)
    }
}
