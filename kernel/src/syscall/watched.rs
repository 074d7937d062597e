//! System calls that somebody watches: the long way around a call.

use alloc::sync::Arc;

use fs::Errno;

use crate::arch::user::UserRegs;
use crate::process::Thread;
use crate::process::thread::STATE_STEP;
use crate::process::trace::{Kind, stop};
use crate::seccomp::check;
use crate::signal::send::{self, Target};
use crate::signal::{SigInfo, Signal};
use crate::user;

/// Does the system call in `regs` with stops before and after it, where the tracer wants them.
///
/// # Context
/// The thread's own poll.
pub async fn call(thread: &Arc<Thread>, regs: &mut UserRegs) {
    // A call that its tracer does away with has this result unless the tracer sets another.
    regs.rax = Errno::ENOSYS.to_ret() as u64;
    let number = regs.error as i64;
    stop::for_call(thread, regs, Kind::Enter, number).await;
    if thread.fatal_signal_pending() {
        return;
    }
    if regs.error as i64 >= 0 && check::allows(thread, regs).await {
        user::perform(thread, regs).await;
    }
    let number = regs.error as i64;
    after(thread, regs, number).await;
}

/// What is left of a call that nobody watched when it began.
pub async fn done(thread: &Arc<Thread>, regs: &mut UserRegs) {
    let number = regs.error as i64;
    after(thread, regs, number).await;
}

async fn after(thread: &Arc<Thread>, regs: &mut UserRegs, number: i64) {
    stop::for_pending_event(thread, regs).await;
    let stepping = thread.bits() & STATE_STEP != 0;
    stop::for_call(thread, regs, Kind::Exit, number).await;
    if stepping && thread.bits() & STATE_STEP != 0 {
        // The call was the one instruction.
        const TRAP_BRKPT: i32 = 1;
        let info = SigInfo::fault(Signal::SIGTRAP, TRAP_BRKPT, regs.rip);
        let _ = send::send(Target::Thread(thread), Signal::SIGTRAP, &info);
    }
}
