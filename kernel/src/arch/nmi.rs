//! What is left of a non-maskable interrupt.
//!
//! An NMI may have interrupted anything, a holder of the log's lock included. So it only counts, and the next interrupt of
//! the CPU says what there is to say (rule 18).

use core::sync::atomic::Ordering;

use super::{halt_forever, percpu, smp};

/// Handles a non-maskable interrupt: the end, if another CPU panics, and otherwise a note.
///
/// # Context
/// NMI.
pub(super) fn handle() {
    if smp::is_stopping() {
        halt_forever();
    }
    executor::cpu::nmi_enter();
    percpu::this().nmis.fetch_add(1, Ordering::Relaxed);
    executor::cpu::nmi_exit();
}

/// Says what NMIs have left to be said.
///
/// # Context
/// The way out of an interrupt, masked.
#[inline]
pub(super) fn exit() {
    if percpu::this().nmis.load(Ordering::Relaxed) != 0 {
        report();
    }
}

#[cold]
fn report() {
    let nmis = percpu::this().nmis.swap(0, Ordering::Relaxed);
    log::warn!(
        "nmi: {nmis} for unknown reason on CPU {}",
        executor::cpu::id()
    );
}
