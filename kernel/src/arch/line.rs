//! Interrupt lines of devices: from a wire to a line with a number, and to whoever answers it.
//!
//! Where the 8259s are in charge, the legacy interrupts are all there are, at vectors of their own.
//!
//! A wire of an I/O APIC gets its line, and its vector, when it is first asked for, and keeps them. Numbers are Linux's: a
//! legacy interrupt has its own, another wire that of its GSI.

use super::ioapic::{self, IoApic};
use super::irq;
use super::pic::{self, XtPic};
use crate::boot::acpi;
use crate::irq::{
    self as lines, Answer, Descriptor, Domain, Flags, Irq, IrqError, Request, Trigger,
};
use crate::irq_route::{Route, Wire};
use alloc::sync::Arc;
use conquer_once::spin::OnceCell;
use executor::irq::IrqEvent;
use executor::sync::SpinLock;

/// How the legacy interrupt `irq` (0 to 15) is wired: as ACPI says, else high and by edge to the line of its number.
pub fn isa(irq: u8) -> Wire {
    let plain = Wire {
        gsi: u32::from(irq),
        active_low: false,
        level: false,
    };
    let wired = acpi::tables().overrides.iter().find(|wire| wire.irq == irq);
    // To the inputs of the I/O APIC, that is.
    let wired = wired.filter(|_| !pic::is_in_charge());
    wired.map_or(plain, |wire| Wire {
        gsi: wire.gsi,
        active_low: wire.active_low,
        level: wire.level,
    })
}

/// How a PCI interrupt that arrives at `gsi` is wired: level and low, unless ACPI has a word on that line.
pub fn pci(gsi: u32) -> Wire {
    let wired = acpi::tables()
        .overrides
        .iter()
        .find(|wire| wire.gsi == gsi && wire.level);
    Wire {
        gsi,
        active_low: wired.is_none_or(|wire| wire.active_low),
        level: true,
    }
}

/// The lines of the I/O APICs, or of the 8259s.
fn domain() -> &'static Domain {
    static DOMAIN: OnceCell<Domain> = OnceCell::uninit();
    // Whoever is first is not left in the midst of it, so others wait for a moment only.
    let _stay = executor::cpu::preempt_disable();
    DOMAIN.get_or_init(|| {
        if pic::is_in_charge() {
            Domain::new("XT-PIC", Arc::new(XtPic))
        } else {
            Domain::new("IO-APIC", Arc::new(IoApic))
        }
    })
}

/// The number of the line at `gsi`.
fn number(gsi: u32) -> u32 {
    if pic::is_in_charge() {
        return gsi;
    }
    let mut overrides = acpi::tables().overrides.iter();
    let wired = overrides.find(|wire| wire.gsi == gsi);
    wired.map_or(gsi, |wire| u32::from(wire.irq))
}

/// Whether a controller has a line at `gsi`.
pub fn has(gsi: u32) -> bool {
    if pic::is_in_charge() {
        pic::has(gsi)
    } else {
        ioapic::has(gsi)
    }
}

/// The line of `wire`. It goes to the first CPU of the default affinity until it is moved.
///
/// # Context
/// Task or boot.
/// # Errors
/// [`IrqError::NoIrq`] if no controller has such a line or no number is left; [`IrqError::NoVector`] if no vector is.
pub fn of(wire: Wire) -> Result<&'static Descriptor, IrqError> {
    /// Held so that one who asks at the same time finds the line set up.
    static SETTING_UP: SpinLock<()> = SpinLock::new(());
    if !has(wire.gsi) {
        return Err(IrqError::NoIrq);
    }
    let _alone = SETTING_UP.lock();
    if let Some(line) = domain().find(wire.gsi) {
        return Ok(line);
    }
    let trigger = if wire.level {
        Trigger::Level
    } else {
        Trigger::Edge
    };
    if pic::is_in_charge() {
        let line = domain().map(wire.gsi, Some(wire.gsi), trigger)?;
        pic::set_level(wire.gsi, wire.level);
        irq::bind(pic::vector(wire.gsi), line);
        return Ok(line);
    }
    let vector = irq::allocate_vector().ok_or(IrqError::NoVector)?;
    let mapped = domain()
        .map(wire.gsi, Some(number(wire.gsi)), trigger)
        .or_else(|_| domain().map(wire.gsi, None, trigger));
    let line = match mapped {
        Ok(line) => line,
        Err(error) => {
            irq::free_vector(vector);
            return Err(error);
        }
    };
    irq::bind(vector, line);
    let route = Route {
        vector,
        target: 0,
        wire,
        masked: true,
    };
    ioapic::set_route(wire.gsi, route);
    line.set_affinity(lines::default_affinity())?;
    Ok(line)
}

/// Asks for the line of `wire`.
///
/// # Context
/// Task or boot.
/// # Errors
/// As [`of`] and [`Request::submit`].
pub fn request(wire: Wire, request: Request) -> Result<Irq, IrqError> {
    request.submit(of(wire)?)
}

/// Asks for the line of `wire` to raise `event`. A level line is then held off until [`Irq::done`], since it stays asserted
/// until the driver has dealt with the device.
///
/// # Context
/// Task or boot.
/// # Errors
/// As [`request`].
pub fn request_event(
    wire: Wire,
    name: &'static str,
    event: &'static IrqEvent,
) -> Result<Irq, IrqError> {
    let wanted = Request::new(name).event(event);
    let wanted = if wire.level {
        wanted.flags(Flags::ONESHOT | Flags::SHARED)
    } else {
        // An edge is over when it has been noted; nobody says later that it was answered.
        wanted.handler(|_| Answer::HANDLED | Answer::WAKE_THREAD)
    };
    request(wire, wanted)
}
