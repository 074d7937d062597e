//! What a thread does about its signals on the way to user mode.

use alloc::sync::Arc;

use super::info::SigInfo;
use super::number::Signal;
use super::send;
use crate::arch::user::UserRegs;
use crate::mm::Fault;
use crate::process::Thread;

/// Does what the thread's `WORK_*` bits ask for: delivers signals, stops, goes on. False when the thread is to end.
///
/// # Context
/// The thread's own future; nothing held.
pub async fn attend(thread: &Arc<Thread>, regs: &mut UserRegs) -> bool {
    let _ = regs;
    !thread.fatal_signal_pending()
}

/// Raises the signal for an exception other than a page fault: vector and error code are in `regs`.
pub fn exception(thread: &Arc<Thread>, regs: &mut UserRegs) {
    let _ = regs;
    send::force(thread, Signal::SIGILL, &SigInfo::kernel(Signal::SIGILL));
}

/// Raises the signal for a memory access that cannot be satisfied.
pub fn fault(thread: &Arc<Thread>, regs: &mut UserRegs, fault: Fault) {
    let _ = (regs, fault);
    send::force(thread, Signal::SIGSEGV, &SigInfo::kernel(Signal::SIGSEGV));
}
