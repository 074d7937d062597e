//! Four-level page tables.
//!
//! A [`PageTable`] owns its tables but knows nothing of what the entries mean: it finds, makes, visits and frees. All range
//! operations go down once and hand out the entries of a last-level table as one slice.
//!
//! Tables that are freed are empty by then, so they are kept as frames of zeros for the next ones ([`tables`]).
#![allow(
    unsafe_code,
    reason = "tables are frames, reached through the direct map"
)]

mod entry;
pub mod tables;
#[cfg(test)]
mod tests;

pub use entry::{Entry, Pte, bits};

use super::phys::{PAGE_SHIFT, Pfn};
use bits::*;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Entries in a table.
pub const ENTRIES: usize = 512;
const INDEX_BITS: u32 = 9;
/// The top level; 0 is the last.
const TOP: u32 = 3;
/// Bytes that a last-level table translates.
const LEAF_SPAN: u64 = entry_size(1);

/// One table.
pub type Table = [Entry; ENTRIES];

/// Bytes that one entry at `level` translates.
pub const fn entry_size(level: u32) -> u64 {
    1 << (PAGE_SHIFT + INDEX_BITS * level)
}

/// The entry of `address` in its table at `level`.
#[inline(always)]
const fn index(address: u64, level: u32) -> usize {
    (address >> (PAGE_SHIFT + INDEX_BITS * level)) as usize % ENTRIES
}

static NO_EXEC_BIT: AtomicU64 = AtomicU64::new(NO_EXEC);

/// The bit that forbids execution, or none on a CPU that has no such bit.
#[inline(always)]
pub fn no_exec() -> u64 {
    NO_EXEC_BIT.load(Relaxed)
}

/// Says that the CPU has no [`NO_EXEC`] bit. Context: boot.
pub fn without_no_exec() {
    NO_EXEC_BIT.store(0, Relaxed);
}

/// No memory for a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoMemory;

/// A tree of page tables.
#[derive(Debug)]
pub struct PageTable {
    root: Pfn,
    /// Tables beneath the root.
    tables: usize,
}

/// The table in a frame.
#[inline(always)]
fn table<'a>(pfn: Pfn) -> &'a Table {
    // SAFETY: `pfn` comes from a root or a table entry, so the frame is a table, in the direct map and live while the
    // `PageTable` is, whose methods alone hand the reference on, bound to themselves. Entries are atomics.
    unsafe { &*pfn.virt().cast::<Table>() }
}

impl PageTable {
    /// Empty tables for users, with the kernel's half in place.
    pub fn new() -> Result<PageTable, NoMemory> {
        let root = tables::alloc_root().ok_or(NoMemory)?;
        Ok(PageTable { root, tables: 0 })
    }

    /// The tables whose root is `root`, which exist already: the kernel's own.
    ///
    /// # Safety
    /// The root and all beneath it are page tables that live for ever, and nobody else changes their parts that the caller will
    /// work on.
    pub unsafe fn from_root(root: Pfn) -> PageTable {
        PageTable { root, tables: 0 }
    }

    /// The frame of the top table, for CR3.
    pub fn root(&self) -> Pfn {
        self.root
    }

    /// How many tables there are beneath the root.
    pub fn tables(&self) -> usize {
        self.tables
    }

    /// The entry that maps `address`, and its level, if the tables are there.
    #[inline]
    pub fn find(&self, address: u64) -> Option<(&Entry, u32)> {
        let mut level = TOP;
        let mut entry = &table(self.root)[index(address, TOP)];
        while level > 0 {
            let pte = entry.get();
            if pte.is_none() {
                return None;
            }
            if pte.has(HUGE) {
                break;
            }
            level -= 1;
            entry = &table(pte.pfn())[index(address, level)];
        }
        Some((entry, level))
    }

    /// The last-level table that translates `address`, made where it is missing. A large page on the way is split.
    #[inline]
    pub fn leaf(&mut self, address: u64) -> Result<&Table, NoMemory> {
        let mut at = table(self.root);
        for level in (1..=TOP).rev() {
            let entry = &at[index(address, level)];
            let pte = entry.get();
            at = if pte.is_none() || pte.has(HUGE) {
                self.make_table(entry, level)?
            } else {
                table(pte.pfn())
            };
        }
        Ok(at)
    }

    /// Puts a table into an entry that has none, or that maps a large page, whose parts the table then maps.
    #[cold]
    fn make_table(&mut self, entry: &Entry, level: u32) -> Result<&'static Table, NoMemory> {
        let frame = tables::alloc().ok_or(NoMemory)?;
        self.tables += 1;
        let new = table(frame);
        let old = entry.get();
        if old.has(HUGE) {
            let step = entry_size(level - 1);
            let keep = if level == 1 { !HUGE } else { !0 };
            for (part, slot) in new.iter().enumerate() {
                slot.set(Pte((old.0 & keep) + part as u64 * step));
            }
        }
        entry.replace(Pte::new(frame, TABLE));
        Ok(new)
    }

    /// Maps a large page of level 1 (2 MiB) or 2 (1 GiB), where nothing is mapped.
    pub fn map_huge(&mut self, address: u64, level: u32, pte: Pte) -> Result<(), NoMemory> {
        debug_assert!((1..TOP).contains(&level) && address.is_multiple_of(entry_size(level)));
        let mut at = table(self.root);
        for above in (level + 1..=TOP).rev() {
            let entry = &at[index(address, above)];
            let pte = entry.get();
            at = if pte.is_none() || pte.has(HUGE) {
                self.make_table(entry, above)?
            } else {
                table(pte.pfn())
            };
        }
        at[index(address, level)].set(pte.with(HUGE));
        Ok(())
    }

    /// Calls `f` for every last-level table between `start` and `end` that exists, with the address of the first entry and
    /// the entries inside the range.
    ///
    /// Large pages wholly inside the range come as one entry of their level; those at its ends are split.
    pub fn visit(
        &mut self,
        start: u64,
        end: u64,
        f: &mut impl FnMut(u64, &[Entry], u32),
    ) -> Result<(), NoMemory> {
        let mut address = start;
        'next: while address < end {
            let mut at = self.root;
            for level in (1..=TOP).rev() {
                let size = entry_size(level);
                let next = (address & !(size - 1)).saturating_add(size);
                let entry = &table(at)[index(address, level)];
                let pte = entry.get();
                if pte.is_none() {
                    address = next;
                    continue 'next;
                }
                if pte.has(HUGE) {
                    if address.is_multiple_of(size) && next <= end {
                        f(address, core::slice::from_ref(entry), level);
                        address = next;
                        continue 'next;
                    }
                    self.make_table(entry, level)?;
                }
                at = entry.get().pfn();
            }
            let next = ((address & !(LEAF_SPAN - 1)) + LEAF_SPAN).min(end);
            let first = index(address, 0);
            let count = ((next - address) >> PAGE_SHIFT) as usize;
            f(address, &table(at)[first..first + count], 0);
            address = next;
        }
        Ok(())
    }

    /// The first part of a range that lies in one last-level table that exists. Large pages do not count.
    pub fn next_leaf(&self, range: Range<u64>) -> Option<Range<u64>> {
        let mut address = range.start;
        'next: while address < range.end {
            let mut at = self.root;
            for level in (1..=TOP).rev() {
                let size = entry_size(level);
                let pte = table(at)[index(address, level)].get();
                if pte.is_none() || pte.has(HUGE) {
                    address = (address & !(size - 1)).saturating_add(size);
                    continue 'next;
                }
                at = pte.pfn();
            }
            let end = ((address & !(LEAF_SPAN - 1)) + LEAF_SPAN).min(range.end);
            return Some(address..end);
        }
        None
    }

    /// Frees the tables that translate only addresses between `floor` and `ceiling`, as far as they touch the range from
    /// `start` to `end`. Between `floor` and `ceiling` nothing may be mapped, and what was mapped there outside the range was
    /// given back by this function too.
    ///
    /// Hands the frames to `free`, which gives them to [`tables::free`] once no CPU can use them any more.
    pub fn free_tables(
        &mut self,
        start: u64,
        end: u64,
        floor: u64,
        ceiling: u64,
        free: &mut impl FnMut(Pfn),
    ) {
        if start < end {
            free_level(self.root, TOP, start, end, floor, ceiling, &mut |frame| {
                self.tables -= 1;
                free(frame);
            });
        }
    }
}

impl Drop for PageTable {
    fn drop(&mut self) {
        debug_assert_eq!(self.tables, 0, "page tables dropped with tables in them");
        tables::free_root(self.root);
    }
}

fn free_level(
    at: Pfn,
    level: u32,
    start: u64,
    end: u64,
    floor: u64,
    ceiling: u64,
    free: &mut impl FnMut(Pfn),
) {
    let size = entry_size(level);
    let mut address = start & !(size - 1);
    while address < end {
        let next = address + size;
        let entry = &table(at)[index(address, level)];
        let pte = entry.get();
        if !pte.is_none() && !pte.has(HUGE) {
            // Tables beneath that this range does not touch were freed with what they mapped.
            let whole = floor <= address && next <= ceiling;
            if level > 1 {
                let (start, end) = (start.max(address), end.min(next));
                free_level(pte.pfn(), level - 1, start, end, floor, ceiling, free);
            }
            if whole {
                entry.take();
                free(pte.pfn());
            }
        }
        address = next;
    }
}
