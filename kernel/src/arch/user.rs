//! Going to user mode and coming back, as a function call.
//!
//! [`enter_user`] saves the kernel's callee-saved registers, loads the thread's and leaves for ring 3. Whatever brings
//! the CPU back (a system call, a fault, an interrupt) stores the thread's registers straight into the [`UserRegs`] it
//! was given, because `TSS.RSP0` points at their end, and returns from the call with interrupts off. So a thread that
//! waits has no kernel stack: its registers are data beside its future.
//!
//! Source: Intel SDM 3A 5.8.7 (fast system calls), 6.14 (64-bit interrupt frames); rule 17.
#![allow(
    unsafe_code,
    reason = "the switch between privilege levels is assembly"
)]

use core::arch::naked_asm;
use core::mem::{offset_of, size_of};

use x86_64::VirtAddr;
use x86_64::registers::control::{Efer, EferFlags};
use x86_64::registers::model_specific::{LStar, SFMask};
use x86_64::registers::rflags::RFlags;

use super::percpu::PerCpu;
use super::regs::{pop_kept, push_kept, push_regs};
use super::selectors::{KERNEL_CS, USER_CS, USER_DS, USER32_CS};

/// What [`UserRegs::vector`] says after a system call; real vectors are below 256.
pub const SYSCALL: u64 = 256;
/// What [`UserRegs::vector`] is set to where registers were changed behind the thread's back, so that all are restored.
pub const RESTORE_ALL: u64 = 257;

/// First address that user mappings may not reach: the last page of the lower half stays empty, so that no `syscall`
/// instruction can sit where its return address would not be canonical.
pub const USER_END: u64 = 0x7fff_ffff_f000;

/// A thread's general registers as they are while it is not running in user mode.
#[repr(C, align(16))]
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the names are the registers'")]
pub struct UserRegs {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// Why the thread came back: a vector below 256, [`SYSCALL`], or [`RESTORE_ALL`] if it has not been there yet.
    pub vector: u64,
    /// The exception's error code, or the number of the system call (Linux's `orig_rax`).
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

impl UserRegs {
    /// Registers of a thread that starts at `rip` with stack pointer `rsp`, all else zero.
    pub fn new(rip: u64, rsp: u64) -> Self {
        Self {
            rip,
            rsp,
            cs: u64::from(USER_CS),
            ss: u64::from(USER_DS),
            rflags: RFlags::INTERRUPT_FLAG.bits() | 2,
            vector: RESTORE_ALL,
            error: u64::MAX,
            ..Self::default()
        }
    }

    /// Makes segment registers and flags such that ring 3 can be entered with them, whatever they were set to.
    /// Flags a program may choose (arithmetic, `DF`, `TF`, `RF`, `NT`, `AC`, `ID`) are kept.
    pub fn sanitize(&mut self) {
        let keep = RFlags::CARRY_FLAG
            | RFlags::PARITY_FLAG
            | RFlags::AUXILIARY_CARRY_FLAG
            | RFlags::ZERO_FLAG
            | RFlags::SIGN_FLAG
            | RFlags::TRAP_FLAG
            | RFlags::DIRECTION_FLAG
            | RFlags::OVERFLOW_FLAG
            | RFlags::RESUME_FLAG
            | RFlags::ALIGNMENT_CHECK
            | RFlags::ID;
        self.rflags = (self.rflags & keep.bits()) | RFlags::INTERRUPT_FLAG.bits() | 2;
        self.cs = u64::from(USER_CS);
        self.ss = u64::from(USER_DS);
        self.vector = RESTORE_ALL;
    }
}

const REGS_SIZE: usize = size_of::<UserRegs>();
const _: () = assert!(REGS_SIZE == 22 * 8 && REGS_SIZE.is_multiple_of(16));

/// Offset of `TSS.RSP0` in the per-CPU area; also where the system-call stub finds the end of the thread's registers.
pub(super) const RSP0: usize = offset_of!(PerCpu, tss) + 4;

/// Runs the thread in user mode until something needs the kernel; `regs` then says what.
///
/// # Safety
/// 1. Interrupts are off, and stay off until the caller has read CR2 where `regs.vector` is a page fault.
/// 2. The thread's address space, FS base, user GS base and vector registers are loaded.
/// 3. `regs` has passed [`UserRegs::sanitize`] whenever somebody other than the CPU wrote flags or segments, and
///    `rip` is below [`USER_END`] or `vector` is not [`SYSCALL`].
#[unsafe(naked)]
pub unsafe extern "C" fn enter_user(regs: *mut UserRegs) {
    naked_asm!(
        push_kept!(),
        "mov gs:[{kernel_rsp}], rsp",
        "lea rax, [rdi + {size}]",
        "mov gs:[{rsp0}], rax",
        "mov rsp, rdi",
        "cmp qword ptr [rdi + {vector}], {syscall}",
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
        "jne 2f",
        // After a system call: rcx and r11 carry the return address and flags.
        "mov rdx, [rsp + 8]",
        "mov rsi, [rsp + 16]",
        "mov rdi, [rsp + 24]",
        "mov rcx, [rsp + 48]",
        "mov r11, [rsp + 64]",
        "mov rsp, [rsp + 72]",
        "swapgs",
        "sysretq",
        "2:",
        "pop rcx",
        "pop rdx",
        "pop rsi",
        "pop rdi",
        "add rsp, 16",
        "swapgs",
        "iretq",
        kernel_rsp = const offset_of!(PerCpu, kernel_rsp),
        rsp0 = const RSP0,
        size = const REGS_SIZE,
        vector = const offset_of!(UserRegs, vector),
        syscall = const SYSCALL,
    )
}

/// Where `syscall` lands: stores the thread's registers and returns from its [`enter_user`].
#[unsafe(naked)]
unsafe extern "C" fn syscall_entry() {
    naked_asm!(
        "swapgs",
        "mov gs:[{scratch}], rsp",
        "mov rsp, gs:[{rsp0}]",
        "push {user_ds}",
        "push qword ptr gs:[{scratch}]",
        "push r11",
        "push {user_cs}",
        "push rcx",
        "push rax",
        "push {syscall}",
        push_regs!(),
        "jmp {back}",
        scratch = const offset_of!(PerCpu, scratch),
        rsp0 = const RSP0,
        user_ds = const USER_DS as u64,
        user_cs = const USER_CS as u64,
        syscall = const SYSCALL,
        back = sym back_to_kernel,
    )
}

/// The end of every way out of user mode: on to the kernel stack that [`enter_user`] was called on, and back to its
/// caller. Jumped to with the user's registers stored and the kernel's GS base.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn back_to_kernel() {
    naked_asm!(
        "mov rsp, gs:[{kernel_rsp}]",
        pop_kept!(),
        "ret",
        kernel_rsp = const offset_of!(PerCpu, kernel_rsp),
    )
}

/// Tells this CPU where system calls go. Context: boot, once per CPU.
pub fn init() {
    // The flags a program could use against the kernel's first instructions are cleared on entry (rule 17).
    let clear = RFlags::TRAP_FLAG
        | RFlags::INTERRUPT_FLAG
        | RFlags::DIRECTION_FLAG
        | RFlags::IOPL_LOW
        | RFlags::IOPL_HIGH
        | RFlags::NESTED_TASK
        | RFlags::ALIGNMENT_CHECK;
    SFMask::write(clear);
    LStar::write(VirtAddr::from_ptr(syscall_entry as *const ()));
    // SAFETY: the two selectors are those of this kernel's GDT, in the order that `syscall` and `sysret` want.
    unsafe {
        x86_64::registers::model_specific::Msr::new(0xc000_0081)
            .write(u64::from(KERNEL_CS) << 32 | u64::from(USER32_CS) << 48)
    };
    // SAFETY: enables `syscall`, whose entry point was set just above; changes no other bit.
    unsafe { Efer::update(|f| f.insert(EferFlags::SYSTEM_CALL_EXTENSIONS)) };
}
