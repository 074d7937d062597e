//! A fixed-size ring of bytes.

use alloc::{boxed::Box, collections::TryReserveError, vec::Vec};

/// A first-in first-out queue of bytes in a buffer allocated once.
#[derive(Debug)]
pub struct ByteRing {
    buf: Box<[u8]>,
    start: usize,
    len: usize,
}

impl ByteRing {
    /// Makes a ring of `capacity` bytes.
    ///
    /// # Errors
    /// When the buffer cannot be allocated.
    pub fn try_new(capacity: usize) -> Result<Self, TryReserveError> {
        let mut buf = Vec::new();
        buf.try_reserve_exact(capacity)?;
        buf.resize(capacity, 0);
        Ok(Self {
            buf: buf.into_boxed_slice(),
            start: 0,
            len: 0,
        })
    }

    /// Bytes held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes it would still take.
    pub fn room(&self) -> usize {
        self.buf.len() - self.len
    }

    /// Appends as much of `bytes` as fits and returns how much that was.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.room());
        let end = self.wrap(self.start + self.len);
        let first = n.min(self.buf.len() - end);
        self.buf[end..end + first].copy_from_slice(&bytes[..first]);
        self.buf[..n - first].copy_from_slice(&bytes[first..n]);
        self.len += n;
        n
    }

    /// The longest run of oldest bytes that lies together in memory.
    pub fn front(&self) -> &[u8] {
        let n = self.len.min(self.buf.len() - self.start);
        &self.buf[self.start..self.start + n]
    }

    /// Drops the oldest `n` bytes, or all.
    pub fn consume(&mut self, n: usize) {
        let n = n.min(self.len);
        self.start = self.wrap(self.start + n);
        self.len -= n;
    }

    /// Moves up to `out.len()` of the oldest bytes into `out` and returns how many.
    pub fn pop(&mut self, out: &mut [u8]) -> usize {
        let mut done = 0;
        while done < out.len() && !self.is_empty() {
            let run = self.front();
            let n = run.len().min(out.len() - done);
            out[done..done + n].copy_from_slice(&run[..n]);
            done += n;
            self.consume(n);
        }
        done
    }

    /// Forgets everything held.
    pub fn clear(&mut self) {
        self.start = 0;
        self.len = 0;
    }

    fn wrap(&self, at: usize) -> usize {
        if at >= self.buf.len() {
            at - self.buf.len()
        } else {
            at
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn behaves_as_a_queue_of_bytes() {
        let mut ring = ByteRing::try_new(7).unwrap();
        let mut model = VecDeque::new();
        let mut seed = 1u32;
        for step in 0..10_000u32 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let n = (seed >> 16) as usize % 9;
            if seed >> 31 == 0 {
                let bytes: std::vec::Vec<u8> = (0..n).map(|i| (step as usize + i) as u8).collect();
                let took = ring.push(&bytes);
                assert_eq!(took, n.min(7 - model.len()));
                model.extend(&bytes[..took]);
            } else {
                let mut out = [0; 9];
                let got = ring.pop(&mut out[..n]);
                let want: std::vec::Vec<u8> = model.drain(..n.min(model.len())).collect();
                assert_eq!(out[..got], want);
            }
            assert_eq!((ring.len(), ring.room()), (model.len(), 7 - model.len()));
        }
    }

    #[test]
    fn empty_ring_of_nothing_takes_nothing() {
        let mut ring = ByteRing::try_new(0).unwrap();
        assert_eq!(ring.push(b"x"), 0);
        assert_eq!(ring.pop(&mut [0]), 0);
    }
}
