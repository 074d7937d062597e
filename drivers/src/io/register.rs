//! The description of one register.

use core::fmt;
use core::marker::PhantomData;

use super::Width;

mod sealed {
    pub trait Sealed {}
}

/// What a register holds: an unsigned number of its width.
pub trait Value: Copy + sealed::Sealed {
    /// The width.
    const WIDTH: Width;
    /// From the low bits of what an access gave.
    fn from_bits(bits: u64) -> Self;
    /// As the low bits of what an access takes.
    fn to_bits(self) -> u64;
}

macro_rules! values {
    ($($ty:ty: $width:ident),*) => {$(
        impl sealed::Sealed for $ty {}
        impl Value for $ty {
            const WIDTH: Width = Width::$width;
            fn from_bits(bits: u64) -> Self {
                bits as $ty
            }
            fn to_bits(self) -> u64 {
                u64::from(self)
            }
        }
    )*};
}
values!(u8: U8, u16: U16, u32: U32, u64: U64);

/// What may be done with a register.
pub trait Access: sealed::Sealed {}
/// It may be read.
pub trait Readable: Access {}
/// It may be written.
pub trait Writable: Access {}

macro_rules! accesses {
    ($($(#[$doc:meta])* $name:ident: $($can:ident),*;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
        impl sealed::Sealed for $name {}
        impl Access for $name {}
        $(impl $can for $name {})*
    )*};
}
accesses! {
    /// Only read.
    ReadOnly: Readable;
    /// Only written.
    WriteOnly: Writable;
    /// Read and written.
    ReadWrite: Readable, Writable;
}

/// A register: where it is, how wide, and what may be done with it.
pub struct Reg<T, A> {
    offset: usize,
    kind: PhantomData<fn(T) -> A>,
}

impl<T: Value, A: Access> Reg<T, A> {
    /// The register at `offset` bytes from the start of its region.
    ///
    /// # Panics
    /// If it is not aligned to its width; in a constant, that does not compile.
    pub const fn new(offset: usize) -> Self {
        assert!(
            offset.is_multiple_of(T::WIDTH.bytes()),
            "a register is aligned to its width"
        );
        Self {
            offset,
            kind: PhantomData,
        }
    }

    /// Where it is.
    pub const fn offset(self) -> usize {
        self.offset
    }

    /// The same register of entry `index` of a table whose entries are `stride` bytes apart.
    ///
    /// # Panics
    /// If the stride is no multiple of the width.
    pub const fn of_entry(self, index: usize, stride: usize) -> Self {
        Self::new(self.offset + index * stride)
    }
}

impl<T, A> Clone for Reg<T, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, A> Copy for Reg<T, A> {}

impl<T: Value, A: Access> fmt::Debug for Reg<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reg<{:?}>({:#x})", T::WIDTH, self.offset)
    }
}
