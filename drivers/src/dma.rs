//! Memory that devices read and write by themselves.
//!
//! Two kinds, by who may look at them when:
//!
//! - A [`DmaBuf`] has one owner at a time. While a driver holds it, it is bytes like any others; to let a device at it, it is
//!   *given away* with the request, and comes back with the answer. Nobody can look at it in between, nor free it: a
//!   request that is given up leaves its buffer with the driver until the device is through with it.
//! - A [`DmaShared`] is seen by both sides at the same time (descriptor rings). It is read and written by single accesses
//!   that each happen exactly once; it never turns into a slice.
//!
//! Both are aligned to their size rounded up to a power of two, up to a page, and follow each other in the device's address space.
#![allow(unsafe_code, reason = "memory that is shared with devices")]

use alloc::sync::Arc;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::slice;

use crate::io::Value;

/// Largest alignment that is asked for: a page.
const PAGE: usize = 4096;

/// There is no memory that the device can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

impl fmt::Display for NoMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no memory that the device can reach")
    }
}

impl core::error::Error for NoMemory {}

/// A piece of memory, as the driver and as the device see it.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Where the driver finds it.
    pub start: NonNull<u8>,
    /// Where the device finds it.
    pub bus: u64,
    /// Its size in bytes, as it was asked for.
    pub len: usize,
}

/// Where memory for devices comes from: the frame allocator on the machine, a model in a test.
///
/// # Safety
/// A piece that was given out is zeroed, has its whole length, is aligned as asked, lies below `limit` for the device, and
/// belongs to whoever asked until it is given back.
pub unsafe trait DmaMemory: Send + Sync {
    /// Gives out `len` bytes (at least one) whose last has an address of at most `limit` for the device.
    ///
    /// # Context
    /// Task.
    fn allocate(&self, len: usize, align: usize, limit: u64) -> Option<Piece>;

    /// Takes a piece back.
    ///
    /// # Safety
    /// It was given out here, once, and neither driver nor device touch it any more.
    unsafe fn free(&self, piece: Piece);
}

/// The memory that one device can reach.
#[derive(Clone)]
pub struct Dma {
    memory: Arc<dyn DmaMemory>,
    limit: u64,
}

impl Dma {
    /// Memory for a device that reaches addresses up to `limit`.
    pub fn new(memory: Arc<dyn DmaMemory>, limit: u64) -> Self {
        Self { memory, limit }
    }

    /// The same memory for a device whose addresses have only `bits` bits.
    pub fn limited_to(&self, bits: u32) -> Self {
        let limit = u64::MAX >> (64 - bits.clamp(1, 64));
        Self::new(self.memory.clone(), limit.min(self.limit))
    }

    /// A buffer of `len` zero bytes.
    ///
    /// # Context
    /// Task.
    /// # Errors
    /// [`NoMemory`].
    pub fn buffer(&self, len: usize) -> Result<DmaBuf, NoMemory> {
        Ok(DmaBuf {
            owned: self.allocate(len)?,
            len,
        })
    }

    /// Memory of `len` zero bytes that both sides see.
    ///
    /// # Context
    /// Task.
    /// # Errors
    /// [`NoMemory`].
    pub fn shared(&self, len: usize) -> Result<DmaShared, NoMemory> {
        Ok(DmaShared(self.allocate(len)?))
    }

    fn allocate(&self, len: usize) -> Result<Owned, NoMemory> {
        let size = len.max(1);
        let align = size.checked_next_power_of_two().ok_or(NoMemory)?.min(PAGE);
        let piece = self.memory.allocate(size, align, self.limit);
        Ok(Owned {
            piece: piece.ok_or(NoMemory)?,
            memory: self.memory.clone(),
        })
    }
}

impl fmt::Debug for Dma {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dma")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// A piece that is given back when it goes.
struct Owned {
    piece: Piece,
    memory: Arc<dyn DmaMemory>,
}

// SAFETY: the piece has one owner, and no part of it depends on a thread.
unsafe impl Send for Owned {}
// SAFETY: what `&Owned` can do is in the types that wrap it, which see to it.
unsafe impl Sync for Owned {}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: (1) it was given out by this memory; (2) this is its one owner, dropped once; (3) what wraps it is not
        // dropped while a device uses it: see `DmaBuf::leak` and the rings that hold buffers.
        unsafe { self.memory.free(self.piece) };
    }
}

/// A buffer with one owner: the driver, or the request that it was given to.
pub struct DmaBuf {
    owned: Owned,
    len: usize,
}

impl DmaBuf {
    /// Where the device finds it.
    pub fn bus_address(&self) -> u64 {
        self.owned.piece.bus
    }

    /// Cuts it to its first `len` bytes; longer than it is leaves it as it is.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// How many bytes it was made with.
    pub fn capacity(&self) -> usize {
        self.owned.piece.len
    }

    /// Never frees it: for a device that may still write to it and cannot be made to stop.
    pub fn leak(self) {
        core::mem::forget(self);
    }
}

impl Deref for DmaBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the piece is ours alone, has at least `len` bytes, all of which were written when it was given out.
        unsafe { slice::from_raw_parts(self.owned.piece.start.as_ptr(), self.len) }
    }
}

impl DerefMut for DmaBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`.
        unsafe { slice::from_raw_parts_mut(self.owned.piece.start.as_ptr(), self.len) }
    }
}

impl fmt::Debug for DmaBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DmaBuf")
            .field("bus", &self.bus_address())
            .field("len", &self.len)
            .finish()
    }
}

/// Memory that driver and device see at the same time.
pub struct DmaShared(Owned);

impl DmaShared {
    /// Where the device finds it.
    pub fn bus_address(&self) -> u64 {
        self.0.piece.bus
    }

    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.0.piece.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the value at `offset`, once.
    ///
    /// # Panics
    /// If it is not inside or not aligned: rings compute offsets from their own sizes only.
    #[inline]
    pub fn read<T: Value>(&self, offset: usize) -> T {
        let at = self.place::<T>(offset);
        // SAFETY: `place` checked bounds and alignment, and any bits are a value.
        unsafe { at.read_volatile() }
    }

    /// Writes the value at `offset`, once.
    ///
    /// # Panics
    /// As [`DmaShared::read`].
    #[inline]
    pub fn write<T: Value>(&self, offset: usize, value: T) {
        let at = self.place::<T>(offset);
        // SAFETY: as for `read`; nobody has a reference into this memory.
        unsafe { at.write_volatile(value) }
    }

    #[inline]
    fn place<T: Value>(&self, offset: usize) -> *mut T {
        assert!(
            offset.is_multiple_of(size_of::<T>())
                && offset < self.len()
                && size_of::<T>() <= self.len() - offset,
            "ring access at {offset:#x} is not in {:#x} bytes",
            self.len()
        );
        // SAFETY: the offset is inside the piece.
        unsafe { self.0.piece.start.as_ptr().add(offset).cast() }
    }

    /// Never frees it, as [`DmaBuf::leak`].
    pub fn leak(self) {
        core::mem::forget(self);
    }
}

impl fmt::Debug for DmaShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DmaShared")
            .field("bus", &self.bus_address())
            .field("len", &self.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::SimulatedMemory;

    #[test]
    fn buffers_are_zero_aligned_and_below_the_limit() {
        let memory = SimulatedMemory::new();
        let dma = Dma::new(memory.clone(), u64::MAX).limited_to(28);
        let a = dma.buffer(1000).unwrap();
        assert_eq!((a.len(), a.capacity()), (1000, 1000));
        assert!(a.iter().all(|b| *b == 0));
        assert!(a.bus_address().is_multiple_of(1024) && a.bus_address() + 1000 <= 1 << 28);
        let b = dma.buffer(100_000).unwrap();
        assert!(b.bus_address().is_multiple_of(4096));
        assert!(dma.limited_to(4).buffer(64).is_err());
        drop((a, b));
        assert_eq!(memory.live(), 0);
    }

    #[test]
    fn the_device_sees_what_the_driver_wrote() {
        let memory = SimulatedMemory::new();
        let dma = Dma::new(memory.clone(), u64::MAX);
        let mut buffer = dma.buffer(8).unwrap();
        buffer[3] = 9;
        let ring = dma.shared(64).unwrap();
        ring.write(8, 0xabcd_u16);
        let mut seen = [0; 2];
        memory
            .read(buffer.bus_address() + 3, &mut seen[..1])
            .unwrap();
        assert_eq!(seen[0], 9);
        memory.read(ring.bus_address() + 8, &mut seen).unwrap();
        assert_eq!(seen, [0xcd, 0xab]);
        memory.write(ring.bus_address() + 8, &[1, 0]).unwrap();
        assert_eq!(ring.read::<u16>(8), 1);
    }

    #[test]
    #[should_panic(expected = "is not in")]
    fn rings_do_not_reach_beyond_their_end() {
        let ring = Dma::new(SimulatedMemory::new(), u64::MAX)
            .shared(64)
            .unwrap();
        ring.read::<u32>(64);
    }
}
