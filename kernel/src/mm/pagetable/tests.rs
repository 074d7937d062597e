//! Against a map from addresses to entries.

use super::*;
use crate::mm::init::init_host;
use crate::mm::phys::PAGE_SIZE;
use proptest::prelude::*;
use std::collections::BTreeMap;

const PAGE: u64 = PAGE_SIZE as u64;
const MIB2: u64 = 2 << 20;

fn fresh() -> PageTable {
    init_host();
    PageTable::new().unwrap()
}

/// Everything that is mapped, as 4 KiB pages.
fn contents(pages: &PageTable, within: std::ops::Range<u64>) -> BTreeMap<u64, u64> {
    within
        .step_by(PAGE_SIZE)
        .filter_map(|address| match pages.find(address)? {
            (entry, 0) => (!entry.get().is_none()).then(|| (address, entry.get().0)),
            (entry, level) => {
                let offset = address & (entry_size(level) - 1);
                Some((address, (entry.get().0 & !HUGE) + offset))
            }
        })
        .collect()
}

fn clear(pages: &mut PageTable, start: u64, end: u64) {
    pages
        .visit(start, end, &mut |_, entries, _| {
            entries.iter().for_each(|entry| {
                entry.take();
            });
        })
        .unwrap();
    let mut freed = Vec::new();
    pages.free_tables(start, end, start, end, &mut |frame| freed.push(frame));
    freed.into_iter().for_each(tables::free);
}

#[test]
fn tables_are_freed_only_when_all_they_translate_is_free() {
    let mut pages = fresh();
    let at = 5 * MIB2;
    for address in [at, at + PAGE] {
        pages.leaf(address).unwrap()[index(address, 0)].set(Pte::new(Pfn(1), PRESENT));
    }
    assert_eq!(pages.tables(), 3);
    let mut freed = 0;
    pages.find(at).unwrap().0.take();
    pages.free_tables(at, at + PAGE, 0, at + PAGE, &mut |_| freed += 1);
    assert_eq!(freed, 0, "the second page is still mapped");
    pages.find(at + PAGE).unwrap().0.take();
    pages.free_tables(at + PAGE, at + 2 * PAGE, 0, 1 << 47, &mut |frame| {
        freed += 1;
        tables::free(frame);
    });
    assert_eq!((freed, pages.tables()), (3, 0));
}

#[test]
fn a_large_page_is_split_where_a_part_is_touched() {
    let mut pages = fresh();
    pages
        .map_huge(MIB2, 1, Pte::new(Pfn(512), PRESENT | WRITE))
        .unwrap();
    let whole = contents(&pages, 0..3 * MIB2);
    assert_eq!(whole.len(), 512);
    assert_eq!(
        whole[&(MIB2 + 3 * PAGE)],
        Pte::new(Pfn(515), PRESENT | WRITE).0
    );
    let mut seen = 0;
    pages
        .visit(MIB2 + PAGE, MIB2 + 3 * PAGE, &mut |_, entries, level| {
            assert_eq!(level, 0);
            seen += entries.len();
        })
        .unwrap();
    assert_eq!(seen, 2);
    assert_eq!(
        contents(&pages, 0..3 * MIB2),
        whole,
        "the same after the split"
    );
    clear(&mut pages, 0, 1 << 47);
}

#[test]
fn rights_change_but_the_cpus_bits_stay() {
    let mut pages = fresh();
    let entry = &pages.leaf(0x1000).unwrap()[1];
    entry.set(Pte::new(
        Pfn(7),
        PRESENT | USER | WRITE | DIRTY | ACCESSED | ANON,
    ));
    entry.set_rights(HELD | NO_EXEC);
    assert_eq!(
        entry.get(),
        Pte::new(Pfn(7), HELD | NO_EXEC | DIRTY | ACCESSED | ANON)
    );
    clear(&mut pages, 0, 1 << 47);
}

proptest! {
    #[test]
    fn like_a_map(ops in prop::collection::vec((any::<bool>(), 0..2048u64, 1..700u64, 1..1000u32), 1..60)) {
        let mut pages = fresh();
        let mut model = BTreeMap::new();
        // A window over a boundary of the second level.
        let base = (1 << 30) - 3 * MIB2;
        let end = base + 6 * MIB2;
        for (map, page, count, pfn) in ops {
            let start = base + page * PAGE;
            let stop = (start + count * PAGE).min(end);
            if map {
                for address in (start..stop).step_by(PAGE_SIZE) {
                    let pte = Pte::new(Pfn(pfn), PRESENT);
                    let entry = &pages.leaf(address).unwrap()[index(address, 0)];
                    entry.take();
                    entry.set(pte);
                    model.insert(address, pte.0);
                }
            } else {
                let mut seen = Vec::new();
                pages.visit(start, stop, &mut |first, entries, _| {
                    for (i, entry) in entries.iter().enumerate() {
                        if !entry.take().is_none() {
                            seen.push(first + i as u64 * PAGE);
                        }
                    }
                }).unwrap();
                let expected: Vec<u64> = model.range(start..stop).map(|(address, _)| *address).collect();
                prop_assert_eq!(seen, expected);
                model.retain(|address, _| !(start..stop).contains(address));
                let floor = model.range(..start).next_back().map_or(0, |(address, _)| address + PAGE);
                let ceiling = model.range(stop..).next().map_or(1 << 47, |(address, _)| *address);
                pages.free_tables(start, stop, floor, ceiling, &mut tables::free);
            }
            prop_assert_eq!(&contents(&pages, base..end), &model);
        }
        clear(&mut pages, 0, 1 << 47);
        prop_assert_eq!(pages.tables(), 0);
    }
}
