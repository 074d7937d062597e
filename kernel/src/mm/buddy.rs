//! The buddy allocator of one zone.
//!
//! Free memory is kept in blocks of `2^order` frames, aligned to their size, in one list per order. A block is made by
//! splitting a larger one; two free halves of a block are joined again when the second is freed. The lists run
//! through the descriptors, so free memory itself is never touched.
//!
//! Descriptors of memory that nobody has used yet are not even initialised: such *virgin* blocks of the largest order wait
//! in ranges and enter the lists when those are empty. Booting with much memory costs no more than with little.

use super::frame::{FrameTable, NONE};
use super::phys::Pfn;
use core::sync::atomic::Ordering::Relaxed;

/// The largest block is `2^MAX_ORDER` frames: 4 MiB.
pub const MAX_ORDER: usize = 10;
/// Frames in a block of the largest order.
pub const BLOCK: u32 = 1 << MAX_ORDER;
const MAX_VIRGIN: usize = 16;

#[derive(Clone, Copy, Debug)]
struct FreeList {
    head: u32,
    len: u32,
}

/// A zone's free memory. Its lock guards the links and states of the zone's free descriptors.
#[derive(Debug)]
pub struct Buddy {
    table: FrameTable,
    lists: [FreeList; MAX_ORDER + 1],
    /// Whole blocks that were never used, as ranges of frame numbers, taken from the front.
    virgin: [(u32, u32); MAX_VIRGIN],
    virgin_len: usize,
    free: usize,
    /// Prepares the descriptors of a virgin block.
    prepare: fn(FrameTable, Pfn),
}

impl Buddy {
    /// An empty zone. `prepare` is called on each virgin block before it is used, and makes its descriptors plain.
    pub const fn new(table: FrameTable, prepare: fn(FrameTable, Pfn)) -> Self {
        Self {
            table,
            lists: [FreeList { head: NONE, len: 0 }; MAX_ORDER + 1],
            virgin: [(0, 0); MAX_VIRGIN],
            virgin_len: 0,
            free: 0,
            prepare,
        }
    }

    /// How many frames are free.
    pub fn free_frames(&self) -> usize {
        self.free
    }

    /// How many blocks of exactly this order are free.
    pub fn free_blocks(&self, order: usize) -> usize {
        let virgin = if order == MAX_ORDER {
            self.virgin[..self.virgin_len]
                .iter()
                .map(|(start, end)| (end - start) / BLOCK)
                .sum()
        } else {
            0
        };
        (self.lists[order].len + virgin) as usize
    }

    /// Adds never used memory, whole blocks from `start` to `end`.
    ///
    /// Returns false where there is no room for another range: the caller prepares and frees the blocks itself.
    pub fn add_virgin(&mut self, start: Pfn, end: Pfn) -> bool {
        debug_assert!(start.0.is_multiple_of(BLOCK) && end.0.is_multiple_of(BLOCK) && start < end);
        if self.virgin_len == MAX_VIRGIN {
            return false;
        }
        self.virgin[self.virgin_len] = (start.0, end.0);
        self.virgin_len += 1;
        self.free += (end.0 - start.0) as usize;
        true
    }

    /// Takes a block of `2^order` frames.
    pub fn alloc(&mut self, order: usize) -> Option<Pfn> {
        let from = match (order..=MAX_ORDER).find(|&o| self.lists[o].head != NONE) {
            Some(from) => from,
            None => {
                let block = self.take_virgin()?;
                self.push(block, MAX_ORDER);
                MAX_ORDER
            }
        };
        let block = Pfn(self.lists[from].head);
        self.remove(block, from);
        for half in (order..from).rev() {
            self.push(block.add(1 << half), half);
        }
        self.free -= 1 << order;
        Some(block)
    }

    /// Gives back the `2^order` frames at `block`.
    pub fn free(&mut self, block: Pfn, order: usize) {
        debug_assert!(block.0.is_multiple_of(1 << order));
        debug_assert_eq!(
            self.table.get(block).state(),
            super::frame::state::PLAIN,
            "frame {block:?} freed twice"
        );
        self.free += 1 << order;
        let (mut block, mut order) = (block, order);
        while order < MAX_ORDER {
            let buddy = Pfn(block.0 ^ (1 << order));
            if !self.table.get(buddy).is_free_of_order(order) {
                break;
            }
            self.remove(buddy, order);
            block = block.min(buddy);
            order += 1;
        }
        self.push(block, order);
    }

    fn take_virgin(&mut self) -> Option<Pfn> {
        let (start, end) = self.virgin[..self.virgin_len]
            .last_mut()
            .map(|(start, end)| {
                *start += BLOCK;
                (*start - BLOCK, *end)
            })?;
        if start + BLOCK == end {
            self.virgin_len -= 1;
        }
        (self.prepare)(self.table, Pfn(start));
        Some(Pfn(start))
    }

    fn push(&mut self, block: Pfn, order: usize) {
        let list = &mut self.lists[order];
        let frame = self.table.get(block);
        frame.set_free(order);
        frame.prev.store(NONE, Relaxed);
        frame.next.store(list.head, Relaxed);
        if list.head != NONE {
            self.table.get(Pfn(list.head)).prev.store(block.0, Relaxed);
        }
        list.head = block.0;
        list.len += 1;
    }

    fn remove(&mut self, block: Pfn, order: usize) {
        let list = &mut self.lists[order];
        let frame = self.table.get(block);
        let (prev, next) = (frame.prev.load(Relaxed), frame.next.load(Relaxed));
        match prev {
            NONE => list.head = next,
            prev => self.table.get(Pfn(prev)).next.store(next, Relaxed),
        }
        if next != NONE {
            self.table.get(Pfn(next)).prev.store(prev, Relaxed);
        }
        list.len -= 1;
        frame.set_state(super::frame::state::PLAIN);
    }
}

#[cfg(test)]
#[allow(unsafe_code, reason = "makes a table for the tests")]
mod tests {
    use super::super::frame::{Frame, state};
    use super::*;
    use proptest::prelude::*;

    fn zone(blocks: u32) -> Buddy {
        let frames: Vec<Frame> = (0..blocks * BLOCK).map(|_| Frame::default()).collect();
        for frame in &frames {
            frame.set_state(state::RESERVED); // `prepare` has to undo it
        }
        let base = Vec::leak(frames).as_ptr();
        // SAFETY: the tests stay inside the leaked table.
        let table = unsafe { FrameTable::new(base) };
        Buddy::new(table, |table, block| {
            (0..BLOCK).for_each(|i| table.get(block.add(i)).set_state(state::PLAIN));
        })
    }

    #[test]
    fn virgin_blocks_enter_one_at_a_time() {
        let mut zone = zone(3);
        assert!(zone.add_virgin(Pfn(0), Pfn(3 * BLOCK)));
        assert_eq!(zone.free_blocks(MAX_ORDER), 3);
        let frame = zone.alloc(0).unwrap();
        assert_eq!(zone.free_blocks(MAX_ORDER), 2);
        assert_eq!(zone.table.get(Pfn(BLOCK + 1)).state(), state::RESERVED);
        zone.free(frame, 0);
        assert_eq!(
            zone.free_blocks(MAX_ORDER),
            3,
            "halves join up to the largest order"
        );
        assert_eq!(zone.free_frames(), 3 * BLOCK as usize);
    }

    #[test]
    fn empties_completely() {
        let mut zone = zone(1);
        zone.add_virgin(Pfn(0), Pfn(BLOCK));
        let blocks: Vec<_> = std::iter::from_fn(|| zone.alloc(3)).collect();
        assert_eq!(blocks.len(), BLOCK as usize / 8);
        assert_eq!(zone.free_frames(), 0);
        assert_eq!(zone.alloc(0), None);
    }

    proptest! {
        /// Against a model that only remembers who owns each frame.
        #[test]
        fn never_hands_out_a_frame_twice(ops in prop::collection::vec((any::<bool>(), 0..=MAX_ORDER, any::<usize>()), 1..400)) {
            let blocks = 3;
            let mut zone = zone(blocks);
            zone.add_virgin(Pfn(0), Pfn(blocks * BLOCK));
            let mut owned = vec![false; (blocks * BLOCK) as usize];
            let mut live: Vec<(Pfn, usize)> = Vec::new();
            for (alloc, order, pick) in ops {
                if alloc || live.is_empty() {
                    let Some(block) = zone.alloc(order) else {
                        // Refused only where no aligned run of free frames exists.
                        let run = owned.chunks(1 << order).any(|run| run.iter().all(|owned| !owned));
                        prop_assert!(!run);
                        continue;
                    };
                    prop_assert!(block.0.is_multiple_of(1 << order));
                    for slot in &mut owned[block.0 as usize..][..1 << order] {
                        prop_assert!(!std::mem::replace(slot, true));
                    }
                    live.push((block, order));
                } else {
                    let (block, order) = live.swap_remove(pick % live.len());
                    owned[block.0 as usize..][..1 << order].fill(false);
                    zone.free(block, order);
                }
                prop_assert_eq!(zone.free_frames(), owned.iter().filter(|owned| !**owned).count());
            }
            for (block, order) in live {
                zone.free(block, order);
            }
            prop_assert_eq!(zone.free_blocks(MAX_ORDER), blocks as usize);
        }
    }
}
