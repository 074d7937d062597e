//! User memory as system calls see it: copies that have missing pages faulted in, and the ends of a transfer that file
//! operations copy through.
//!
//! The functions here may run the page-fault path, so the caller holds no spin lock; [`UserSink`] and [`UserSource`]
//! never do, so file operations may use them under locks: they stop at a missing page, and the system call's outer loop
//! ([`UserRange::resolve`]) faults it in and calls again.
#![allow(unsafe_code, reason = "views plain-data structures as bytes")]

use alloc::vec::Vec;
use core::mem::{MaybeUninit, size_of};

use fs::{Errno, Result, Sink, Source};

use crate::arch::uaccess;
use crate::task;

/// How often a copy goes on after resolving a fault without having moved a byte: another thread that keeps unmapping
/// the page gets `EFAULT` rather than this CPU.
const PATIENCE: u32 = 64;

/// Types that may be copied to and from user memory as they lie.
///
/// # Safety
/// Every bit pattern is a value, and the type has no padding (or is only ever written after being zeroed as a whole).
pub unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($t:ty),* $(,)?) => {$(
        // SAFETY: an integer, or a C structure of integers without padding.
        unsafe impl Plain for $t {}
    )*};
}

plain!(u8, i8, u16, i16, u32, i32, u64, i64, usize, isize);

// SAFETY: three integers that fill its eight bytes.
unsafe impl Plain for fs::poll::PollFd {}

// SAFETY: an array has the patterns of its elements and no padding between them.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// Faults in `len` bytes at `addr` of the running thread's address space.
fn fault_in(addr: u64, len: usize, write: bool) -> Result<()> {
    task::current_space()
        .ok_or(Errno::EFAULT)?
        .fault_in(addr, len, write)
}

/// Runs `copy(done)`, which gives the bytes still missing, until none are, resolving faults in between.
fn until_done(
    addr: u64,
    len: usize,
    write: bool,
    mut copy: impl FnMut(usize) -> usize,
) -> Result<()> {
    let (mut done, mut patience) = (0, PATIENCE);
    loop {
        let before = done;
        done = len - copy(done);
        if done == len {
            return Ok(());
        }
        patience = if done > before {
            PATIENCE
        } else {
            patience - 1
        };
        if patience == 0 || !uaccess::in_user_half(addr, len) {
            return Err(Errno::EFAULT);
        }
        fault_in(addr + done as u64, 1, write).map_err(|_| Errno::EFAULT)?;
    }
}

/// Fills `dst` from user address `addr`.
///
/// # Context
/// Task; no spin lock held.
/// # Errors
/// `EFAULT` where not all of it can be read.
#[inline]
pub fn read_bytes(addr: u64, dst: &mut [u8]) -> Result<()> {
    if uaccess::copy_from_user(dst, addr) == 0 {
        return Ok(());
    }
    until_done(addr, dst.len(), false, |done| {
        uaccess::copy_from_user(&mut dst[done..], addr.wrapping_add(done as u64))
    })
}

/// Copies `src` to user address `addr`.
///
/// # Context
/// Task; no spin lock held.
/// # Errors
/// `EFAULT` where not all of it can be written; a part may have been.
#[inline]
pub fn write_bytes(addr: u64, src: &[u8]) -> Result<()> {
    if uaccess::copy_to_user(addr, src) == 0 {
        return Ok(());
    }
    until_done(addr, src.len(), true, |done| {
        uaccess::copy_to_user(addr.wrapping_add(done as u64), &src[done..])
    })
}

/// Zeroes `len` bytes at user address `addr`. Errors and context as [`write_bytes`].
pub fn zero(addr: u64, len: usize) -> Result<()> {
    until_done(addr, len, true, |done| {
        uaccess::clear_user(addr.wrapping_add(done as u64), len - done)
    })
}

/// Reads a value at user address `addr`. Errors and context as [`read_bytes`].
#[inline]
pub fn read<T: Plain>(addr: u64) -> Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: the bytes of the zeroed value, written before they are read as `T`.
    let bytes =
        unsafe { core::slice::from_raw_parts_mut(value.as_mut_ptr().cast::<u8>(), size_of::<T>()) };
    read_bytes(addr, bytes)?;
    // SAFETY: every bit pattern is a `T`.
    Ok(unsafe { value.assume_init() })
}

/// Writes `value` to user address `addr`. Errors and context as [`write_bytes`].
#[inline]
pub fn write<T: Plain>(addr: u64, value: &T) -> Result<()> {
    // SAFETY: `T` has no padding, so all its bytes are initialised.
    let bytes = unsafe {
        core::slice::from_raw_parts(core::ptr::from_ref(value).cast::<u8>(), size_of::<T>())
    };
    write_bytes(addr, bytes)
}

/// Reads `count` values at user address `addr`. The caller has bounded `count`.
///
/// # Errors
/// `EFAULT`; `ENOMEM` where there is no room for them.
pub fn read_vec<T: Plain>(addr: u64, count: usize) -> Result<Vec<T>> {
    let mut values = Vec::<T>::new();
    values.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    let size = count.checked_mul(size_of::<T>()).ok_or(Errno::EFAULT)?;
    // SAFETY: the spare capacity has room for `size` bytes; zeroed first, so they are initialised.
    let bytes = unsafe {
        let start = values.as_mut_ptr().cast::<u8>();
        start.write_bytes(0, size);
        core::slice::from_raw_parts_mut(start, size)
    };
    read_bytes(addr, bytes)?;
    // SAFETY: `count` values have been written, and every bit pattern is a `T`.
    unsafe { values.set_len(count) };
    Ok(values)
}

/// Fills `values` from user address `addr`. Errors and context as [`read_bytes`].
pub fn read_slice<T: Plain>(addr: u64, values: &mut [T]) -> Result<()> {
    // SAFETY: the bytes of the slice; every bit pattern is a `T`.
    let bytes = unsafe {
        core::slice::from_raw_parts_mut(values.as_mut_ptr().cast::<u8>(), size_of_val(values))
    };
    read_bytes(addr, bytes)
}

/// Writes `values` to user address `addr`. Errors and context as [`write_bytes`].
pub fn write_slice<T: Plain>(addr: u64, values: &[T]) -> Result<()> {
    // SAFETY: `T` has no padding, so all bytes of the slice are initialised.
    let bytes =
        unsafe { core::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) };
    write_bytes(addr, bytes)
}

/// Reads the string that ends with a zero byte at user address `addr`, without that byte.
///
/// # Errors
/// `EFAULT`; `ENAMETOOLONG` where `max` bytes come before the end; `ENOMEM`.
pub fn read_cstr(addr: u64, max: usize) -> Result<Vec<u8>> {
    let mut string = Vec::new();
    with_cstr_chunks(addr, max, |chunk| {
        string.try_reserve(chunk.len()).map_err(|_| Errno::ENOMEM)?;
        string.extend_from_slice(chunk);
        Ok(())
    })?;
    Ok(string)
}

/// Longest path that a system call takes, with its final zero byte.
pub const PATH_MAX: usize = 4096;

/// A path in a fixed buffer, so that no system call allocates for one.
pub struct PathBuf {
    bytes: [MaybeUninit<u8>; 256],
    len: usize,
    long: Vec<u8>,
}

impl PathBuf {
    /// Reads a path from user address `addr`.
    ///
    /// # Errors
    /// `EFAULT`; `ENAMETOOLONG` from [`PATH_MAX`] bytes on.
    #[inline]
    pub fn read(addr: u64) -> Result<Self> {
        let mut path = PathBuf {
            bytes: [MaybeUninit::uninit(); 256],
            len: 0,
            long: Vec::new(),
        };
        with_cstr_chunks(addr, PATH_MAX - 1, |chunk| path.push(chunk))?;
        Ok(path)
    }

    fn push(&mut self, chunk: &[u8]) -> Result<()> {
        if self.long.is_empty() && self.len + chunk.len() <= self.bytes.len() {
            // SAFETY: `MaybeUninit<u8>` has the layout of `u8`, and initialised bytes are written.
            let from = unsafe {
                core::slice::from_raw_parts(chunk.as_ptr().cast::<MaybeUninit<u8>>(), chunk.len())
            };
            self.bytes[self.len..self.len + chunk.len()].copy_from_slice(from);
            self.len += chunk.len();
            return Ok(());
        }
        self.long.try_reserve(PATH_MAX).map_err(|_| Errno::ENOMEM)?;
        if self.long.is_empty() {
            // SAFETY: the first `len` bytes have been written.
            let head =
                unsafe { core::slice::from_raw_parts(self.bytes.as_ptr().cast::<u8>(), self.len) };
            self.long.extend_from_slice(head);
        }
        self.long.extend_from_slice(chunk);
        Ok(())
    }

    /// The path's bytes, without a final zero.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        if self.long.is_empty() {
            // SAFETY: the first `len` bytes have been written.
            unsafe { core::slice::from_raw_parts(self.bytes.as_ptr().cast::<u8>(), self.len) }
        } else {
            &self.long
        }
    }
}

/// Calls `each` with the pieces of the string at `addr`; a piece never crosses a page, so reading ahead of the string's
/// end cannot fault.
fn with_cstr_chunks(
    addr: u64,
    max: usize,
    mut each: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut chunk = [0u8; 64];
    let (mut at, mut len) = (addr, 0);
    loop {
        let step = (64 - (at % 64)) as usize;
        let piece = &mut chunk[..step];
        read_bytes(at, piece)?;
        let end = piece.iter().position(|&b| b == 0);
        let piece = &piece[..end.unwrap_or(step)];
        len += piece.len();
        if len > max {
            return Err(Errno::ENAMETOOLONG);
        }
        each(piece)?;
        if end.is_some() {
            return Ok(());
        }
        at = at.checked_add(step as u64).ok_or(Errno::EFAULT)?;
    }
}

/// One part of a scattered transfer: `struct iovec`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct IoVec {
    /// Where the part begins in user memory.
    pub base: u64,
    /// Its length in bytes.
    pub len: u64,
}
plain!(IoVec);

/// Most parts of one transfer (`IOV_MAX`).
pub const IOV_MAX: usize = 1024;
/// Most bytes that one transfer moves (`MAX_RW_COUNT`).
pub const RW_MAX: usize = 0x7fff_f000;

/// The user memory of one transfer, and how far the transfer has come.
#[derive(Clone)]
pub struct UserRange<'a> {
    parts: &'a [IoVec],
    /// Bytes of the first part that are done.
    offset: usize,
    remaining: usize,
    done: usize,
    fault: Option<u64>,
}

impl<'a> UserRange<'a> {
    /// The memory described by `parts`, cut off at [`RW_MAX`] bytes as Linux does.
    ///
    /// # Errors
    /// `EINVAL` where a length is negative or the sum overflows; `EFAULT` where a part is not in the user half.
    #[inline]
    pub fn new(parts: &'a [IoVec]) -> Result<Self> {
        let mut total = 0usize;
        for part in parts {
            if (part.len as i64) < 0 {
                return Err(Errno::EINVAL);
            }
            let len = (part.len as usize).min(RW_MAX - total.min(RW_MAX));
            if !uaccess::in_user_half(part.base, part.len as usize) {
                return Err(Errno::EFAULT);
            }
            total += len;
        }
        Ok(Self {
            parts,
            offset: 0,
            remaining: total,
            done: 0,
            fault: None,
        })
    }

    /// Bytes moved so far.
    #[inline]
    pub fn done(&self) -> usize {
        self.done
    }

    /// Where the last attempt met a missing page, has it faulted in so that the transfer can go on.
    ///
    /// # Context
    /// Task; no spin lock held.
    /// # Errors
    /// `EFAULT` where the page cannot be had.
    pub fn resolve(&mut self, write: bool) -> Result<()> {
        match self.fault.take() {
            Some(addr) => fault_in(addr, 1, write).map_err(|_| Errno::EFAULT),
            None => Ok(()),
        }
    }

    /// Bytes that are still to be moved.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.remaining
    }

    /// Whether the last attempt met a missing page.
    #[inline]
    pub fn faulted(&self) -> bool {
        self.fault.is_some()
    }

    /// Goes back to `start`, a copy made before an attempt that failed, and keeps the fault that it met.
    #[inline]
    pub fn rewind(&mut self, start: UserRange<'a>) {
        *self = UserRange {
            fault: self.fault.take(),
            ..start
        };
    }

    /// Forgets the first `bytes`: an earlier attempt moved them.
    pub fn advance(&mut self, mut bytes: usize) {
        while bytes > 0 && self.remaining > 0 {
            let step = self.here().1.min(bytes);
            self.step(step);
            bytes -= step;
        }
    }

    /// Address and length of the next piece that lies in one part.
    #[inline]
    fn here(&mut self) -> (u64, usize) {
        while let Some(part) = self.parts.first() {
            if (part.len as usize) > self.offset {
                break;
            }
            self.parts = &self.parts[1..];
            self.offset = 0;
        }
        match self.parts.first() {
            Some(part) => (
                part.base + self.offset as u64,
                (part.len as usize - self.offset).min(self.remaining),
            ),
            None => (0, 0),
        }
    }

    #[inline]
    fn step(&mut self, len: usize) {
        self.offset += len;
        self.remaining -= len;
        self.done += len;
    }

    /// Moves up to `len` bytes by `copy(addr, done, step)`, which gives the bytes it could not move.
    #[inline]
    fn transfer(&mut self, len: usize, mut copy: impl FnMut(u64, usize, usize) -> usize) -> usize {
        let mut moved = 0;
        while moved < len && self.fault.is_none() {
            let (addr, room) = self.here();
            let want = room.min(len - moved);
            if want == 0 {
                break;
            }
            let step = want - copy(addr, moved, want);
            self.step(step);
            moved += step;
            if step < want {
                self.fault = Some(addr + step as u64);
            }
        }
        moved
    }
}

/// User memory that a read fills.
pub struct UserSink<'r, 'a>(pub &'r mut UserRange<'a>);

impl Sink for UserSink<'_, '_> {
    #[inline]
    fn remaining(&self) -> usize {
        self.0.remaining
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) -> usize {
        self.0.transfer(bytes.len(), |addr, done, step| {
            uaccess::copy_to_user(addr, &bytes[done..done + step])
        })
    }

    #[inline]
    fn faulted(&self) -> bool {
        self.0.faulted()
    }

    fn put_zeros(&mut self, len: usize) -> usize {
        self.0
            .transfer(len, |addr, _, step| uaccess::clear_user(addr, step))
    }
}

/// User memory that a write takes its bytes from.
pub struct UserSource<'r, 'a>(pub &'r mut UserRange<'a>);

impl Source for UserSource<'_, '_> {
    #[inline]
    fn remaining(&self) -> usize {
        self.0.remaining
    }

    #[inline]
    fn take(&mut self, bytes: &mut [u8]) -> usize {
        let len = bytes.len();
        self.0.transfer(len, |addr, done, step| {
            uaccess::copy_from_user(&mut bytes[done..done + step], addr)
        })
    }

    #[inline]
    fn faulted(&self) -> bool {
        self.0.faulted()
    }

    fn skip(&mut self, len: usize) -> usize {
        self.0.transfer(len, |_, _, _| 0)
    }
}
