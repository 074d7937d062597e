//! From real mode to Rust, for every CPU but the first.
//!
//! The code is copied to a page of the first MiB, where the start-up message makes a CPU begin in real mode. Behind the
//! code lie the parameters: which stack to take, which Rust function to enter. The boot page tables map everything on the
//! way: the code at its physical address, and the kernel's half as it is by now.
//!
//! Source: Intel SDM 3A, 9.4 (start-up), 10.8.5 (to 64-bit mode).

#![allow(
    unsafe_code,
    reason = "start-up code in assembly, copied to low memory"
)]

use super::cpu::Features;
use super::layout::phys_to_virt;
use core::arch::global_asm;

/// Physical address of the page that the code is copied to (the linker script has it too); in the first MiB, which the kernel keeps to itself.
pub const PAGE: u64 = 0x8000;

global_asm!(
    r#"
    .section .rodata.trampoline, "a", @progbits
    .balign 16
    .global trampoline_start, trampoline_end, trampoline_stack, trampoline_entry, trampoline_efer
    .global trampoline_32, trampoline_64, trampoline_gdt, trampoline_gdt_pointer
    .code16
trampoline_start:
    cli
    cld
    xor eax, eax
    mov ds, ax
    lgdt [trampoline_gdt_pointer_low]
    mov eax, cr0
    or eax, 1
    mov cr0, eax
    // A far jump, written out: the assembler knows no good way to say it in 16 bits.
    .byte 0x66, 0xea
    .long trampoline_32_low
    .word 0x18

    .code32
trampoline_32:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov eax, cr4
    or eax, 0x20                // PAE
    mov cr4, eax
    mov eax, offset boot_pml4_phys
    mov cr3, eax
    mov ecx, 0xc0000080         // EFER
    rdmsr
    or eax, [trampoline_efer_low] // LME, and NXE where the CPU has it
    wrmsr
    mov eax, cr0
    and eax, 0x9fffffff         // caches on
    or eax, 0x80010001          // PG, WP, PE
    mov cr0, eax
    .byte 0xea
    .long trampoline_64_low
    .word 0x08

    .code64
trampoline_64:
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov rsp, [rip + trampoline_stack]
    xor ebp, ebp
    mov rax, [rip + trampoline_entry]
    call rax
    ud2

    .balign 8
trampoline_gdt:
    .quad 0
    .quad 0x00af9b000000ffff    // 64-bit code
    .quad 0x00cf93000000ffff    // data
    .quad 0x00cf9b000000ffff    // 32-bit code
trampoline_gdt_pointer:
    .word trampoline_gdt_pointer - trampoline_gdt - 1
    .long trampoline_gdt_low
    .balign 8
trampoline_stack:
    .quad 0
trampoline_entry:
    .quad 0
trampoline_efer:
    .quad 0
trampoline_end:
    .text
    "#
);

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_end: u8;
    static trampoline_stack: u8;
    static trampoline_entry: u8;
    static trampoline_efer: u8;
    static boot_pml4: u8;
}

const LONG_MODE: u64 = 1 << 8;
const NO_EXECUTE: u64 = 1 << 11;
/// Half of a page table in bytes.
const HALF: usize = 2048;

/// Copies the code to its page, and makes the boot page tables hold all of the kernel's half, stacks included.
///
/// # Context
/// Boot, before the first start-up message.
pub fn install(features: &Features) {
    let len = (&raw const trampoline_end as usize) - (&raw const trampoline_start as usize);
    assert!(len <= 4096, "the start-up code fits in its page");
    // SAFETY: the code lies in the image, the page in the first MiB, which nobody is given, and the direct map reaches it.
    unsafe {
        core::ptr::copy_nonoverlapping(
            &raw const trampoline_start,
            phys_to_virt(PAGE) as *mut u8,
            len,
        )
    };
    let no_execute = if features.nx { NO_EXECUTE } else { 0 };
    set(&raw const trampoline_efer, LONG_MODE | no_execute);
    let kernel_half = phys_to_virt(crate::boot::kernel_pml4()) as usize + HALF;
    let boot_half = &raw const boot_pml4 as usize + HALF;
    // SAFETY: both are page tables of the kernel's own; the boot one is loaded nowhere now, and what it gets for the
    // kernel's half is what the other has there.
    unsafe { core::ptr::copy_nonoverlapping(kernel_half as *const u8, boot_half as *mut u8, HALF) };
}

/// Names the stack and the function of the next CPU to start.
///
/// # Context
/// Boot, with no CPU on its way through the code.
pub fn set_target(stack: u64, entry: extern "C" fn() -> !) {
    set(&raw const trampoline_stack, stack);
    set(&raw const trampoline_entry, entry as usize as u64);
}

fn set(parameter: *const u8, value: u64) {
    let offset = parameter as u64 - &raw const trampoline_start as u64;
    // SAFETY: the parameter is an aligned word of the copied page, and no CPU reads it now.
    unsafe { (phys_to_virt(PAGE + offset) as *mut u64).write_volatile(value) };
}
