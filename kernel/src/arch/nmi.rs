//! What is left of a non-maskable interrupt.
//!
//! An NMI may have interrupted anything, a holder of the log's lock included. So it only counts, and the next interrupt of
//! the CPU says what there is to say (rule 18).

use core::sync::atomic::Ordering;

use super::{halt_forever, percpu, smp};

/// Handles a non-maskable interrupt: the end, if another CPU panics; the end of a CPU's absence; and otherwise a note.
///
/// # Context
/// NMI.
pub(super) fn handle() {
    if smp::is_stopping() {
        halt_forever();
    }
    if crate::task::hotplug::is_away() {
        // It calls this CPU back, which looks by itself.
        return;
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
    let here = percpu::this();
    if here.nmis.load(Ordering::Relaxed) != here.nmis_told.load(Ordering::Relaxed) {
        report();
    }
}

#[cold]
fn report() {
    let here = percpu::this();
    let nmis = here.nmis.load(Ordering::Relaxed);
    let told = here.nmis_told.swap(nmis, Ordering::Relaxed);
    log::warn!(
        "nmi: {} for unknown reason on CPU {}",
        nmis - told,
        executor::cpu::id()
    );
}
