//! One device that serves CPUs whose own does not run: HPET's first comparator, or the 8254.
//!
//! Its interrupt goes to one CPU, which tells the others whose time has come by the local timer's vector.
//!
//! Lock: [`STATE`], inside a CPU's timer queue; nothing is called under it but the device.

use executor::sync::{SpinLock, SpinLockIrq};

use super::devices;
use crate::arch::{apic, percpu, tsc, vectors};
use crate::clockevent::{self, Broadcast, Device, Mode, Traits};
use crate::irq::{Answer, CpuSet, Flags, Irq, IrqError, Request};
use crate::task::tick::TICK_NS;
use core::sync::atomic::Ordering;

struct State {
    table: Broadcast,
    /// The one that serves, while there is one.
    device: Option<&'static dyn Device>,
    /// How often it had to be set once more.
    retries: u64,
}

static STATE: SpinLockIrq<State> = SpinLockIrq::new(State {
    table: Broadcast::new(),
    device: None,
    retries: 0,
});
/// The device's line, while it serves.
static LINE: SpinLock<Option<Irq>> = SpinLock::new(None);

impl State {
    fn set(&mut self, at: u64) {
        if super::mode() != Mode::Periodic
            && let Some(device) = self.device
        {
            let delta = at.saturating_sub(tsc::now_ns());
            self.retries += u64::from(clockevent::program(device, delta));
        }
    }
}

/// Takes the best device there is, and its line. Gives its name.
///
/// # Context
/// Task or boot.
/// # Errors
/// As [`Request::submit`], of the last device tried.
pub(super) fn start() -> Result<&'static str, IrqError> {
    let mut error = IrqError::NoIrq;
    for device in devices::global() {
        let name = device.traits().name;
        // A line of the I/O APIC is not moved by who sees to the load: timers are everybody's.
        let request = || {
            Request::new(name)
                .flags(Flags::TIMER | Flags::NOBALANCING)
                .handler(|_| {
                    on_interrupt();
                    Answer::HANDLED
                })
        };
        match devices::take_line(name, request) {
            Ok(irq) => {
                *LINE.lock() = Some(irq);
                let mut state = STATE.lock();
                state.device = Some(device);
                if super::mode() == Mode::Periodic {
                    device.set_periodic(device.traits().rate.ticks(TICK_NS));
                }
                return Ok(name);
            }
            Err(refused) => error = refused,
        }
    }
    Err(error)
}

/// Lets the device go, whom nobody asks any more.
///
/// # Context
/// Task.
pub(super) fn stop() {
    if let Some(device) = STATE.with(|state| state.device.take()) {
        device.shutdown();
    }
    let line = LINE.lock().take();
    drop(line);
}

/// Has CPU `cpu` told at `deadline` (ns), in place of when it was to be; `u64::MAX` for never.
///
/// # Context
/// Any, interrupts off.
pub(super) fn ask(cpu: u32, deadline: u64) {
    let mut state = STATE.lock();
    if let Some(at) = state.table.ask(cpu, deadline) {
        state.set(at);
    }
}

/// Context: hard interrupt, on the CPU to which the device's line goes.
fn on_interrupt() {
    let due = {
        let mut state = STATE.lock();
        let (due, next) = state.table.expire(tsc::now_ns());
        if let Some(at) = next {
            state.set(at);
        }
        if super::mode() == Mode::Periodic {
            super::SERVED.load(Ordering::Relaxed)
        } else {
            due
        }
    };
    tell(due);
}

/// Tells the CPUs of `due` that a timer of theirs is.
fn tell(due: CpuSet) {
    let me = executor::cpu::id();
    for cpu in (0..CpuSet::BITS).filter(|cpu| due >> cpu & 1 != 0) {
        if cpu == me {
            crate::task::platform::timer_is_due();
        } else if let Some(there) = percpu::of(cpu)
            && there.online.load(Ordering::Relaxed)
        {
            let target = there.apic_id.load(Ordering::Relaxed) as u32;
            apic::send_ipi(target, vectors::TIMER);
        }
    }
}

/// What `/proc/timer_list` tells of the device that serves.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    /// The device.
    pub device: Traits,
    /// What it is set for, in ns.
    pub next: u64,
    /// How often it had to be set once more.
    pub retries: u64,
    /// How often it has interrupted.
    pub events: u64,
    /// The CPUs that it serves.
    pub cpus: CpuSet,
    /// Those that wait for it.
    pub waiting: CpuSet,
}

/// The device that serves other CPUs than its own, if one does.
pub fn served() -> Option<Served> {
    STATE.with(|state| {
        let device = state.device?.traits();
        Some(Served {
            device,
            next: state.table.next(),
            retries: state.retries,
            events: state.table.events(),
            cpus: super::SERVED.load(Ordering::Relaxed),
            waiting: state.table.waiting(),
        })
    })
}
