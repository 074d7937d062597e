//! ptrace(2): the tracer's side.

use alloc::sync::Arc;

use fs::{Errno, Result};

use super::{Call, Plain, SysResult};
use crate::arch::cpu_features;
use crate::arch::fpu::AREA_SIZE;
use crate::process::access::{self, By};
use crate::process::thread::{
    STATE_STEP, STATE_STOPPED, STATE_TRACE_CALLS, STATE_TRACE_STOP, STATE_TRACED,
};
use crate::process::trace::{self, Kind, Link, Phase, Stopped, event, option, regs};
use crate::process::{Pid, Thread, table};
use crate::signal::info::SIGINFO_SIZE;
use crate::signal::send::{self, Target};
use crate::signal::{SigInfo, SigSet, Signal};
use crate::usermem;

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[(101, ptrace)];

/// Requests, as `sys/ptrace.h` numbers them.
mod request {
    pub const TRACEME: i32 = 0;
    pub const PEEKTEXT: i32 = 1;
    pub const PEEKDATA: i32 = 2;
    pub const PEEKUSER: i32 = 3;
    pub const POKETEXT: i32 = 4;
    pub const POKEDATA: i32 = 5;
    pub const POKEUSER: i32 = 6;
    pub const CONT: i32 = 7;
    pub const KILL: i32 = 8;
    pub const SINGLESTEP: i32 = 9;
    pub const GETREGS: i32 = 12;
    pub const SETREGS: i32 = 13;
    pub const GETFPREGS: i32 = 14;
    pub const SETFPREGS: i32 = 15;
    pub const ATTACH: i32 = 16;
    pub const DETACH: i32 = 17;
    pub const OLDSETOPTIONS: i32 = 21;
    pub const SYSCALL: i32 = 24;
    pub const SETOPTIONS: i32 = 0x4200;
    pub const GETEVENTMSG: i32 = 0x4201;
    pub const GETSIGINFO: i32 = 0x4202;
    pub const SETSIGINFO: i32 = 0x4203;
    pub const GETREGSET: i32 = 0x4204;
    pub const SETREGSET: i32 = 0x4205;
    pub const SEIZE: i32 = 0x4206;
    pub const INTERRUPT: i32 = 0x4207;
    pub const LISTEN: i32 = 0x4208;
    pub const GETSIGMASK: i32 = 0x420a;
    pub const SETSIGMASK: i32 = 0x420b;
    pub const GET_SYSCALL_INFO: i32 = 0x420e;
}

fn ptrace(call: &mut Call<'_>) -> SysResult {
    let (what, pid) = (call.int(0), call.int(1));
    if what == request::TRACEME {
        return trace_me(call);
    }
    let tracee = table::lock().thread(pid).cloned().ok_or(Errno::ESRCH)?;
    match what {
        request::ATTACH | request::SEIZE => return attach(call, &tracee, what == request::SEIZE),
        _ => {}
    }
    let link = tracee.link().ok_or(Errno::ESRCH)?;
    if !Arc::ptr_eq(&link.tracer, call.thread) {
        return Err(Errno::ESRCH.into());
    }
    match what {
        request::INTERRUPT if link.seized => {
            trace::interrupt(&tracee);
            return Ok(0);
        }
        request::INTERRUPT => return Err(Errno::EIO.into()),
        request::KILL => {
            let info = SigInfo::kernel(Signal::SIGKILL);
            send::send(Target::Thread(&tracee), Signal::SIGKILL, &info)?;
            return Ok(0);
        }
        _ => {}
    }
    // All else wants a tracee that is stopped, and not merely listening.
    let listening = tracee
        .with_stopped(|stopped| stopped.listening)
        .ok_or(Errno::ESRCH)?;
    if listening {
        return Err(Errno::ESRCH.into());
    }
    stopped_request(call, &tracee, &link, what)
}

/// A request about a tracee that is stopped.
fn stopped_request(call: &Call<'_>, tracee: &Arc<Thread>, link: &Link, what: i32) -> SysResult {
    let (addr, data) = (call.arg(2), call.arg(3));
    match what {
        request::PEEKTEXT | request::PEEKDATA => {
            let mut word = [0; 8];
            let space = tracee.mm().ok_or(Errno::ESRCH)?;
            if space.read_memory(addr, &mut word, true) < word.len() {
                return Err(Errno::EIO.into());
            }
            usermem::write(data, &word)?;
        }
        request::POKETEXT | request::POKEDATA => {
            let space = tracee.mm().ok_or(Errno::ESRCH)?;
            if space.write_memory(addr, &data.to_ne_bytes(), true) < 8 {
                return Err(Errno::EIO.into());
            }
        }
        request::PEEKUSER => usermem::write(data, &peek_user(tracee, addr)?)?,
        request::POKEUSER => poke_user(tracee, addr, data)?,
        request::GETREGS => usermem::write(data, &of(tracee, regs::read)?)?,
        request::SETREGS => set_regs(tracee, &usermem::read::<[u64; regs::WORDS]>(data)?)?,
        request::GETFPREGS => {
            let area = of(tracee, |stopped| stopped.fpu.clone())?;
            usermem::write_bytes(data, &area.0[..regs::FPREGS_SIZE])?;
        }
        request::SETFPREGS => {
            let mut bytes = [0; regs::FPREGS_SIZE];
            usermem::read_bytes(data, &mut bytes)?;
            of(tracee, |stopped| regs::write_fpu(stopped, &bytes))?;
        }
        request::GETREGSET | request::SETREGSET => {
            regset(tracee, addr, data, what == request::SETREGSET)?;
        }
        request::CONT | request::SYSCALL | request::SINGLESTEP => {
            let bits = match what {
                request::SYSCALL => STATE_TRACE_CALLS,
                request::SINGLESTEP => STATE_STEP,
                _ => 0,
            };
            resume(tracee, bits, data)?;
        }
        request::DETACH => detach(tracee, data)?,
        request::SETOPTIONS | request::OLDSETOPTIONS => {
            let options = options(data)?;
            if let Some(trace) = tracee.trace.lock().as_mut()
                && let Some(link) = &mut trace.link
            {
                link.options = options;
            }
        }
        request::GETEVENTMSG => {
            let message = tracee.trace.lock().as_ref().map_or(0, |t| t.message);
            usermem::write(data, &message)?;
        }
        request::GETSIGINFO => {
            let info = of(tracee, |stopped| {
                // A plain group-stop has nothing to tell.
                (stopped.kind != Kind::Group).then_some(stopped.info)
            })?;
            usermem::write_bytes(data, &info.ok_or(Errno::EINVAL)?.to_bytes())?;
        }
        request::SETSIGINFO => {
            let bytes = usermem::read::<[u8; SIGINFO_SIZE]>(data)?;
            let info = SigInfo::from_bytes(&bytes).ok_or(Errno::EINVAL)?;
            of(tracee, |stopped| {
                if stopped.kind == Kind::Group {
                    return Err(Errno::EINVAL);
                }
                stopped.info = info;
                Ok(())
            })??;
        }
        request::LISTEN => listen(tracee, link)?,
        request::GETSIGMASK => {
            check_mask_size(addr)?;
            let state = tracee.process().signals.lock();
            let mask = tracee.signals.get(&state.token).blocked;
            drop(state);
            usermem::write(data, &mask)?;
        }
        request::SETSIGMASK => {
            check_mask_size(addr)?;
            let mask = usermem::read::<SigSet>(data)?;
            let mut state = tracee.process().signals.lock();
            // Looked at again by the tracee when it goes on.
            tracee.signals.get_mut(&mut state.token).blocked = mask.blockable();
        }
        request::GET_SYSCALL_INFO => return syscall_info(tracee, addr, data),
        _ => return Err(Errno::EIO.into()),
    }
    Ok(0)
}

fn check_mask_size(size: u64) -> Result<()> {
    if size == 8 {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// Calls `f` with the state of a tracee that is stopped.
fn of<R>(tracee: &Thread, f: impl FnOnce(&mut Stopped) -> R) -> Result<R> {
    tracee.with_stopped(f).ok_or(Errno::ESRCH)
}

fn options(data: u64) -> Result<u32> {
    match u32::try_from(data) {
        Ok(options) if options & !option::ALL == 0 => Ok(options),
        _ => Err(Errno::EINVAL),
    }
}

// Beginning and ending.

fn trace_me(call: &Call<'_>) -> SysResult {
    let mut table = table::lock();
    let family = call.thread.process().family(&table);
    let maker = family.parent_tid;
    let parent = family.parent.clone().ok_or(Errno::EPERM)?;
    let tracer = match table.thread(maker) {
        Some(thread) if Arc::ptr_eq(thread.process(), &parent) => thread.clone(),
        _ => parent.leader().ok_or(Errno::EPERM)?,
    };
    let link = Link {
        tracer,
        seized: false,
        options: 0,
    };
    trace::link(&mut table, call.thread, link)?;
    Ok(0)
}

fn attach(call: &Call<'_>, tracee: &Arc<Thread>, seize: bool) -> SysResult {
    let options = if seize {
        if call.arg(2) != 0 {
            return Err(Errno::EIO.into());
        }
        options(call.arg(3)).map_err(|_| Errno::EIO)?
    } else {
        0
    };
    let same = Arc::ptr_eq(tracee.process(), call.thread.process());
    if same || tracee.process().kernel {
        return Err(Errno::EPERM.into());
    }
    access::check(call.thread, tracee, By::RealIds)?;
    let link = Link {
        tracer: call.thread.clone(),
        seized: seize,
        options,
    };
    {
        let mut table = table::lock();
        if tracee.process().signals.lock().exit.is_some() {
            return Err(Errno::EPERM.into());
        }
        trace::link(&mut table, tracee, link)?;
    }
    if tracee.bits() & STATE_STOPPED != 0 {
        // From the stop of its process it goes over into one that its tracer sees.
        tracee.wake();
    }
    if !seize {
        let info = SigInfo::kernel(Signal::SIGSTOP);
        send::send(Target::Thread(tracee), Signal::SIGSTOP, &info)?;
    }
    Ok(0)
}

fn signal_number(data: u64) -> Result<i32> {
    match i32::try_from(data) {
        Ok(number @ 0..=64) => Ok(number),
        _ => Err(Errno::EIO),
    }
}

fn detach(tracee: &Arc<Thread>, data: u64) -> Result<()> {
    let signal = signal_number(data)?;
    let mut table = table::lock();
    of(tracee, |stopped| stopped.signal = signal)?;
    trace::unlink(&mut table, tracee).ok_or(Errno::ESRCH)?;
    Ok(())
}

/// Lets a tracee go on, with a signal or none.
fn resume(tracee: &Arc<Thread>, bits: u32, data: u64) -> Result<()> {
    let signal = signal_number(data)?;
    let mut guard = tracee.trace.lock();
    let trace = guard.as_mut().ok_or(Errno::ESRCH)?;
    match core::mem::replace(&mut trace.phase, Phase::Running) {
        Phase::Stopped(mut stopped) => {
            stopped.signal = signal;
            trace.phase = Phase::Resumed(stopped);
        }
        other => {
            trace.phase = other;
            return Err(Errno::ESRCH);
        }
    }
    tracee.clear_bits(STATE_TRACE_CALLS | STATE_STEP | STATE_TRACE_STOP);
    tracee.set_bits(bits);
    drop(guard);
    tracee.wake();
    Ok(())
}

fn listen(tracee: &Arc<Thread>, link: &Link) -> Result<()> {
    if !link.seized {
        return Err(Errno::EIO);
    }
    of(tracee, |stopped| {
        if stopped.code >> 8 != event::STOP {
            return Err(Errno::EIO);
        }
        stopped.listening = true;
        Ok(())
    })??;
    // What has happened since is told at once.
    tracee.wake();
    Ok(())
}

// Registers.

fn set_regs(tracee: &Thread, words: &[u64; regs::WORDS]) -> Result<()> {
    of(tracee, |stopped| {
        for (index, word) in words.iter().enumerate() {
            regs::write(stopped, index, *word)?;
        }
        Ok(())
    })?
}

fn peek_user(tracee: &Thread, addr: u64) -> Result<u64> {
    if !addr.is_multiple_of(8) || addr >= regs::USER_SIZE {
        return Err(Errno::EIO);
    }
    let words = of(tracee, regs::read)?;
    // Behind the registers lies what no program has looked at for long: zeros.
    Ok(words.get(addr as usize / 8).copied().unwrap_or(0))
}

fn poke_user(tracee: &Thread, addr: u64, data: u64) -> Result<()> {
    if !addr.is_multiple_of(8) || addr >= regs::USER_SIZE {
        return Err(Errno::EIO);
    }
    let index = addr as usize / 8;
    if index >= regs::WORDS {
        return Err(Errno::EIO);
    }
    of(tracee, |stopped| regs::write(stopped, index, data))?
}

const NT_PRSTATUS: u64 = 1;
const NT_PRFPREG: u64 = 2;
const NT_X86_XSTATE: u64 = 0x202;

/// `PTRACE_GETREGSET` and `PTRACE_SETREGSET`: `at` is the address of a `struct iovec`.
fn regset(tracee: &Thread, kind: u64, at: u64, set: bool) -> Result<()> {
    let [base, len] = usermem::read::<[u64; 2]>(at)?;
    let full = match kind {
        NT_PRSTATUS => regs::WORDS * 8,
        NT_PRFPREG => regs::FPREGS_SIZE,
        NT_X86_XSTATE if cpu_features::has_xsave() => AREA_SIZE,
        NT_X86_XSTATE => return Err(Errno::ENODEV),
        _ => return Err(Errno::EINVAL),
    };
    if kind == NT_PRSTATUS && !len.is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(full);
    let mut bytes = [0; AREA_SIZE];
    if set {
        if kind == NT_X86_XSTATE && len < full {
            return Err(Errno::EFAULT);
        }
        usermem::read_bytes(base, &mut bytes[..len])?;
        of(tracee, |stopped| {
            if kind != NT_PRSTATUS {
                regs::write_fpu(stopped, &bytes[..len]);
                return Ok(());
            }
            for (index, word) in bytes[..len].as_chunks::<8>().0.iter().enumerate() {
                regs::write(stopped, index, u64::from_ne_bytes(*word))?;
            }
            Ok(())
        })??;
    } else {
        of(tracee, |stopped| match kind {
            NT_PRSTATUS => {
                for (to, word) in bytes
                    .as_chunks_mut::<8>()
                    .0
                    .iter_mut()
                    .zip(regs::read(stopped))
                {
                    *to = word.to_ne_bytes();
                }
            }
            _ => bytes = regs::with_components(&stopped.fpu),
        })?;
        usermem::write_bytes(base, &bytes[..len])?;
    }
    usermem::write(at + 8, &(len as u64))
}

/// `PTRACE_GET_SYSCALL_INFO`: writes up to `size` bytes of the description, and gives how long it is.
fn syscall_info(tracee: &Thread, size: u64, at: u64) -> SysResult {
    const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
    const NONE: u8 = 0;
    const ENTRY: u8 = 1;
    const EXIT: u8 = 2;
    const SECCOMP: u8 = 3;
    let mut info = [0u8; 88];
    let len = of(tracee, |stopped| {
        let regs = &stopped.regs;
        let mut put = |at: usize, bytes: &[u8]| info[at..at + bytes.len()].copy_from_slice(bytes);
        put(4, &AUDIT_ARCH_X86_64.to_ne_bytes());
        put(8, &regs.rip.to_ne_bytes());
        put(16, &regs.rsp.to_ne_bytes());
        let args = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9];
        let entry = |put: &mut dyn FnMut(usize, &[u8])| {
            put(24, &stopped.orig_rax.to_ne_bytes());
            for (n, arg) in args.iter().enumerate() {
                put(32 + 8 * n, &arg.to_ne_bytes());
            }
        };
        match stopped.kind {
            Kind::Enter => {
                put(0, &[ENTRY]);
                entry(&mut put);
                80
            }
            Kind::Exit => {
                let failed = (-4095..0).contains(&(regs.rax as i64));
                put(0, &[EXIT]);
                put(24, &regs.rax.to_ne_bytes());
                put(32, &[u8::from(failed)]);
                33
            }
            Kind::Event(event::SECCOMP) => {
                put(0, &[SECCOMP]);
                entry(&mut put);
                84
            }
            _ => {
                put(0, &[NONE]);
                24
            }
        }
    })?;
    let message = tracee.trace.lock().as_ref().map_or(0, |t| t.message);
    if len == 84 {
        info[80..84].copy_from_slice(&(message as u32).to_ne_bytes());
    }
    usermem::write_bytes(at, &info[..len.min(size as usize)])?;
    Ok(len as u64)
}

/// Whether `thread` is traced, by whom: for `/proc`.
pub fn tracer_pid(thread: &Thread) -> Pid {
    if thread.bits() & STATE_TRACED == 0 {
        return 0;
    }
    thread.tracer().map_or(0, |tracer| tracer.tid())
}
