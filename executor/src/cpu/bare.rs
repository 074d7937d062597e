//! Per-CPU access on the machine: one instruction on `gs:` each, so nothing can come between.
//!
//! Every block is volatile and clobbers memory: neither `pure` nor `nomem`, lest the compiler keep an answer across a
//! point where the code moved to another CPU, or move guarded accesses out of the guard (rule 10).

use core::arch::{asm, naked_asm};

use crate::{
    raw::{CpuShared, Header},
    softirq::Level,
};

use super::{
    CpuLocal,
    scratch::{pop_scratch, push_scratch},
};

/// An instruction that a section may begin or end with, listed for [`super::sites`]. It is at least five bytes long, so that
/// a call has room in its place.
macro_rules! site {
    ($instruction:literal) => {
        concat!(
            "66: ",
            $instruction,
            "\n",
            ".pushsection .cpu_sites, \"a\"\n",
            ".balign 4\n",
            ".long 66b - .\n",
            ".popsection",
        )
    };
}

/// The flags register as it was when interrupts were masked.
#[derive(Clone, Copy, Debug)]
pub(super) struct IrqState(u64);

const FLAG_IF: u64 = 1 << 9;

/// Reads a 32-bit field of this CPU's area.
macro_rules! read32 {
    ($offset:literal) => {{
        let value: u32;
        // SAFETY: `gs` points at this CPU's `CpuLocal` from the first Rust code on, and the field is within it.
        unsafe { asm!(concat!("mov {0:e}, gs:[", $offset, "]"), out(reg) value, options(nostack, preserves_flags)) };
        value
    }};
}

/// Reads a 64-bit field of this CPU's area.
macro_rules! read64 {
    ($offset:literal) => {{
        let value: u64;
        // SAFETY: as for `read32`.
        unsafe { asm!(concat!("mov {0}, gs:[", $offset, "]"), out(reg) value, options(nostack, preserves_flags)) };
        value
    }};
}

/// Writes a 64-bit field of this CPU's area.
macro_rules! write64 {
    ($offset:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: as for `read32`; only this CPU writes the field.
        unsafe { asm!(concat!("mov gs:[", $offset, "], {0}"), in(reg) value, options(nostack, preserves_flags)) };
    }};
}

#[inline(always)]
pub(super) fn cpu() -> u32 {
    read32!(8)
}

/// See [`owner_token`].
pub(super) type OwnerToken = u32;

/// What tells this owner from others: here, the CPU.
#[inline(always)]
pub(super) fn owner_token() -> OwnerToken {
    cpu()
}

#[inline(always)]
pub(super) fn this() -> *const CpuLocal {
    read64!(16) as *const CpuLocal
}

#[inline(always)]
pub(super) fn word() -> u32 {
    read32!(0)
}

/// Word and `calm` in one.
#[inline(always)]
pub(super) fn word_and_calm() -> u64 {
    read64!(0)
}

#[inline(always)]
pub(super) fn word_add<const N: u32>() {
    // SAFETY: one instruction on this CPU's own word; interrupts see it before or after.
    unsafe { asm!(site!("add dword ptr gs:[0], {}"), const N, options(nostack)) };
}

#[inline(always)]
pub(super) fn word_sub<const N: u32>() {
    // SAFETY: as for `word_add`.
    unsafe { asm!(site!("sub dword ptr gs:[0], {}"), const N, options(nostack)) };
}

/// Takes `N` from the word, and goes to the loop if nothing forbids that any more and it is asked for.
///
/// Word and flag are one quadword that is zero just then, so the fast path is a subtraction and a branch. The slow path
/// keeps every register, so that the compiler sees no call.
#[inline(always)]
pub(super) fn word_sub_and_look<const N: u32>() {
    // SAFETY: one instruction on this CPU's own word, which held at least `N`, so that nothing is borrowed from the flag;
    // the thunk keeps all registers but the flags, and aligns the stack itself.
    unsafe {
        asm!(site!("sub qword ptr gs:[0], {}"), "jnz 2f", "call {}", "2:", const N, sym preempt_thunk, options(nostack))
    };
}

/// Goes to the loop if nothing forbids that and it is asked for.
#[inline(always)]
pub(super) fn look() {
    // SAFETY: reads this CPU's own words; the thunk as above.
    unsafe {
        asm!(site!("cmp qword ptr gs:[0], 0"), "jne 2f", "call {}", "2:", sym preempt_thunk, options(nostack))
    };
}

/// Calls [`super::preempt_due`] with all registers kept.
#[unsafe(naked)]
unsafe extern "C" fn preempt_thunk() {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        push_scratch!(),
        "and rsp, -16",
        "call {due}",
        "lea rsp, [rbp - 72]",
        pop_scratch!(),
        "pop rbp",
        "ret",
        due = sym super::preempt_due,
    )
}

#[inline(always)]
pub(super) fn calm() -> u32 {
    read32!(4)
}

#[inline(always)]
pub(super) fn set_calm<const VALUE: u32>() {
    // SAFETY: one store to this CPU's own flag.
    unsafe { asm!("mov dword ptr gs:[4], {}", const VALUE, options(nostack, preserves_flags)) };
}

#[inline(always)]
pub(super) fn shared() -> *const CpuShared {
    read64!(24) as *const CpuShared
}

pub(super) fn set_shared(shared: *const CpuShared) {
    write64!(24, shared as u64);
}

#[inline(always)]
pub(super) fn current() -> *const Header {
    read64!(32) as *const Header
}

#[inline(always)]
pub(super) fn set_current(task: *const Header) {
    write64!(32, task as u64);
}

#[inline(always)]
pub(super) fn softirq() -> *const Level {
    read64!(40) as *const Level
}

pub(super) fn set_softirq(level: *const Level) {
    write64!(40, level as u64);
}

/// The word's neighbour, in the last look before a user program is entered.
#[inline(always)]
pub(super) fn calm_before_user() -> u32 {
    let calm: u32;
    // SAFETY: as for `read32`; the register is fixed for the sake of the list.
    unsafe { asm!(site!("mov eax, gs:[4]"), out("eax") calm, options(nostack)) };
    calm
}

/// `sti`, with prefixes that mean nothing.
macro_rules! sti {
    () => {
        site!(".byte 0x2e, 0x2e, 0x2e, 0x2e, 0xfb")
    };
}

/// `cli`, likewise.
macro_rules! cli {
    () => {
        site!(".byte 0x2e, 0x2e, 0x2e, 0x2e, 0xfa")
    };
}

/// Lets interrupts in, where they are known to be allowed.
#[inline(always)]
pub(super) fn irq_enable() {
    // SAFETY: its callers hold nothing that an interrupt could want, and handle none.
    unsafe { asm!(sti!(), options(nostack)) };
}

#[inline(always)]
pub(super) fn irq_disable() {
    // SAFETY: masking interrupts breaks nothing but latency.
    unsafe { asm!(cli!(), options(nostack)) };
}

#[inline(always)]
pub(super) fn irqs_resume() {
    // SAFETY: does nothing.
    unsafe { asm!(site!(".byte 0x0f, 0x1f, 0x44, 0, 0"), options(nostack)) };
}

#[inline(always)]
pub(super) fn irq_save() -> IrqState {
    let flags: u64;
    // SAFETY: pushes and pops one word and masks interrupts; the compiler is told of stack, memory and flags.
    unsafe { asm!("pushfq", "pop {0}", cli!(), out(reg) flags) };
    IrqState(flags)
}

#[inline(always)]
pub(super) fn irq_restore(state: IrqState) {
    if state.0 & FLAG_IF != 0 {
        // SAFETY: interrupts were on when this state was saved, so they may come on again.
        unsafe { asm!(sti!(), options(nostack)) };
    }
}

#[inline(always)]
pub(super) fn irqs_enabled() -> bool {
    let flags: u64;
    // SAFETY: pushes and pops one word.
    unsafe { asm!("pushfq", "pop {0}", out(reg) flags) };
    flags & FLAG_IF != 0
}
