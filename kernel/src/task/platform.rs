//! The executor's view of this machine.

use core::sync::atomic::Ordering;

use executor::Platform;
use executor::time::{self, Instant};

use crate::arch::{apic, event, irq, percpu, tsc, vectors};
use crate::process::Thread;

/// The machine.
struct Machine;

static MACHINE: &dyn Platform = &Machine;

impl Platform for Machine {
    #[inline]
    fn now(&self) -> Instant {
        Instant::from_ns(tsc::now_ns())
    }

    fn pend(&self, cpu: u32) {
        if let Some(there) = percpu::of(cpu) {
            apic::send_ipi(
                there.apic_id.load(Ordering::Relaxed) as u32,
                vectors::RESCHEDULE,
            );
        }
    }

    fn place(&self, tag: *mut (), idle: u64) -> Option<u32> {
        let Some(thread) = Thread::of_tag(tag) else {
            return super::place::anywhere(idle);
        };
        let cpu = super::place::woken(thread, idle)?;
        thread.moves();
        Some(cpu)
    }

    fn set_timer(&self, deadline: Instant) {
        event::set_timer(deadline);
    }

    fn preempt(&self) {
        super::suspend::dropped_guard();
    }

    fn point(&self) {
        super::suspend::asked();
    }

    fn on_softirq_stack(&self, run: &mut dyn FnMut()) {
        super::suspend::on_softirq_stack(run);
    }
}

/// Gives the executor its machine and takes the vectors that it needs.
///
/// # Context
/// Boot, once, on the first CPU, with the local APIC and the clock running.
pub fn init() {
    executor::platform::register(&MACHINE);
    irq::set_handler(vectors::TIMER, |_| timer_is_due());
    irq::set_handler(vectors::RESCHEDULE, on_reschedule);
}

/// A timer interrupt: runs what is due, and lets the loop see what that woke.
///
/// # Context
/// Hard interrupt.
pub fn timer_is_due() {
    time::run_expired(Instant::from_ns(tsc::now_ns()));
    executor::cpu::set_need_resched();
}

/// Another CPU has woken a task here.
fn on_reschedule(_: u8) {
    executor::cpu::set_need_resched();
}
