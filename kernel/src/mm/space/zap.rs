//! Taking pages out of page tables.

use super::state::State;
use crate::mm::frame::{frame, free_frames};
use crate::mm::pagetable::{Entry, Pte, bits};
use crate::mm::tlb::Gather;
use crate::mm::vma::Vma;
use core::ops::Range;
use executor::cpu;

/// Which pages go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    All,
    /// Only anonymous ones, whose contents nobody can ever see again.
    Anon,
}

impl State {
    /// Takes the pages of a part of a VMA out of the page tables. Frames go to the gather.
    pub fn zap(&mut self, vma: &Vma, range: Range<u64>, which: Which, gather: &mut Gather<'_>) {
        self.note_rss_peak();
        let mut anon = 0;
        let mut object = 0;
        let mut clear = |entry: &Entry, address: u64| {
            let pte = entry.get();
            let is_anon = pte.has(bits::ANON);
            match which {
                Which::Anon if !is_anon => return,
                _ => {}
            }
            let pte = entry.take();
            if pte.has(bits::PRESENT) {
                gather.page(address);
            }
            if pte.is_counted() {
                *(if is_anon { &mut anon } else { &mut object }) += 1;
                gather.mapped(pte.pfn());
            }
        };
        let visited = self
            .pages
            .visit(range.start, range.end, &mut |first, entries, _| {
                for (i, entry) in entries.iter().enumerate() {
                    if !entry.get().is_none() {
                        clear(entry, first + ((i as u64) << 12));
                    }
                }
            });
        debug_assert_eq!(visited, Ok(()), "users have no large pages to split");
        self.rss.anon -= anon;
        *self.rss.of_object(vma) -= object;
    }

    /// Takes all pages of a VMA out of page tables that no CPU has loaded.
    pub fn zap_unloaded(&mut self, vma: &Vma) {
        let mut anon = 0;
        let mut object = 0;
        let visited = self.pages.visit(vma.start, vma.end, &mut |_, entries, _| {
            // Nobody else has these tables, and no lock is held for them.
            cpu::point();
            for entry in entries {
                let pte = entry.get();
                if pte.is_none() {
                    continue;
                }
                entry.erase();
                if pte.is_counted() {
                    *(if pte.has(bits::ANON) {
                        &mut anon
                    } else {
                        &mut object
                    }) += 1;
                    release(pte);
                }
            }
        });
        debug_assert_eq!(visited, Ok(()), "users have no large pages to split");
        self.rss.anon -= anon;
        *self.rss.of_object(vma) -= object;
    }
}

/// Gives up what a page-table entry that no CPU can see any more owned.
#[inline]
fn release(pte: Pte) {
    let frame = frame(pte.pfn());
    if frame.drop_mapped() {
        free_frames(pte.pfn(), 0);
    }
}
