//! The machine's clock event devices: what interrupts a CPU when its next timer is due.
//!
//! Mostly that is the CPU's own local APIC, set for the moment itself; [`set_timer`] then is one look at a flag and a write.
//! The flag is up where the command line wants timers at ticks only (`highres=off`, with `nohz=off` a periodic tick), and
//! where CPUs are served by one device for all ([`broadcast`]): with `nolapic_timer`, or while [`serve`] says so.
//!
//! Source: Linux's `Documentation/timers/highres.rst`.

mod broadcast;
mod devices;
#[cfg(feature = "ktest")]
mod ktests;

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use executor::sync::SpinLock;
use executor::time::{self, Instant};

pub use broadcast::{Served, served};
pub use devices::local;

use super::{apic, smp, tsc};
use crate::boot;
use crate::clockevent::Mode;
use crate::irq::{CpuSet, IrqError};
use crate::task::tick::TICK_NS;

/// Not every CPU's timer is its own and set for the moment itself.
static SPECIAL: AtomicBool = AtomicBool::new(false);
/// CPUs that one device for all serves.
static SERVED: AtomicU64 = AtomicU64::new(0);
static MODE: AtomicU8 = AtomicU8::new(Mode::HighResolution as u8);
/// The tick stops while a CPU has nothing to do.
static TICKLESS: AtomicBool = AtomicBool::new(true);

/// How the devices are used.
#[inline]
pub fn mode() -> Mode {
    match MODE.load(Ordering::Relaxed) {
        0 => Mode::Periodic,
        1 => Mode::LowResolution,
        _ => Mode::HighResolution,
    }
}

/// Whether a CPU that has nothing to do is spared the tick.
pub fn is_tickless() -> bool {
    TICKLESS.load(Ordering::Relaxed)
}

/// To how many ns timers are exact.
pub fn resolution_ns() -> u64 {
    match mode() {
        Mode::HighResolution => 1,
        Mode::LowResolution | Mode::Periodic => TICK_NS,
    }
}

/// The time of the tick after the one at `now`.
#[inline]
pub fn next_tick(now: Instant) -> Instant {
    Instant::from_ns(mode().next_tick(now.as_ns(), TICK_NS))
}

/// Has this CPU interrupted at `deadline`, in place of when it was to be; [`Instant::MAX`] for never.
///
/// # Context
/// Any, interrupts off.
#[inline]
pub fn set_timer(deadline: Instant) {
    if SPECIAL.load(Ordering::Relaxed) {
        set_special(deadline);
    } else {
        set_local(deadline);
    }
}

#[inline]
fn set_local(deadline: Instant) {
    if deadline == Instant::MAX {
        apic::stop_timer();
    } else {
        apic::set_oneshot(deadline.as_ns().saturating_sub(tsc::now_ns()));
    }
}

#[cold]
fn set_special(deadline: Instant) {
    let (mode, me) = (mode(), executor::cpu::id());
    let rounded = mode.round(deadline.as_ns(), TICK_NS);
    if SERVED.load(Ordering::Relaxed) >> me & 1 != 0 {
        broadcast::ask(me, rounded);
    } else if mode != Mode::Periodic {
        set_local(Instant::from_ns(rounded));
    }
}

/// Whether the command line switches `name` off.
fn is_off(name: &str) -> bool {
    matches!(
        boot::info().cmdline().value(name),
        Some("off" | "0" | "n" | "N")
    )
}

/// Chooses how the devices are used, as the command line says.
///
/// # Context
/// Boot, before the local APIC is set up.
pub fn choose_mode() {
    let tickless = !is_off("nohz");
    let mode = Mode::new(!is_off("highres"), tickless);
    TICKLESS.store(tickless, Ordering::Relaxed);
    MODE.store(mode as u8, Ordering::Relaxed);
    SPECIAL.store(mode != Mode::HighResolution, Ordering::Relaxed);
}

/// Starts the boot CPU's device, or with `nolapic_timer` the one that serves all.
///
/// # Context
/// Boot, on the boot CPU, before its first timer, with interrupt lines to be had.
pub fn init() {
    let line = boot::info().cmdline();
    if line.has("nolapic_timer") {
        match broadcast::start() {
            Ok(name) => {
                log::info!("clockevents: {name} serves all CPUs");
                SERVED.store(CpuSet::MAX, Ordering::Relaxed);
                SPECIAL.store(true, Ordering::Relaxed);
            }
            Err(error) => log::error!("clockevents: nothing but the local APICs: {error:?}"),
        }
    }
    log::info!(
        "clockevents: {} resolution, {}",
        if mode() == Mode::HighResolution {
            "high"
        } else {
            "low"
        },
        if is_tickless() { "tickless" } else { "ticking" }
    );
    init_cpu();
}

/// Starts this CPU's device, where it is to tick.
///
/// # Context
/// Boot, once per CPU, interrupts off, after [`init`].
pub fn init_cpu() {
    let served = SERVED.load(Ordering::Relaxed) >> executor::cpu::id() & 1 != 0;
    if mode() == Mode::Periodic && !served {
        let device = local();
        device.set_periodic(device.traits().rate.ticks(TICK_NS));
    }
}

/// Has one device for all serve the CPUs of `cpus` in place of their own, as where those stop in deep sleep, and no others.
/// What they wait for comes when it would have.
///
/// # Context
/// Task. Spins: until the slowest CPU takes interrupts.
/// # Errors
/// As [`crate::irq::Request::submit`], if the device's line is not to be had; nothing has changed then.
pub fn serve(cpus: CpuSet) -> Result<(), IrqError> {
    /// Held by who changes it.
    static CHANGING: SpinLock<()> = SpinLock::new(());
    let _alone = CHANGING.lock();
    if cpus != 0 && SERVED.load(Ordering::Relaxed) == 0 {
        broadcast::start()?;
    }
    SERVED.store(cpus, Ordering::Relaxed);
    let special = cpus != 0 || mode() != Mode::HighResolution;
    SPECIAL.store(special, Ordering::Release);
    // Each goes over by itself: what it asked of the device before, that one forgets.
    smp::call(CpuSet::MAX, &|| {
        let me = executor::cpu::id();
        if cpus >> me & 1 != 0 {
            apic::stop_timer();
        } else {
            broadcast::ask(me, u64::MAX);
            init_cpu();
        }
        time::set_timer_again();
    });
    if cpus == 0 {
        broadcast::stop();
    }
    Ok(())
}
