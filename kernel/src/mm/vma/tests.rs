//! Against a model that knows the flags of each page.

use super::*;
use crate::mm::phys::PAGE_SIZE;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::vec::Vec;

const PAGE: u64 = PAGE_SIZE as u64;
const PAGES: u64 = 300;

fn vma(first: u64, pages: u64, flags: VmFlags) -> Vma {
    Vma {
        start: first * PAGE,
        end: (first + pages) * PAGE,
        pgoff: 0,
        flags,
        object: None,
    }
}

fn shape(set: &VmaSet) -> Vec<(u64, u64, u32)> {
    set.iter()
        .map(|v| (v.start / PAGE, v.end / PAGE, v.flags.bits()))
        .collect()
}

fn unmap(set: &mut VmaSet, first: u64, pages: u64) {
    let range = first * PAGE..(first + pages) * PAGE;
    set.split(range.start).unwrap();
    set.split(range.end).unwrap();
    loop {
        let at = set.lower_bound(range.start);
        if set.at(at).is_none_or(|vma| vma.start >= range.end) {
            break;
        }
        set.remove(at);
    }
}

#[test]
fn neighbours_with_equal_flags_are_one() {
    let mut set = VmaSet::new();
    set.insert(vma(1, 1, VmFlags::READ)).unwrap();
    set.insert(vma(3, 1, VmFlags::READ)).unwrap();
    set.insert(vma(2, 1, VmFlags::READ)).unwrap();
    assert_eq!(shape(&set), [(1, 4, 1)]);
    set.insert(vma(4, 1, VmFlags::WRITE)).unwrap();
    set.insert(vma(0, 1, VmFlags::READ | VmFlags::HAS_ANON))
        .unwrap();
    assert_eq!(
        shape(&set),
        [(0, 4, 1 | VmFlags::HAS_ANON.bits()), (4, 5, 2)]
    );
}

#[test]
fn a_change_in_the_middle_splits_and_a_change_back_joins() {
    let mut set = VmaSet::new();
    set.insert(vma(0, 9, VmFlags::READ)).unwrap();
    for (flags, expected) in [
        (VmFlags::WRITE, &[(0, 3, 1), (3, 6, 2), (6, 9, 1)][..]),
        (VmFlags::READ, &[(0, 9, 1)]),
    ] {
        set.split(3 * PAGE).unwrap();
        set.split(6 * PAGE).unwrap();
        set.update(3 * PAGE..6 * PAGE, |vma| vma.flags = flags);
        assert_eq!(shape(&set), expected);
    }
}

#[test]
fn stacks_keep_a_distance() {
    let mut set = VmaSet::new();
    let low = GapRequest {
        len: PAGE,
        low: PAGE,
        high: 1000 * PAGE,
    };
    set.insert(vma(900, 100, VmFlags::READ | VmFlags::GROWSDOWN))
        .unwrap();
    assert_eq!(find_gap(&set, low), Some((900 - 256 - 1) * PAGE));
    assert_eq!(find_gap_upwards(&set, low), Some(PAGE));
    let wide = GapRequest {
        len: (900 - 256) * PAGE,
        ..low
    };
    assert_eq!(find_gap(&set, wide), None);
    assert_eq!(find_gap_upwards(&set, wide), None);
}

#[test]
fn holds_as_many_as_linux_and_finds_each() {
    const MOST: usize = 65530;
    let mut set = VmaSet::new();
    for i in 0..MOST as u64 {
        set.insert(vma(2 * i, 1, VmFlags::READ)).unwrap();
    }
    assert!(set.insert(vma(2 * MOST as u64, 1, VmFlags::READ)).is_err());
    assert_eq!(set.len(), MOST);
    for i in (0..MOST as u64).step_by(997) {
        assert_eq!(
            set.get(2 * i * PAGE).map(|vma| vma.start),
            Some(2 * i * PAGE)
        );
        assert!(set.get((2 * i + 1) * PAGE).is_none());
    }
}

#[derive(Clone, Debug)]
enum Op {
    Map { first: u64, pages: u64, flags: u32 },
    Unmap { first: u64, pages: u64 },
    Protect { first: u64, pages: u64, flags: u32 },
}

fn op() -> impl Strategy<Value = Op> {
    let at = (0..PAGES, 1..12u64, 0..4u32);
    (0..3u8, at).prop_map(|(kind, (first, pages, flags))| match kind {
        0 => Op::Map {
            first,
            pages,
            flags,
        },
        1 => Op::Unmap {
            first,
            pages: pages / 2 + 1,
        },
        _ => Op::Protect {
            first,
            pages,
            flags,
        },
    })
}

proptest! {
    #[test]
    fn like_a_map_of_pages(ops in prop::collection::vec(op(), 1..250)) {
        let mut set = VmaSet::new();
        let mut model: BTreeMap<u64, u32> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Map { first, pages, flags } => {
                    unmap(&mut set, first, pages);
                    set.insert(vma(first, pages, VmFlags::from_bits_retain(flags))).unwrap();
                    model.extend((first..first + pages).map(|page| (page, flags)));
                }
                Op::Unmap { first, pages } => {
                    unmap(&mut set, first, pages);
                    model.retain(|page, _| !(first..first + pages).contains(page));
                }
                Op::Protect { first, pages, flags } => {
                    let range = first * PAGE..(first + pages) * PAGE;
                    set.split(range.start).unwrap();
                    set.split(range.end).unwrap();
                    set.update(range, |vma| vma.flags = VmFlags::from_bits_retain(flags));
                    model.range_mut(first..first + pages).for_each(|(_, f)| *f = flags);
                }
            }
            // Maximal runs of the model are exactly the VMAs.
            let mut runs: Vec<(u64, u64, u32)> = Vec::new();
            for (page, flags) in &model {
                match runs.last_mut() {
                    Some(last) if last.1 == *page && last.2 == *flags => last.1 += 1,
                    _ => runs.push((*page, page + 1, *flags)),
                }
            }
            prop_assert_eq!(shape(&set), runs);
            prop_assert_eq!(set.len(), set.iter().count());
            prop_assert!(set.leaves.iter().all(|leaf| !leaf.is_empty() && leaf.len() <= super::set::LEAF));
        }
        for page in 0..PAGES + 12 {
            let found = set.find(page * PAGE).and_then(|at| set.at(at)).map(|vma| vma.flags.bits());
            prop_assert_eq!(found, model.get(&page).copied());
        }
        for len in 1..20 {
            let free = |first: u64| (first..first + len).all(|page| !model.contains_key(&page));
            let request = GapRequest { len: len * PAGE, low: 5 * PAGE, high: 290 * PAGE };
            let down = (5..=290 - len).rev().find(|first| free(*first));
            prop_assert_eq!(find_gap(&set, request), down.map(|first| first * PAGE));
            let up = (5..=290 - len).find(|first| free(*first));
            prop_assert_eq!(find_gap_upwards(&set, request), up.map(|first| first * PAGE));
        }
    }
}
