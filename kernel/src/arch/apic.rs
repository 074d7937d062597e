//! The local APIC: end of interrupt, messages among CPUs, and the timer.
//!
//! Its registers are in memory (xAPIC) or, where CPUID says so, in MSRs (x2APIC). The timer is one-shot: counted in bus
//! clocks, or set to a time-stamp value where the CPU can do that.
//!
//! Source: Intel SDM 3A, chapter 11.

#![allow(unsafe_code, reason = "MSRs and device registers")]

use super::cpu::Features;
use super::mmio::Registers;
use super::{event, tsc, vectors};
use crate::clockevent::{Mode, Rate};
use conquer_once::noblock::OnceCell;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use x86_64::registers::model_specific::Msr;

const ID: u64 = 0x20;
const TASK_PRIORITY: u64 = 0x80;
const EOI: u64 = 0xb0;
const SPURIOUS_VECTOR: u64 = 0xf0;
const ERROR_STATUS: u64 = 0x280;
const ICR_LOW: u64 = 0x300;
const ICR_HIGH: u64 = 0x310;
const LVT_TIMER: u64 = 0x320;
const LVT_THERMAL: u64 = 0x330;
const LVT_PERFORMANCE: u64 = 0x340;
const LVT_LINT0: u64 = 0x350;
const LVT_LINT1: u64 = 0x360;
const LVT_ERROR: u64 = 0x370;
const TIMER_INITIAL: u64 = 0x380;
const TIMER_CURRENT: u64 = 0x390;
const TIMER_DIVIDE: u64 = 0x3e0;
const VERSION: u64 = 0x30;
/// The first of eight words of vectors that wait to be taken.
const REQUESTED: u64 = 0x200;

const ENABLED: u32 = 1 << 8;
const MASKED: u32 = 1 << 16;
const DELIVER_NMI: u32 = 0b100 << 8;
const DELIVER_INIT: u32 = 0b101 << 8;
const DELIVER_STARTUP: u32 = 0b110 << 8;
const DELIVER_EXTERNAL: u32 = 0b111 << 8;
const SEND_PENDING: u32 = 1 << 12;
const ASSERT: u32 = 1 << 14;
const ALL_OTHERS: u32 = 0b11 << 18;
const TIMER_PERIODIC: u32 = 0b01 << 17;
const TIMER_TSC_DEADLINE: u32 = 0b10 << 17;
const DIVIDE_BY_1: u32 = 0b1011;

const MSR_APIC_BASE: u32 = 0x1b;
const APIC_BASE_ENABLED: u64 = 1 << 11;
const APIC_BASE_X2APIC: u64 = 1 << 10;
const MSR_X2APIC_FIRST: u32 = 0x800;
const MSR_TSC_DEADLINE: u32 = 0x6e0;

/// A message is taken within microseconds; after this many polls the next one goes out regardless.
const SEND_POLLS: u32 = 100_000;

/// Where the registers are.
#[derive(Clone, Copy)]
enum Access {
    Memory(Registers),
    Msr,
}

static ACCESS: OnceCell<Access> = OnceCell::uninit();
/// Timer clocks per nanosecond, times 2^32.
static CLOCKS_PER_NS: AtomicU64 = AtomicU64::new(0);
static TSC_DEADLINE: AtomicBool = AtomicBool::new(false);

/// Finds the registers and enables the boot CPU's APIC.
///
/// # Panics
/// If the CPU has none: nothing would ever interrupt us.
///
/// # Context
/// Boot, after the ACPI tables have been read.
pub fn init(features: &Features) {
    let phys = crate::boot::acpi::tables().local_apic;
    let access = if features.x2apic {
        Access::Msr
    } else {
        // SAFETY: the MADT says that the APIC's registers are there, and this module alone drives them.
        Access::Memory(
            unsafe { Registers::map(phys, 4096) }.expect("the fixmap has room for the local APIC"),
        )
    };
    // Fails only if it was set before.
    let _ = ACCESS.try_init_once(|| access);
    // A deadline is for once only.
    let deadline = features.tsc_deadline && event::mode() != Mode::Periodic;
    TSC_DEADLINE.store(deadline, Ordering::Relaxed);
    init_cpu();
}

/// Enables this CPU's APIC with all its sources masked but for NMI and errors.
///
/// # Context
/// Boot, once per CPU, interrupts off.
pub fn init_cpu() {
    let mut base = Msr::new(MSR_APIC_BASE);
    // SAFETY: reading the MSR changes nothing.
    let old = unsafe { base.read() };
    let mode = if matches!(access(), Access::Msr) {
        APIC_BASE_ENABLED | APIC_BASE_X2APIC
    } else {
        APIC_BASE_ENABLED
    };
    if old & mode != mode {
        // SAFETY: enables the APIC, in the mode that all of this module uses; the address stays.
        unsafe { base.write(old | mode) };
    }
    write(TASK_PRIORITY, 0);
    write(SPURIOUS_VECTOR, ENABLED | u32::from(vectors::SPURIOUS));
    let last_lvt = read(VERSION) >> 16 & 0xff;
    if last_lvt >= 4 {
        write(LVT_PERFORMANCE, MASKED);
    }
    if last_lvt >= 5 {
        write(LVT_THERMAL, MASKED);
    }
    let pin = |n: u8| match crate::boot::acpi::tables().nmi_pin {
        Some(pin) if pin == n => DELIVER_NMI,
        _ => MASKED,
    };
    write(LVT_LINT0, pin(0));
    write(LVT_LINT1, pin(1));
    write(LVT_ERROR, u32::from(vectors::APIC_ERROR));
    take_errors();
    write(TIMER_DIVIDE, DIVIDE_BY_1);
    let mode = if has_deadline() {
        TIMER_TSC_DEADLINE
    } else {
        0
    };
    write(LVT_TIMER, mode | u32::from(vectors::TIMER));
    // Orders the switch to deadline mode before the first deadline (SDM 3A 11.5.4.1).
    core::sync::atomic::fence(Ordering::SeqCst);
    stop_timer();
    eoi();
}

fn access() -> Access {
    *ACCESS
        .try_get()
        .expect("the local APIC is set up before it is used")
}

#[inline]
fn read(register: u64) -> u32 {
    match access() {
        Access::Memory(registers) => registers.read32(register),
        // SAFETY: an APIC register of a CPU in x2APIC mode; those that this module reads have no side effects.
        Access::Msr => unsafe { Msr::new(MSR_X2APIC_FIRST + (register >> 4) as u32).read() as u32 },
    }
}

#[inline]
fn write(register: u64, value: u32) {
    match access() {
        Access::Memory(registers) => registers.write32(register, value),
        // SAFETY: as in `read`; what is written is this module's business and never touches memory safety.
        Access::Msr => unsafe {
            Msr::new(MSR_X2APIC_FIRST + (register >> 4) as u32).write(u64::from(value))
        },
    }
}

/// Lets the 8259s interrupt this CPU by the first pin, with vectors of their own.
///
/// # Context
/// Boot, interrupts off.
pub fn accept_legacy() {
    write(LVT_LINT0, DELIVER_EXTERNAL);
}

/// Whether the APIC has been set up, so that messages can be sent.
pub fn is_ready() -> bool {
    ACCESS.try_get().is_ok()
}

/// Whether the registers are reached by MSRs.
pub fn is_x2apic() -> bool {
    matches!(access(), Access::Msr)
}

/// This CPU's APIC identity.
pub fn id() -> u32 {
    match access() {
        Access::Memory(_) => read(ID) >> 24,
        Access::Msr => read(ID),
    }
}

/// Tells the APIC that the interrupt being served has been.
///
/// # Context
/// Any, once per interrupt other than NMI and spurious ones.
#[inline]
pub fn eoi() {
    write(EOI, 0);
}

/// Reads and clears the errors that this APIC has seen.
pub fn take_errors() -> u32 {
    write(ERROR_STATUS, 0);
    read(ERROR_STATUS)
}

/// Sends the message `command` to the CPU with APIC identity `target`.
fn send(target: u32, command: u32) {
    match access() {
        Access::Memory(registers) => {
            let flags = super::irq_save();
            for _ in 0..SEND_POLLS {
                if registers.read32(ICR_LOW) & SEND_PENDING == 0 {
                    break;
                }
                core::hint::spin_loop();
            }
            registers.write32(ICR_HIGH, target << 24);
            registers.write32(ICR_LOW, command);
            super::irq_restore(flags);
        }
        Access::Msr => {
            // What was written before must be seen by who gets the message: this write orders nothing (SDM 3A 11.12.3).
            core::sync::atomic::fence(Ordering::SeqCst);
            let value = u64::from(target) << 32 | u64::from(command);
            // SAFETY: the interrupt command register of a CPU in x2APIC mode.
            unsafe { Msr::new(MSR_X2APIC_FIRST + (ICR_LOW >> 4) as u32).write(value) };
        }
    }
}

/// Interrupts the CPU with APIC identity `target` with `vector`.
///
/// # Context
/// Any but NMI. Spins: while an earlier message is on its way, microseconds.
pub fn send_ipi(target: u32, vector: u8) {
    send(target, ASSERT | u32::from(vector));
}

/// Interrupts every other CPU with an NMI.
pub fn send_nmi_to_others() {
    send(0, ALL_OTHERS | ASSERT | DELIVER_NMI);
}

/// Resets the CPU with APIC identity `target`; it then waits for [`send_startup`].
pub fn send_init(target: u32) {
    send(target, ASSERT | DELIVER_INIT);
}

/// Makes a CPU that waits start in real mode at the start of page `page` of the first MiB.
pub fn send_startup(target: u32, page: u8) {
    send(target, ASSERT | DELIVER_STARTUP | u32::from(page));
}

/// The timer's clocks since [`start_counting`], for calibration.
pub fn counted() -> u32 {
    u32::MAX - read(TIMER_CURRENT)
}

/// The clocks that the timer still counts down, where it counts clocks.
#[cfg(feature = "ktest")]
pub fn timer_left() -> u64 {
    u64::from(read(TIMER_CURRENT))
}

/// Lets the timer count down from its largest value without an interrupt.
pub fn start_counting() {
    write(LVT_TIMER, MASKED | u32::from(vectors::TIMER));
    write(TIMER_INITIAL, u32::MAX);
}

/// Ends the calibration: the timer counted `clocks` in `ns` nanoseconds.
pub fn calibrated(clocks: u32, ns: u64) {
    let rate = (u128::from(clocks) << 32) / u128::from(ns.max(1));
    CLOCKS_PER_NS.store(rate as u64, Ordering::Relaxed);
    log::info!(
        "apic: timer at {} kHz",
        u64::from(clocks) * 1_000_000 / ns.max(1)
    );
    init_cpu();
}

/// Whether the timer is set to values of the time-stamp counter.
#[inline]
pub fn has_deadline() -> bool {
    TSC_DEADLINE.load(Ordering::Relaxed)
}

/// How the timer counts.
pub fn timer_rate() -> Rate {
    if has_deadline() {
        Rate::new(tsc::hz(), 0xf, u64::MAX >> 1)
    } else {
        let clocks_per_ns = CLOCKS_PER_NS.load(Ordering::Relaxed);
        Rate {
            ticks_per_ns: clocks_per_ns.max(1),
            min_ticks: 0xf,
            max_ticks: u64::from(u32::MAX) >> 1,
        }
    }
}

/// Makes the timer interrupt this CPU in `ticks` of its own, once, instead of when it was to.
///
/// # Context
/// Any, interrupts off.
#[inline]
pub fn set_ticks(ticks: u64) {
    if has_deadline() {
        let deadline = tsc::read().saturating_add(ticks);
        // SAFETY: sets this CPU's timer; the CPU has the MSR. Zero would stop the timer, so it is not written.
        unsafe { Msr::new(MSR_TSC_DEADLINE).write(deadline.max(1)) };
    } else {
        write(TIMER_INITIAL, ticks.clamp(1, u64::from(u32::MAX)) as u32);
    }
}

/// Makes the timer interrupt this CPU in `delta_ns` nanoseconds, once, instead of when it was to.
///
/// A delay that the timer cannot count is cut to what it can: an interrupt that comes early finds nothing due.
///
/// # Context
/// Any, interrupts off.
#[inline]
pub fn set_oneshot(delta_ns: u64) {
    set_ticks(if has_deadline() {
        tsc::ns_to_ticks(delta_ns)
    } else {
        let clocks = u128::from(delta_ns) * u128::from(CLOCKS_PER_NS.load(Ordering::Relaxed));
        u64::try_from(clocks >> 32).unwrap_or(u64::MAX)
    });
}

/// Makes the timer interrupt this CPU every `clocks`, unless it is one that has deadlines.
///
/// # Context
/// Boot or task, interrupts off.
pub fn set_periodic(clocks: u64) {
    write(LVT_TIMER, TIMER_PERIODIC | u32::from(vectors::TIMER));
    write(TIMER_INITIAL, clocks.clamp(1, u64::from(u32::MAX)) as u32);
}

/// Whether an interrupt of one of the vectors that `vectors` covers waits to be taken by this CPU.
///
/// # Context
/// Any, interrupts off.
pub fn is_requested(vectors: core::ops::RangeInclusive<u8>) -> bool {
    (0..8).any(|word: u8| {
        let requested = read(REQUESTED + 0x10 * u64::from(word));
        (0..32).any(|bit| requested >> bit & 1 != 0 && vectors.contains(&(word * 32 + bit)))
    })
}

/// Interrupts the CPU with APIC identity `target` with an NMI.
///
/// # Context
/// As for [`send_ipi`].
pub fn send_nmi(target: u32) {
    send(target, ASSERT | DELIVER_NMI);
}

/// Stops this CPU's timer.
pub fn stop_timer() {
    if has_deadline() {
        // SAFETY: zero disarms the timer.
        unsafe { Msr::new(MSR_TSC_DEADLINE).write(0) };
    } else {
        write(TIMER_INITIAL, 0);
    }
}
