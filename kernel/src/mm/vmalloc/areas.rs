//! Who has which part of a virtual range.
//!
//! Each area has a page before it that is never mapped. A freed area is *stale* until every CPU's TLB has forgotten it: only
//! then may its addresses be used again.

use crate::mm::phys::PAGE_SIZE;
use alloc::vec::Vec;
use core::ops::Range;

const PAGE: u64 = PAGE_SIZE as u64;
/// The most areas. Their list must not grow so large that the heap would come to vmalloc for it.
const MAX_AREAS: usize = 8192;
const _: () = assert!(MAX_AREAS * size_of::<Area>() < crate::mm::heap::VMALLOC_FROM);

/// The areas of a virtual range.
#[derive(Debug)]
pub struct Areas {
    range: Range<u64>,
    /// In use or stale, in the order of their addresses, each with its guard page.
    taken: Vec<Area>,
    /// Where to look first.
    next: u64,
    stale_pages: u64,
}

#[derive(Clone, Copy, Debug)]
struct Area {
    start: u64,
    end: u64,
    stale: bool,
}

impl Areas {
    /// An empty range.
    pub const fn new(range: Range<u64>) -> Self {
        Self {
            next: range.start,
            range,
            taken: Vec::new(),
            stale_pages: 0,
        }
    }

    /// Takes an area of this many pages; `None` where there is no room, or no memory to note it.
    ///
    /// Addresses are not used again before all others were, so that a stale pointer finds nothing mapped.
    pub fn take(&mut self, pages: usize) -> Option<u64> {
        if self.taken.len() == MAX_AREAS {
            return None;
        }
        self.taken.try_reserve(1).ok()?;
        let size = (pages as u64).checked_add(1)?.checked_mul(PAGE)?;
        let (at, start) = self
            .gap_from(self.next, size)
            .or_else(|| self.gap_from(self.range.start, size))?;
        let end = start + size;
        let area = Area {
            start,
            end,
            stale: false,
        };
        self.taken.insert(at, area);
        self.next = end;
        Some(start + PAGE)
    }

    /// The first gap of `size` bytes at or after `from`, and where its area would be listed.
    fn gap_from(&self, from: u64, size: u64) -> Option<(usize, u64)> {
        let first = self.taken.partition_point(|area| area.end <= from);
        let mut start = from;
        for (at, area) in self.taken.iter().enumerate().skip(first) {
            if area.start.saturating_sub(start) >= size && area.start > start {
                return Some((at, start));
            }
            start = start.max(area.end);
        }
        (self.range.end.checked_sub(start)? >= size).then_some((self.taken.len(), start))
    }

    /// The number of pages of the area that [`Areas::take`] put at `address`.
    pub fn pages(&self, address: u64) -> Option<usize> {
        let area = self.taken[self.position(address)?];
        Some(((area.end - address) / PAGE) as usize)
    }

    fn position(&self, address: u64) -> Option<usize> {
        let found = self
            .taken
            .binary_search_by_key(&address, |area| area.start + PAGE);
        found.ok().filter(|at| !self.taken[*at].stale)
    }

    /// Makes an area stale, and answers how many pages are stale now.
    pub fn retire(&mut self, address: u64) -> Option<u64> {
        let at = self.position(address)?;
        let area = &mut self.taken[at];
        area.stale = true;
        self.stale_pages += (area.end - area.start) / PAGE;
        Some(self.stale_pages)
    }

    /// Every TLB was flushed: the stale areas may be taken again.
    pub fn purge(&mut self) {
        self.taken.retain(|area| !area.stale);
        self.stale_pages = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn guards_lie_between_areas() {
        let mut areas = Areas::new(0..100 * PAGE);
        assert_eq!(areas.take(8), Some(PAGE));
        assert_eq!(areas.take(1), Some(10 * PAGE));
        assert_eq!(areas.pages(PAGE), Some(8));
        assert_eq!(areas.pages(2 * PAGE), None);
        assert_eq!(areas.take(usize::MAX), None);
    }

    #[test]
    fn stale_addresses_come_back_only_after_a_flush() {
        let mut areas = Areas::new(0..10 * PAGE);
        let address = areas.take(9).unwrap();
        assert_eq!(areas.retire(address), Some(10));
        assert_eq!(areas.retire(address), None, "retired twice");
        assert_eq!(areas.take(1), None);
        areas.purge();
        assert_eq!(areas.take(9), Some(address));
    }

    proptest! {
        #[test]
        fn areas_never_overlap(ops in prop::collection::vec((0..3u8, 1..20usize, any::<usize>()), 1..200)) {
            const PAGES: usize = 64;
            let mut areas = Areas::new(0..PAGES as u64 * PAGE);
            let mut owner = [0u8; PAGES]; // 0 free, 1 taken, 2 stale
            let mut live: Vec<(u64, usize)> = Vec::new();
            for (op, pages, pick) in ops {
                match op {
                    0 => match areas.take(pages) {
                        Some(address) => {
                            let first = (address / PAGE) as usize - 1;
                            for slot in &mut owner[first..=first + pages] {
                                prop_assert_eq!(std::mem::replace(slot, 1), 0);
                            }
                            live.push((address, pages));
                        }
                        None => {
                            prop_assert!(!owner.windows(pages + 1).any(|run| run.iter().all(|o| *o == 0)));
                        }
                    },
                    1 if !live.is_empty() => {
                        let (address, pages) = live.swap_remove(pick % live.len());
                        prop_assert_eq!(areas.pages(address), Some(pages));
                        areas.retire(address);
                        let first = (address / PAGE) as usize - 1;
                        owner[first..=first + pages].fill(2);
                    }
                    _ => {
                        areas.purge();
                        owner.iter_mut().filter(|o| **o == 2).for_each(|o| *o = 0);
                    }
                }
            }
        }
    }
}
