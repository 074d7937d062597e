//! Interrupt vectors: who is called for which, and how often that happened.
//!
//! A handler is a plain function that runs with interrupts off in hard-interrupt context: it notes the event and wakes; it
//! never waits, allocates or takes a lock that is not an interrupt-masking one. The end of interrupt is signalled here,
//! before the handler is called. Lines of devices are routed in [`super::line`].

#![allow(unsafe_code, reason = "handlers are kept as atomic pointers")]

use super::{apic, vectors};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use executor::irq::IrqEvent;

/// Handles vector `vector`.
pub type Handler = fn(vector: u8);

/// What a vector does.
pub enum Action {
    /// Calls a function.
    Call(Handler),
    /// Raises an event, for a future that awaits it.
    Raise(&'static IrqEvent),
    /// Raises an event and holds the line off until [`super::line::Line::done`], since it stays asserted until then.
    MaskAndRaise(u32, &'static IrqEvent),
}

/// What is registered for a vector; lives for ever.
struct Registration {
    name: &'static str,
    action: Action,
}

static TABLE: [AtomicPtr<Registration>; 256] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; 256];
/// How often each vector was taken on each CPU. Written by that CPU only.
static COUNTS: [AtomicPtr<Counts>; super::percpu::MAX_CPUS] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; super::percpu::MAX_CPUS];
static UNEXPECTED: AtomicU64 = AtomicU64::new(0);

type Counts = [AtomicU64; 256];

/// Makes `action` what happens for `vector`, under a name for `/proc/interrupts`. What was there before is replaced; it is
/// not freed, as a handler may be running.
///
/// # Context
/// Task or boot.
pub fn register(vector: u8, name: &'static str, action: Action) {
    let registration = Box::leak(Box::new(Registration { name, action }));
    TABLE[usize::from(vector)].store(registration, Ordering::Release);
}

/// Makes `handler` the one that is called for `vector`, one of the machine's own.
///
/// # Context
/// Task or boot.
pub fn set_handler(vector: u8, handler: Handler) {
    register(vector, vectors::name(vector), Action::Call(handler));
}

/// Makes `vector` mean nothing again.
///
/// # Context
/// Task or boot.
pub fn unregister(vector: u8) {
    TABLE[usize::from(vector)].store(core::ptr::null_mut(), Ordering::Release);
}

/// What `vector` is called, if it is in use.
pub fn name(vector: u8) -> Option<&'static str> {
    registration(vector).map(|registration| registration.name)
}

/// How often `vector` was taken on CPU `cpu`.
pub fn count(cpu: u32, vector: u8) -> u64 {
    counts(cpu).map_or(0, |counts| {
        counts[usize::from(vector)].load(Ordering::Relaxed)
    })
}

/// Interrupts that nobody had registered for, on all CPUs.
pub fn unexpected() -> u64 {
    UNEXPECTED.load(Ordering::Relaxed)
}

/// Makes room to count the interrupts of CPU `cpu`.
///
/// # Context
/// Boot, before the CPU takes any.
pub fn init_cpu(cpu: u32) {
    let counts = Box::leak(Box::new([const { AtomicU64::new(0) }; 256]));
    COUNTS[cpu as usize].store(counts, Ordering::Release);
}

fn registration(vector: u8) -> Option<&'static Registration> {
    // SAFETY: the table holds nothing but null and registrations, which live for ever.
    unsafe { TABLE[usize::from(vector)].load(Ordering::Acquire).as_ref() }
}

fn counts(cpu: u32) -> Option<&'static Counts> {
    // SAFETY: the table holds nothing but null and counts, which live for ever.
    unsafe { COUNTS.get(cpu as usize)?.load(Ordering::Acquire).as_ref() }
}

/// Runs what is registered for `vector`, in hard-interrupt context, and the softirqs that it raised. Interrupts are off,
/// but while softirqs run.
#[inline]
pub fn dispatch(vector: u8) {
    executor::cpu::hardirq_enter();
    if let Some(counts) = counts(executor::cpu::id()) {
        let count = &counts[usize::from(vector)];
        // Only this CPU writes it.
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
    match registration(vector) {
        Some(Registration {
            action: Action::Call(handler),
            ..
        }) => {
            apic::eoi();
            handler(vector);
        }
        Some(Registration {
            action: Action::Raise(event),
            ..
        }) => {
            apic::eoi();
            event.raise();
        }
        Some(Registration {
            action: Action::MaskAndRaise(gsi, event),
            ..
        }) => {
            super::ioapic::set_masked(*gsi, true);
            apic::eoi();
            event.raise();
        }
        None => unexpected_vector(vector),
    }
    executor::cpu::hardirq_exit();
    executor::softirq::irq_exit();
}

#[cold]
fn unexpected_vector(vector: u8) {
    UNEXPECTED.fetch_add(1, Ordering::Relaxed);
    // Neither a spurious interrupt of the APIC nor one of the 8259s is in service there.
    let from_pic = (vectors::PIC_FIRST..vectors::DEVICE_FIRST).contains(&vector);
    if vector != vectors::SPURIOUS && !from_pic {
        apic::eoi();
    }
}
