//! Interrupt lines: who answers a device's interrupt, on which CPU, and what happens when nobody does.
//!
//! Purpose: everything between a vector that a CPU took and a driver. A [`Descriptor`] stands for a line. It names the
//! [`Chip`] that masks and acknowledges it, the [`Flow`] in which that is done, and the [`Action`]s that answer. A
//! [`Domain`] maps a controller's own numbers to the numbers that programs see. None of it touches the machine, so all of
//! it runs under `cargo test` with a chip that only notes what it was told.
//!
//! Contexts: [`Descriptor::handle`] runs in hard interrupts and neither allocates nor frees. Requests, and freeing, are
//! made by tasks or at boot. [`Irq::disable_nosync`] and [`Irq::enable`] may be called anywhere.
//!
//! Lock: one `SpinLockIrq` per descriptor, held while the chip is told things, and not while actions run.
//!
//! | Linux | here |
//! | --- | --- |
//! | `struct irq_chip` | [`Chip`] |
//! | `struct irq_desc`, `irq_data` | [`Descriptor`] |
//! | `irq_domain_add_linear`, `irq_create_mapping`, `irq_dispose_mapping` | [`Domain`] |
//! | `handle_edge_irq`, `handle_level_irq`, `handle_fasteoi_irq`, `handle_simple_irq`, `handle_percpu_irq`, `handle_bad_irq` | [`Flow`] |
//! | `request_irq`, `IRQF_*` | [`Request`], [`Flags`] |
//! | `request_threaded_irq` | [`Request::submit_threaded`]; or [`Request::event`]: the task that awaits it is the thread |
//! | `irq_finalize_oneshot` | at the thread's end; [`Irq::done`] |
//! | `free_irq` | [`Irq::free`], or dropping it |
//! | `disable_irq`, `disable_irq_nosync`, `enable_irq`, `synchronize_irq` | [`Irq::disable`], [`Irq::disable_nosync`], [`Irq::enable`], [`Descriptor::synchronize`] |
//! | `irq_set_affinity` | [`Descriptor::set_affinity`] |
//! | `note_interrupt`, `poll_spurious_irqs` | [`spurious`], [`poll`] |

mod action;
mod chip;
mod descriptor;
mod domain;
mod flow;
pub mod mask;
pub mod poll;
mod request;
pub mod spurious;
mod table;
#[cfg(test)]
mod tests;
mod threaded;
#[cfg(feature = "ktest")]
mod threaded_ktests;

pub use action::{Action, Answer, Flags, Handler};
pub use chip::{Chip, CpuSet, Trigger};
pub use descriptor::{Descriptor, Snapshot};
pub use domain::Domain;
pub use flow::Flow;
pub use request::{Irq, IrqError, Request};
pub use table::{IRQS, allocate, existing, get, reserve, retire};
pub use threaded::ThreadedIrq;

use core::sync::atomic::{AtomicU64, Ordering};

/// Where lines go that nobody has moved.
static DEFAULT_AFFINITY: AtomicU64 = AtomicU64::new(CpuSet::MAX);

/// The CPUs to which lines may go that nobody has moved.
pub fn default_affinity() -> CpuSet {
    DEFAULT_AFFINITY.load(Ordering::Relaxed)
}

/// Has lines that are asked for from now on go to `cpus`.
pub fn set_default_affinity(cpus: CpuSet) {
    DEFAULT_AFFINITY.store(cpus, Ordering::Relaxed);
}
