//! Received bytes waiting for a reader, and where among them lines end.

use alloc::{boxed::Box, collections::TryReserveError, vec::Vec};

/// Bytes the input queue holds, and with that the longest canonical line, its end included.
pub const INPUT_SIZE: usize = 4096;

/// The input buffer. Positions run freely and are masked on use, so `head - tail` is the number of bytes held.
///
/// `tail <= canon <= head`: readers of lines may take up to `canon`, the end of the last finished line; what lies
/// between `canon` and `head` is the line being edited.
#[derive(Debug)]
pub(super) struct InputQueue {
    buf: Box<[u8]>,
    /// A set bit marks the byte that ends a line.
    ends: [u64; INPUT_SIZE / 64],
    pub(super) head: usize,
    pub(super) tail: usize,
    pub(super) canon: usize,
}

const fn slot(at: usize) -> usize {
    at & (INPUT_SIZE - 1)
}

impl InputQueue {
    pub(super) fn try_new() -> Result<Self, TryReserveError> {
        let mut buf = Vec::new();
        buf.try_reserve_exact(INPUT_SIZE)?;
        buf.resize(INPUT_SIZE, 0);
        Ok(Self {
            buf: buf.into_boxed_slice(),
            ends: [0; INPUT_SIZE / 64],
            head: 0,
            tail: 0,
            canon: 0,
        })
    }

    /// All bytes held, the line being edited included.
    pub(super) fn len(&self) -> usize {
        self.head.wrapping_sub(self.tail)
    }

    /// Bytes of finished lines.
    pub(super) fn canon_len(&self) -> usize {
        self.canon.wrapping_sub(self.tail)
    }

    /// Bytes of the line being edited.
    pub(super) fn editing_len(&self) -> usize {
        self.head.wrapping_sub(self.canon)
    }

    pub(super) fn byte(&self, at: usize) -> u8 {
        self.buf[slot(at)]
    }

    pub(super) fn is_end(&self, at: usize) -> bool {
        self.ends[slot(at) / 64] & (1 << (at % 64)) != 0
    }

    pub(super) fn set_end(&mut self, at: usize) {
        self.ends[slot(at) / 64] |= 1 << (at % 64);
    }

    fn clear_end(&mut self, at: usize) {
        self.ends[slot(at) / 64] &= !(1 << (at % 64));
    }

    /// Appends a byte; in a full queue it replaces the last one, so that a line can always be ended.
    pub(super) fn put(&mut self, byte: u8) {
        if self.len() == INPUT_SIZE {
            self.head = self.head.wrapping_sub(1);
        }
        self.buf[slot(self.head)] = byte;
        self.head = self.head.wrapping_add(1);
    }

    /// Appends as many of `bytes` as `room` and the buffer allow in two copies; returns how many.
    pub(super) fn put_slice(&mut self, bytes: &[u8], room: usize) -> usize {
        let n = bytes.len().min(room).min(INPUT_SIZE - self.len());
        let at = slot(self.head);
        let first = n.min(INPUT_SIZE - at);
        self.buf[at..at + first].copy_from_slice(&bytes[..first]);
        self.buf[..n - first].copy_from_slice(&bytes[first..n]);
        self.head = self.head.wrapping_add(n);
        n
    }

    /// Appends the byte that ends a line, and hands the line over to readers.
    pub(super) fn end_line(&mut self, byte: u8) {
        self.put(byte);
        self.set_end(self.head.wrapping_sub(1));
        self.canon = self.head;
    }

    /// The run of at most `max` bytes from the tail that lies together in memory.
    pub(super) fn run(&self, max: usize) -> &[u8] {
        let at = slot(self.tail);
        let n = max.min(self.len()).min(INPUT_SIZE - at);
        &self.buf[at..at + n]
    }

    /// Distance from the tail to the first line end among the first `max` bytes.
    pub(super) fn find_end(&self, max: usize) -> Option<usize> {
        let mut i = 0;
        while i < max {
            let at = slot(self.tail.wrapping_add(i));
            let word = self.ends[at / 64] >> (at % 64);
            if word != 0 {
                let found = i + word.trailing_zeros() as usize;
                return (found < max).then_some(found);
            }
            i += 64 - at % 64;
        }
        None
    }

    /// Takes `n` bytes off the tail, forgetting line ends among them.
    pub(super) fn consume(&mut self, n: usize) {
        debug_assert!(n <= self.len(), "more taken than held");
        for i in 0..n {
            self.clear_end(self.tail.wrapping_add(i));
        }
        self.tail = self.tail.wrapping_add(n);
        if (self.canon.wrapping_sub(self.tail)) > INPUT_SIZE {
            self.canon = self.tail;
        }
    }

    /// Forgets all line ends and, with them, which bytes belong to finished lines.
    pub(super) fn clear_ends(&mut self) {
        self.ends = [0; INPUT_SIZE / 64];
        self.canon = self.tail;
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.ends = [0; INPUT_SIZE / 64];
        self.head = self.tail;
        self.canon = self.tail;
    }
}
