//! The devices: each CPU's local APIC timer, HPET's first comparator, channel 0 of the 8254.

use crate::arch::hpet::{self, Hpet};
use crate::arch::{apic, ioapic, line, pit};
use crate::clockevent::{self, Device, Features, Rate, Traits};
use crate::irq::{Irq, IrqError, Request};
use crate::irq_route::Wire;

/// The running CPU's local APIC timer.
struct Lapic;

impl Device for Lapic {
    fn traits(&self) -> Traits {
        let deadline = apic::has_deadline();
        let features = Features::ONESHOT | Features::PERCPU;
        Traits {
            name: if deadline { "lapic-deadline" } else { "lapic" },
            rating: if deadline { 150 } else { 100 },
            features: if deadline {
                features
            } else {
                features | Features::PERIODIC
            },
            rate: apic::timer_rate(),
        }
    }

    fn set_next(&self, ticks: u64) -> bool {
        apic::set_ticks(ticks);
        true
    }

    fn set_periodic(&self, ticks: u64) {
        apic::set_periodic(ticks);
    }

    fn shutdown(&self) {
        apic::stop_timer();
    }
}

/// HPET's first comparator.
struct HpetTimer;

/// Comparisons that are closer than this may be missed: the write takes time to arrive (Linux's `HPET_MIN_CYCLES`).
const HPET_MIN_TICKS: u64 = 128;
/// Half of what 32 bits count, so that a moment gone by is told from one to come.
const HPET_MAX_TICKS: u64 = 0x7fff_ffff;

impl HpetTimer {
    fn found() -> Hpet {
        hpet::found().expect("the device is on the list only where there is one")
    }
}

impl Device for HpetTimer {
    fn traits(&self) -> Traits {
        Traits {
            name: "hpet",
            rating: 50,
            features: Features::ONESHOT | Features::PERIODIC,
            rate: Rate::new(Self::found().hz, HPET_MIN_TICKS, HPET_MAX_TICKS),
        }
    }

    fn set_next(&self, ticks: u64) -> bool {
        Self::found().set_next(ticks as u32)
    }

    fn set_periodic(&self, ticks: u64) {
        Self::found().set_periodic(ticks as u32);
    }

    fn shutdown(&self) {
        Self::found().silence();
    }
}

/// Channel 0 of the 8254.
struct Pit;

impl Device for Pit {
    fn traits(&self) -> Traits {
        Traits {
            name: "pit",
            rating: 0,
            features: Features::ONESHOT | Features::PERIODIC,
            rate: Rate::new(pit::HZ, 0xf, 0x7fff),
        }
    }

    fn set_next(&self, ticks: u64) -> bool {
        pit::fire_once(ticks as u16);
        true
    }

    fn set_periodic(&self, ticks: u64) {
        pit::fire_every(ticks as u16);
    }

    fn shutdown(&self) {
        pit::silence();
    }
}

/// Each CPU's own device; told something, the running one's does it.
pub fn local() -> &'static dyn Device {
    &Lapic
}

/// The devices that can serve all CPUs, the best first.
pub(super) fn global() -> impl Iterator<Item = &'static dyn Device> {
    let mut left = [
        hpet::found().map(|_| &HpetTimer as &'static dyn Device),
        Some(&Pit as &'static dyn Device),
    ];
    core::iter::from_fn(move || {
        let there = left.iter().flatten().copied();
        let next = clockevent::best(there, Features::ONESHOT, Features::PERCPU)?;
        let is_next = |device: &Option<&'static dyn Device>| {
            device.is_some_and(|device| device.traits().name == next.traits().name)
        };
        let at = left.iter().position(is_next)?;
        left[at].take()
    })
}

/// Takes a line for the device called `name`.
///
/// # Errors
/// As [`Request::submit`].
pub(super) fn take_line(name: &str, request: impl Fn() -> Request) -> Result<Irq, IrqError> {
    let timer = line::isa(0);
    if name != "hpet" {
        return line::request(timer, request());
    }
    let found = HpetTimer::found();
    // That of the 8254, which has nothing to say then, if it can; else any that nobody has.
    let others = (0..u32::BITS).filter(|gsi| *gsi != timer.gsi);
    let routes = core::iter::once(timer.gsi).chain(others);
    let mut error = IrqError::NoIrq;
    for gsi in routes.filter(|gsi| found.routes() >> gsi & 1 != 0 && ioapic::has(*gsi)) {
        let wire = Wire {
            gsi,
            active_low: false,
            level: false,
        };
        match line::request(wire, request()) {
            Ok(irq) => {
                found.route(gsi);
                return Ok(irq);
            }
            Err(refused) => error = refused,
        }
    }
    Err(error)
}
