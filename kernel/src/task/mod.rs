//! Tasks on this machine: each CPU's loop, and what changes when it turns from one task to another.
//!
//! Kernel tasks are plain futures given to [`executor::spawn`]. A user thread is a future too ([`crate::user::run`]),
//! whose task carries the [`Thread`] as its tag: by it the hooks here find the address space and registers to load.
//!
//! Lock key: the fields of [`CpuTasks`] are their own CPU's.
#![allow(
    unsafe_code,
    reason = "loads page tables and follows the tag that a thread's task carries"
)]

pub mod deadline;
pub mod hotplug;
#[cfg(feature = "ktest")]
mod hotplug_ktests;
#[cfg(feature = "ktest")]
mod ktests;
#[cfg(feature = "ktest")]
mod latency_ktests;
pub mod load;
#[cfg(feature = "ktest")]
mod lock_ktests;
#[cfg(feature = "ktest")]
mod long_call_ktests;
pub mod order;
pub mod place;
pub mod platform;
pub mod realtime;
mod reap;
#[cfg(feature = "ktest")]
mod spawn_ktests;
mod spread;
#[cfg(feature = "ktest")]
mod stack_ktests;
pub mod stacks;
pub mod suspend;
#[cfg(feature = "ktest")]
mod suspend_ktests;
#[cfg(feature = "ktest")]
mod suspend_sync_ktests;
pub mod tick;
#[cfg(feature = "ktest")]
mod tick_ktests;
mod view;
#[cfg(feature = "ktest")]
mod work_ktests;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use executor::cpu::{self, CpuOwned};
use executor::time::{HrTimer, Instant};
use executor::{Executor, Hooks, TaskTag};

use crate::arch::{self, percpu};
use crate::mm::AddressSpace;
use crate::process::{self, Thread};
use order::Order;

/// What one CPU's loop keeps.
pub struct CpuTasks {
    executor: Executor<Order>,
    tick: tick::Tick,
    /// Runs out when a throttled task may run again.
    event: HrTimer,
    /// The address space that CR3 holds; `None` for the kernel's own table. Kernel tasks run on whatever is loaded.
    space: CpuOwned<Option<Arc<AddressSpace>>>,
}

/// Makes this CPU's executor. Context: boot, once per CPU, before its first task.
pub fn init() {
    let tasks = Box::leak(Box::new(CpuTasks {
        executor: Executor::new(Order::default()),
        tick: tick::Tick::new(),
        event: HrTimer::new(on_event),
        space: CpuOwned::new(None),
    }));
    percpu::this()
        .tasks
        .store(core::ptr::from_mut(tasks).cast(), Ordering::Release);
    executor::softirq::init();
    if cpu::id() == 0 {
        executor::rcu::init();
    }
}

fn this() -> &'static CpuTasks {
    let tasks = percpu::this()
        .tasks
        .load(Ordering::Relaxed)
        .cast::<CpuTasks>();
    // SAFETY: set by `init` to an allocation that stays, before anything on this CPU gets here.
    unsafe { &*tasks }
}

/// What CPU `cpu` keeps, once it has been set up.
fn of(cpu: u32) -> Option<&'static CpuTasks> {
    let tasks = percpu::of(cpu)?.tasks.load(Ordering::Acquire);
    // SAFETY: as in `this`.
    unsafe { tasks.cast::<CpuTasks>().as_ref() }
}

/// Polls tasks for ever.
///
/// # Context
/// The end of each CPU's boot; interrupts are switched on.
pub fn run() -> ! {
    x86_64::instructions::interrupts::disable();
    percpu::this().online.store(true, Ordering::Release);
    suspend::start()
}

/// Halts until an interrupt, unless there is something to do.
///
/// # Context
/// The CPU's loop, outside any poll: it stays on its CPU.
fn idle() {
    cpu::irq_disable();
    if hotplug::leaves() {
        return hotplug::leave();
    }
    let tasks = this();
    if tasks.executor.prepare_idle() {
        if arch::smp::cpu_count() > 1 {
            tasks.executor.with_policy(Order::goes_idle);
        }
        percpu::this().idle.store(true, Ordering::Relaxed);
        load::idle_begins();
        cpu::irqs_resume();
        // Back to back, so that an interrupt after the look at the queues ends the halt (rule 6).
        x86_64::instructions::interrupts::enable_and_hlt();
        percpu::this().idle.store(false, Ordering::Relaxed);
        tasks.executor.end_idle();
        load::idle_ends();
    } else {
        cpu::irq_enable();
    }
}

/// Lets this CPU's loop pick again at `at` (ns), whatever it does then; `u64::MAX` for never.
///
/// # Context
/// This CPU's loop.
#[cold]
fn wake_at(at: u64) {
    let event = &this().event;
    if at == u64::MAX {
        event.cancel();
    } else {
        event.arm(Instant::from_ns(at));
    }
}

/// Context: timer interrupt, on the CPU whose loop asked for it.
fn on_event(_: Instant) -> Option<Instant> {
    cpu::set_need_resched();
    None
}

/// Whether the task that is being polled should come back to the loop.
///
/// # Context
/// Task, where `need_resched` was seen.
#[inline]
pub fn should_resched() -> bool {
    let _here = cpu::preempt_disable();
    this().executor.should_resched()
}

/// Whether a task could run on this CPU besides the one that is being polled.
///
/// # Context
/// Task.
#[inline]
pub fn others_wait() -> bool {
    // The answer may be another CPU's, and old: a hint.
    this().executor.others_wait()
}

/// Tasks that are running or could be, on this CPU.
pub fn runnable() -> usize {
    let _here = cpu::preempt_disable();
    this().executor.with_policy(|order| order.runnable())
}

/// The address space loaded on this CPU: in a system call, the caller's.
///
/// # Context
/// Task.
pub fn current_space() -> Option<Arc<AddressSpace>> {
    let here = cpu::preempt_disable();
    this().space.with_held(&here, |space| space.clone())
}

/// Loads the thread's registers and address space around its polls, and where they are suspended and resumed.
struct ThreadHooks;

impl Hooks for ThreadHooks {
    #[inline(always)]
    fn poll_start(&self, tag: &TaskTag) {
        let Some(thread) = Thread::of_tag(tag.0) else {
            return;
        };
        let here = this();
        process::set_current(Some(thread));
        load::switched();
        let before = thread.with_space(|space| here.load(space));
        // Here, where nothing is locked: it may be the last reference.
        if let Some(before) = before {
            reap::release(before);
        }
        thread.machine.load_bases();
        here.tick.keep_running();
    }

    #[inline(always)]
    fn poll_end(&self, tag: &TaskTag) {
        if let Some(thread) = Thread::of_tag(tag.0) {
            thread.machine.fpu.save();
            thread.machine.save_bases();
        }
        process::set_current(None);
    }
}

impl CpuTasks {
    /// Makes `space` the one that this CPU, whose tasks these are, translates by, unless it is already; gives the one before.
    #[inline]
    #[must_use = "it may be the last reference, to be dropped where nothing is locked"]
    fn load(&self, space: Option<&Arc<AddressSpace>>) -> Option<Arc<AddressSpace>> {
        let space = space?;
        self.space.with(|loaded| match loaded {
            Some(l) if Arc::ptr_eq(l, space) => None,
            _ => {
                space.activate();
                let before = loaded.replace(space.clone());
                if let Some(before) = &before {
                    before.deactivate();
                }
                before
            }
        })
    }
}

/// Makes `space` the running thread's at once: `execve` has replaced the old one.
///
/// # Context
/// Task: the thread's own poll.
pub fn switch_space(space: &Arc<AddressSpace>) {
    let before = {
        let _stay = cpu::preempt_disable();
        this().load(Some(space))
    };
    drop(before);
}

/// Goes over to the kernel's own page table, so that nothing here keeps a dead process's memory.
///
/// # Context
/// Task: the exiting thread's own poll.
pub fn leave_space() {
    drop(unload());
}

/// As [`leave_space`], where nothing large may be taken apart. Context: this CPU's loop.
fn leave_loaded_space() {
    if let Some(space) = unload() {
        reap::release(space);
    }
}

fn unload() -> Option<Arc<AddressSpace>> {
    let _stay = cpu::preempt_disable();
    this().space.with(|loaded| {
        let before = loaded.take();
        if let Some(space) = &before {
            arch::load_kernel_page_table();
            space.deactivate();
        }
        before
    })
}
