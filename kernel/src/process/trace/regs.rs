//! A stopped thread's registers in the layouts that debuggers know.
//!
//! Source: Linux `arch/x86/include/asm/user_64.h`; ptrace(2).

use fs::Errno;

use super::{Kind, Stopped};
use crate::arch::cpu_features;
use crate::arch::fpu::{AREA_SIZE, FpuArea};
use crate::arch::selectors::{USER_CS, USER_DS};
use crate::arch::user::{RESTORE_ALL, SYSCALL, USER_END, UserRegs};

/// Words of `struct user_regs_struct`.
pub const WORDS: usize = 27;
/// Bytes of `struct user`, which `PTRACE_PEEKUSER` reads of.
pub const USER_SIZE: u64 = 912;
/// Bytes of `struct user_fpregs_struct`: FXSAVE's area.
pub const FPREGS_SIZE: usize = 512;
/// Where XSAVE's area says which components there are.
const XSTATE_COMPONENTS: usize = 464;

/// The flag of the processor that traps after each instruction.
pub const FLAG_TRAP: u64 = 1 << 8;
/// The flags that a tracer may change.
const FLAGS_CHANGEABLE: u64 = 0x0025_4dd5;

const ORIG_RAX: usize = 15;
const RIP: usize = 16;
const CS: usize = 17;
const FLAGS: usize = 18;
const RSP: usize = 19;
const SS: usize = 20;
const FS_BASE: usize = 21;
const GS_BASE: usize = 22;

/// The number of the system call that `regs` are in, or -1.
pub fn orig_rax(regs: &UserRegs) -> i64 {
    if regs.vector == SYSCALL {
        regs.error as i64
    } else {
        -1
    }
}

/// The registers from `r15` to `rdi`, in the order of both layouts.
fn general(regs: &mut UserRegs) -> [&mut u64; ORIG_RAX] {
    [
        &mut regs.r15,
        &mut regs.r14,
        &mut regs.r13,
        &mut regs.r12,
        &mut regs.rbp,
        &mut regs.rbx,
        &mut regs.r11,
        &mut regs.r10,
        &mut regs.r9,
        &mut regs.r8,
        &mut regs.rax,
        &mut regs.rcx,
        &mut regs.rdx,
        &mut regs.rsi,
        &mut regs.rdi,
    ]
}

/// `struct user_regs_struct`.
pub fn read(stopped: &mut Stopped) -> [u64; WORDS] {
    words(&stopped.regs, stopped.orig_rax, stopped.bases)
}

/// `struct user_regs_struct` of these registers.
pub fn words(regs: &UserRegs, orig_rax: i64, bases: (u64, u64)) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    for (word, reg) in words.iter_mut().zip(general(&mut regs.clone())) {
        *word = *reg;
    }
    words[ORIG_RAX] = orig_rax as u64;
    words[RIP] = regs.rip;
    words[CS] = regs.cs;
    words[FLAGS] = regs.rflags;
    words[RSP] = regs.rsp;
    words[SS] = regs.ss;
    (words[FS_BASE], words[GS_BASE]) = bases;
    words
}

/// Sets word `index` of `struct user_regs_struct`.
///
/// # Errors
/// `EIO` for what no thread can have.
pub fn write(stopped: &mut Stopped, index: usize, value: u64) -> Result<(), Errno> {
    match index {
        ORIG_RAX => stopped.orig_rax = i64::from(value as i32),
        RIP if value >= USER_END => return Err(Errno::EIO),
        RIP => stopped.regs.rip = value,
        CS if value != u64::from(USER_CS) => return Err(Errno::EIO),
        SS if value != u64::from(USER_DS) => return Err(Errno::EIO),
        FLAGS => {
            let kept = stopped.regs.rflags & !FLAGS_CHANGEABLE;
            stopped.regs.rflags = kept | value & FLAGS_CHANGEABLE;
        }
        RSP => stopped.regs.rsp = value,
        FS_BASE | GS_BASE if value >= USER_END => return Err(Errno::EIO),
        FS_BASE => stopped.bases.0 = value,
        GS_BASE => stopped.bases.1 = value,
        0..ORIG_RAX => *general(&mut stopped.regs)[index] = value,
        // Segment registers, which are null here.
        _ => return Ok(()),
    }
    stopped.regs_changed = true;
    Ok(())
}

/// Makes registers that a tracer changed fit to go on with.
pub fn settle(stopped: &mut Stopped) {
    let regs = &mut stopped.regs;
    if stopped.kind == Kind::Enter {
        regs.error = stopped.orig_rax as u64;
        return;
    }
    // A call that is to be repeated stays one, unless the tracer said that it is none any more.
    let restarts = (-516..=-512).contains(&(regs.rax as i64));
    if regs.vector == SYSCALL && !(restarts && stopped.orig_rax >= 0) {
        regs.vector = RESTORE_ALL;
    }
}

/// The XSAVE area, as `NT_X86_XSTATE` has it.
pub fn with_components(fpu: &FpuArea) -> [u8; AREA_SIZE] {
    let mut area = fpu.0;
    area[XSTATE_COMPONENTS..XSTATE_COMPONENTS + 8]
        .copy_from_slice(&cpu_features::xcr0().to_le_bytes());
    area
}

/// Sets the first bytes of the vector registers.
pub fn write_fpu(stopped: &mut Stopped, bytes: &[u8]) {
    let area = &mut stopped.fpu.0;
    area[..bytes.len()].copy_from_slice(bytes);
    // What software may use for itself; XSAVE's header behind it is checked where it is loaded.
    area[XSTATE_COMPONENTS..FPREGS_SIZE].fill(0);
    if bytes.len() <= FPREGS_SIZE && cpu_features::has_xsave() {
        // The legacy part has x87 and SSE, which count from now on.
        area[FPREGS_SIZE] |= 0b11;
    }
    stopped.fpu_changed = true;
}
