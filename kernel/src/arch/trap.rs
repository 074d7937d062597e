//! Interrupt and exception entry.
//!
//! One stub per vector pushes what the CPU did not and joins one of three paths:
//!
//! | came from | path | stack | ends in |
//! |---|---|---|---|
//! | user mode | registers go into the thread's [`UserRegs`], control returns from `enter_user` | the poll's | the thread's future |
//! | kernel mode, exception | registers go on the interrupted stack | the same | [`kernel_exception`] |
//! | kernel mode, interrupt | registers go on the interrupted stack | the CPU's interrupt stack, then again the interrupted one | [`kernel_interrupt`], then [`interrupt_exit`] |
//! | NMI, debug, double fault, machine check | registers go on that exception's own IST stack; GS is judged by its MSR | IST | [`ist_trap`] |
//!
//! Interrupts stay masked for all of a hard interrupt, so the interrupt stack is never entered twice. Its way out is back on
//! the interrupted stack, which is what a poll that is suspended there keeps. A debug exception of a program that steps
//! goes from its IST stack to the thread's registers, and on as the others from user mode.
//!
//! Rules 13, 17, 18 and 19. Source: Intel SDM 3A 6.12 to 6.15.
#![allow(
    unsafe_code,
    reason = "entry stubs are assembly, and what they hand over is a raw frame"
)]

use core::arch::naked_asm;
use core::mem::offset_of;

use super::percpu::PerCpu;
use super::regs::{pop_regs, push_regs};
use super::user::{RSP0, UserRegs, back_to_kernel};
use super::{cpu_features, irq, nmi, uaccess};

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
        vector::NMI | vector::DEBUG | vector::DOUBLE_FAULT | vector::MACHINE_CHECK => {
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
        push_regs!(),
        "cld",
        "cmp byte ptr [{smap}], 0",
        "je {back}",
        "clac",
        "jmp {back}",
        // From kernel mode.
        "2:",
        push_regs!(),
        "cld",
        "cmp byte ptr [{smap}], 0",
        "je 3f",
        "clac",
        "3:",
        "mov rdi, rsp",
        "mov rbx, rsp",
        "cmp qword ptr [rsp + {vector}], 32",
        "jb 4f",
        "mov rsp, gs:[{irq_stack}]",
        "call {kernel_interrupt}",
        // The interrupted stack again: the rest may leave it for a while, and come back on another CPU.
        "mov rsp, rbx",
        "and rsp, -16",
        "call {interrupt_exit}",
        "jmp 5f",
        "4:",
        "and rsp, -16",
        "call {kernel_exception}",
        "5:",
        "mov rsp, rbx",
        pop_regs!(),
        "add rsp, 16",
        "iretq",
        smap = sym cpu_features::SMAP,
        back = sym back_to_kernel,
        vector = const offset_of!(UserRegs, vector),
        irq_stack = const offset_of!(PerCpu, irq_stack),
        kernel_interrupt = sym kernel_interrupt,
        interrupt_exit = sym interrupt_exit,
        kernel_exception = sym kernel_exception,
    )
}

/// These may hit between an entry and its `swapgs`, so what GS holds is read from its MSR: kernel addresses are negative.
#[unsafe(naked)]
unsafe extern "C" fn ist_common() {
    naked_asm!(
        // A program that steps, or hit a breakpoint of its own: no surprise there, GS is the user's.
        "cmp qword ptr [rsp], {debug}",
        "jne 5f",
        "test byte ptr [rsp + 24], 3",
        "jnz {user_debug}",
        "5:",
        push_regs!(),
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
        pop_regs!(),
        "add rsp, 16",
        "iretq",
        smap = sym cpu_features::SMAP,
        ist_trap = sym ist_trap,
        debug = const vector::DEBUG,
        user_debug = sym user_debug,
    )
}

/// A debug exception of a program: its frame goes from the IST stack to the thread's registers, as if it had been pushed
/// there, and the rest is as for any exception from user mode.
#[unsafe(naked)]
unsafe extern "C" fn user_debug() {
    naked_asm!(
        "swapgs",
        "mov gs:[{scratch}], rax",
        "mov rax, rsp",
        "mov rsp, gs:[{rsp0}]",
        "push [rax + 48]",
        "push [rax + 40]",
        "push [rax + 32]",
        "push [rax + 24]",
        "push [rax + 16]",
        "push [rax + 8]",
        "push [rax]",
        "mov rax, gs:[{scratch}]",
        push_regs!(),
        "cld",
        "cmp byte ptr [{smap}], 0",
        "je {back}",
        "clac",
        "jmp {back}",
        scratch = const offset_of!(PerCpu, scratch),
        rsp0 = const RSP0,
        smap = sym cpu_features::SMAP,
        back = sym back_to_kernel,
    )
}

/// Handles an interrupt of kernel code.
///
/// Context: hard interrupt, on the interrupt stack.
extern "C" fn kernel_interrupt(frame: &TrapFrame) {
    irq::handle(frame.vector as u8);
}

/// The way out of an interrupt of kernel code: softirqs, and making way for another task.
///
/// Context: interrupts are off; on the interrupted stack.
extern "C" fn interrupt_exit() {
    irq::exit();
    crate::task::suspend::interrupted();
    executor::cpu::irqs_resume();
}

/// Handles an exception of kernel code.
///
/// Context: interrupts are off; on the stack of that code.
extern "C" fn kernel_exception(frame: &mut TrapFrame) {
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
        vector::NMI => nmi::handle(),
        _ => crate::panic::exception(frame),
    }
}
