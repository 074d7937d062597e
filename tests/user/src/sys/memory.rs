//! Mappings, and memory that Rust knows nothing of.

use super::{Plain, calls, ok};
use std::arch::asm;

calls! {
    /// Maps a file or memory.
    mmap(at: usize, len: usize, prot: i32, flags: i32, fd: i32, offset: i64) -> usize = SYS_mmap;
    /// Takes mappings away.
    munmap(at: usize, len: usize) = SYS_munmap;
    /// Changes what may be done with pages.
    mprotect(at: usize, len: usize, prot: i32) = SYS_mprotect;
    /// Tells what will be done with pages.
    madvise(at: usize, len: usize, advice: i32) = SYS_madvise;
    /// Writes a mapping's dirty pages.
    msync(at: usize, len: usize, flags: i32) = SYS_msync;
    /// Which pages are resident, a byte for each.
    mincore(at: usize, len: usize, seen: &mut [u8; 2]) = SYS_mincore;
    /// Keeps pages resident.
    mlock(at: usize, len: usize) = SYS_mlock;
    /// Keeps them no longer.
    munlock(at: usize, len: usize) = SYS_munlock;
}

/// A private anonymous mapping that can be read and written.
#[track_caller]
pub fn map(len: usize) -> *mut u8 {
    map_with(
        len,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    )
}

/// An anonymous mapping.
#[track_caller]
pub fn map_with(len: usize, prot: i32, flags: i32) -> *mut u8 {
    ok(mmap(0, len, prot, flags, -1, 0)) as *mut u8
}

/// A zeroed value that children made from now on share with this process.
#[track_caller]
pub fn shared<T: Plain + Sync>() -> &'static T {
    let at = map_with(
        size_of::<T>(),
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_ANONYMOUS,
    );
    // SAFETY: the mapping is as large, starts a page, is never taken away, and its zeros are a value.
    unsafe { &*at.cast::<T>() }
}

/// The byte at an address, if nothing is there the signal.
pub fn peek(at: usize) -> u8 {
    let byte: u8;
    // SAFETY: one load outside of what the compiler reasons about. Cases read their own mappings, which no Rust value lies in;
    // where nothing is mapped, a signal is what they want to see.
    unsafe {
        asm!("mov {}, byte ptr [{}]", out(reg_byte) byte, in(reg) at, options(nostack, readonly, preserves_flags));
    }
    byte
}

/// Sets the byte at an address, or gets the signal.
pub fn poke(at: usize, value: u8) {
    // SAFETY: one store outside of what the compiler reasons about, into a mapping that no Rust value lies in, or one that ends
    // in a signal.
    unsafe {
        asm!("mov byte ptr [{}], {}", in(reg) at, in(reg_byte) value, options(nostack, preserves_flags));
    }
}

/// A copy of the bytes from an address on.
pub fn peek_all(at: usize, len: usize) -> Vec<u8> {
    (at..at + len).map(peek).collect()
}

/// Sets the bytes from an address on.
pub fn poke_all(at: usize, bytes: &[u8]) {
    for (offset, byte) in bytes.iter().enumerate() {
        poke(at + offset, *byte);
    }
}
