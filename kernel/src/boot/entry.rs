//! From the loader's 32-bit protected mode to Rust in the higher half.
//!
//! A PVH loader (QEMU's `-kernel`, among others) finds the entry point in an ELF note and jumps there with paging off, flat
//! segments, and the physical address of the start info in `ebx`. The code here clears `.bss`, builds page tables for the
//! first 4 GiB three times over (identity, kernel image, direct map), enters long mode and calls [`super::kmain`]. Those
//! tables serve until [`super::paging`] has built the final ones; the other CPUs pass through them too.
//!
//! Source: Xen, docs/misc/pvh.pandoc and xen/include/public/arch-x86/hvm/start_info.h.

#![allow(unsafe_code, reason = "the entry code is assembly")]

use core::arch::global_asm;

/// Size of the stack that the boot CPU runs on until its executor loop has one of its own.
pub const BOOT_STACK_SIZE: usize = 64 * 1024;

global_asm!(
    r#"
    .section .note.Xen, "a", @note
    .balign 4
    .long 4                     // length of the name
    .long 8                     // length of the value
    .long 18                    // XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad pvh_start_phys

    .section .bss.pages, "aw", @nobits
    .balign 4096
    .global boot_pml4, boot_pdpt_low, boot_pdpt_high, boot_pd
boot_pml4:          .skip 4096
boot_pdpt_low:      .skip 4096
boot_pdpt_high:     .skip 4096
boot_pd:            .skip 4 * 4096
    .global boot_stack_guard
boot_stack_guard:   .skip 4096
boot_stack:         .skip {stack_size}
    .global boot_stack_top
boot_stack_top:

    .section .rodata.boot_gdt, "a", @progbits
    .balign 8
    .global boot_gdt, boot_gdt_pointer
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff    // 64-bit code, ring 0
    .quad 0x00cf93000000ffff    // data, ring 0
boot_gdt_end:
boot_gdt_pointer:
    .word boot_gdt_end - boot_gdt - 1
    .quad boot_gdt_phys

    .section .boot.text, "ax", @progbits
    .code32
    .global pvh_start
    .type pvh_start, @function
pvh_start:
    cli
    cld

    // Clear .bss: our tables and the stack are in it.
    mov edi, offset __bss_start_phys
    mov ecx, offset __bss_dwords
    xor eax, eax
    rep stosd

    // Four page directories map the first 4 GiB with 2 MiB pages.
    mov edi, offset boot_pd_phys
    mov eax, 0x83               // present, writable, large
    xor edx, edx
2:  mov [edi], eax
    mov [edi + 4], edx
    add edi, 8
    add eax, 0x200000
    jnc 2b

    mov edi, offset boot_pdpt_low_phys
    mov eax, offset boot_pd_phys
    or eax, 3
    mov ecx, 4
3:  mov [edi], eax
    add edi, 8
    add eax, 4096
    loop 3b

    mov edi, offset boot_pdpt_high_phys
    mov eax, offset boot_pd_phys
    or eax, 3
    mov [edi + 510 * 8], eax

    mov edi, offset boot_pml4_phys
    mov eax, offset boot_pdpt_low_phys
    or eax, 3
    mov [edi], eax              // identity
    mov [edi + 273 * 8], eax    // direct map at 0xffff888000000000
    mov eax, offset boot_pdpt_high_phys
    or eax, 3
    mov [edi + 511 * 8], eax    // image at 0xffffffff80000000

    mov eax, cr4
    or eax, 0x20                // PAE
    mov cr4, eax
    mov eax, offset boot_pml4_phys
    mov cr3, eax
    mov ecx, 0xc0000080         // EFER
    rdmsr
    or eax, 0x100               // LME
    wrmsr
    mov eax, cr0
    or eax, 0x80010001          // PG, WP, PE
    mov cr0, eax

    lgdt [boot_gdt_pointer_phys]
    push 8
    mov eax, offset long_mode_phys
    push eax
    retf

    .code64
    .global long_mode
    .type long_mode, @function
long_mode:
    mov ecx, 16
    mov ds, ecx
    mov es, ecx
    mov ss, ecx
    xor ecx, ecx
    mov fs, ecx
    mov gs, ecx
    movabs rax, offset boot_high_half
    jmp rax
boot_high_half:
    mov rsp, offset boot_stack_top
    xor ebp, ebp
    mov edi, ebx
    call {kmain}
    ud2

    .text
    "#,
    stack_size = const BOOT_STACK_SIZE,
    kmain = sym super::start::kmain,
);
