//! Starting the other CPUs, one after another.
//!
//! Each gets a stack, a per-CPU area and a descriptor table before it is sent off; it comes through the
//! [trampoline](super::trampoline) into [`entry`], sets itself up, compares its time-stamp counter with ours, and waits
//! until all are there. Then every one enters [`crate::boot`]'s function for it.

#![allow(unsafe_code, reason = "installs the area made for the new CPU")]

use super::cpu::Features;
use super::percpu::{MAX_CPUS, PerCpu};
use super::{apic, clock, irq, smp, stack, this_cpu, trampoline, tsc, tsc_sync};
use crate::boot;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// How long a CPU has to show up. An emulated one on a busy host can take its time.
const START_TIMEOUT_NS: u64 = 2_000_000_000;
/// When to send the second start-up message, which old CPUs want.
const SECOND_MESSAGE_NS: u64 = 10_000_000;
/// From the reset to the start-up message; enough for anything made in this century.
const INIT_DELAY_NS: u64 = 50_000;

/// The CPU that is being started, and its area, for [`entry`].
static STARTING: AtomicU32 = AtomicU32::new(0);
static AREA: core::sync::atomic::AtomicPtr<PerCpu> =
    core::sync::atomic::AtomicPtr::new(core::ptr::null_mut());
/// Set by the CPU that is being started once it is set up.
static ARRIVED: AtomicBool = AtomicBool::new(false);
/// Lets the CPUs that have been started into the kernel.
static GO: AtomicBool = AtomicBool::new(false);

/// Starts the other CPUs that ACPI names, up to `nr_cpus=` in all.
///
/// # Context
/// Boot, on the boot CPU, with clocks calibrated and memory managed. Spins: microseconds for each, seconds if one is dead.
pub fn start_others(features: &Features) {
    let line = boot::info().cmdline();
    let limit = ["nr_cpus", "maxcpus"]
        .into_iter()
        .filter_map(|name| line.number(name))
        .min();
    let limit = limit.map_or(MAX_CPUS, |limit| limit.clamp(1, MAX_CPUS as i64) as usize);
    let me = apic::id();
    let others = boot::acpi::tables().cpus.iter().filter(|id| *id != me);
    trampoline::install(features);
    let mut cpu = 1;
    for apic_id in others {
        if cpu as usize >= limit {
            break;
        }
        if start(cpu, apic_id) {
            cpu += 1;
        } else {
            log::error!("smp: CPU with APIC id {apic_id} does not start");
        }
    }
    log::info!("smp: {} CPUs", smp::cpu_count());
}

/// Lets the CPUs that have been started into the kernel.
///
/// # Context
/// Boot, once all that they need is set up.
pub fn release_others() {
    GO.store(true, Ordering::Release);
    for cpu in 1..MAX_CPUS as u32 {
        smp::send_reschedule(cpu);
    }
}

fn start(cpu: u32, apic_id: u32) -> bool {
    let area: &'static PerCpu = Box::leak(Box::new(PerCpu::new(cpu)));
    area.apic_id.store(u64::from(apic_id), Ordering::Relaxed);
    irq::init_cpu(cpu);
    STARTING.store(cpu, Ordering::Relaxed);
    AREA.store(core::ptr::from_ref(area).cast_mut(), Ordering::Release);
    ARRIVED.store(false, Ordering::Release);
    trampoline::set_target(stack::new(), entry);

    apic::send_init(apic_id);
    wait(INIT_DELAY_NS, || false);
    apic::send_startup(apic_id, (trampoline::PAGE >> 12) as u8);
    let arrived = || ARRIVED.load(Ordering::Acquire);
    if !wait(SECOND_MESSAGE_NS, arrived) {
        apic::send_startup(apic_id, (trampoline::PAGE >> 12) as u8);
        if !wait(START_TIMEOUT_NS, arrived) {
            // It may still come: into the void, rather than on the next one's stack.
            apic::send_init(apic_id);
            return false;
        }
    }
    if let Some(warp_ns) = tsc_sync::compare_as_first() {
        clock::mark_tsc_unstable("CPUs differ");
        log::warn!("tsc: CPU {cpu} is off by {warp_ns} ns");
    }
    wait(START_TIMEOUT_NS, || smp::online() & 1 << cpu != 0)
}

/// Spins until `done` says so or the time is up; tells which.
fn wait(limit_ns: u64, done: impl Fn() -> bool) -> bool {
    let start = tsc::now_ns();
    loop {
        if done() {
            return true;
        }
        if tsc::now_ns().saturating_sub(start) >= limit_ns {
            return false;
        }
        core::hint::spin_loop();
    }
}

/// Where another CPU comes into Rust: on its own stack, on the boot page tables, with interrupts off.
extern "C" fn entry() -> ! {
    let cpu = STARTING.load(Ordering::Acquire);
    let area = AREA.load(Ordering::Acquire);
    // SAFETY: the CPU that starts us made the area for us alone, for ever.
    unsafe { this_cpu::set_up(cpu, area) };
    boot::ap_prepare();
    ARRIVED.store(true, Ordering::Release);
    tsc_sync::compare_as_second();
    smp::set_online(cpu);
    // Halted rather than spinning, so that the host's CPUs are free for those that still have to come.
    while !GO.load(Ordering::Acquire) {
        x86_64::instructions::interrupts::enable_and_hlt();
        x86_64::instructions::interrupts::disable();
    }
    boot::ap_main()
}
