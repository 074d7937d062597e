//! Which address spaces there are, and how a file that is cut finds those that map it.
//!
//! A file that is cut is rarely mapped, so nothing is kept per file and space: one watcher for all files looks through all
//! spaces when it is told.

use super::AddressSpace;
use super::zap::Which;
use crate::mm::phys::PAGE_SHIFT;
use crate::mm::sync::SpinLock;
use crate::mm::tlb::Gather;
use crate::mm::vma::{MapObject, Vma};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::ops::Range;
use fs::mapping::MappingWatcher;
use fs::{Errno, Mapping, Result};

struct Spaces {
    slots: Vec<Option<Weak<AddressSpace>>>,
    free: Vec<usize>,
}

static SPACES: SpinLock<Spaces> = SpinLock::new(Spaces {
    slots: Vec::new(),
    free: Vec::new(),
});

/// Takes a place in the list, for [`register`].
pub(super) fn reserve() -> Result<usize> {
    SPACES.with(|spaces| {
        if let Some(slot) = spaces.free.pop() {
            return Ok(slot);
        }
        let slot = spaces.slots.len();
        spaces.slots.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        // So that giving the slot back never allocates.
        let missing = slot + 1 - spaces.free.len();
        spaces
            .free
            .try_reserve(missing)
            .map_err(|_| Errno::ENOMEM)?;
        spaces.slots.push(None);
        Ok(slot)
    })
}

/// Puts a space into the list, at its place.
pub(super) fn register(space: AddressSpace) -> Arc<AddressSpace> {
    let space = Arc::new(space);
    SPACES.with(|spaces| spaces.slots[space.registered] = Some(Arc::downgrade(&space)));
    space
}

/// Takes a space that is going out of the list.
pub(super) fn unregister(slot: usize) {
    let gone = SPACES.with(|spaces| {
        spaces.free.push(slot);
        spaces.slots[slot].take()
    });
    drop(gone);
}

/// Calls `f` for all address spaces, without holding the lock.
pub fn for_each_space(mut f: impl FnMut(&Arc<AddressSpace>)) {
    let mut slot = 0;
    loop {
        let space = SPACES.with(|spaces| {
            spaces
                .slots
                .get(slot)
                .map(|weak| weak.as_ref().and_then(Weak::upgrade))
        });
        match space {
            None => return,
            Some(Some(space)) => f(&space),
            Some(None) => {}
        }
        slot += 1;
    }
}

/// Looks through all address spaces when a file is cut.
struct Unmapper;

static UNMAPPER: SpinLock<Option<Arc<dyn MappingWatcher>>> = SpinLock::new(None);

/// Has us told when the file of an object is cut.
pub(super) fn watch(object: &MapObject) {
    let watcher = UNMAPPER.with(|watcher| watcher.clone());
    let watcher = match watcher {
        Some(watcher) => watcher,
        None => {
            let new: Arc<dyn MappingWatcher> = Arc::new(Unmapper);
            UNMAPPER.with(|watcher| watcher.get_or_insert(new).clone())
        }
    };
    object.mapping.watch(&watcher);
}

impl MappingWatcher for Unmapper {
    fn unmap(&self, mapping: &Mapping, pages: Range<u64>) {
        for_each_space(|space| space.unmap_file(mapping, &pages));
    }
}

impl AddressSpace {
    /// Takes these pages of a file, and the copies that were made of them, out of the page tables.
    fn unmap_file(&self, mapping: &Mapping, pages: &Range<u64>) {
        let mut state = self.state.lock();
        let mut gather = Gather::new(&self.cpus);
        let mut at = 0;
        loop {
            let shows = |vma: &&Vma| {
                let object = vma.object.as_ref();
                object.is_some_and(|o| core::ptr::eq(&*o.mapping, mapping))
            };
            let Some(vma) = state.vmas.iter_from(at).find(shows).cloned() else {
                return;
            };
            at = vma.end;
            if let Some(range) = part(&vma, pages) {
                state.zap(&vma, range, Which::All, &mut gather);
            }
        }
    }
}

/// The addresses at which a VMA shows these pages of its object.
fn part(vma: &Vma, pages: &Range<u64>) -> Option<Range<u64>> {
    let first = pages.start.max(vma.pgoff) - vma.pgoff;
    let last = pages
        .end
        .min(vma.pgoff + vma.pages())
        .checked_sub(vma.pgoff)?;
    (first < last).then(|| vma.start + (first << PAGE_SHIFT)..vma.start + (last << PAGE_SHIFT))
}
