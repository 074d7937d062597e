//! Interrupt vectors: who is called for which, and how often that happened.
//!
//! A handler is a plain function that runs with interrupts off in hard-interrupt context: it acknowledges, notes the
//! event and wakes; it never waits, allocates or takes a lock that is not an interrupt-masking one.
#![allow(unsafe_code, reason = "handlers are kept as atomic pointers")]

use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// Handles vector `vector`; the handler also signals the end of interrupt.
pub type Handler = fn(vector: u8);

static HANDLERS: [AtomicPtr<()>; 256] = [const { AtomicPtr::new(core::ptr::null_mut()) }; 256];
static UNEXPECTED: AtomicU64 = AtomicU64::new(0);

/// Makes `handler` the one that is called for `vector`. Context: task or boot.
pub fn set_handler(vector: u8, handler: Handler) {
    HANDLERS[usize::from(vector)].store(handler as *mut (), Ordering::Release);
}

/// Runs the handler of `vector`, in hard-interrupt context. Interrupts are off.
pub fn dispatch(vector: u8) {
    executor::cpu::hardirq_enter();
    let handler = HANDLERS[usize::from(vector)].load(Ordering::Acquire);
    if handler.is_null() {
        UNEXPECTED.fetch_add(1, Ordering::Relaxed);
    } else {
        // SAFETY: the table holds nothing but null and `Handler`s.
        let handler: Handler = unsafe { core::mem::transmute::<*mut (), Handler>(handler) };
        handler(vector);
    }
    executor::cpu::hardirq_exit();
}
