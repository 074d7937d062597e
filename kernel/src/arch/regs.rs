//! Registers in the order in which they are put on a stack: all of them by every entry, as in
//! [`UserRegs`](super::user::UserRegs), from `rdi` down to `r15`; and those that a function keeps by what leaves a stack.

/// Pushes the general registers, as a line of assembly.
macro_rules! push_regs {
    () => {
        "push rdi; push rsi; push rdx; push rcx; push rax; push r8; push r9; push r10; push r11; \
         push rbx; push rbp; push r12; push r13; push r14; push r15"
    };
}

/// Pops what [`push_regs`] pushed, as a line of assembly.
macro_rules! pop_regs {
    () => {
        "pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx; \
         pop r11; pop r10; pop r9; pop r8; pop rax; pop rcx; pop rdx; pop rsi; pop rdi"
    };
}

/// Pushes what a called function has to leave as it was (System V ABI), as a line of assembly.
macro_rules! push_kept {
    () => {
        "push rbp; push rbx; push r12; push r13; push r14; push r15"
    };
}

/// Pops what [`push_kept`] pushed, as a line of assembly.
macro_rules! pop_kept {
    () => {
        "pop r15; pop r14; pop r13; pop r12; pop rbx; pop rbp"
    };
}

/// How many words [`push_kept`] pushes.
pub(super) const KEPT: usize = 6;

pub(super) use {pop_kept, pop_regs, push_kept, push_regs};
