//! Device registers: typed, and reached through a small trait that the machine and simulated devices implement.
//!
//! A driver names each register once, with its offset, its width and what may be done with it, and a [`Region`] gives
//! access to them. Reading what cannot be read, writing another width, and a register that is not aligned to its width
//! do not compile.
//!
//! ```
//! use drivers::io::{ReadOnly, ReadWrite, Reg, Region};
//!
//! const IDENTITY: Reg<u32, ReadOnly> = Reg::new(0x00);
//! const LIVENESS: Reg<u32, ReadWrite> = Reg::new(0x04);
//!
//! fn is_alive(registers: &Region) -> bool {
//!     registers.write(LIVENESS, 0x1234_5678);
//!     registers.read(LIVENESS) == !0x1234_5678 && registers.read(IDENTITY) & 0xff == 0xed
//! }
//! ```
//!
//! ```compile_fail
//! # use drivers::io::{ReadOnly, ReadWrite, Reg, Region};
//! const LIVENESS: Reg<u32, ReadWrite> = Reg::new(0x04);
//! fn wrong_width(registers: &Region) {
//!     registers.write(LIVENESS, 1u16);
//! }
//! ```
//!
//! ```compile_fail
//! # use drivers::io::{ReadOnly, ReadWrite, Reg, Region};
//! const IDENTITY: Reg<u32, ReadOnly> = Reg::new(0x00);
//! fn cannot_be_written(registers: &Region) {
//!     registers.write(IDENTITY, 1u32);
//! }
//! ```
//!
//! ```compile_fail
//! # use drivers::io::{ReadWrite, Reg};
//! const MISALIGNED: Reg<u32, ReadWrite> = Reg::new(0x02);
//! # fn main() { let _ = MISALIGNED; }
//! ```

mod register;

use alloc::sync::Arc;
use core::fmt;
use core::ops::Range;

pub use register::{Access, ReadOnly, ReadWrite, Readable, Reg, Value, Writable, WriteOnly};

/// How many bytes one access moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Width {
    /// One byte.
    U8 = 1,
    /// Two bytes.
    U16 = 2,
    /// Four bytes.
    U32 = 4,
    /// Eight bytes.
    U64 = 8,
}

impl Width {
    /// The number of bytes.
    pub const fn bytes(self) -> usize {
        self as usize
    }

    /// What a bus gives where nobody answers.
    pub const fn all_ones(self) -> u64 {
        u64::MAX >> (64 - 8 * self.bytes())
    }
}

/// A block of registers of one device: memory-mapped or behind ports on the machine, a model in a test.
///
/// Callers stay within [`Io::len`] and aligned to the width: [`Region`] sees to that.
pub trait Io: Send + Sync {
    /// The number of bytes.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads a register, with the side effects that has.
    ///
    /// # Context
    /// Any.
    fn read(&self, offset: usize, width: Width) -> u64;

    /// Writes a register, after everything that was written to memory before.
    ///
    /// # Context
    /// Any.
    fn write(&self, offset: usize, width: Width, value: u64);
}

/// A window on the registers of a device.
#[derive(Clone)]
pub struct Region {
    io: Arc<dyn Io>,
    start: usize,
    len: usize,
}

impl Region {
    /// All of a block.
    pub fn new(io: Arc<dyn Io>) -> Self {
        let len = io.len();
        Self { io, start: 0, len }
    }

    /// A part of it; `None` if that is not all inside.
    pub fn part(&self, range: Range<usize>) -> Option<Self> {
        let len = range.end.checked_sub(range.start)?;
        (range.end <= self.len).then(|| Self {
            io: self.io.clone(),
            start: self.start + range.start,
            len,
        })
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads `register`. One beyond the end reads as a bus does where nobody answers: all ones.
    ///
    /// # Context
    /// Any.
    #[inline]
    pub fn read<T: Value, A: Readable>(&self, register: Reg<T, A>) -> T {
        match self.place(register.offset(), T::WIDTH) {
            Some(offset) => T::from_bits(self.io.read(offset, T::WIDTH)),
            None => T::from_bits(T::WIDTH.all_ones()),
        }
    }

    /// Writes `register`. One beyond the end is lost, as on a bus where nobody answers.
    ///
    /// # Context
    /// Any.
    #[inline]
    pub fn write<T: Value, A: Writable>(&self, register: Reg<T, A>, value: T) {
        if let Some(offset) = self.place(register.offset(), T::WIDTH) {
            self.io.write(offset, T::WIDTH, value.to_bits());
        }
    }

    fn place(&self, offset: usize, width: Width) -> Option<usize> {
        let end = offset.checked_add(width.bytes())?;
        let place = self.start + offset;
        (end <= self.len && place.is_multiple_of(width.bytes())).then_some(place)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("start", &self.start)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::Memory;

    const FIRST: Reg<u32, ReadWrite> = Reg::new(0);
    const SECOND: Reg<u16, ReadWrite> = Reg::new(4);
    const LAST: Reg<u8, ReadOnly> = Reg::new(15);

    #[test]
    fn registers_have_their_width_and_place() {
        let region = Region::new(Arc::new(Memory::new(16)));
        region.write(FIRST, 0x1122_3344);
        region.write(SECOND, 0x5566);
        assert_eq!(region.read(FIRST), 0x1122_3344);
        assert_eq!(region.read(Reg::<u8, ReadOnly>::new(1)), 0x33);
        assert_eq!(region.read(Reg::<u64, ReadOnly>::new(0)), 0x5566_1122_3344);
    }

    #[test]
    fn beyond_the_end_nobody_answers() {
        let region = Region::new(Arc::new(Memory::new(16)));
        let part = region.part(8..12).unwrap();
        part.write(SECOND, 7);
        assert_eq!(part.read(SECOND), 0xffff);
        assert_eq!(part.read(LAST), 0xff);
        assert_eq!(region.read(Reg::<u64, ReadOnly>::new(8)), 0);
        assert!(part.part(2..5).is_none());
        let (start, end) = (3, 2);
        assert!(part.part(start..end).is_none());
    }

    #[test]
    fn a_window_at_an_odd_place_does_not_misalign() {
        let region = Region::new(Arc::new(Memory::new(16)));
        let odd = region.part(2..16).unwrap();
        odd.write(FIRST, 1);
        assert_eq!(odd.read(FIRST), u32::MAX);
    }
}
