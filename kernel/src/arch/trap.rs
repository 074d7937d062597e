//! Interrupt and exception entry.
//!
//! One stub per vector pushes what the CPU did not and joins one of three paths:
//!
//! | came from | path | stack | ends in |
//! |---|---|---|---|
//! | user mode | registers go into the thread's [`UserRegs`], control returns from `enter_user` | the poll's | the thread's future |
//! | kernel mode | registers go on the interrupted stack; interrupts switch to the per-CPU interrupt stack | see left | [`kernel_trap`] |
//! | NMI, double fault, machine check | registers go on that exception's own IST stack; GS is judged by its MSR | IST | [`ist_trap`] |
//!
//! Rules 13, 17, 18 and 19. Source: Intel SDM 3A 6.12 to 6.15.
#![allow(
    unsafe_code,
    reason = "entry stubs are assembly, and what they hand over is a raw frame"
)]

use core::arch::naked_asm;
use core::mem::offset_of;

use super::percpu::PerCpu;
use super::user::{UserRegs, back_to_kernel};
use super::{cpu_features, irq, uaccess};

/// The registers of interrupted code; the layout is that of [`UserRegs`].
pub type TrapFrame = UserRegs;

/// Vectors that the CPU defines.
#[expect(missing_docs, reason = "the names are the manual's")]
pub mod vector {
    pub const DIVIDE: u64 = 0;
    pub const DEBUG: u64 = 1;
    pub const NMI: u64 = 2;
    pub const BREAKPOINT: u64 = 3;
    pub const OVERFLOW: u64 = 4;
    pub const BOUND: u64 = 5;
    pub const INVALID_OPCODE: u64 = 6;
    pub const NO_DEVICE: u64 = 7;
    pub const DOUBLE_FAULT: u64 = 8;
    pub const INVALID_TSS: u64 = 10;
    pub const NOT_PRESENT: u64 = 11;
    pub const STACK: u64 = 12;
    pub const PROTECTION: u64 = 13;
    pub const PAGE_FAULT: u64 = 14;
    pub const X87: u64 = 16;
    pub const ALIGNMENT: u64 = 17;
    pub const MACHINE_CHECK: u64 = 18;
    pub const SIMD: u64 = 19;
    pub const VIRTUALIZATION: u64 = 20;
    pub const CONTROL_PROTECTION: u64 = 21;
    /// First vector that devices and the local APIC may use.
    pub const FIRST_IRQ: u64 = 32;
}

const STUB_SIZE: usize = 16;

/// The address of the entry stub for `vector`, for the IDT.
pub fn stub(vector: u8) -> u64 {
    let table = match u64::from(vector) {
        vector::NMI | vector::DOUBLE_FAULT | vector::MACHINE_CHECK => {
            ist_stubs as *const () as usize
        }
        _ => stubs as *const () as usize,
    };
    (table + usize::from(vector) * STUB_SIZE) as u64
}

/// 256 stubs of 16 bytes. Vectors 8, 10 to 14, 17, 21, 29 and 30 come with an error code (SDM 3A table 6-1).
#[unsafe(naked)]
unsafe extern "C" fn stubs() {
    naked_asm!(
        ".set n, 0",
        ".rept 256",
        ".balign 16",
        ".if (n != 8) && ((n < 10) || (n > 14)) && (n != 17) && (n != 21) && (n != 29) && (n != 30)",
        "push 0",
        ".endif",
        "push n",
        "jmp {common}",
        ".set n, n + 1",
        ".endr",
        common = sym common,
    )
}

/// The same for the vectors that have an IST stack (the others in this table are never used).
#[unsafe(naked)]
unsafe extern "C" fn ist_stubs() {
    naked_asm!(
        ".set n, 0",
        ".rept 32",
        ".balign 16",
        ".if n != 8",
        "push 0",
        ".endif",
        "push n",
        "jmp {ist}",
        ".set n, n + 1",
        ".endr",
        ist = sym ist_common,
    )
}

#[unsafe(naked)]
unsafe extern "C" fn common() {
    naked_asm!(
        "test byte ptr [rsp + 24], 3",
        "jz 2f",
        // From user mode: the stack is the end of the thread's registers.
        "swapgs",
        "push rdi",
        "push rsi",
        "push rdx",
        "push rcx",
        "push rax",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "cld",
        "cmp byte ptr [{smap}], 0",
        "je {back}",
        "clac",
        "jmp {back}",
        // From kernel mode.
        "2:",
        "push rdi",
        "push rsi",
        "push rdx",
        "push rcx",
        "push rax",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "cld",
        "cmp byte ptr [{smap}], 0",
        "je 3f",
        "clac",
        "3:",
        "mov rdi, rsp",
        "mov rbx, rsp",
        // Exceptions are handled where they happen, interrupts on the interrupt stack unless they nest.
        "cmp qword ptr [rsp + {vector}], 32",
        "jb 4f",
        "inc qword ptr gs:[{nesting}]",
        "cmp qword ptr gs:[{nesting}], 1",
        "cmove rsp, gs:[{irq_stack}]",
        "and rsp, -16",
        "call {kernel_trap}",
        "dec qword ptr gs:[{nesting}]",
        "jmp 5f",
        "4:",
        "and rsp, -16",
        "call {kernel_trap}",
        "5:",
        "mov rsp, rbx",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rax",
        "pop rcx",
        "pop rdx",
        "pop rsi",
        "pop rdi",
        "add rsp, 16",
        "iretq",
        smap = sym cpu_features::SMAP,
        back = sym back_to_kernel,
        vector = const offset_of!(UserRegs, vector),
        nesting = const offset_of!(PerCpu, irq_nesting),
        irq_stack = const offset_of!(PerCpu, irq_stack),
        kernel_trap = sym kernel_trap,
    )
}

/// NMI, double fault and machine check may hit between an entry and its `swapgs`, so what GS holds is read from its
/// MSR: kernel addresses are negative.
#[unsafe(naked)]
unsafe extern "C" fn ist_common() {
    naked_asm!(
        "push rdi",
        "push rsi",
        "push rdx",
        "push rcx",
        "push rax",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "cld",
        "cmp byte ptr [{smap}], 0",
        "je 2f",
        "clac",
        "2:",
        "mov ecx, 0xc0000101",
        "rdmsr",
        "xor ebx, ebx",
        "test edx, edx",
        "js 3f",
        "swapgs",
        "mov ebx, 1",
        "3:",
        "mov rdi, rsp",
        "mov r12, rsp",
        "and rsp, -16",
        "call {ist_trap}",
        "mov rsp, r12",
        "test ebx, ebx",
        "jz 4f",
        "swapgs",
        "4:",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rax",
        "pop rcx",
        "pop rdx",
        "pop rsi",
        "pop rdi",
        "add rsp, 16",
        "iretq",
        smap = sym cpu_features::SMAP,
        ist_trap = sym ist_trap,
    )
}

/// Handles an interrupt or exception of kernel code.
///
/// Context: interrupts are off; on the interrupt stack for vectors from 32 on.
extern "C" fn kernel_trap(frame: &mut TrapFrame) {
    if frame.vector >= vector::FIRST_IRQ {
        irq::dispatch(frame.vector as u8);
        return;
    }
    // A copy from or to user memory that hit a bad address goes on at its fixup, which reports how far it came.
    if matches!(frame.vector, vector::PAGE_FAULT | vector::PROTECTION)
        && let Some(fixup) = uaccess::fixup(frame.rip)
    {
        frame.rip = fixup;
        return;
    }
    crate::panic::exception(frame);
}

/// Handles what has an IST stack. It may have interrupted anything: no locks, no wake-ups (rule 18).
extern "C" fn ist_trap(frame: &mut TrapFrame) {
    match frame.vector {
        vector::NMI => crate::panic::nmi(frame),
        _ => crate::panic::exception(frame),
    }
}
