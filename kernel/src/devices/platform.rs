//! The devices of a PC that no bus tells of.
#![allow(unsafe_code, reason = "names the ports of devices")]

use drivers::io::Region;
use drivers::platform::{Platform, PlatformBus};
use drivers::{i8042, power_button};

use super::ports::Ports;
use crate::arch::{line, power};
use crate::boot::acpi;

/// The keyboard controller's first port, its number of ports, and its legacy interrupt.
const I8042: (u16, usize, u8) = (0x60, 5, 1);

/// Puts the devices on `bus`.
pub(super) fn find(bus: &PlatformBus) {
    add_keyboard(bus);
    add_power_button(bus);
}

/// The driver finds out whether there is a keyboard controller: on a PC, nothing else is at its ports.
fn add_keyboard(bus: &PlatformBus) {
    let (base, len, irq) = I8042;
    if let Some(registers) = ports(base, len) {
        let device = Platform::new(i8042::ID)
            .registers(registers)
            .interrupt_by(move |name| super::line::request(line::isa(irq), name));
        bus.add_device("i8042", "devices/platform/i8042", device);
    }
}

fn add_power_button(bus: &PlatformBus) {
    let tables = acpi::tables();
    let Some(events) = tables.pm1a_events else {
        return;
    };
    if !tables.fixed_power_button || tables.sci == 0 || !power::take_over_events() {
        return;
    }
    let sci = tables.sci;
    if let (Some(status), Some(enable)) = (ports(events.status, 2), ports(events.enable, 2)) {
        let device = Platform::new(power_button::ID)
            .registers(status)
            .registers(enable)
            .interrupt_by(move |name| super::line::request(line::isa(sci), name));
        bus.add_device("LNXPWRBN:00", "devices/LNXSYSTM:00/LNXPWRBN:00", device);
    }
}

fn ports(base: u16, len: usize) -> Option<Region> {
    // SAFETY: called for the keyboard controller's ports, which no other driver has, and the PM1 event registers, named so
    // by the FADT.
    unsafe { Ports::at(base.into(), len) }.map(Region::new)
}
