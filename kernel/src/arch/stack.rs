//! Stacks that are never given back: each CPU's for its loop, its interrupts, and its worst exceptions.

use crate::mm::vmalloc::KernelStack;

/// Makes a stack with a guard page, for good, and returns its top.
///
/// # Panics
/// If memory is short.
///
/// # Context
/// Boot, once the kernel's memory is managed.
pub fn new() -> u64 {
    let stack = KernelStack::new().expect("there is memory for the stacks of every CPU");
    let top = stack.top() as u64;
    core::mem::forget(stack);
    top
}
