//! Copies between kernel and user memory whose faults are caught.
//!
//! Nothing here resolves a fault: a copy stops at the first byte that it cannot reach and says how many are left. The
//! caller, holding no lock, has the page faulted in and goes on. So these functions may be used under spin locks, and
//! with a pointer of any value: addresses outside the user half are refused before they are touched.
//!
//! Source: Intel SDM 3A 4.6 (SMAP); rule 19.
#![allow(
    unsafe_code,
    reason = "touches memory at addresses that user programs choose"
)]

use core::arch::{global_asm, naked_asm};

use super::cpu_features;
use super::user::USER_END;

/// Whether `len` bytes at `addr` lie in the user half. Says nothing of what is mapped there.
#[inline]
pub fn in_user_half(addr: u64, len: usize) -> bool {
    addr <= USER_END && (len as u64) <= USER_END - addr
}

/// Copies `dst.len()` bytes from user address `src`; returns how many at the end could **not** be copied.
///
/// # Context
/// Any but NMI; the user's address space is loaded.
#[inline]
pub fn copy_from_user(dst: &mut [u8], src: u64) -> usize {
    if !in_user_half(src, dst.len()) {
        return dst.len();
    }
    // SAFETY: `dst` is ours for its length; the source is in the user half, and a fault there ends the copy.
    unsafe { copy(dst.as_mut_ptr(), src as *const u8, dst.len()) }
}

/// Copies `src` to user address `dst`; returns how many bytes at the end could **not** be copied.
///
/// # Context
/// Any but NMI; the user's address space is loaded.
#[inline]
pub fn copy_to_user(dst: u64, src: &[u8]) -> usize {
    if !in_user_half(dst, src.len()) {
        return src.len();
    }
    // SAFETY: the destination is in the user half, so no kernel object is there; a fault ends the copy.
    unsafe { copy(dst as *mut u8, src.as_ptr(), src.len()) }
}

/// Zeroes `len` bytes at user address `dst`; returns how many at the end could **not** be zeroed.
///
/// # Context
/// Any but NMI; the user's address space is loaded.
#[inline]
pub fn clear_user(dst: u64, len: usize) -> usize {
    if !in_user_half(dst, len) {
        return len;
    }
    // SAFETY: as in `copy_to_user`.
    unsafe { clear(dst as *mut u8, len) }
}

/// Reads the aligned `u32` at user address `addr`, in one access; `None` where that faults.
#[inline]
pub fn load_u32(addr: u64) -> Option<u32> {
    if !in_user_half(addr, 4) {
        return None;
    }
    // SAFETY: the address is in the user half; a fault is reported in the upper half of the result.
    let packed = unsafe { user_load_u32(addr as *const u32) };
    (packed >> 32 == 0).then_some(packed as u32)
}

/// Replaces `old` by `new` at user address `addr` if it is there, atomically; gives what was there, `None` at a fault.
#[inline]
pub fn compare_exchange_u32(addr: u64, old: u32, new: u32) -> Option<u32> {
    if !in_user_half(addr, 4) {
        return None;
    }
    // SAFETY: as in `load_u32`; the write goes to user memory only.
    let packed = unsafe { user_cmpxchg_u32(addr as *mut u32, old, new) };
    (packed >> 32 == 0).then_some(packed as u32)
}

/// # Safety
/// The side that is kernel memory is valid for `len` bytes, the other lies in the user half.
#[unsafe(naked)]
unsafe extern "C" fn copy(dst: *mut u8, src: *const u8, len: usize) -> usize {
    naked_asm!(
        "cmp byte ptr [{smap}], 0",
        "je 2f",
        "stac",
        "2:",
        "cmp rdx, 8",
        "jb 5f",
        "mov rcx, rdx",
        "shr rcx, 3",
        "3:",
        "rep movsq",
        "and edx, 7",
        "5:",
        "mov ecx, edx",
        "6:",
        "rep movsb",
        "7:",
        "mov rax, rcx",
        "cmp byte ptr [{smap}], 0",
        "je 8f",
        "clac",
        "8:",
        "ret",
        // A word could not be copied: try its bytes, to stop at the very one that faults.
        "9:",
        "and edx, 7",
        "lea rcx, [rcx * 8 + rdx]",
        "jmp 6b",
        ".pushsection .extable, \"a\"",
        ".quad 3b, 9b",
        ".quad 6b, 7b",
        ".popsection",
        smap = sym cpu_features::SMAP,
    )
}

/// # Safety
/// `dst` lies in the user half.
#[unsafe(naked)]
unsafe extern "C" fn clear(dst: *mut u8, len: usize) -> usize {
    naked_asm!(
        "cmp byte ptr [{smap}], 0",
        "je 2f",
        "stac",
        "2:",
        "xor eax, eax",
        "mov rcx, rsi",
        "shr rcx, 3",
        "3:",
        "rep stosq",
        "and esi, 7",
        "mov ecx, esi",
        "6:",
        "rep stosb",
        "7:",
        "mov rax, rcx",
        "cmp byte ptr [{smap}], 0",
        "je 8f",
        "clac",
        "8:",
        "ret",
        "9:",
        "and esi, 7",
        "lea rcx, [rcx * 8 + rsi]",
        "jmp 6b",
        ".pushsection .extable, \"a\"",
        ".quad 3b, 9b",
        ".quad 6b, 7b",
        ".popsection",
        smap = sym cpu_features::SMAP,
    )
}

/// The value in the lower half of the result, or 1 in the upper half at a fault.
///
/// # Safety
/// `addr` lies in the user half.
#[unsafe(naked)]
unsafe extern "C" fn user_load_u32(addr: *const u32) -> u64 {
    naked_asm!(
        "cmp byte ptr [{smap}], 0",
        "je 2f",
        "stac",
        "2:",
        "mov eax, [rdi]",
        "3:",
        "cmp byte ptr [{smap}], 0",
        "je 4f",
        "clac",
        "4:",
        "ret",
        "5:",
        "mov rax, 0x100000000",
        "jmp 3b",
        ".pushsection .extable, \"a\"",
        ".quad 2b, 5b",
        ".popsection",
        smap = sym cpu_features::SMAP,
    )
}

/// The value found in the lower half of the result, or 1 in the upper half at a fault.
///
/// # Safety
/// `addr` lies in the user half.
#[unsafe(naked)]
unsafe extern "C" fn user_cmpxchg_u32(addr: *mut u32, old: u32, new: u32) -> u64 {
    naked_asm!(
        "cmp byte ptr [{smap}], 0",
        "je 2f",
        "stac",
        "2:",
        "mov eax, esi",
        "3:",
        "lock cmpxchg [rdi], edx",
        "mov eax, eax",
        "6:",
        "cmp byte ptr [{smap}], 0",
        "je 4f",
        "clac",
        "4:",
        "ret",
        "5:",
        "mov rax, 0x100000000",
        "jmp 6b",
        ".pushsection .extable, \"a\"",
        ".quad 3b, 5b",
        ".popsection",
        smap = sym cpu_features::SMAP,
    )
}

// The table is delimited by the linker script; an image without entries would still have the section.
global_asm!(".pushsection .extable, \"a\"", ".popsection");

/// Where to go on after a fault at instruction `rip`, if that instruction is one that may fault.
pub(super) fn fixup(rip: u64) -> Option<u64> {
    unsafe extern "C" {
        static __extable_start: [u64; 2];
        static __extable_end: [u64; 2];
    }
    let start = &raw const __extable_start;
    let len = (&raw const __extable_end as usize - start as usize) / size_of::<[u64; 2]>();
    // SAFETY: the linker puts the whole table, pairs of addresses, between the two symbols.
    let table = unsafe { core::slice::from_raw_parts(start, len) };
    table
        .iter()
        .find(|[insn, _]| *insn == rip)
        .map(|[_, fixup]| *fixup)
}
