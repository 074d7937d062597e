//! What `/proc` shows of an address space.

use alloc::sync::Arc;

use super::{AddressSpace, ProgramLayout, SpaceStats, VmaInfo};
use crate::mm::PAGE_SHIFT;
use crate::mm::vma::VmFlags;

impl AddressSpace {
    /// Where `exec` has put the program.
    pub fn layout(&self) -> ProgramLayout {
        self.state.lock().layout
    }

    /// `exec` says where it has put the program.
    pub fn set_layout(&self, layout: ProgramLayout) {
        self.state.lock().layout = layout;
    }

    /// Calls `f` for the mappings from `from` on, in order, until it answers false. `f` runs under the lock of the space.
    pub fn for_each_vma(&self, from: u64, f: &mut dyn FnMut(&VmaInfo<'_>) -> bool) {
        let state = self.state.lock();
        let (brk_start, brk) = (state.brk_start, state.brk);
        let stack = state.layout.start_stack;
        for vma in state.vmas.iter_from(from) {
            let object = vma.object.as_deref();
            let name = match object {
                Some(object) => object.name,
                None if vma.start < brk && vma.end > brk_start => Some("[heap]"),
                None if vma.start <= stack && stack <= vma.end && stack != 0 => Some("[stack]"),
                None => None,
            };
            let info = VmaInfo {
                start: vma.start,
                end: vma.end,
                prot: vma.flags.prot(),
                flags: vma.flags,
                shared: vma.flags.contains(VmFlags::MAYSHARE),
                offset: if object.is_some() { vma.pgoff << 12 } else { 0 },
                file: object.and_then(|object| object.file.as_ref()),
                has_anon: vma.flags.contains(VmFlags::HAS_ANON),
                dont_dump: vma.flags.contains(VmFlags::DONTDUMP),
                name,
            };
            if !f(&info) {
                return;
            }
        }
    }

    /// What is mapped shared at `addr`: the address of its page cache, which tells it from all others, and the byte
    /// offset there. For futexes that several processes share.
    pub fn shared_object(&self, addr: u64) -> Option<(usize, u64)> {
        let state = self.state.lock();
        let vma = state
            .vmas
            .iter_from(addr)
            .next()
            .filter(|vma| vma.start <= addr)?;
        let object = vma
            .object
            .as_ref()
            .filter(|_| vma.flags.contains(VmFlags::MAYSHARE))?;
        let offset = (vma.pgoff << PAGE_SHIFT) + (addr - vma.start);
        Some((Arc::as_ptr(&object.mapping) as usize, offset))
    }

    /// The sizes.
    pub fn stats(&self) -> SpaceStats {
        self.state.lock().stats()
    }
}
