//! What a thread's filters mean for the system call it is about to make.

use alloc::sync::Arc;

use fs::Errno;

use super::bpf::Data;
use super::{Mode, action};
use crate::arch::user::UserRegs;
use crate::process::Thread;
use crate::process::trace::{event, stop};
use crate::signal::send;
use crate::signal::{SigInfo, Signal};

/// The architecture that filters are told of.
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
/// What strict mode allows: read, write, rt_sigreturn, exit.
const STRICT: [i64; 4] = [0, 1, 15, 60];
/// Largest error that a filter can answer.
const ERRNO_MAX: u32 = 4095;

/// Asks the filters of `thread` about the system call in `regs`. False if it is not to be done: what it gives instead is
/// in `rax`, or the thread ends.
///
/// # Context
/// The thread's own poll; nothing held.
pub async fn allows(thread: &Arc<Thread>, regs: &mut UserRegs) -> bool {
    let mut asked_tracer = false;
    loop {
        let mode = thread.seccomp.lock().clone();
        let number = regs.error as i64;
        let filter = match &mode {
            Mode::Off => return true,
            Mode::Strict if STRICT.contains(&number) => return true,
            Mode::Strict => {
                send::force_fatal(thread, Signal::SIGKILL);
                return false;
            }
            Mode::Filtered(filter) => filter,
        };
        let data = Data {
            number: number as i32,
            arch: AUDIT_ARCH_X86_64,
            ip: regs.rip,
            args: [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9],
        };
        let (answer, log) = filter.run(&data);
        let value = answer & !action::MASK;
        if log && answer & action::MASK != action::ALLOW || answer & action::MASK == action::LOG {
            log::info!(
                "seccomp: pid={} syscall={number} ip={:#x} code={:#x}",
                thread.tid(),
                regs.rip,
                answer & action::MASK
            );
        }
        match answer & action::MASK {
            action::ALLOW | action::LOG => return true,
            action::ERRNO => {
                regs.rax = u64::from(value.min(ERRNO_MAX)).wrapping_neg();
                return false;
            }
            action::TRAP => {
                regs.rax = regs.error;
                send::force(thread, Signal::SIGSYS, &report(regs, number, value));
                return false;
            }
            // The tracer has seen this very call and lets it be done.
            action::TRACE if asked_tracer => return true,
            action::TRACE => {
                let message = u64::from(value);
                if !stop::for_event(thread, regs, event::SECCOMP, message).await {
                    regs.rax = Errno::ENOSYS.to_ret() as u64;
                    return false;
                }
                if thread.fatal_signal_pending() || (regs.error as i64) < 0 {
                    return false;
                }
                asked_tracer = true;
            }
            action::KILL_THREAD if thread.process().threads().len() > 1 => {
                thread.leave(Signal::SIGSYS.number() as u8);
                return false;
            }
            _ => {
                regs.rax = regs.error;
                send::force_end(thread, Signal::SIGSYS, &report(regs, number, value));
                return false;
            }
        }
    }
}

/// What comes with the `SIGSYS`: where the call was made, its number, the architecture.
fn report(regs: &UserRegs, number: i64, value: u32) -> SigInfo {
    const SYS_SECCOMP: i32 = 1;
    let mut info = SigInfo::fault(Signal::SIGSYS, SYS_SECCOMP, regs.rip);
    info.errno = value as i32;
    info.fields[1] = number as u32 as u64 | u64::from(AUDIT_ARCH_X86_64) << 32;
    info
}
