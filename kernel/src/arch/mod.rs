//! The x86-64 machine.

pub mod ap;
pub mod apic;
pub mod calibrate;
pub mod clock;
pub mod cpu;
pub mod cpu_features;
pub mod event;
pub mod fixmap;
pub mod fpu;
pub mod gdt;
pub mod hpet;
pub mod idt;
pub mod ioapic;
pub mod irq;
pub mod layout;
pub mod line;
pub mod mmio;
pub mod msi;
mod nmi;
pub mod percpu;
pub mod pic;
pub mod pit;
pub mod power;
pub mod probe;
mod regs;
pub mod rtc;
pub mod selectors;
pub mod serial;
pub mod sites;
pub mod smp;
pub mod source;
pub mod stack;
pub mod switch;
pub mod this_cpu;
pub mod thread;
pub mod topology;
pub mod trampoline;
pub mod trap;
pub mod tsc;
pub mod tsc_sync;
pub mod uaccess;
pub mod user;
pub mod vectors;

#[cfg(feature = "ktest")]
mod gate_ktests;
#[cfg(feature = "ktest")]
mod tests;

/// Stops this CPU for good.
pub fn halt_forever() -> ! {
    loop {
        x86_64::instructions::interrupts::disable();
        x86_64::instructions::hlt();
    }
}

/// Masks interrupts and returns whether they were let in.
#[inline]
pub fn irq_save() -> bool {
    let enabled = x86_64::instructions::interrupts::are_enabled();
    x86_64::instructions::interrupts::disable();
    enabled
}

/// Lets interrupts in again if they were when [`irq_save`] was called.
#[inline]
pub fn irq_restore(enabled: bool) {
    if enabled {
        x86_64::instructions::interrupts::enable();
    }
}

/// Translates by the kernel's own page table, which has no user half.
///
/// # Context
/// Task, preemption off.
#[allow(unsafe_code, reason = "loads CR3")]
pub fn load_kernel_page_table() {
    use x86_64::registers::control::{Cr3, Cr3Flags};
    use x86_64::structures::paging::PhysFrame;
    let root = x86_64::PhysAddr::new(crate::boot::kernel_pml4());
    // SAFETY: the kernel's own table maps all that the kernel uses, and lives for ever.
    unsafe { Cr3::write(PhysFrame::containing_address(root), Cr3Flags::empty()) };
}
