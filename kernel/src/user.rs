//! A user thread's whole life: one future.
//!
//! It enters user mode, handles what brought it back, and enters again. Calls that need not wait are plain functions
//! called from this loop. Being preempted in user mode is a yield. The future ends when the thread does.
#![allow(unsafe_code, reason = "enters user mode")]

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use executor::{Spawner, cpu};

use crate::arch::trap::vector;
use crate::arch::user::{SYSCALL, UserRegs, enter_user};
use crate::arch::{irq, percpu};
use crate::mm::{Access, Fault};
use crate::process::thread::{STATE_TRACED, WATCHED, WORK_RSEQ};
use crate::process::trace::stop;
use crate::process::{Thread, rseq};
use crate::signal::deliver;
use crate::syscall::{self, Call, Stop};
use crate::task;

/// What a thread came back from user mode for.
enum Event {
    /// A system call.
    Syscall,
    /// An exception other than a page fault.
    Exception,
    /// A page fault at this address.
    PageFault(u64),
    /// An interrupt, already handled.
    Interrupt,
    /// It has not been there: something is to be done first.
    Work,
}

/// Spawns the task of `thread`, which is in all lists, and lets it run from `regs`.
///
/// # Errors
/// `ENOMEM`: the thread does not run, and is to be taken out of the lists again.
pub fn start(thread: &Arc<Thread>, regs: Box<UserRegs>) -> fs::Result<()> {
    let cpu = task::place::new(thread.affinity.load(Ordering::Relaxed));
    launch(
        thread,
        Spawner::new("user").cpu(cpu),
        run(thread.clone(), regs),
    )
}

/// Makes `life` the task of `thread`, as `spawner` says, and lets it run.
///
/// # Errors
/// `ENOMEM`, as [`start`].
pub fn launch(
    thread: &Arc<Thread>,
    spawner: Spawner,
    life: impl Future<Output = ()> + Send + 'static,
) -> fs::Result<()> {
    let task = spawner.tag(thread.tag()).try_prepare(life);
    let task = task.map_err(|_| fs::Errno::ENOMEM)?;
    // Before it runs: a quick thread would end, and leave its tag behind, while the task is still being set.
    thread.set_task(task.task().clone());
    task.launch().detach();
    Ok(())
}

/// Does the system call in `$regs`, and leaves its result there.
///
/// A macro, since a call that need not wait makes no future: it is a part of the thread's own.
macro_rules! perform {
    ($thread:expr, $regs:expr) => {{
        let mut call = Call {
            thread: $thread,
            regs: $regs,
            done: 0,
            opening: None,
            deadline: None,
        };
        let result = match syscall::attempt(&mut call) {
            Ok(value) => value,
            Err(Stop::Error(e)) => e.to_ret() as u64,
            // Here and not with the calls that wait, which are several futures deep.
            Err(Stop::Yield) => {
                executor::yield_now().await;
                0
            }
            Err(stop) => match syscall::wait::finish(&mut call, stop).await {
                Ok(value) => value,
                Err(e) => e.to_ret() as u64,
            },
        };
        // A call that replaced all registers (sigreturn, execve) has left its result in them.
        if call.regs.vector == SYSCALL {
            call.regs.rax = result;
        }
    }};
}

/// Runs `thread` from `regs` to its end.
pub async fn run(thread: Arc<Thread>, mut regs: Box<UserRegs>) {
    loop {
        match enter(&thread, &mut regs) {
            Event::Syscall => {
                if thread.bits() & WATCHED != 0 {
                    Box::pin(syscall::watched::call(&thread, &mut regs)).await;
                    continue;
                }
                perform!(&thread, &mut regs);
                if thread.bits() & WATCHED != 0 {
                    Box::pin(syscall::watched::done(&thread, &mut regs)).await;
                }
            }
            Event::PageFault(addr) => page_fault(&thread, &mut regs, addr),
            Event::Exception => deliver::exception(&thread, &mut regs),
            Event::Interrupt => {}
            Event::Work => {
                if thread.work() & !WORK_RSEQ != 0 && !deliver::attend(&thread, &mut regs).await {
                    break;
                }
                if thread.work() & WORK_RSEQ != 0 {
                    rseq::attend(&thread, &mut regs);
                }
                if cpu::need_resched() && task::should_resched() {
                    executor::preempted().await;
                    rseq::note(&thread);
                }
            }
        }
    }
    if thread.bits() & STATE_TRACED != 0 {
        Box::pin(stop::for_exit(&thread, &mut regs)).await;
    }
    if thread.process().dump.lock().is_some() {
        Box::pin(crate::process::core::hand_in(&thread, &regs)).await;
    }
    crate::process::exit::finish(&thread).await;
    // With the future goes a reference that may be the last; a tick must not find the thread after that.
    crate::process::set_current(None);
}

/// As `perform!`, as a future of its own.
pub async fn perform(thread: &Arc<Thread>, regs: &mut UserRegs) {
    perform!(thread, regs);
}

/// Enters user mode unless there is something to do first, and comes back with interrupts on.
#[inline]
fn enter(thread: &Thread, regs: &mut UserRegs) -> Event {
    cpu::irq_disable();
    if thread.work() != 0 || cpu::need_resched_before_user() {
        cpu::irq_enable();
        return Event::Work;
    }
    thread.machine.fpu.load();
    // SAFETY: interrupts are off since before the last look at pending work; the hook loaded address space and bases
    // for this poll; every writer of `regs` sanitizes them.
    unsafe { enter_user(regs) };
    let event = match regs.vector {
        SYSCALL => Event::Syscall,
        vector::PAGE_FAULT => Event::PageFault(x86_64::registers::control::Cr2::read_raw()),
        n if n >= vector::FIRST_IRQ => {
            let cpu = percpu::this();
            cpu.interrupted_user.store(true, Ordering::Relaxed);
            irq::dispatch(n as u8);
            cpu.interrupted_user.store(false, Ordering::Relaxed);
            Event::Interrupt
        }
        _ => Event::Exception,
    };
    cpu::irq_enable();
    event
}

/// Bits of a page fault's error code (SDM 3A 4.7).
mod error_code {
    pub const WRITE: u64 = 1 << 1;
    pub const FETCH: u64 = 1 << 4;
}

fn page_fault(thread: &Arc<Thread>, regs: &mut UserRegs, addr: u64) {
    let access = Access {
        write: regs.error & error_code::WRITE != 0,
        exec: regs.error & error_code::FETCH != 0,
        user: true,
    };
    let outcome = match thread.mm() {
        Some(space) => space.handle_fault(addr, access),
        None => Err(Fault::unmapped(addr)),
    };
    if let Err(fault) = outcome {
        deliver::fault(thread, regs, fault);
    }
}

/// Bytes of the future that `make` gives.
const fn future_size<A, B, F: Future, M: Fn(A, B) -> F>(_: &M) -> usize {
    size_of::<F>()
}

// A thread that waits is little more than this: large, rare waits belong into boxes.
const _: () = assert!(future_size(&run) <= 1024, "a thread's future has grown");
