//! Boot: from the free ranges of memory to a working frame allocator.
#![allow(unsafe_code, reason = "places the table of descriptors in free memory")]

use super::buddy::BLOCK;
use super::frame::{self, Frame, state};
use super::page_alloc;
use super::phys::{PAGE_SIZE, Pfn};
use crate::boot::memory_map::PhysRange;

/// A range of frame numbers, `end` not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frames {
    start: u32,
    end: u32,
}

impl Frames {
    fn within(range: PhysRange) -> Self {
        let page = PAGE_SIZE as u64;
        Self {
            start: range.start.div_ceil(page) as u32,
            end: (range.end / page) as u32,
        }
    }

    fn len(self) -> u32 {
        self.end.saturating_sub(self.start)
    }

    fn cut(self, start: u32, end: u32) -> Self {
        Self {
            start: self.start.max(start),
            end: self.end.min(end),
        }
    }

    /// Whether it has a frame of this block.
    fn touches(self, block: u32) -> bool {
        self.cut(block * BLOCK, (block + 1) * BLOCK).len() > 0
    }

    fn add_to_zone(self) {
        if self.len() > 0 {
            page_alloc::add_frames(Pfn(self.start), Pfn(self.end));
        }
    }
}

const DESCRIPTORS_PER_FRAME: u32 = (PAGE_SIZE / size_of::<Frame>()) as u32;
/// Frames that hold the descriptors of one block.
const TABLE_PER_BLOCK: u32 = BLOCK / DESCRIPTORS_PER_FRAME;
const NONE: PhysRange = PhysRange::new(0, 0);

/// Takes over memory: `free` are the ranges nobody uses, in the order of their addresses; `kept` is in use but may be
/// [released](release) one day.
///
/// The table of descriptors has a slot for every frame up to the last, but takes memory only for the blocks of 4 MiB that
/// have free or kept memory in them. It lies in one piece at the end of the largest free range; its parts that describe
/// holes are given to the allocator.
///
/// # Context
/// Boot, once, on the final page tables, before anything is allocated.
///
/// # Panics
/// If there is no room for the table.
pub fn init(free: impl Iterator<Item = PhysRange> + Clone, kept: Option<PhysRange>) {
    let free = free.map(Frames::within).filter(|range| range.len() > 0);
    let kept = Frames::within(kept.unwrap_or(NONE));
    let last = free.clone().map(|range| range.end).max().unwrap_or(0);
    let blocks = last.max(kept.end).div_ceil(BLOCK);
    let len = blocks * TABLE_PER_BLOCK;
    let room = free.clone().max_by_key(|range| range.len());
    let room = room
        .filter(|room| room.len() > len)
        .expect("too little memory for the table of frames");
    let table = Frames {
        start: room.end - len,
        end: room.end,
    };
    let base = Pfn(table.start).virt().cast::<Frame>();
    // SAFETY: the table lies in free memory that nobody else is given, in the direct map, and has room for all frames of
    // these blocks. Descriptors are initialised, block by block, before anyone looks at them.
    unsafe { frame::install(base, Pfn(blocks * BLOCK)) };
    page_alloc::init_zones();

    let mut last_prepared = None;
    let mut prepare = |block: u32| {
        if last_prepared.replace(block) != Some(block) {
            page_alloc::prepare_block(frame::table(), Pfn(block * BLOCK), state::RESERVED);
        }
    };
    (0..blocks)
        .filter(|block| kept.touches(*block))
        .for_each(&mut prepare);
    for range in free.clone() {
        let mut at = range.start;
        while at < range.end {
            let whole = whole_blocks(range.cut(at, u32::MAX), table);
            if whole.len() > 0 {
                page_alloc::add_virgin(Pfn(whole.start), Pfn(whole.end));
                at = whole.end;
                continue;
            }
            let block = at / BLOCK;
            if !kept.touches(block) {
                prepare(block);
            }
            let piece = range.cut(at, (block + 1) * BLOCK);
            piece.cut(0, table.start).add_to_zone();
            piece.cut(table.end, u32::MAX).add_to_zone();
            at = piece.end;
        }
    }
    // The descriptors of blocks without memory of ours are never looked at.
    let unused = |block: &u32| !kept.touches(*block) && !free.clone().any(|r| r.touches(*block));
    for block in (0..blocks).filter(unused) {
        let start = table.start + block * TABLE_PER_BLOCK;
        Frames {
            start,
            end: start + TABLE_PER_BLOCK,
        }
        .add_to_zone();
    }
    page_alloc::set_watermarks();
    let zero = page_alloc::alloc_zeroed(page_alloc::Gfp::KERNEL);
    super::phys::set_zero_pfn(zero.expect("memory was just found"));
    super::page_ops::register();
}

/// Takes over the machine's memory and the kernel's page tables: after this the heap works.
///
/// # Context
/// Boot, once, on the final page tables.
#[cfg(target_os = "none")]
pub fn init_machine(has_no_exec: bool) {
    use super::{PhysAddr, pagetable};
    init(crate::boot::memory_map(), crate::boot::info().initrd());
    pagetable::tables::set_kernel_root(PhysAddr(crate::boot::kernel_pml4()).pfn());
    if !has_no_exec {
        pagetable::without_no_exec();
    }
    super::vmalloc::init();
    let stats = page_alloc::stats();
    let kib = |frames| frames * (PAGE_SIZE / 1024);
    log::info!(
        "memory: total={}K free={}K min={}K",
        kib(stats.total),
        kib(stats.free),
        kib(stats.min)
    );
}

/// The whole blocks at the start of `range` that lie in one zone and have no frame of `table`.
fn whole_blocks(range: Frames, table: Frames) -> Frames {
    const ZONE_LINE: u32 = 1 << 20;
    let mut end = range.end;
    if range.start < table.end {
        end = end.min(table.start);
    }
    if range.start < ZONE_LINE {
        end = end.min(ZONE_LINE);
    }
    let whole = range.start.is_multiple_of(BLOCK);
    Frames {
        start: range.start,
        end: if whole {
            end - end % BLOCK
        } else {
            range.start
        },
    }
}

/// Gives the frames of the `kept` range of [`init`] to the allocator.
///
/// # Context
/// Task, once. Nobody may use the range any more.
pub fn release(kept: PhysRange) {
    Frames::within(kept).add_to_zone();
}

/// Takes over the memory of the host's machine, once, for the tests.
#[cfg(not(target_os = "none"))]
pub fn init_host() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    let all = PhysRange::new(0x1000, super::phys::host::MEMORY as u64);
    ONCE.call_once(|| init([all].into_iter(), None));
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Frames = Frames {
        start: 10 * BLOCK - 80,
        end: 10 * BLOCK,
    };

    #[test]
    fn whole_blocks_stop_at_the_table_and_at_the_zone() {
        let range = |start, end| Frames { start, end };
        assert_eq!(
            whole_blocks(range(BLOCK, 12 * BLOCK + 3), TABLE),
            range(BLOCK, 9 * BLOCK)
        );
        assert_eq!(whole_blocks(range(9 * BLOCK, 10 * BLOCK), TABLE).len(), 0);
        assert_eq!(
            whole_blocks(range(10 * BLOCK, 12 * BLOCK + 3), TABLE),
            range(10 * BLOCK, 12 * BLOCK)
        );
        assert_eq!(
            whole_blocks(range(BLOCK + 1, 4 * BLOCK), TABLE).len(),
            0,
            "starts inside a block"
        );
        let line = 1 << 20;
        assert_eq!(
            whole_blocks(range(line - BLOCK, line + BLOCK), TABLE),
            range(line - BLOCK, line)
        );
    }

    #[test]
    fn all_memory_but_the_table_is_managed() {
        init_host();
        let frames = super::super::phys::host::MEMORY / PAGE_SIZE;
        let table = frames / DESCRIPTORS_PER_FRAME as usize;
        assert_eq!(page_alloc::stats().total, frames - 1 - table);
    }
}
