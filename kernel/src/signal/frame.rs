//! The frame that a handler runs on, and what brings the thread back from it.
//!
//! From the top of the stack down: the vector state as FXSAVE or XSAVE lays it out, aligned to 64 bytes; then `struct
//! rt_sigframe`: the return address (the restorer), the `ucontext` and the `siginfo`. Debuggers and unwinders know these
//! layouts by heart.
//!
//! Source: Linux `arch/x86/include/uapi/asm/{sigcontext,ucontext}.h`.
#![allow(
    unsafe_code,
    reason = "states that plain structures may be copied to user memory"
)]

use core::mem::{offset_of, size_of};
use core::sync::atomic::Ordering;

use fs::Errno;

use super::action::{SA_ONSTACK, SA_RESTORER, SA_SIGINFO};
use super::info::SIGINFO_SIZE;
use super::state::{AltStack, SS_AUTODISARM};
use super::{SigAction, SigInfo, SigSet};
use crate::arch::cpu_features;
use crate::arch::fpu::{AREA_SIZE, FpuArea};
use crate::arch::selectors::{USER_CS, USER_DS};
use crate::arch::user::{RESTORE_ALL, USER_END, UserRegs};
use crate::process::Thread;
use crate::usermem::{self, Plain};

/// `uc_flags`: the vector state is XSAVE's.
const UC_FP_XSTATE: u64 = 1;
/// `uc_flags`: `ss` is in the context, and means it.
const UC_SIGCONTEXT_SS: u64 = 2;
const UC_STRICT_RESTORE_SS: u64 = 4;
/// Marks the software-reserved bytes of the legacy area.
const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
/// Marks the end of the extended state.
const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;
/// Where the software-reserved bytes lie in the legacy area.
const SW_RESERVED: usize = 464;
/// Length of the legacy area.
const FXSAVE_SIZE: usize = 512;
/// Below the stack pointer, functions that call nothing keep data.
const RED_ZONE: u64 = 128;

const FLAG_TRAP: u64 = 1 << 8;
const FLAG_DIRECTION: u64 = 1 << 10;
const FLAG_RESUME: u64 = 1 << 16;
/// The flags that a frame may change: `FIX_EFLAGS`.
const FLAGS_RESTORED: u64 = 0x0005_0dd5;

/// `stack_t`.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct UserStack {
    /// Lowest address.
    pub sp: u64,
    /// `SS_*`.
    pub flags: u32,
    pad: u32,
    /// Length.
    pub size: u64,
}

impl UserStack {
    /// As programs see it.
    pub fn new(sp: u64, flags: u32, size: u64) -> UserStack {
        UserStack {
            sp,
            flags,
            pad: 0,
            size,
        }
    }
}

/// `struct sigcontext`.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
struct SigContext {
    r8: u64,
    r9: u64,
    r10: u64,
    r11: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    rdi: u64,
    rsi: u64,
    rbp: u64,
    rbx: u64,
    rdx: u64,
    rax: u64,
    rcx: u64,
    rsp: u64,
    rip: u64,
    flags: u64,
    cs: u16,
    gs: u16,
    fs: u16,
    ss: u16,
    err: u64,
    trapno: u64,
    oldmask: u64,
    cr2: u64,
    fpstate: u64,
    reserved: [u64; 8],
}

/// `struct ucontext` and the return address before it: `struct rt_sigframe` without the `siginfo`.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
struct Frame {
    restorer: u64,
    flags: u64,
    link: u64,
    stack: UserStack,
    context: SigContext,
    mask: u64,
}

// SAFETY: a C structure of integers without padding.
unsafe impl Plain for UserStack {}
// SAFETY: as above; the size is that of its members.
unsafe impl Plain for SigContext {}
// SAFETY: as above.
unsafe impl Plain for Frame {}

const _: () = {
    assert!(size_of::<SigContext>() == 256);
    assert!(size_of::<Frame>() == 312);
    assert!(offset_of!(Frame, context) == 48);
};

const FRAME_SIZE: u64 = (size_of::<Frame>() + SIGINFO_SIZE) as u64;

/// Bytes of vector state in a frame, with the final magic number where there is one.
fn fp_size() -> usize {
    if cpu_features::has_xsave() {
        xsave_size() + size_of::<u32>()
    } else {
        FXSAVE_SIZE
    }
}

/// Bytes of the XSAVE area in use.
fn xsave_size() -> usize {
    const AVX: u64 = 1 << 2;
    if cpu_features::xcr0() & AVX != 0 {
        AREA_SIZE
    } else {
        FXSAVE_SIZE + 64
    }
}

/// The least that a signal stack must hold (`AT_MINSIGSTKSZ`).
pub fn min_stack() -> u64 {
    FRAME_SIZE + fp_size() as u64 + 64 + 16 + RED_ZONE
}

/// Writes the frame for `action` and points `regs` at the handler. Answers whether the alternate stack is to be
/// forgotten while the handler runs.
///
/// # Errors
/// `EFAULT` where the stack cannot be written, or the program gave no restorer.
pub(super) fn push(
    thread: &Thread,
    regs: &mut UserRegs,
    action: &SigAction,
    info: &SigInfo,
    mask: SigSet,
    altstack: &AltStack,
) -> Result<bool, Errno> {
    // A handler where no program can be would fault at its first instruction.
    if action.flags & SA_RESTORER == 0 || action.handler >= USER_END {
        return Err(Errno::EFAULT);
    }
    let on_altstack = altstack.size != 0 && altstack.contains(regs.rsp);
    let mut sp = regs.rsp.wrapping_sub(RED_ZONE);
    let mut entering = false;
    if action.flags & SA_ONSTACK != 0 && altstack.state(regs.rsp) == 0 {
        sp = altstack.base.wrapping_add(altstack.size);
        entering = true;
    }
    let fpstate = sp.wrapping_sub(fp_size() as u64) & !63;
    let sp = (fpstate.wrapping_sub(FRAME_SIZE) & !15).wrapping_sub(8);
    // A handler on the alternate stack that leaves no room for another frame gets none beyond its end.
    if (on_altstack || entering) && !altstack.contains(sp) {
        return Err(Errno::EFAULT);
    }
    write_fpstate(thread, fpstate)?;
    let trap = |n: usize| thread.last_trap[n].load(Ordering::Relaxed);
    let stack_flags = altstack.flags & SS_AUTODISARM | altstack.state(regs.rsp);
    let frame = Frame {
        restorer: action.restorer,
        flags: UC_SIGCONTEXT_SS
            | UC_STRICT_RESTORE_SS
            | if cpu_features::has_xsave() {
                UC_FP_XSTATE
            } else {
                0
            },
        link: 0,
        stack: UserStack::new(altstack.base, stack_flags, altstack.size),
        context: SigContext {
            r8: regs.r8,
            r9: regs.r9,
            r10: regs.r10,
            r11: regs.r11,
            r12: regs.r12,
            r13: regs.r13,
            r14: regs.r14,
            r15: regs.r15,
            rdi: regs.rdi,
            rsi: regs.rsi,
            rbp: regs.rbp,
            rbx: regs.rbx,
            rdx: regs.rdx,
            rax: regs.rax,
            rcx: regs.rcx,
            rsp: regs.rsp,
            rip: regs.rip,
            flags: regs.rflags,
            cs: regs.cs as u16,
            ss: regs.ss as u16,
            gs: 0,
            fs: 0,
            trapno: trap(0),
            err: trap(1),
            cr2: trap(2),
            oldmask: mask.0,
            fpstate,
            reserved: [0; 8],
        },
        mask: mask.0,
    };
    usermem::write(sp, &frame)?;
    let info_at = sp + size_of::<Frame>() as u64;
    if action.flags & SA_SIGINFO != 0 {
        usermem::write_bytes(info_at, &info.to_bytes())?;
    }
    regs.rdi = info.signo as u64;
    regs.rsi = info_at;
    regs.rdx = sp + offset_of!(Frame, flags) as u64;
    regs.rax = 0;
    regs.rip = action.handler;
    regs.rsp = sp;
    regs.rflags &= !(FLAG_DIRECTION | FLAG_RESUME | FLAG_TRAP);
    regs.cs = u64::from(USER_CS);
    regs.ss = u64::from(USER_DS);
    regs.vector = RESTORE_ALL;
    Ok(altstack.flags & SS_AUTODISARM != 0 && altstack.size != 0)
}

fn write_fpstate(thread: &Thread, at: u64) -> Result<(), Errno> {
    let mut area = thread.machine.fpu.get();
    area.0[SW_RESERVED..FXSAVE_SIZE].fill(0);
    if !cpu_features::has_xsave() {
        return usermem::write_bytes(at, &area.0[..FXSAVE_SIZE]);
    }
    let size = xsave_size();
    let mut put = |at: usize, bytes: &[u8]| {
        area.0[SW_RESERVED + at..SW_RESERVED + at + bytes.len()].copy_from_slice(bytes)
    };
    put(0, &FP_XSTATE_MAGIC1.to_le_bytes());
    put(4, &(fp_size() as u32).to_le_bytes());
    put(8, &cpu_features::xcr0().to_le_bytes());
    put(16, &(size as u32).to_le_bytes());
    usermem::write_bytes(at, &area.0[..size])?;
    usermem::write(at + size as u64, &FP_XSTATE_MAGIC2)
}

/// What a frame says that is not in the registers.
pub(crate) struct Popped {
    /// The mask to go back to.
    pub mask: SigSet,
    /// The alternate stack to go back to.
    pub stack: UserStack,
}

/// Goes back to what the frame at `regs.rsp - 8` says: rt_sigreturn(2).
///
/// # Errors
/// `EFAULT` where it cannot be read; `EINVAL` where it says what no thread could have been doing.
pub(crate) fn pop(thread: &Thread, regs: &mut UserRegs) -> Result<Popped, Errno> {
    let frame: Frame = usermem::read(regs.rsp.wrapping_sub(8))?;
    let c = &frame.context;
    if c.cs != USER_CS
        || frame.flags & UC_STRICT_RESTORE_SS != 0 && c.ss != USER_DS
        || c.rip >= USER_END
    {
        return Err(Errno::EINVAL);
    }
    read_fpstate(thread, c.fpstate)?;
    *regs = UserRegs {
        r8: c.r8,
        r9: c.r9,
        r10: c.r10,
        r11: c.r11,
        r12: c.r12,
        r13: c.r13,
        r14: c.r14,
        r15: c.r15,
        rdi: c.rdi,
        rsi: c.rsi,
        rbp: c.rbp,
        rbx: c.rbx,
        rdx: c.rdx,
        rax: c.rax,
        rcx: c.rcx,
        rsp: c.rsp,
        rip: c.rip,
        rflags: regs.rflags & !FLAGS_RESTORED | c.flags & FLAGS_RESTORED,
        error: u64::MAX,
        ..UserRegs::default()
    };
    regs.sanitize();
    Ok(Popped {
        mask: SigSet(frame.mask),
        stack: frame.stack,
    })
}

/// Loads the vector state that a frame points at; none at all is the initial state.
fn read_fpstate(thread: &Thread, at: u64) -> Result<(), Errno> {
    let mut area = FpuArea::initial();
    if at == 0 {
        thread.machine.fpu.set(area);
        return Ok(());
    }
    usermem::read_bytes(at, &mut area.0[..FXSAVE_SIZE])?;
    let word = |at: usize| {
        u32::from_le_bytes(
            area.0[SW_RESERVED + at..SW_RESERVED + at + 4]
                .try_into()
                .expect("four bytes"),
        )
    };
    let size = xsave_size();
    let extended = cpu_features::has_xsave()
        && word(0) == FP_XSTATE_MAGIC1
        && word(16) as usize >= FXSAVE_SIZE + 64
        && word(16) as usize <= size
        && word(4) as usize > word(16) as usize
        && usermem::read::<u32>(at + u64::from(word(16)))? == FP_XSTATE_MAGIC2;
    if extended {
        let len = word(16) as usize;
        usermem::read_bytes(at, &mut area.0[..len])?;
    } else if cpu_features::has_xsave() {
        // Only the legacy part is there: x87 and SSE come from it, the rest is initial.
        area.0[FXSAVE_SIZE..].fill(0);
        area.0[FXSAVE_SIZE] = 0b11;
    }
    area.0[SW_RESERVED..FXSAVE_SIZE].fill(0);
    thread.machine.fpu.set(area);
    Ok(())
}
