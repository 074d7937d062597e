//! Leaving a stack for another one, as a function call.
//!
//! What a suspended poll keeps is its stack; on its top lie the callee-saved registers and the address to go on at, and the
//! stack pointer is in the task's header. A fresh stack is made to look the same.
#![allow(unsafe_code, reason = "switches stacks")]

use core::arch::naked_asm;

use super::regs::{KEPT, pop_kept, push_kept};

/// Words of [`switch`]'s frame: the registers that it keeps and the address to go on at.
const FRAME: usize = KEPT + 1;

/// Stores the callee-saved registers on this stack and its pointer in `*from`, and goes on at `to`.
///
/// # Safety
/// Interrupts are masked. `to` was stored by an earlier call, and is used once; or it is from [`prepare`]. `from` is
/// valid, and whoever finds a value there may use it at once.
#[unsafe(naked)]
pub unsafe extern "C" fn switch(from: *mut *mut (), to: *mut ()) {
    naked_asm!(
        push_kept!(),
        "mov [rdi], rsp",
        "mov rsp, rsi",
        pop_kept!(),
        "ret",
    )
}

/// As [`switch`], storing nothing.
///
/// # Safety
/// As [`switch`]; nobody comes back to this stack.
#[unsafe(naked)]
pub unsafe extern "C" fn leave(to: *mut ()) -> ! {
    naked_asm!("mov rsp, rdi", pop_kept!(), "ret",)
}

/// Makes a stack that ends at `top` go on in `entry` when it is switched to.
///
/// # Safety
/// The stack is nobody's but the caller's, mapped, and `top` is aligned to 16 bytes.
pub unsafe fn prepare(top: usize, entry: extern "C" fn() -> !) -> *mut () {
    // A function is entered with RSP % 16 = 8: above its frame lies the address it would return to, here none.
    let frame = (top - (FRAME + 1) * size_of::<usize>()) as *mut [usize; FRAME + 1];
    let mut words = [0; FRAME + 1];
    words[FRAME - 1] = entry as *const () as usize;
    // SAFETY: within the caller's stack, aligned to a word.
    unsafe { frame.write(words) };
    frame.cast()
}

/// Calls `function` with `argument` on the stack that ends at `top`.
///
/// # Safety
/// That stack is in no use, `top` is aligned to 16 bytes, and `function` may be called with `argument`. The code does not
/// move to another CPU meanwhile if the stack is a CPU's.
#[unsafe(naked)]
pub unsafe extern "C" fn call_on(top: u64, function: extern "C" fn(*mut ()), argument: *mut ()) {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "mov rsp, rdi",
        "mov rdi, rdx",
        "call rsi",
        "mov rsp, rbp",
        "pop rbp",
        "ret",
    )
}
