//! Memory as a simulated device sees it, and registers that only remember.
#![allow(unsafe_code, reason = "plays the device's side of DMA")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

use crate::dma::{DmaMemory, Piece};
use crate::io::{Io, Width};

/// A device touched memory that nobody gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The address.
    pub bus: u64,
}

/// Memory for simulated devices: what is given out here, and nothing else, can be reached by its bus address.
#[derive(Debug)]
pub struct SimulatedMemory {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    pieces: BTreeMap<u64, Held>,
    next: u64,
    refuse: bool,
}

#[derive(Debug)]
struct Held {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the pieces are plain memory, reached under the lock.
unsafe impl Send for Held {}

/// Where bus addresses begin: not where the driver sees the memory, so that a mix-up shows.
const FIRST: u64 = 0x10_0000;
/// A gap after each piece, so that an access beyond its end is a fault.
const GAP: u64 = 4096;

impl SimulatedMemory {
    /// No memory given out yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                pieces: BTreeMap::new(),
                next: FIRST,
                refuse: false,
            }),
        })
    }

    /// Pieces that were not given back.
    pub fn live(&self) -> usize {
        self.inner.lock().unwrap().pieces.len()
    }

    /// From now on there is no memory, or there is again.
    pub fn refuse(&self, on: bool) {
        self.inner.lock().unwrap().refuse = on;
    }

    /// The device reads.
    ///
    /// # Errors
    /// [`Fault`] unless it all lies in one piece.
    pub fn read(&self, bus: u64, to: &mut [u8]) -> Result<(), Fault> {
        let inner = self.inner.lock().unwrap();
        let from = inner.find(bus, to.len())?;
        // SAFETY: the range lies in a live piece; the driver looks at it only while the device does not (`DmaBuf`), or by
        // single accesses in this same thread (`DmaShared`).
        unsafe { from.copy_to_nonoverlapping(to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    /// The device writes.
    ///
    /// # Errors
    /// [`Fault`] unless it all lies in one piece.
    pub fn write(&self, bus: u64, bytes: &[u8]) -> Result<(), Fault> {
        let inner = self.inner.lock().unwrap();
        let to = inner.find(bus, bytes.len())?;
        // SAFETY: as for `read`.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    /// The device reads a 16-bit number.
    ///
    /// # Errors
    /// As [`SimulatedMemory::read`].
    pub fn read16(&self, bus: u64) -> Result<u16, Fault> {
        let mut bytes = [0; 2];
        self.read(bus, &mut bytes)?;
        Ok(u16::from_le_bytes(bytes))
    }
}

impl Inner {
    fn find(&self, bus: u64, len: usize) -> Result<*mut u8, Fault> {
        let (start, held) = self.pieces.range(..=bus).next_back().ok_or(Fault { bus })?;
        let offset = (bus - start) as usize;
        match held.layout.size().checked_sub(offset) {
            // SAFETY: the offset is inside the allocation.
            Some(rest) if rest >= len => Ok(unsafe { held.start.as_ptr().add(offset) }),
            _ => Err(Fault { bus }),
        }
    }
}

// SAFETY: (1) `alloc_zeroed` with the layout asked for; (2) bus addresses are given out once and checked against the limit.
unsafe impl DmaMemory for SimulatedMemory {
    fn allocate(&self, len: usize, align: usize, limit: u64) -> Option<Piece> {
        let mut inner = self.inner.lock().unwrap();
        let layout = Layout::from_size_align(len, align).ok()?;
        let bus = inner.next.next_multiple_of(align as u64);
        if inner.refuse || bus + (len as u64 - 1) > limit {
            return None;
        }
        // SAFETY: the size is not zero, as the trait says.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        inner.next = bus + len as u64 + GAP;
        inner.pieces.insert(bus, Held { start, layout });
        Some(Piece { start, bus, len })
    }

    unsafe fn free(&self, piece: Piece) {
        let held = self.inner.lock().unwrap().pieces.remove(&piece.bus);
        let held = held.expect("what is given back was given out");
        // SAFETY: it was allocated with this layout, and the caller has done with it.
        unsafe { dealloc(held.start.as_ptr(), held.layout) };
    }
}

/// Registers that keep what is written to them.
#[derive(Debug)]
pub struct Memory(Mutex<Vec<u8>>);

impl Memory {
    /// `len` bytes of zeros.
    pub fn new(len: usize) -> Self {
        Self(Mutex::new(std::vec![0; len]))
    }

    /// These bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Mutex::new(bytes.to_vec()))
    }
}

impl Io for Memory {
    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn read(&self, offset: usize, width: Width) -> u64 {
        let bytes = self.0.lock().unwrap();
        let mut value = [0; 8];
        value[..width.bytes()].copy_from_slice(&bytes[offset..][..width.bytes()]);
        u64::from_le_bytes(value)
    }

    fn write(&self, offset: usize, width: Width, value: u64) {
        self.0.lock().unwrap()[offset..][..width.bytes()]
            .copy_from_slice(&value.to_le_bytes()[..width.bytes()]);
    }
}
