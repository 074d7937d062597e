//! What is resident in a part of an address space, page by page: for `/proc/PID/smaps`, `pagemap` and `clear_refs`.
//!
//! Source: Linux's Documentation/filesystems/proc.rst and Documentation/admin-guide/mm/pagemap.rst.

use super::AddressSpace;
use super::state::State;
use crate::mm::frame::frame;
use crate::mm::pagetable::{Entry, Pte, bits};
use crate::mm::phys::PAGE_SHIFT;
use crate::mm::tlb::{CpuSet, Gather};
use crate::mm::vma::VmFlags;
use core::ops::Range;

/// Fractions of a page in [`Survey::proportional`].
const SHARE_SHIFT: u32 = 12;

/// Resident pages of a range, counted by what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Mapped here.
    pub resident: u64,
    /// The same, each divided by how often it is mapped; in 4096ths of a page.
    pub proportional: u64,
    /// Mapped elsewhere too, and not written since.
    pub shared_clean: u64,
    /// Mapped elsewhere too, and written.
    pub shared_dirty: u64,
    /// Mapped only here, and not written.
    pub private_clean: u64,
    /// Mapped only here, and written.
    pub private_dirty: u64,
    /// Used since `clear_refs` last forgot.
    pub referenced: u64,
    /// Anonymous.
    pub anonymous: u64,
    /// In locked mappings.
    pub locked: u64,
    /// How often the page that is mapped most often is.
    pub most_maps: u64,
}

impl Survey {
    /// Adds another range.
    pub fn add(&mut self, other: &Survey) {
        self.resident += other.resident;
        self.proportional += other.proportional;
        self.shared_clean += other.shared_clean;
        self.shared_dirty += other.shared_dirty;
        self.private_clean += other.private_clean;
        self.private_dirty += other.private_dirty;
        self.referenced += other.referenced;
        self.anonymous += other.anonymous;
        self.locked += other.locked;
        self.most_maps = self.most_maps.max(other.most_maps);
    }

    /// [`Survey::proportional`] in whole KiB.
    pub fn proportional_kib(&self) -> u64 {
        (self.proportional << 2) >> SHARE_SHIFT
    }

    fn page(&mut self, pte: Pte, locked: bool) {
        let maps = u64::from(frame(pte.pfn()).maps().max(1));
        self.resident += 1;
        self.proportional += (1 << SHARE_SHIFT) / maps;
        *match (maps > 1, pte.is_dirty()) {
            (true, false) => &mut self.shared_clean,
            (true, true) => &mut self.shared_dirty,
            (false, false) => &mut self.private_clean,
            (false, true) => &mut self.private_dirty,
        } += 1;
        self.referenced += u64::from(pte.has(bits::ACCESSED));
        self.anonymous += u64::from(pte.has(bits::ANON));
        self.locked += u64::from(locked);
        self.most_maps = self.most_maps.max(maps);
    }
}

/// A page of `/proc/PID/pagemap`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageState {
    /// The frame, if the page is there.
    pub frame: Option<u64>,
    /// It belongs to a file or to shared memory.
    pub of_object: bool,
    /// Nobody else maps it.
    pub exclusive: bool,
    /// Written, or mapped, since `clear_refs` forgot.
    pub soft_dirty: bool,
}

impl State {
    /// Calls `f` with each entry of a range that leads to a counted frame.
    fn each_page(&mut self, range: Range<u64>, f: &mut impl FnMut(u64, Pte)) {
        let visited = self
            .pages
            .visit(range.start, range.end, &mut |first, entries, _| {
                for (i, entry) in entries.iter().enumerate() {
                    let pte = entry.get();
                    if pte.is_counted() {
                        f(first + ((i as u64) << PAGE_SHIFT), pte);
                    }
                }
            });
        debug_assert_eq!(visited, Ok(()), "users have no large pages to split");
    }
}

impl AddressSpace {
    /// Counts what is resident in a range that lies in one mapping.
    ///
    /// # Context
    /// Task. Takes the lock of the space.
    pub fn survey(&self, range: Range<u64>) -> Survey {
        let mut state = self.state.lock();
        let locked = state
            .vmas
            .get(range.start)
            .is_some_and(|vma| vma.flags.contains(VmFlags::LOCKED));
        let mut survey = Survey::default();
        state.each_page(range, &mut |_, pte| survey.page(pte, locked));
        survey
    }

    /// Tells the state of the pages from `start` on, one for each element of `pages`.
    ///
    /// # Context
    /// Task. Takes the lock of the space.
    pub fn page_states(&self, start: u64, pages: &mut [PageState]) {
        pages.fill(PageState::default());
        let end = start.saturating_add((pages.len() as u64) << PAGE_SHIFT);
        let end = end.min(super::USER_END);
        if start >= end {
            return;
        }
        let index = |address: u64| ((address - start) >> PAGE_SHIFT) as usize;
        let mut state = self.state.lock();
        for vma in state.vmas.overlapping(start..end) {
            let part = index(vma.start.max(start))..index(vma.end.min(end));
            let soft_dirty = vma.flags.contains(VmFlags::SOFTDIRTY);
            pages[part].fill(PageState {
                soft_dirty,
                ..PageState::default()
            });
        }
        state.each_page(start..end, &mut |address, pte| {
            if let Some(page) = pages.get_mut(index(address)) {
                *page = PageState {
                    frame: Some(u64::from(pte.pfn().0)),
                    of_object: !pte.has(bits::ANON),
                    exclusive: frame(pte.pfn()).maps() == 1,
                    soft_dirty: page.soft_dirty || pte.has(bits::DIRTY),
                };
            }
        });
    }

    /// Forgets the largest resident size there was.
    pub fn forget_peak(&self) {
        let mut state = self.state.lock();
        state.rss_peak = state.rss.total();
    }

    /// Forgets which pages were used: all, or only anonymous ones, or only others.
    ///
    /// # Context
    /// Task. Takes the lock of the space.
    pub fn forget_references(&self, anonymous: bool, others: bool) {
        let mut state = self.state.lock();
        state.forget(&self.cpus, &mut |entry| {
            let pte = entry.get();
            let wanted = if pte.has(bits::ANON) {
                anonymous
            } else {
                others
            };
            let forgets = wanted && pte.has(bits::ACCESSED);
            if forgets {
                entry.remove(bits::ACCESSED);
            }
            forgets
        });
    }

    /// Forgets which pages were written, for [`PageState::soft_dirty`] only: the CPU notes the next write of each anew.
    ///
    /// # Context
    /// Task. Takes the lock of the space.
    pub fn forget_writes(&self) {
        let mut state = self.state.lock();
        state.vmas.update(0..super::USER_END, |vma| {
            vma.flags -= VmFlags::SOFTDIRTY;
        });
        state.forget(&self.cpus, &mut |entry| {
            let forgets = entry.get().has(bits::DIRTY);
            if forgets {
                // The CPU may set it again in between, which is a write to be told of.
                entry.remove(bits::DIRTY);
                entry.add(bits::WAS_DIRTY);
            }
            forgets
        });
    }
}

impl State {
    /// Calls `f` with the entries of all pages; the CPUs forget those for which it says true.
    fn forget(&mut self, cpus: &CpuSet, f: &mut dyn FnMut(&Entry) -> bool) {
        let mut gather = Gather::new(cpus);
        let visited = self
            .pages
            .visit(0, super::USER_END, &mut |first, entries, _| {
                for (i, entry) in entries.iter().enumerate() {
                    if entry.get().is_counted() && f(entry) {
                        gather.page(first + ((i as u64) << PAGE_SHIFT));
                    }
                }
            });
        debug_assert_eq!(visited, Ok(()), "users have no large pages to split");
    }
}
