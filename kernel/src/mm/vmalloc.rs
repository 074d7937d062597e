//! Kernel memory that is contiguous only virtually: guarded kernel stacks, device registers, large buffers.

use super::phys::PhysAddr;
use core::ptr::NonNull;

/// Bytes of a kernel stack.
pub const STACK_SIZE: usize = 32 << 10;

/// A kernel stack with a page beneath it that is never mapped.
#[derive(Debug)]
pub struct KernelStack {
    top: usize,
}

impl KernelStack {
    /// Makes a stack; `None` where memory is short.
    ///
    /// # Context
    /// Task.
    pub fn new() -> Option<KernelStack> {
        None
    }

    /// The address behind the stack's last byte, aligned to 16.
    pub fn top(&self) -> usize {
        self.top
    }
}

/// Maps device registers at `phys`, uncached, for good; `None` where there is no memory for page tables.
///
/// # Context
/// Task.
pub fn ioremap(phys: PhysAddr, len: usize) -> Option<NonNull<u8>> {
    let _ = (phys, len);
    None
}

/// Allocates pages, virtually contiguous.
pub fn alloc(pages: usize) -> Option<*mut u8> {
    let _ = pages;
    None
}

/// Frees what [`alloc`] returned.
pub fn free(start: usize) {
    let _ = start;
}

/// Whether an address lies in the vmalloc area.
pub fn contains(address: usize) -> bool {
    let _ = address;
    false
}
