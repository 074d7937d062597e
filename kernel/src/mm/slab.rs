//! Caches of small objects of one size.
//!
//! Each CPU has a *magazine* per cache: a list of free objects that runs through the objects themselves. Allocating
//! pops, freeing pushes, with preemption off and no lock. An empty magazine is refilled, a full one drained, in batches,
//! from and to *slabs*: aligned blocks of frames cut into objects. Slabs with free objects are listed in the cache; one
//! that becomes empty goes back to the frame allocator, save for a spare.
//!
//! In debug builds free objects are poisoned, and checked when handed out again.
//!
//! Lock order: a cache's lock, then the frame allocator's.
#![allow(
    unsafe_code,
    reason = "free objects are linked through their own memory"
)]

use super::frame::{Gfp, NONE, alloc_frames, frame, free_frames, state};
use super::percpu::{self, MAX_CACHES};
use super::phys::{PAGE_SIZE, Pfn, virt_to_phys};
use super::sync::SpinLock;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What a free object holds in debug builds, behind the link.
const POISON: u8 = 0x6b;

/// A free object: the link to the next.
struct Free {
    next: *mut Free,
}

/// A CPU's free objects of one cache.
#[derive(Debug)]
pub struct Magazine {
    head: *mut Free,
    len: u32,
}

impl Magazine {
    pub(super) const fn new() -> Self {
        Self {
            head: ptr::null_mut(),
            len: 0,
        }
    }

    #[inline(always)]
    fn pop(&mut self) -> Option<NonNull<Free>> {
        let object = NonNull::new(self.head)?;
        // SAFETY: the object is free and in this list, so its first word is a link that we wrote.
        self.head = unsafe { object.as_ref() }.next;
        self.len -= 1;
        Some(object)
    }

    /// Adds a free object that belongs to nobody else.
    #[inline(always)]
    fn push(&mut self, object: NonNull<Free>) {
        let next = self.head;
        // SAFETY: the object is free memory of at least a word, aligned for one, and ours.
        unsafe { object.write(Free { next }) };
        self.head = object.as_ptr();
        self.len += 1;
    }
}

/// The slabs of a cache that have free objects, linked through their head frames' descriptors.
#[derive(Debug)]
struct Slabs {
    head: u32,
    /// Slabs in the list without any object in use.
    empty: u32,
}

/// A cache of objects of one size.
#[derive(Debug)]
pub struct Cache {
    name: &'static str,
    id: usize,
    size: usize,
    order: usize,
    slabs: SpinLock<Slabs>,
    slab_count: AtomicUsize,
    /// Objects outside the slabs: in use, or in a magazine.
    out: AtomicUsize,
}

/// The numbers of a cache, for `/proc/slabinfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheStats {
    /// The cache's name.
    pub name: &'static str,
    /// Bytes in an object.
    pub size: usize,
    /// Objects in use, those in the CPUs' magazines included.
    pub active: usize,
    /// Objects there is room for.
    pub total: usize,
    /// Objects in a slab.
    pub per_slab: usize,
    /// Frames in a slab.
    pub frames_per_slab: usize,
}

impl Cache {
    /// A cache of objects of `size` bytes, aligned to the largest power of two that divides it.
    ///
    /// `id` is the cache's own slot in every CPU's magazines.
    pub const fn new(name: &'static str, id: usize, size: usize) -> Self {
        assert!(id < MAX_CACHES && size >= 8 && size.is_multiple_of(8));
        // Eight objects in a slab, or as many as a block of 8 KiB has.
        let order = if size * 8 <= PAGE_SIZE { 0 } else { 1 };
        assert!(size <= PAGE_SIZE << order);
        Self {
            name,
            id,
            size,
            order,
            slabs: SpinLock::new(Slabs {
                head: NONE,
                empty: 0,
            }),
            slab_count: AtomicUsize::new(0),
            out: AtomicUsize::new(0),
        }
    }

    const fn bytes(&self) -> usize {
        PAGE_SIZE << self.order
    }

    const fn per_slab(&self) -> u32 {
        (self.bytes() / self.size) as u32
    }

    /// Objects that move between a magazine and the slabs at a time.
    const fn batch(&self) -> u32 {
        match self.size {
            0..=256 => 32,
            257..=1024 => 16,
            _ => 4,
        }
    }

    /// Takes an object, not initialised.
    ///
    /// # Context
    /// Task or softirq. May take the cache's lock.
    #[inline]
    pub fn alloc(&self) -> Option<NonNull<u8>> {
        let object = percpu::with(|cpu| {
            let magazine = &mut cpu.magazines[self.id];
            magazine.pop()
        });
        let object = match object {
            Some(object) => object,
            None => self.refill()?,
        };
        if cfg!(debug_assertions) {
            self.check_poison(object);
        }
        Some(object.cast())
    }

    /// Gives an object back.
    ///
    /// # Safety
    /// The object came from this cache's [`Cache::alloc`], and nobody uses it any more.
    ///
    /// # Context
    /// Task or softirq. May take the cache's lock.
    #[inline]
    pub unsafe fn free(&self, object: NonNull<u8>) {
        let object: NonNull<Free> = object.cast();
        if cfg!(debug_assertions) {
            self.poison(object);
        }
        let full = percpu::with(|cpu| {
            let magazine = &mut cpu.magazines[self.id];
            magazine.push(object);
            magazine.len >= 2 * self.batch()
        });
        if full {
            self.drain();
        }
    }

    /// Moves a batch from the slabs into this CPU's magazine, and returns one object of it.
    #[cold]
    fn refill(&self) -> Option<NonNull<Free>> {
        let mut batch = Magazine::new();
        while batch.len < self.batch() {
            let mut slabs = self.slabs.lock();
            let slab = match slabs.head {
                NONE if batch.len > 0 => break,
                NONE => {
                    drop(slabs);
                    let slab = self.grow()?;
                    slabs = self.slabs.lock();
                    self.link(&mut slabs, slab);
                    slabs.empty += 1;
                    continue;
                }
                head => Pfn(head),
            };
            self.take(&mut slabs, slab, &mut batch);
        }
        self.out.fetch_add(batch.len as usize, Relaxed);
        let first = batch.pop();
        percpu::with(|cpu| {
            let magazine = &mut cpu.magazines[self.id];
            while let Some(object) = batch.pop() {
                magazine.push(object);
            }
        });
        first
    }

    /// Moves free objects of a listed slab into `batch` until that is full, or the slab is used up and leaves the list.
    fn take(&self, slabs: &mut Slabs, slab: Pfn, batch: &mut Magazine) {
        let mut counts = Counts::of(slab);
        slabs.empty -= u32::from(counts.used == 0);
        let descriptor = frame(slab);
        let mut free = descriptor.word.load(Relaxed) as *mut Free;
        while batch.len < self.batch() && u32::from(counts.used) < self.per_slab() {
            let object = match NonNull::new(free) {
                Some(object) => {
                    // SAFETY: the object is in the slab's list of free objects, whose links we wrote.
                    free = unsafe { object.as_ref() }.next;
                    object
                }
                None => {
                    let at = usize::from(counts.fresh) * self.size;
                    counts.fresh += 1;
                    // SAFETY: `fresh` counts objects handed out from the start; not all are in use, so this one fits.
                    let object = unsafe { slab.virt().add(at) };
                    NonNull::new(object.cast()).expect("the direct map is not at address 0")
                }
            };
            counts.used += 1;
            batch.push(object);
        }
        descriptor.word.store(free as u64, Relaxed);
        counts.store(slab);
        if u32::from(counts.used) == self.per_slab() {
            self.unlink(slabs, slab);
        }
    }

    /// Makes a slab, not yet listed.
    fn grow(&self) -> Option<Pfn> {
        let slab = alloc_frames(self.order, Gfp::KERNEL)?;
        let descriptor = frame(slab);
        descriptor.set_state(state::SLAB);
        descriptor.word.store(0, Relaxed);
        Counts { used: 0, fresh: 0 }.store(slab);
        if cfg!(debug_assertions) {
            // SAFETY: the slab was just allocated, so it is ours alone.
            unsafe { ptr::write_bytes(slab.virt(), POISON, self.bytes()) };
        }
        self.slab_count.fetch_add(1, Relaxed);
        Some(slab)
    }

    /// Moves a batch from this CPU's magazine back to the slabs.
    #[cold]
    fn drain(&self) {
        let mut batch = Magazine::new();
        percpu::with(|cpu| {
            let magazine = &mut cpu.magazines[self.id];
            while batch.len < self.batch() {
                let Some(object) = magazine.pop() else { break };
                batch.push(object);
            }
        });
        self.out.fetch_sub(batch.len as usize, Relaxed);
        while let Some(object) = batch.pop() {
            self.put(object);
        }
    }

    /// Puts a free object back into its slab.
    fn put(&self, object: NonNull<Free>) {
        let at = object.as_ptr() as usize & !(self.bytes() - 1);
        let slab = virt_to_phys(at as *const u8).pfn();
        let descriptor = frame(slab);
        assert_eq!(
            descriptor.state(),
            state::SLAB,
            "{}: {object:?} is not in a slab",
            self.name
        );
        let mut slabs = self.slabs.lock();
        let next = descriptor.word.load(Relaxed) as *mut Free;
        // SAFETY: the object is free and ours.
        unsafe { object.write(Free { next }) };
        descriptor.word.store(object.as_ptr() as u64, Relaxed);
        let mut counts = Counts::of(slab);
        if u32::from(counts.used) == self.per_slab() {
            self.link(&mut slabs, slab);
        }
        counts.used -= 1;
        counts.store(slab);
        if counts.used > 0 {
            return;
        }
        slabs.empty += 1;
        if slabs.empty > 1 {
            slabs.empty -= 1;
            self.unlink(&mut slabs, slab);
            drop(slabs);
            self.slab_count.fetch_sub(1, Relaxed);
            descriptor.set_state(state::PLAIN);
            free_frames(slab, self.order);
        }
    }

    fn link(&self, slabs: &mut Slabs, slab: Pfn) {
        let descriptor = frame(slab);
        descriptor.prev.store(NONE, Relaxed);
        descriptor.next.store(slabs.head, Relaxed);
        if slabs.head != NONE {
            frame(Pfn(slabs.head)).prev.store(slab.0, Relaxed);
        }
        slabs.head = slab.0;
    }

    fn unlink(&self, slabs: &mut Slabs, slab: Pfn) {
        let descriptor = frame(slab);
        let (prev, next) = (descriptor.prev.load(Relaxed), descriptor.next.load(Relaxed));
        match prev {
            NONE => slabs.head = next,
            prev => frame(Pfn(prev)).next.store(next, Relaxed),
        }
        if next != NONE {
            frame(Pfn(next)).prev.store(prev, Relaxed);
        }
    }

    fn poison(&self, object: NonNull<Free>) {
        let rest = self.size - size_of::<Free>();
        // SAFETY: the object is free and ours, and has `size` bytes.
        unsafe { ptr::write_bytes(object.as_ptr().add(1).cast::<u8>(), POISON, rest) };
    }

    fn check_poison(&self, object: NonNull<Free>) {
        let rest = self.size - size_of::<Free>();
        // SAFETY: the object is ours, has `size` bytes, and all of them are initialised: by `poison` or `grow`.
        let bytes =
            unsafe { core::slice::from_raw_parts(object.as_ptr().add(1).cast::<u8>(), rest) };
        let intact = bytes.iter().all(|byte| *byte == POISON);
        assert!(intact, "{}: {object:?} written after free", self.name);
    }

    /// The numbers as they are now.
    pub fn stats(&self) -> CacheStats {
        let per_slab = self.per_slab() as usize;
        CacheStats {
            name: self.name,
            size: self.size,
            active: self.out.load(Relaxed),
            total: self.slab_count.load(Relaxed) * per_slab,
            per_slab,
            frames_per_slab: 1 << self.order,
        }
    }
}

/// A slab's counts, kept in its head frame's descriptor; guarded by the cache's lock.
#[derive(Clone, Copy)]
struct Counts {
    /// Objects that are out.
    used: u16,
    /// Objects that were handed out at least once, from the start of the slab.
    fresh: u16,
}

impl Counts {
    fn of(slab: Pfn) -> Self {
        let word = frame(slab).private.load(Relaxed);
        Self {
            used: word as u16,
            fresh: (word >> 16) as u16,
        }
    }

    fn store(self, slab: Pfn) {
        let word = u32::from(self.used) | u32::from(self.fresh) << 16;
        frame(slab).private.store(word, Relaxed);
    }
}
