//! The frame allocator: zones of buddies, watermarks, and a stack of frames per CPU in front of them.
//!
//! Single frames come from and go to the CPU's own stack, a few instructions with preemption off; the zones' locks are
//! taken once per [`BATCH`] frames. Lock order: the locks here are the innermost of the kernel.
//!
//! # Who may take the last frames
//! | free frames | refused |
//! | --- | --- |
//! | below `min` | memory for users ([`Gfp::USER`]): the fault ends in the OOM killer |
//! | below `min / 2` | system calls that make kernel objects, by [`admit`] |
//! | none | the rest: kernel objects that an admitted call makes, page tables |
//!
//! The frames in the CPUs' stacks count as allocated here; they are few.
#![allow(unsafe_code, reason = "zeroes frames it has just allocated")]

use super::buddy::{BLOCK, Buddy, MAX_ORDER};
use super::frame::{FrameTable, frame, state, table};
use super::percpu;
use super::phys::{Pfn, zero_frame};
use super::sync::SpinLock;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use fs::Errno;

/// What an allocation is for, and so what it may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gfp(u8);

impl Gfp {
    /// A kernel object of fixed small size, made by a task.
    pub const KERNEL: Gfp = Gfp(1);
    /// The same from a softirq or under a spin lock.
    pub const ATOMIC: Gfp = Gfp(2);
    /// Memory whose amount a user chooses: refused below the `min` watermark.
    pub const USER: Gfp = Gfp(4);
    /// Physical address below 4 GiB.
    pub const DMA32: Gfp = Gfp(8);
    /// Physical address below 16 MiB.
    pub const DMA: Gfp = Gfp(16);

    /// Both.
    pub const fn with(self, other: Gfp) -> Gfp {
        Gfp(self.0 | other.0)
    }

    const fn has(self, other: Gfp) -> bool {
        self.0 & other.0 != 0
    }
}

/// The zones, by where their frames are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ZoneKind {
    /// Below 16 MiB, for devices with few address bits.
    Dma,
    /// Below 4 GiB, for devices that cannot reach more.
    Dma32,
    /// The rest.
    Normal,
}

impl ZoneKind {
    /// All of them, in the order of their frames.
    pub const ALL: [ZoneKind; 3] = [ZoneKind::Dma, ZoneKind::Dma32, ZoneKind::Normal];

    /// The first frame behind [`ZoneKind::Dma`].
    const DMA_END: u32 = 1 << 12;

    /// The zone a frame belongs to.
    pub const fn of(pfn: Pfn) -> ZoneKind {
        if pfn.0 < ZoneKind::DMA_END {
            ZoneKind::Dma
        } else if pfn.0 < 1 << 20 {
            ZoneKind::Dma32
        } else {
            ZoneKind::Normal
        }
    }

    /// The name in `/proc/buddyinfo`.
    pub const fn name(self) -> &'static str {
        match self {
            ZoneKind::Dma => "DMA",
            ZoneKind::Dma32 => "DMA32",
            ZoneKind::Normal => "Normal",
        }
    }
}

#[derive(Debug)]
struct Zone {
    buddy: SpinLock<Option<Buddy>>,
    /// A copy of the buddy's count of free frames, read without the lock.
    free: AtomicUsize,
    managed: AtomicUsize,
}

static ZONES: [Zone; ZoneKind::ALL.len()] = [const {
    Zone {
        buddy: SpinLock::new(None),
        free: AtomicUsize::new(0),
        managed: AtomicUsize::new(0),
    }
}; ZoneKind::ALL.len()];
static MIN: AtomicUsize = AtomicUsize::new(0);

/// Frames that move between a CPU's stack and the zones at a time.
const BATCH: usize = 32;
const STACK: usize = 3 * BATCH;

/// A CPU's stack of free frames: last freed, first used again, while it is in the cache.
#[derive(Debug)]
pub struct FrameStack {
    pub(super) len: u32,
    frames: [Pfn; STACK],
}

impl FrameStack {
    pub(super) const fn new() -> Self {
        Self {
            len: 0,
            frames: [Pfn(0); STACK],
        }
    }

    #[inline(always)]
    fn pop(&mut self) -> Option<Pfn> {
        self.len = self.len.checked_sub(1)?;
        self.frames.get(self.len as usize).copied()
    }

    #[inline(always)]
    fn push(&mut self, pfn: Pfn) {
        if self.len as usize == STACK {
            self.drain(BATCH);
        }
        if let Some(slot) = self.frames.get_mut(self.len as usize) {
            *slot = pfn;
            self.len += 1;
        }
    }

    /// Gives the `n` frames that lie longest back to the zones.
    #[cold]
    fn drain(&mut self, n: usize) {
        let n = n.min(self.len as usize);
        let mut rest = &self.frames[..n];
        while let Some(first) = rest.first() {
            let kind = ZoneKind::of(*first);
            let run = rest
                .iter()
                .position(|pfn| ZoneKind::of(*pfn) != kind)
                .unwrap_or(rest.len());
            with_zone(kind, |buddy| {
                rest[..run].iter().for_each(|pfn| buddy.free(*pfn, 0))
            });
            rest = &rest[run..];
        }
        self.frames.copy_within(n..self.len as usize, 0);
        self.len -= n as u32;
    }

    /// Gives all frames back to the zones.
    pub(super) fn give_back(&mut self) {
        self.drain(STACK);
    }

    /// Takes a batch from the zones; false if there is nothing that `gfp` may have.
    #[cold]
    fn refill(&mut self, gfp: Gfp) -> bool {
        if !may_take(gfp) {
            return false;
        }
        for kind in ZoneKind::ALL.into_iter().rev() {
            with_zone(kind, |buddy| {
                // The next to be used is the lowest, so that neighbours are used one after the other.
                let got = (0..BATCH).map_while(|_| buddy.alloc(0));
                let len = got
                    .zip(&mut self.frames)
                    .map(|(pfn, slot)| *slot = pfn)
                    .count();
                self.frames[..len].reverse();
                self.len = len as u32;
            });
            if self.len > 0 {
                return true;
            }
        }
        false
    }
}

fn with_zone<R>(kind: ZoneKind, f: impl FnOnce(&mut Buddy) -> R) -> R
where
    R: Default,
{
    let zone = &ZONES[kind as usize];
    let mut guard = zone.buddy.lock();
    let Some(buddy) = guard.as_mut() else {
        return R::default();
    };
    let result = f(buddy);
    zone.free.store(buddy.free_frames(), Relaxed);
    result
}

#[inline]
fn may_take(gfp: Gfp) -> bool {
    !gfp.has(Gfp::USER) || free_total() >= MIN.load(Relaxed)
}

fn free_total() -> usize {
    ZONES.iter().map(|zone| zone.free.load(Relaxed)).sum()
}

/// Allocates `2^order` frames that follow each other, aligned to their number; the caller is their one owner.
///
/// # Context
/// Task or softirq. Takes the zone's lock.
#[inline]
pub fn alloc_frames(order: usize, gfp: Gfp) -> Option<Pfn> {
    let block = if order == 0 && !gfp.has(Gfp::DMA32) && !gfp.has(Gfp::DMA) {
        percpu::with(|cpu| match cpu.frames.pop() {
            None if cpu.frames.refill(gfp) => cpu.frames.pop(),
            got => got,
        })
    } else {
        alloc_block(order, gfp)
    }?;
    frame(block).init_owned();
    Some(block)
}

#[cold]
fn alloc_block(order: usize, gfp: Gfp) -> Option<Pfn> {
    if order > MAX_ORDER || !may_take(gfp) {
        return None;
    }
    let zones = if gfp.has(Gfp::DMA) {
        &ZoneKind::ALL[..1]
    } else if gfp.has(Gfp::DMA32) {
        &ZoneKind::ALL[..2]
    } else {
        &ZoneKind::ALL[..]
    };
    zones
        .iter()
        .rev()
        .find_map(|kind| with_zone(*kind, |buddy| buddy.alloc(order)))
}

/// Allocates one frame full of zeros.
#[inline]
pub fn alloc_zeroed(gfp: Gfp) -> Option<Pfn> {
    let pfn = alloc_frames(0, gfp)?;
    // SAFETY: the frame was just allocated, so it is ours alone.
    unsafe { zero_frame(pfn) };
    Some(pfn)
}

/// Gives back `2^order` frames that have no owner any more.
///
/// # Context
/// Task or softirq. Takes the zone's lock.
#[inline]
pub fn free_frames(block: Pfn, order: usize) {
    if order == 0 {
        percpu::with(|cpu| cpu.frames.push(block));
    } else {
        with_zone(ZoneKind::of(block), |buddy| buddy.free(block, order));
    }
}

/// Whether a system call that makes kernel objects may go ahead.
///
/// # Errors
/// `ENOMEM` where free memory is below half the `min` watermark.
#[inline]
pub fn admit() -> fs::Result<()> {
    if free_total() >= MIN.load(Relaxed) / 2 {
        Ok(())
    } else {
        Err(Errno::ENOMEM)
    }
}

/// Numbers of frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FrameStats {
    /// Managed by the allocator: `MemTotal`.
    pub total: usize,
    /// Free, those in the CPUs' stacks included.
    pub free: usize,
    /// The watermark below which users get none.
    pub min: usize,
}

/// How many frames the allocator manages.
pub fn total() -> usize {
    ZONES.iter().map(|zone| zone.managed.load(Relaxed)).sum()
}

/// The numbers as they are now.
pub fn stats() -> FrameStats {
    FrameStats {
        total: total(),
        free: free_total() + percpu::frames_held(),
        min: MIN.load(Relaxed),
    }
}

/// Free blocks of each order in a zone, for `/proc/buddyinfo`; `None` where the zone has no memory.
pub fn zone_blocks(kind: ZoneKind) -> Option<[usize; MAX_ORDER + 1]> {
    if ZONES[kind as usize].managed.load(Relaxed) == 0 {
        return None;
    }
    let mut blocks = [0; MAX_ORDER + 1];
    with_zone(kind, |buddy| {
        for (order, blocks) in blocks.iter_mut().enumerate() {
            *blocks = buddy.free_blocks(order);
        }
    });
    Some(blocks)
}

/// Makes the zones. Context: boot, once, after the frame table is there.
pub(super) fn init_zones() {
    for zone in &ZONES {
        *zone.buddy.lock() = Some(Buddy::new(table(), |table, block| {
            prepare_block(table, block, state::PLAIN)
        }));
    }
}

/// Sets all descriptors of a block to `state`, without owners.
pub(super) fn prepare_block(table: FrameTable, block: Pfn, state: u32) {
    for i in 0..BLOCK {
        table.get(block.add(i)).reset(state);
    }
}

/// Adds whole blocks that nobody has used; their descriptors may be garbage still. Context: boot.
pub(super) fn add_virgin(start: Pfn, end: Pfn) {
    if start.0 < ZoneKind::DMA_END && end.0 > ZoneKind::DMA_END {
        add_virgin(start, Pfn(ZoneKind::DMA_END));
        return add_virgin(Pfn(ZoneKind::DMA_END), end);
    }
    let kind = ZoneKind::of(start);
    if !with_zone(kind, |buddy| buddy.add_virgin(start, end)) {
        for block in (start.0..end.0).step_by(BLOCK as usize) {
            prepare_block(table(), Pfn(block), state::RESERVED);
            add_frames(Pfn(block), Pfn(block + BLOCK));
        }
    } else {
        ZONES[kind as usize]
            .managed
            .fetch_add((end.0 - start.0) as usize, Relaxed);
    }
}

/// Adds frames whose descriptors are initialised, as reserved. They lie in one zone.
pub(super) fn add_frames(start: Pfn, end: Pfn) {
    let kind = ZoneKind::of(start);
    with_zone(kind, |buddy| {
        for pfn in start.0..end.0 {
            debug_assert_eq!(frame(Pfn(pfn)).state(), state::RESERVED);
            frame(Pfn(pfn)).set_state(state::PLAIN);
            buddy.free(Pfn(pfn), 0);
        }
    });
    ZONES[kind as usize]
        .managed
        .fetch_add((end.0 - start.0) as usize, Relaxed);
}

/// Sets the watermark from the amount of memory, as Linux does: 4 times the root of its size in KiB, in KiB.
pub(super) fn set_watermarks() {
    let total_kib = stats().total * 4;
    let min_kib = (16 * total_kib).isqrt().clamp(128, 65536);
    MIN.store(min_kib / 4, Relaxed);
}
