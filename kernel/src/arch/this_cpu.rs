//! Setting up the CPU that this runs on, the same way for each.

#![allow(unsafe_code, reason = "installs the per-CPU area")]

use super::gdt::{self, Gdt, ist};
use super::percpu::{self, PerCpu};
use super::{apic, cpu, cpu_features, fpu, idt, irq, load_kernel_page_table, user};
use core::cell::UnsafeCell;
use core::sync::atomic::Ordering;

static BOOT_AREA: PerCpu = PerCpu::new(0);
static BOOT_GDT: Gdt = Gdt::new();

/// A small stack for exceptions of the boot CPU until there is memory for real ones.
#[repr(C, align(16))]
struct EarlyStack(UnsafeCell<[u8; EARLY_STACK_SIZE]>);

const EARLY_STACK_SIZE: usize = 8192;

// SAFETY: it is used by the boot CPU's exceptions only, as a stack.
unsafe impl Sync for EarlyStack {}

static EARLY_STACK: EarlyStack = EarlyStack(UnsafeCell::new([0; EARLY_STACK_SIZE]));

/// Gives the boot CPU its area, segments and exception handlers, so that locks work and faults are reported; then
/// switches on what protects the kernel.
///
/// # Context
/// Boot, the first thing.
pub fn set_up_first(features: &cpu::Features) {
    // SAFETY: this is the boot CPU, once, and the area is a static.
    unsafe { PerCpu::install(&raw const BOOT_AREA, 0) };
    BOOT_GDT.load(&BOOT_AREA);
    let early = EARLY_STACK.0.get() as u64 + EARLY_STACK_SIZE as u64;
    gdt::set_stacks(&BOOT_AREA, [early; ist::COUNT], early);
    idt::init();
    cpu_features::record(features);
    cpu::enable_protections(features);
    fpu::init();
    cpu_features::record_mxcsr_mask();
    user::init();
}

/// Gives the boot CPU what wants memory or the local APIC.
///
/// # Context
/// Boot, once memory is managed and the APIC is set up.
pub fn finish_first() {
    gdt::give_stacks(&BOOT_AREA);
    BOOT_AREA
        .apic_id
        .store(u64::from(apic::id()), Ordering::Relaxed);
    irq::init_cpu(0);
}

/// Sets up another CPU, on the boot page tables and its own stack.
///
/// # Safety
/// `area` is the running CPU's, number `cpu`, and lives for ever.
///
/// # Context
/// Boot, on that CPU, interrupts off.
pub unsafe fn set_up(cpu: u32, area: *const PerCpu) {
    let features = cpu::Features::read();
    cpu::enable_protections(&features);
    load_kernel_page_table();
    // SAFETY: the caller's promise; this happens once per CPU.
    unsafe { PerCpu::install(area, cpu) };
    let area = percpu::this();
    gdt::allocate().load(area);
    gdt::give_stacks(area);
    idt::load();
    fpu::init();
    user::init();
    apic::init_cpu();
}
