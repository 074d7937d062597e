//! Delivery: what a thread does about its signals on the way to user mode.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use fs::Errno;

use super::action::{SA_NODEFER, SA_RESETHAND, SA_RESTART, SIG_DFL, SIG_IGN};
use super::send::begin_exit;
use super::state::SignalState;
use super::{DefaultAction, SigAction, SigInfo, SigSet, Signal, frame, info, job, send};
use crate::arch::trap::vector;
use crate::arch::user::{RESTORE_ALL, SYSCALL, UserRegs};
use crate::mm::Fault;
use crate::process::thread::{
    STATE_STEP, STATE_STOPPED, STATE_TRACED, WORK_KILLED, WORK_OVERRUN, WORK_RESTORE_MASK,
    WORK_RT_TIME, WORK_SIGNAL, WORK_STOP, WORK_TRACE,
};
use crate::process::trace::{regs::FLAG_TRAP, stop};
use crate::process::{ExitStatus, Thread, rseq, run_time};

/// Number of restart_syscall(2).
const NR_RESTART_SYSCALL: u64 = 219;
/// Length of the `syscall` instruction.
const SYSCALL_LEN: u64 = 2;

/// Does what `thread` has to do before it goes to user mode: takes signals, stops, or finds that it is to end. False if
/// it is to end.
///
/// # Context
/// The thread's own poll; no lock held.
pub async fn attend(thread: &Arc<Thread>, regs: &mut UserRegs) -> bool {
    let mut chosen = None;
    loop {
        if thread.bits() & (WORK_OVERRUN | WORK_RT_TIME) != 0 {
            run_time::tell(thread);
        }
        if thread.bits() & WORK_TRACE != 0 {
            Box::pin(stop::for_interrupt(thread, regs)).await;
            rseq::note(thread);
        }
        match step(thread, regs, chosen.take()) {
            Step::Enter => return true,
            Step::End => return false,
            Step::Stopped => {
                stopped(thread, regs).await;
                rseq::note(thread);
            }
            Step::Core(info) => {
                Box::pin(crate::process::core::end(thread, regs, &info)).await;
                return false;
            }
            Step::Traced(info) => {
                chosen = Box::pin(stop::for_signal(thread, regs, info)).await;
                rseq::note(thread);
            }
        }
    }
}

/// Raises the signal for an exception other than a page fault: vector and error code are in `regs`.
///
/// Source: Linux `arch/x86/kernel/traps.c`, for the codes that programs see.
pub fn exception(thread: &Arc<Thread>, regs: &mut UserRegs) {
    const FPE_INTDIV: i32 = 1;
    const ILL_ILLOPN: i32 = 2;
    const TRAP_TRACE: i32 = 2;
    const BUS_ADRALN: i32 = 1;
    note_trap(thread, regs, 0);
    let (signal, code, addr) = match regs.vector {
        vector::DIVIDE => (Signal::SIGFPE, FPE_INTDIV, regs.rip),
        vector::DEBUG => {
            if thread.bits() & STATE_STEP != 0 {
                // The tracer's step is done; a program's own trap flag stays.
                regs.rflags &= !FLAG_TRAP;
            }
            (Signal::SIGTRAP, TRAP_TRACE, regs.rip)
        }
        vector::BREAKPOINT => (Signal::SIGTRAP, info::SI_KERNEL, 0),
        vector::INVALID_OPCODE => (Signal::SIGILL, ILL_ILLOPN, regs.rip),
        vector::X87 | vector::SIMD => (
            Signal::SIGFPE,
            float_code(thread, regs.vector == vector::SIMD),
            regs.rip,
        ),
        vector::ALIGNMENT => (Signal::SIGBUS, BUS_ADRALN, 0),
        vector::NOT_PRESENT | vector::STACK => (Signal::SIGBUS, info::SI_KERNEL, 0),
        vector::OVERFLOW | vector::BOUND => (Signal::SIGSEGV, info::SI_KERNEL, 0),
        _ => (Signal::SIGSEGV, info::SI_KERNEL, 0),
    };
    send::force(thread, signal, &SigInfo::fault(signal, code, addr));
}

/// `si_code` for an unmasked exception of the vector unit.
fn float_code(thread: &Thread, simd: bool) -> i32 {
    const FPE_FLTDIV: i32 = 3;
    const FPE_FLTOVF: i32 = 4;
    const FPE_FLTUND: i32 = 5;
    const FPE_FLTRES: i32 = 6;
    const FPE_FLTINV: i32 = 7;
    let area = thread.machine.fpu.get();
    let half = |at: usize| u32::from(u16::from_le_bytes([area.0[at], area.0[at + 1]]));
    let (status, masked) = if simd {
        (half(24), half(24) >> 7)
    } else {
        (half(2), half(0))
    };
    match status & !masked & 0x3f {
        e if e & 0x01 != 0 => FPE_FLTINV,
        e if e & 0x04 != 0 => FPE_FLTDIV,
        e if e & 0x08 != 0 => FPE_FLTOVF,
        e if e & 0x12 != 0 => FPE_FLTUND,
        e if e & 0x20 != 0 => FPE_FLTRES,
        _ => 0,
    }
}

/// Raises the signal for a memory access that cannot be satisfied.
pub fn fault(thread: &Arc<Thread>, regs: &mut UserRegs, fault: Fault) {
    note_trap(thread, regs, fault.addr);
    let signal = Signal::new(fault.signo).unwrap_or(Signal::SIGSEGV);
    if signal == Signal::SIGKILL {
        send::force_fatal(thread, signal);
    } else {
        send::force(
            thread,
            signal,
            &SigInfo::fault(signal, fault.code, fault.addr),
        );
    }
}

/// Keeps what a signal frame tells about the exception.
fn note_trap(thread: &Thread, regs: &UserRegs, addr: u64) {
    for (place, value) in thread.last_trap.iter().zip([regs.vector, regs.error, addr]) {
        place.store(value, Ordering::Relaxed);
    }
}

enum Step {
    Enter,
    End,
    Stopped,
    /// A signal that the tracer is to be shown.
    Traced(SigInfo),
    /// The end, and a core file before it.
    Core(SigInfo),
}

/// Waits while the thread is stopped. A stopped thread wakes for `SIGCONT`, for its end, and for a tracer, which sees
/// a stop of its own kind.
async fn stopped(thread: &Arc<Thread>, regs: &mut UserRegs) {
    loop {
        core::future::poll_fn(|_| {
            let bits = thread.bits();
            if bits & STATE_STOPPED == 0 || bits & (WORK_KILLED | STATE_TRACED) != 0 {
                core::task::Poll::Ready(())
            } else {
                core::task::Poll::Pending
            }
        })
        .await;
        let bits = thread.bits();
        if bits & STATE_STOPPED == 0 || bits & WORK_KILLED != 0 {
            break;
        }
        let signal = thread.process().signals.lock().stop.signal;
        Box::pin(stop::for_group(
            thread,
            regs,
            signal.unwrap_or(Signal::SIGSTOP),
        ))
        .await;
    }
    thread.clear_bits(STATE_STOPPED);
}

/// A signal that a thread has taken from its queues.
enum Taken {
    Nothing,
    End,
    Stopped {
        tell_parent: bool,
    },
    /// A stop signal other than `SIGSTOP`, which an orphaned group ignores.
    MayStop(Signal),
    Handler(SigAction, SigInfo),
    /// A signal that the tracer is to be shown.
    Traced(SigInfo),
    /// A signal that ends the process and leaves a core file.
    Core(SigInfo),
}

/// Takes signals; `chosen` is one that the tracer has let through.
fn step(thread: &Arc<Thread>, regs: &mut UserRegs, mut chosen: Option<SigInfo>) -> Step {
    loop {
        match take(thread, chosen.take()) {
            Taken::Nothing => break,
            Taken::Traced(info) => return Step::Traced(info),
            Taken::Core(info) => return Step::Core(info),
            Taken::End => return Step::End,
            Taken::Stopped { tell_parent } => {
                if tell_parent {
                    job::tell_parent(thread.process());
                }
                return Step::Stopped;
            }
            Taken::MayStop(signal) => {
                let process = thread.process();
                let orphaned = crate::process::session::is_orphaned_now(process);
                if !orphaned {
                    let mut state = process.signals.lock();
                    // A `SIGCONT` may have come while the lock was free; it then took back this stop.
                    if state.exit.is_none() && !state.stop.continued {
                        let tell_parent = job::begin_stop(&mut state, thread, signal);
                        drop(state);
                        if tell_parent {
                            job::tell_parent(process);
                        }
                        return Step::Stopped;
                    }
                }
            }
            Taken::Handler(action, info) => {
                if info.code == super::info::SI_TIMER {
                    thread.process().timer_delivered(&info);
                }
                restart(thread, regs, Some(&action));
                if run_handler(thread, regs, &action, &info).is_err() {
                    bad_frame(thread, info.signo);
                }
            }
        }
    }
    restart(thread, regs, None);
    if thread.work() & WORK_RESTORE_MASK != 0 {
        let mut state = thread.process().signals.lock();
        if let Some(mask) = thread.signals.get_mut(&mut state.token).saved_mask.take() {
            set_mask(&mut state, thread, mask);
        }
        thread.clear_bits(WORK_RESTORE_MASK);
        drop(state);
        if thread.has_work() {
            return step(thread, regs, None);
        }
    }
    Step::Enter
}

/// Takes signals until one asks for something to be done: `chosen` before all others.
fn take(thread: &Arc<Thread>, mut chosen: Option<SigInfo>) -> Taken {
    let process = thread.process();
    let mut guard = process.signals.lock();
    let state = &mut *guard;
    loop {
        if state.exit.is_some() || thread.work() & WORK_KILLED != 0 {
            return Taken::End;
        }
        if thread.work() & WORK_STOP != 0 {
            return Taken::Stopped {
                tell_parent: job::take_part(state, thread),
            };
        }
        let passed = chosen.take();
        let Some(info) = passed.or_else(|| dequeue(state, thread)) else {
            refresh(state, thread);
            return Taken::Nothing;
        };
        let Some(signal) = Signal::new(info.signo) else {
            continue;
        };
        if passed.is_some() {
            // The tracer may have chosen one that is blocked: it waits in the queue like any other.
            let signals = thread.signals.get_mut(&mut state.token);
            if signals.blocked.contains(signal) {
                signals.pending.push_bare(signal);
                continue;
            }
        } else if thread.bits() & STATE_TRACED != 0 && signal != Signal::SIGKILL {
            // What is a stop in the end, a `SIGCONT` that comes until then takes back.
            state.stop.continued = false;
            return Taken::Traced(info);
        }
        let sighand = state.sighand.clone();
        let mut actions = sighand.actions.lock();
        let action = *actions.get(signal);
        match action.handler {
            SIG_IGN => continue,
            SIG_DFL => {}
            _ => {
                if action.flags & SA_RESETHAND != 0 {
                    actions.get_mut(signal).handler = SIG_DFL;
                }
                return Taken::Handler(action, info);
            }
        }
        drop(actions);
        if state.unkillable && !SigSet::UNBLOCKABLE.contains(signal) {
            continue;
        }
        match signal.default_action() {
            DefaultAction::Ignore => {}
            DefaultAction::Stop if passed.is_some() && state.stop.continued => {}
            DefaultAction::Stop if signal == Signal::SIGSTOP => {
                if state.unkillable {
                    continue;
                }
                return Taken::Stopped {
                    tell_parent: job::begin_stop(state, thread, signal),
                };
            }
            DefaultAction::Stop => {
                state.stop.continued = false;
                return Taken::MayStop(signal);
            }
            DefaultAction::Core => return Taken::Core(info),
            DefaultAction::Terminate => {
                begin_exit(
                    state,
                    ExitStatus::Signalled {
                        signal,
                        core: false,
                    },
                );
                return Taken::End;
            }
        }
    }
}

/// Takes the next signal that `thread` does not block: its own before the process's, and what its instructions raised
/// before all others.
fn dequeue(state: &mut SignalState, thread: &Thread) -> Option<SigInfo> {
    let signals = thread.signals.get_mut(&mut state.token);
    let wanted = !signals.blocked;
    signals
        .pending
        .take(wanted)
        .or_else(|| state.shared.take(wanted))
}

/// Sets or clears the thread's `WORK_SIGNAL` according to what is pending. Only for the calling thread.
pub(crate) fn refresh(state: &mut SignalState, thread: &Thread) {
    let signals = thread.signals.get(&state.token);
    let blocked = signals.blocked.without(signals.awaited);
    let pending = (signals.pending.set() | state.shared.set()).without(blocked);
    if pending.is_empty() && thread.bits() & (WORK_KILLED | WORK_STOP) == 0 {
        thread.clear_bits(WORK_SIGNAL);
    } else {
        thread.set_bits(WORK_SIGNAL);
    }
}

/// Sets the mask of the calling thread. Process signals that it blocks from now on go to other threads.
pub(crate) fn set_mask(state: &mut SignalState, thread: &Thread, mask: SigSet) {
    let signals = thread.signals.get_mut(&mut state.token);
    let newly = mask.blockable().without(signals.blocked);
    signals.blocked = mask.blockable();
    if state.threads.len() > 1 && state.shared.set().intersects(newly) {
        send::retarget(state, thread, newly);
    }
    refresh(state, thread);
}

/// Decides how an interrupted system call goes on, given the handler that is to run, or `None`.
fn restart(thread: &Thread, regs: &mut UserRegs, handler: Option<&SigAction>) {
    if regs.vector != SYSCALL {
        return;
    }
    let code = regs.rax as i64;
    if code > -(Errno::ERESTARTSYS.raw() as i64)
        || code < -(Errno::ERESTART_RESTARTBLOCK.raw() as i64)
    {
        return;
    }
    let Some(errno) = Errno::from_raw(-code as i32) else {
        return;
    };
    let again = match (errno, handler) {
        (Errno::ERESTARTNOINTR, _) => Some(regs.error),
        (Errno::ERESTARTSYS, Some(action)) => {
            (action.flags & SA_RESTART != 0).then_some(regs.error)
        }
        (Errno::ERESTARTSYS | Errno::ERESTARTNOHAND, None) => Some(regs.error),
        (Errno::ERESTART_RESTARTBLOCK, None) => Some(NR_RESTART_SYSCALL),
        (Errno::ERESTARTNOHAND | Errno::ERESTART_RESTARTBLOCK, Some(_)) => None,
        _ => return,
    };
    match again {
        Some(number) => {
            regs.rax = number;
            regs.rip -= SYSCALL_LEN;
        }
        None => regs.rax = Errno::EINTR.to_ret() as u64,
    }
    if handler.is_some() || again != Some(NR_RESTART_SYSCALL) {
        *thread.restart.lock() = None;
    }
    // What is in `rax` now is no result to be looked at again.
    regs.vector = RESTORE_ALL;
}

/// Lets the handler of `action` run when the thread enters user mode.
fn run_handler(
    thread: &Thread,
    regs: &mut UserRegs,
    action: &SigAction,
    info: &SigInfo,
) -> Result<(), Errno> {
    let signal = Signal::new(info.signo).ok_or(Errno::EINVAL)?;
    let (mask, altstack) = {
        let mut state = thread.process().signals.lock();
        let signals = thread.signals.get_mut(&mut state.token);
        let mask = match signals.saved_mask.take() {
            Some(saved) if thread.work() & WORK_RESTORE_MASK != 0 => saved,
            _ => signals.blocked,
        };
        (mask, signals.altstack)
    };
    thread.clear_bits(WORK_RESTORE_MASK);
    rseq::restart(thread, regs)?;
    let stepping = thread.bits() & STATE_STEP != 0;
    if stepping {
        regs.rflags &= !FLAG_TRAP;
    }
    let disarm = frame::push(thread, regs, action, info, mask, &altstack)?;
    if stepping {
        // The step ends in the handler, behind its first instruction.
        regs.rflags |= FLAG_TRAP;
    }
    let mut state = thread.process().signals.lock();
    let signals = thread.signals.get_mut(&mut state.token);
    let mut blocked = signals.blocked | action.mask;
    if action.flags & SA_NODEFER == 0 {
        blocked.insert(signal);
    }
    if disarm {
        signals.altstack = super::state::AltStack::default();
    }
    set_mask(&mut state, thread, blocked);
    Ok(())
}

/// The frame of signal `signo` could not be written, or was not one: the process gets `SIGSEGV`, and dies of it if that
/// was the signal whose frame failed.
pub(crate) fn bad_frame(thread: &Arc<Thread>, signo: i32) {
    if signo == Signal::SIGSEGV.number() {
        send::force_fatal(thread, Signal::SIGSEGV);
    } else {
        send::force(thread, Signal::SIGSEGV, &SigInfo::kernel(Signal::SIGSEGV));
    }
}

/// Whether the process of `thread` would do nothing about `signal`, or has it blocked: what a background read of a
/// terminal asks about `SIGTTIN`.
pub fn is_ignored_or_blocked(thread: &Thread, signal: Signal) -> bool {
    let state = thread.process().signals.lock();
    let action = *state.sighand.actions.lock().get(signal);
    action.handler == SIG_IGN || thread.signals.get(&state.token).blocked.contains(signal)
}

/// The signals pending for `thread` that it blocks, as sigpending(2) has them.
pub fn pending_blocked(thread: &Thread) -> SigSet {
    let state = thread.process().signals.lock();
    let signals = thread.signals.get(&state.token);
    (signals.pending.set() | state.shared.set()) & signals.blocked
}

/// The signals of `set` that are pending for `thread`, blocked or not.
pub fn pending_in(thread: &Thread, set: SigSet) -> SigSet {
    let state = thread.process().signals.lock();
    let signals = thread.signals.get(&state.token);
    (signals.pending.set() | state.shared.set()) & set
}

/// Takes a pending signal of `set`, for sigtimedwait(2) and signalfd.
pub fn take_pending(thread: &Thread, set: SigSet) -> Option<SigInfo> {
    let mut guard = thread.process().signals.lock();
    let state = &mut *guard;
    let signals = thread.signals.get_mut(&mut state.token);
    let info = signals.pending.take(set).or_else(|| state.shared.take(set));
    if info.is_some() {
        refresh(state, thread);
    }
    drop(guard);
    if let Some(info) = info
        && info.code == super::info::SI_TIMER
    {
        thread.process().timer_delivered(&info);
    }
    info
}
