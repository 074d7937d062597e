//! CPUs that leave while the machine runs, and come back.
//!
//! Who asks ([`set_online`]) has nothing more placed on the CPU, sends its interrupt lines elsewhere, and tells it to leave. The
//! CPU's own loop then gives away what could run there, turn by turn, and when nothing is left it goes ([`leave`]): its
//! executor is [taken out of service](executor::Executor::go_away), so that whatever is woken for it goes to others; it stops
//! answering other CPUs' requests; and it halts with interrupts masked. Its timers are adopted by whoever asked. An NMI calls it
//! back, and it goes on with its loop where it stood.
//!
//! | what | where it goes |
//! | --- | --- |
//! | runnable tasks, suspended polls | to CPUs that their masks allow, at once |
//! | waiting tasks, with what is asked of them | to the first CPU when they are woken, and on from there |
//! | a thread whose mask has no other CPU | anywhere, for good, as on Linux |
//! | timers | to the CPU that runs whoever asked |
//! | softirqs, bound works | to the first CPU's level; run wherever they are |
//! | interrupt lines | to another CPU of their masks, or any |
//! | pinned tasks | they wait for the CPU |
//!
//! The first CPU does not leave. Source: Linux's Documentation/core-api/cpu_hotplug.rst.
//!
//! Lock: [`CHANGES`], held by the one change under way; the stage in [`PerCpu`](percpu::PerCpu) is moved on by it and by the CPU
//! in turns.

use core::sync::atomic::Ordering;
use core::time::Duration;

use executor::sync::{Mutex, WaitQueue};
use executor::time::{self, timeout};
use executor::{CpuShared, cpu, platform, softirq};
use fs::{Errno, Result};

use super::order::Order;
use super::{deadline, of, this};
use crate::arch::{apic, event, percpu, smp, vectors};
use crate::irq as lines;
use crate::mm;

/// The CPU takes part.
const HERE: u8 = 0;
/// It is to leave.
const LEAVING: u8 = 1;
/// It has left.
const AWAY: u8 = 2;
/// It is to come back.
const COMING: u8 = 3;

/// One CPU at a time.
static CHANGES: Mutex<()> = Mutex::new(());
/// Woken when a CPU has left or is back.
static CHANGED: WaitQueue = WaitQueue::new();

/// A call that came just before the CPU halted is repeated after this.
const CALL_AGAIN: Duration = Duration::from_millis(10);

/// Whether this CPU is to leave.
///
/// # Context
/// Any, preemption off.
#[inline]
pub(super) fn leaves() -> bool {
    percpu::this().stage.load(Ordering::Relaxed) == LEAVING
}

/// Whether this CPU has left.
///
/// # Context
/// NMI.
pub fn is_away() -> bool {
    percpu::this().stage.load(Ordering::Relaxed) >= AWAY
}

/// Whether CPU `cpu` can be taken away: any that was started, but for the first.
pub fn is_removable(cpu: u32) -> bool {
    cpu > 0 && cpu < smp::cpu_count()
}

/// Takes CPU `cpu` away, or brings it back; nothing if that is how it is.
///
/// # Context
/// Task.
/// # Errors
/// `EPERM` for the first CPU; `EINVAL` if there is no such CPU; `EBUSY` if deadline threads were promised more than the rest can
/// keep.
/// # Cancel safety
/// Not to be dropped before it is ready: the CPU would be left between the two.
pub async fn set_online(cpu: u32, online: bool) -> Result<()> {
    let _alone = CHANGES.lock().await;
    if cpu == 0 {
        return Err(Errno::EPERM);
    }
    if !is_removable(cpu) {
        return Err(Errno::EINVAL);
    }
    match (smp::online() & 1 << cpu != 0, online) {
        (true, false) => take_away(cpu).await,
        (false, true) => {
            bring_back(cpu).await;
            Ok(())
        }
        _ => Ok(()),
    }
}

async fn wait_for(cpu: u32, stage: u8) {
    let there = percpu::of(cpu).expect("the CPU was started");
    let reached = || (there.stage.load(Ordering::Acquire) == stage).then_some(());
    CHANGED.wait_until(reached).await;
}

async fn take_away(cpu: u32) -> Result<()> {
    deadline::set_cpus(smp::active().count_ones() - 1)?;
    smp::set_active(cpu, false);
    lines::existing().for_each(|line| line.leave(cpu));
    let there = percpu::of(cpu).expect("the CPU was started");
    if let Some(shared) = CpuShared::of(cpu) {
        shared.set_leaving(true);
    }
    there.stage.store(LEAVING, Ordering::Release);
    // What its loop looks at anyway, whenever it turns to a task.
    there.asked.fetch_or(1 << cpu, Ordering::AcqRel);
    call(cpu);
    wait_for(cpu, AWAY).await;
    let tasks = of(cpu).expect("the CPU was started");
    time::adopt(tasks.executor.shared().timers());
    log::info!("smpboot: CPU {cpu} is now offline");
    Ok(())
}

/// Has the CPU come to its loop.
fn call(cpu: u32) {
    let _stay = cpu::preempt_disable();
    if cpu == cpu::id() {
        cpu::set_need_resched();
    } else {
        platform::get().pend(cpu);
    }
}

async fn bring_back(cpu: u32) {
    let there = percpu::of(cpu).expect("the CPU was started");
    there.stage.store(COMING, Ordering::Release);
    let target = there.apic_id.load(Ordering::Relaxed) as u32;
    log::info!("smpboot: Booting Node 0 Processor {cpu} APIC {target:#x}");
    loop {
        apic::send_nmi(target);
        if timeout(CALL_AGAIN, wait_for(cpu, HERE)).await.is_ok() {
            break;
        }
    }
    smp::set_active(cpu, true);
    let promised = deadline::set_cpus(smp::active().count_ones());
    debug_assert!(
        promised.is_ok(),
        "more CPUs can keep what fewer were promised for"
    );
}

/// Leaves, if nothing is left to do here, and comes back when it is called.
///
/// # Context
/// The CPU's loop, outside any poll, interrupts masked; they are let in on return.
#[cold]
pub(super) fn leave() {
    cpu::irq_enable();
    super::leave_loaded_space();
    mm::percpu::give_back();
    cpu::irq_disable();
    if go() {
        halt();
        come_back();
    }
    cpu::irq_enable();
}

/// Takes this CPU out of service. False, and nothing has changed, if there is something to do.
fn go() -> bool {
    // What devices sent before their lines were moved.
    if apic::is_requested(vectors::DEVICE_FIRST..=vectors::DEVICE_LAST) {
        return false;
    }
    let (here, tasks) = (percpu::this(), this());
    if !softirq::go_away() {
        return false;
    }
    tasks.tick.leave();
    tasks.event.cancel();
    tasks.executor.with_policy(Order::left);
    if !tasks.executor.go_away() {
        softirq::come_back();
        return false;
    }
    event::set_timer(time::Instant::MAX);
    apic::stop_timer();
    here.online.store(false, Ordering::Release);
    smp::go_offline();
    here.stage.store(AWAY, Ordering::Release);
    CHANGED.wake_all();
    tasks.executor.send_on();
    true
}

/// Waits to be called back, with all but NMIs masked.
fn halt() {
    while percpu::this().stage.load(Ordering::Acquire) != COMING {
        x86_64::instructions::hlt();
    }
}

/// Puts this CPU into service again.
fn come_back() {
    let (here, tasks) = (percpu::this(), this());
    smp::come_online();
    // Nobody had it forget what was withdrawn meanwhile.
    mm::flush_all_here();
    here.asked.store(0, Ordering::Relaxed);
    here.stage.store(HERE, Ordering::Release);
    tasks.executor.shared().set_leaving(false);
    tasks.executor.come_back();
    softirq::come_back();
    here.online.store(true, Ordering::Release);
    event::init_cpu();
    time::set_timer_again();
    CHANGED.wake_all();
}
