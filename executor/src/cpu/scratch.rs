//! The registers that a call may change, for code that the compiler takes for no call.

/// Pushes them, as a line of assembly.
macro_rules! push_scratch {
    () => {
        "push rax; push rcx; push rdx; push rsi; push rdi; push r8; push r9; push r10; push r11"
    };
}

/// Pops what [`push_scratch`] pushed, as a line of assembly.
macro_rules! pop_scratch {
    () => {
        "pop r11; pop r10; pop r9; pop r8; pop rdi; pop rsi; pop rdx; pop rcx; pop rax"
    };
}

pub(super) use {pop_scratch, push_scratch};
