//! Interrupt vectors: who is called for which, and how often that happened.
//!
//! A vector is a line's ([`bind`]), which then tells its chip when the interrupt is over, or it has a handler of its own:
//! a plain function that runs with interrupts off in hard-interrupt context. It notes the event and wakes; it never waits,
//! allocates or takes a lock that is not an interrupt-masking one. Its end of interrupt is signalled here, before it is
//! called.

#![allow(unsafe_code, reason = "handlers and lines are kept as atomic pointers")]

use super::{apic, pic, vectors};
use crate::irq::Descriptor;
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
}

/// What is registered for a vector; lives for ever.
struct Registration {
    action: Action,
}

static TABLE: [AtomicPtr<Registration>; 256] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; 256];
/// The lines that have a vector.
static LINES: [AtomicPtr<Descriptor>; 256] = [const { AtomicPtr::new(core::ptr::null_mut()) }; 256];
/// A bit for each of the devices' vectors that is in use.
static USED: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
/// How often each vector was taken on each CPU. Written by that CPU only.
static COUNTS: [AtomicPtr<Counts>; super::percpu::MAX_CPUS] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; super::percpu::MAX_CPUS];
static UNEXPECTED: AtomicU64 = AtomicU64::new(0);

type Counts = [AtomicU64; 256];

/// Makes `action` what happens for `vector`. What was there before is replaced; it is not freed, as a handler may be
/// running.
///
/// # Context
/// Task or boot.
pub fn register(vector: u8, action: Action) {
    let registration = Box::leak(Box::new(Registration { action }));
    TABLE[usize::from(vector)].store(registration, Ordering::Release);
}

/// Makes `handler` the one that is called for `vector`, one of the machine's own.
///
/// # Context
/// Task or boot.
pub fn set_handler(vector: u8, handler: Handler) {
    register(vector, Action::Call(handler));
}

/// Makes `vector` mean nothing again.
///
/// # Context
/// Task or boot.
pub fn unregister(vector: u8) {
    TABLE[usize::from(vector)].store(core::ptr::null_mut(), Ordering::Release);
}

/// Takes a free vector for a device.
///
/// # Context
/// Any.
pub fn allocate_vector() -> Option<u8> {
    (vectors::DEVICE_FIRST..=vectors::DEVICE_LAST).find(|vector| {
        let bit = 1 << (vector % 64);
        USED[usize::from(vector / 64)].fetch_or(bit, Ordering::AcqRel) & bit == 0
    })
}

/// Gives a vector back, which nothing raises any more.
///
/// # Context
/// Any.
pub fn free_vector(vector: u8) {
    unregister(vector);
    LINES[usize::from(vector)].store(core::ptr::null_mut(), Ordering::Release);
    USED[usize::from(vector / 64)].fetch_and(!(1 << (vector % 64)), Ordering::AcqRel);
}

/// Makes `vector` the interrupt of `line`, until [`free_vector`].
///
/// # Context
/// Task or boot.
pub fn bind(vector: u8, line: &'static Descriptor) {
    let line = core::ptr::from_ref(line).cast_mut();
    LINES[usize::from(vector)].store(line, Ordering::Release);
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

/// The line whose vector it is.
#[inline]
fn line(vector: u8) -> Option<&'static Descriptor> {
    if vector > vectors::DEVICE_LAST {
        return None;
    }
    // SAFETY: the table holds nothing but null and descriptors, which live for ever.
    unsafe { LINES[usize::from(vector)].load(Ordering::Acquire).as_ref() }
}

fn counts(cpu: u32) -> Option<&'static Counts> {
    // SAFETY: the table holds nothing but null and counts, which live for ever.
    unsafe { COUNTS.get(cpu as usize)?.load(Ordering::Acquire).as_ref() }
}

/// An interrupt from beginning to end, where none of the kernel's code was interrupted: out of user mode.
///
/// # Context
/// Interrupts are off, but while softirqs run.
#[inline]
pub fn dispatch(vector: u8) {
    handle(vector);
    exit();
}

/// The way out of a hard interrupt: the softirqs that it raised, and what NMIs left to be done.
///
/// # Context
/// Interrupts are off, but while softirqs run; on a stack with room for a function call.
#[inline]
pub fn exit() {
    executor::softirq::irq_exit();
    super::nmi::exit();
}

/// Runs what is registered for `vector`, in hard-interrupt context.
///
/// # Context
/// Interrupts are off.
#[inline]
pub fn handle(vector: u8) {
    executor::cpu::hardirq_enter();
    if let Some(counts) = counts(executor::cpu::id()) {
        let count = &counts[usize::from(vector)];
        // Only this CPU writes it.
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
    match line(vector) {
        Some(line) if vector >= vectors::DEVICE_FIRST => line.handle(),
        line if (vectors::PIC_FIRST..vectors::DEVICE_FIRST).contains(&vector) => {
            from_pic(vector, line);
        }
        _ => call(vector),
    }
    executor::cpu::hardirq_exit();
}

/// Does what a vector without a line is for.
fn call(vector: u8) {
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
        None => unexpected_vector(vector),
    }
}

/// Does what an interrupt of the 8259s is for, of which the local APIC knows nothing: it may be nobody's.
#[inline(never)]
fn from_pic(vector: u8, line: Option<&'static Descriptor>) {
    // Asked in any case: what is spurious is ended by it.
    let is_real = pic::is_real(vector);
    match line {
        Some(line) if is_real => line.handle(),
        _ => spurious(vector),
    }
}

#[cold]
fn spurious(vector: u8) {
    if UNEXPECTED.fetch_add(1, Ordering::Relaxed) == 0 {
        let line = vector - vectors::PIC_FIRST;
        log::debug!("spurious 8259A interrupt: IRQ{line}");
    }
}

#[cold]
fn unexpected_vector(vector: u8) {
    UNEXPECTED.fetch_add(1, Ordering::Relaxed);
    // A spurious interrupt is not in service.
    if vector != vectors::SPURIOUS {
        apic::eoi();
    }
}
