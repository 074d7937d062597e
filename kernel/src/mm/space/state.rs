//! What the lock of an address space guards.

use super::{Limits, ProgramLayout, SpaceStats, TASK_SIZE, USER_END};
use crate::mm::pagetable::{PageTable, bits, no_exec, tables};
use crate::mm::phys::{PAGE_SHIFT, PAGE_SIZE};
use crate::mm::vma::{STACK_GUARD, VmFlags, Vma, VmaSet};
use core::ops::Range;

/// Resident pages by kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rss {
    pub anon: u64,
    pub file: u64,
    pub shmem: u64,
}

impl Rss {
    pub fn total(&self) -> u64 {
        self.anon + self.file + self.shmem
    }

    /// The counter for pages of a VMA's object.
    pub fn of_object(&mut self, vma: &Vma) -> &mut u64 {
        match &vma.object {
            Some(object) if object.shmem => &mut self.shmem,
            _ => &mut self.file,
        }
    }
}

/// The highest place where `mmap` found nothing large enough above, so that it need not look there again.
#[derive(Clone, Copy, Debug)]
pub(super) struct GapHint {
    pub end: u64,
    pub len: u64,
}

pub(super) struct State {
    pub pages: PageTable,
    pub vmas: VmaSet,
    pub rss: Rss,
    pub rss_peak: u64,
    /// Mapped pages: all, and those with a property.
    pub total_vm: u64,
    pub peak_vm: u64,
    pub data_vm: u64,
    pub stack_vm: u64,
    pub exec_vm: u64,
    pub locked_vm: u64,
    /// Pages that count as committed.
    pub accounted: u64,
    pub mmap_base: u64,
    pub gap_hint: GapHint,
    pub brk_start: u64,
    pub brk: u64,
    pub limits: Limits,
    pub layout: ProgramLayout,
    /// `mlockall(MCL_FUTURE)`: what new mappings get.
    pub future: VmFlags,
}

/// The bits of a page-table entry that a VMA's rights make, without the right to write, which depends on the page.
pub(super) fn entry_bits(flags: VmFlags) -> u64 {
    if !flags.intersects(VmFlags::ACCESS) {
        return bits::HELD | no_exec();
    }
    let execute = if flags.contains(VmFlags::EXEC) {
        0
    } else {
        no_exec()
    };
    bits::PRESENT | bits::USER | execute
}

impl State {
    pub fn new(pages: PageTable, vmas: VmaSet, limits: Limits) -> State {
        let mut state = State {
            pages,
            vmas,
            rss: Rss::default(),
            rss_peak: 0,
            total_vm: 0,
            peak_vm: 0,
            data_vm: 0,
            stack_vm: 0,
            exec_vm: 0,
            locked_vm: 0,
            accounted: 0,
            mmap_base: 0,
            gap_hint: GapHint { end: 0, len: 0 },
            brk_start: 0,
            brk: 0,
            limits,
            layout: ProgramLayout::default(),
            future: VmFlags::empty(),
        };
        state.set_mmap_base(0);
        state
    }

    /// As Linux's `mmap_base`: the stack limit and a pad beneath the end, within bounds.
    pub fn set_mmap_base(&mut self, random: u64) {
        const MIN_GAP: u64 = 128 << 20;
        const MAX_GAP: u64 = TASK_SIZE / 6 * 5;
        const STACK_RANDOM: u64 = 0x3f_ffff << PAGE_SHIFT;
        const RANDOM_PAGES: u64 = 1 << 28;
        let pad = STACK_GUARD + if random == 0 { 0 } else { STACK_RANDOM };
        let gap = self
            .limits
            .stack
            .saturating_add(pad)
            .clamp(MIN_GAP, MAX_GAP);
        let random = (random % RANDOM_PAGES) << PAGE_SHIFT;
        self.mmap_base = (TASK_SIZE - gap - random) & !(PAGE_SIZE as u64 - 1);
        self.reset_gap_hint();
    }

    /// Something was unmapped, so the hint says nothing any more.
    pub fn reset_gap_hint(&mut self) {
        self.gap_hint = GapHint {
            end: self.mmap_base,
            len: 0,
        };
    }

    /// Books pages of a VMA that comes.
    pub fn count_in(&mut self, flags: VmFlags, pages: u64) {
        self.total_vm += pages;
        self.peak_vm = self.peak_vm.max(self.total_vm);
        for counter in self.counters(flags).into_iter().flatten() {
            *counter += pages;
        }
    }

    /// Takes pages of a VMA that goes off the books.
    pub fn count_out(&mut self, flags: VmFlags, pages: u64) {
        self.total_vm -= pages;
        for counter in self.counters(flags).into_iter().flatten() {
            *counter -= pages;
        }
    }

    fn counters(&mut self, flags: VmFlags) -> [Option<&mut u64>; 3] {
        let kind = if flags.contains(VmFlags::GROWSDOWN) {
            Some(&mut self.stack_vm)
        } else if flags.is_data() {
            Some(&mut self.data_vm)
        } else if flags & (VmFlags::EXEC | VmFlags::WRITE) == VmFlags::EXEC {
            Some(&mut self.exec_vm)
        } else {
            None
        };
        let locked = flags
            .contains(VmFlags::LOCKED)
            .then_some(&mut self.locked_vm);
        let accounted = flags
            .contains(VmFlags::ACCOUNT)
            .then_some(&mut self.accounted);
        [kind, locked, accounted]
    }

    /// Whether `RLIMIT_AS` and `RLIMIT_DATA` allow this many pages more.
    pub fn may_expand(&self, flags: VmFlags, pages: u64) -> bool {
        let fits = |used: u64, limit: u64| used.saturating_add(pages) <= limit >> PAGE_SHIFT;
        fits(self.total_vm, self.limits.address_space)
            && (!flags.is_data() || fits(self.data_vm, self.limits.data))
    }

    /// Remembers the most pages that were resident; before their number falls, and before it is told.
    pub fn note_rss_peak(&mut self) {
        self.rss_peak = self.rss_peak.max(self.rss.total());
    }

    /// The addresses between the mappings on both sides of `range`, which is empty: tables for these are not needed.
    pub fn room_around(&self, range: &Range<u64>) -> Range<u64> {
        let at = self.vmas.lower_bound(range.start);
        let before = self
            .vmas
            .previous(at)
            .and_then(|before| self.vmas.at(before));
        let after = self.vmas.at(at);
        before.map_or(0, |vma| vma.end)..after.map_or(USER_END, |vma| vma.start)
    }

    /// Empties a space that no CPU has loaded.
    pub fn clear(&mut self) {
        let vmas = core::mem::take(&mut self.vmas);
        let mut rest = vmas.iter().peekable();
        while let Some(vma) = rest.next() {
            self.zap_unloaded(vma);
            // From below: a table that two VMAs share goes with the second.
            let ceiling = rest.peek().map_or(USER_END, |next| next.start);
            self.pages
                .free_tables(vma.start, vma.end, 0, ceiling, &mut tables::free);
        }
        super::map::uncommit(self.accounted);
        debug_assert_eq!(
            self.rss.total(),
            0,
            "resident pages are lost: {:?}",
            self.rss
        );
    }

    pub fn stats(&mut self) -> SpaceStats {
        self.note_rss_peak();
        SpaceStats {
            total: self.total_vm,
            peak: self.peak_vm,
            locked: self.locked_vm,
            data: self.data_vm,
            stack: self.stack_vm,
            exec: self.exec_vm,
            rss_anon: self.rss.anon,
            rss_file: self.rss.file,
            rss_shmem: self.rss.shmem,
            rss_peak: self.rss_peak,
            page_tables: self.pages.tables() as u64 + 1,
            mappings: self.vmas.len() as u64,
        }
    }
}
