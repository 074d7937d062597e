//! The interrupt descriptor table: one for all CPUs, filled with the stubs of [`super::trap`].

#![allow(unsafe_code, reason = "the descriptor table holds raw addresses")]

use super::gdt::ist;
use super::selectors::KERNEL_CS;
use super::trap;
use core::cell::UnsafeCell;
use x86_64::VirtAddr;
use x86_64::instructions::tables::lidt;
use x86_64::structures::DescriptorTablePointer;

/// `int3` and `into` may be executed by programs; the other gates only by the hardware.
const USER_GATES: [u8; 2] = [3, 4];
const INTERRUPT_GATE: u64 = 0x8e;
const RING_3: u64 = 0x60;

#[repr(C, align(4096))]
struct Idt(UnsafeCell<[[u64; 2]; 256]>);

// SAFETY: written once, by the boot CPU before any table is loaded.
unsafe impl Sync for Idt {}

static IDT: Idt = Idt(UnsafeCell::new([[0; 2]; 256]));

/// Fills the table. Every gate masks interrupts.
///
/// # Context
/// Boot, once, on the boot CPU.
pub fn init() {
    // SAFETY: no CPU uses the table yet, and there is one CPU.
    let table = unsafe { &mut *IDT.0.get() };
    for vector in 0..=255_u8 {
        let stack = match u64::from(vector) {
            trap::vector::NMI => ist::NMI + 1,
            trap::vector::DEBUG => ist::DEBUG + 1,
            trap::vector::DOUBLE_FAULT => ist::DOUBLE_FAULT + 1,
            trap::vector::MACHINE_CHECK => ist::MACHINE_CHECK + 1,
            _ => 0,
        };
        let kind = INTERRUPT_GATE
            | if USER_GATES.contains(&vector) {
                RING_3
            } else {
                0
            };
        table[usize::from(vector)] = gate(trap::stub(vector), kind, stack);
    }
    load();
}

/// A gate to `handler` (Intel SDM 3A, figure 6-8).
const fn gate(handler: u64, kind: u64, stack: u16) -> [u64; 2] {
    let low = handler & 0xffff
        | (KERNEL_CS as u64) << 16
        | (stack as u64) << 32
        | kind << 40
        | (handler >> 16 & 0xffff) << 48;
    [low, handler >> 32]
}

/// Makes the running CPU use the table.
///
/// # Context
/// Boot, once per CPU, after its segments have been loaded.
pub fn load() {
    let pointer = DescriptorTablePointer {
        limit: size_of::<Idt>() as u16 - 1,
        base: VirtAddr::from_ptr(IDT.0.get()),
    };
    // SAFETY: the table lives for ever, every gate leads to a stub, and the interrupt stacks it names are set up.
    unsafe { lidt(&pointer) };
}
