//! Random calls against a model: for each page its rights and what its first byte is.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const BASE: u64 = 0x4000_0000 - 20 * PAGE; // over the end of a last-level table
const PAGES: u64 = 40;

/// Rights, first byte, and whether the page was ever writable, which as on Linux keeps mappings apart.
type Model = BTreeMap<u64, (u32, u8, bool)>;

#[derive(Clone, Debug)]
enum Op {
    Map { page: u64, count: u64, prot: u32 },
    Unmap { page: u64, count: u64 },
    Protect { page: u64, count: u64, prot: u32 },
    Store { page: u64, byte: u8 },
    Forget { page: u64, count: u64 },
    Move { page: u64, count: u64, to: u64 },
    Fork { keep_child: bool },
}

fn op() -> impl Strategy<Value = Op> {
    let args = (0..PAGES - 10, 1..10u64, 0..4u32, any::<u8>(), 0..PAGES - 10);
    (0..16u8, args).prop_map(|(kind, (page, count, prot, byte, to))| match kind {
        0..3 => Op::Map { page, count, prot },
        3..5 => Op::Unmap {
            page,
            count: count / 2 + 1,
        },
        5..8 => Op::Protect { page, count, prot },
        8..12 => Op::Store { page, byte },
        12 => Op::Forget { page, count },
        13..15 => Op::Move { page, count, to },
        _ => Op::Fork {
            keep_child: prot % 2 == 0,
        },
    })
}

fn address(page: u64) -> u64 {
    BASE + page * PAGE
}

fn check(space: &AddressSpace, model: &Model) {
    for page in 0..PAGES {
        let expected = match model.get(&page) {
            None => Err(Fault::unmapped(address(page))),
            Some((0, ..)) => Err(Fault::forbidden(address(page))),
            Some((_, byte, _)) => Ok(*byte),
        };
        assert_eq!(load(space, address(page)), expected, "page {page}");
    }
    assert_eq!(space.stats().total, model.len() as u64);
}

fn apply(
    space: &mut Arc<AddressSpace>,
    model: &mut Model,
    op: &Op,
    others: &mut Vec<(Arc<AddressSpace>, Model)>,
) {
    match *op {
        Op::Map { page, count, prot } => {
            anon_at(space, address(page), count, Prot::from_bits_retain(prot));
            model.extend((page..page + count).map(|page| (page, (prot, 0, prot & 2 != 0))));
        }
        Op::Unmap { page, count } => {
            space.munmap(address(page), count * PAGE).unwrap();
            model.retain(|p, _| !(page..page + count).contains(p));
        }
        Op::Protect { page, count, prot } => {
            let result = space.mprotect(address(page), count * PAGE, Prot::from_bits_retain(prot));
            // As far as the first hole.
            let reached = (page..page + count)
                .take_while(|page| model.contains_key(page))
                .count() as u64;
            assert_eq!(result.is_ok(), reached == count);
            for (_, entry) in model.range_mut(page..page + reached) {
                entry.0 = prot;
                entry.2 |= prot & 2 != 0;
            }
        }
        Op::Store { page, byte } => match model.get_mut(&page) {
            Some((prot, held, _)) if *prot & 2 != 0 => {
                store(space, address(page), byte).unwrap();
                *held = byte;
            }
            _ => assert!(store(space, address(page), byte).is_err()),
        },
        Op::Forget { page, count } => {
            let result = space.madvise(address(page), count * PAGE, 4);
            assert_eq!(
                result.is_ok(),
                (page..page + count).all(|page| model.contains_key(&page))
            );
            for (_, entry) in model.range_mut(page..page + count) {
                entry.1 = 0;
            }
        }
        Op::Move { page, count, to } => {
            let result = space.mremap(address(page), count * PAGE, count * PAGE, 3, address(to));
            let overlaps = page < to + count && to < page + count;
            // One mapping only: all pages there, with equal rights (all of this memory is alike otherwise).
            let rights: Vec<_> = (page..page + count)
                .map(|page| model.get(&page).map(|e| (e.0, e.2)))
                .collect();
            let one = rights[0].is_some() && rights.iter().all(|r| *r == rights[0]);
            if overlaps || rights[0].is_none() {
                assert!(result.is_err());
                return;
            }
            // What was at the new place is gone even where the move fails after that.
            model.retain(|p, _| !(to..to + count).contains(p));
            assert_eq!(result.is_ok(), one);
            if one {
                let moved: Vec<_> = (page..page + count)
                    .filter_map(|page| model.remove(&page))
                    .collect();
                model.extend((to..).zip(moved));
            }
        }
        Op::Fork { keep_child } => {
            let child = space.fork().unwrap();
            let other = if keep_child {
                core::mem::replace(space, child)
            } else {
                child
            };
            others.push((other, model.clone()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn like_a_map_of_pages(ops in prop::collection::vec(op(), 1..60)) {
        let mut space = space();
        let mut model = Model::new();
        let mut others = Vec::new();
        for op in &ops {
            apply(&mut space, &mut model, op, &mut others);
            check(&space, &model);
        }
        others.push((space, model));
        for (space, model) in &others {
            check(space, model);
            space.munmap(BASE, PAGES * PAGE).unwrap();
            prop_assert_eq!(space.stats().rss(), 0);
            prop_assert_eq!(space.stats().page_tables, 1);
            prop_assert_eq!((space.stats().data, space.stats().total), (0, 0));
        }
    }
}
