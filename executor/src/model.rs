//! What a model of suspended polls asks of this crate: interrupts between any two steps, and CPUs whose code goes on on
//! another stack, which is another of the model's threads.

use core::cell::Cell;

use crate::cpu;

pub use crate::{
    cpu::Area,
    facade::points::{AtomicBool, AtomicU64, AtomicUsize},
};

std::thread_local! {
    // The model's threads are coroutines of one thread of the host, so this reaches all of them.
    static HANDLER: Cell<Option<fn()>> = const { Cell::new(None) };
}

/// Has `handler` called wherever an interrupt might come: in front of each use of an atomic, with interrupts let in.
pub fn on_point(handler: Option<fn()>) {
    HANDLER.set(handler);
}

/// A place where an interrupt might come.
pub fn point() {
    if let Some(handler) = HANDLER.get()
        && cpu::irqs_enabled()
    {
        handler();
    }
}
