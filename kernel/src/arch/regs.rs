//! The general registers in the order in which every entry keeps them: that of
//! [`UserRegs`](super::user::UserRegs), from `rdi` down to `r15`.

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

pub(super) use {pop_regs, push_regs};
