//! The kernel's own work queue, and what the command line says of all of them.
//!
//! Who needs bounds, an order or an urgency of his own makes a queue of his own: [`executor::work`].

use conquer_once::spin::OnceCell;
use executor::cpu;
use executor::work::{self, Config, WorkQueue};

/// The queue for what is short and has no queue of its own: Linux's `system_wq`, `schedule_work`.
///
/// # Context
/// Task.
pub fn system() -> &'static WorkQueue {
    static SYSTEM: OnceCell<WorkQueue> = OnceCell::uninit();
    // Whoever is first is not left in the midst of it, so others wait for a moment only.
    let _stay = cpu::preempt_disable();
    SYSTEM.get_or_init(|| Config::new("events").build())
}

/// Takes note of `workqueue.power_efficient`. Context: boot, before the first queue is made.
pub fn init() {
    let line = crate::boot::info().cmdline();
    let on = match line.value("workqueue.power_efficient") {
        Some(value) => matches!(value, "1" | "y" | "Y" | "on"),
        None => line.has("workqueue.power_efficient"),
    };
    work::set_power_efficient(on);
}
