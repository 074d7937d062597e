//! Switching the machine off, and resetting it.

#![allow(unsafe_code, reason = "port I/O and the descriptor table register")]

use super::tsc;
use crate::boot::acpi::{self, ResetRegister};
use x86_64::instructions::port::Port;

const SCI_ENABLED: u16 = 1 << 0;
const SLEEP_TYPE_SHIFT: u32 = 10;
const SLEEP_TYPE: u16 = 7 << SLEEP_TYPE_SHIFT;
const SLEEP_ENABLE: u16 = 1 << 13;

/// A port that nothing answers at; a read takes about a microsecond on hardware.
const DELAY_PORT: u16 = 0x80;
/// Polls while the firmware hands the power registers over; bounded, as switching off may work without.
const HAND_OVER_POLLS: u32 = 100_000;
/// Polls of the keyboard controller's status before its reset line is pulled all the same.
const KEYBOARD_POLLS: u32 = 100_000;

/// Has the firmware hand over the power registers, if it has not yet. False where there are none.
///
/// # Context
/// Task. Spins: for as long as the firmware takes, [`HAND_OVER_POLLS`] reads of a port at most.
pub fn take_over_events() -> bool {
    let Some(tables) = acpi::try_tables() else {
        return false;
    };
    let Some(pm1a) = tables.pm1a_control else {
        return false;
    };
    take_over(pm1a, tables);
    true
}

/// Switches the machine off through ACPI (state S5); halts where that is not to be had.
///
/// # Context
/// Any; does not return.
pub fn poweroff() -> ! {
    x86_64::instructions::interrupts::disable();
    if let Some(tables) = acpi::try_tables()
        && let (Some(pm1a), Some(sleep)) = (tables.pm1a_control, tables.s5)
    {
        take_over(pm1a, tables);
        enter_sleep(pm1a, sleep.pm1a);
        if let Some(pm1b) = tables.pm1b_control {
            enter_sleep(pm1b, sleep.pm1b);
        }
    }
    log::error!("reboot: power off not available, system halted");
    super::halt_forever()
}

/// Resets the machine by the first means that works.
///
/// # Context
/// Any; does not return.
pub fn reset() -> ! {
    x86_64::instructions::interrupts::disable();
    if let Some(ResetRegister { port, value }) = acpi::try_tables().and_then(|tables| tables.reset)
    {
        write8(port, value);
        settle();
    }
    // The chipset's reset control register: full reset, then go.
    write8(0xcf9, 0x02);
    write8(0xcf9, 0x06);
    settle();
    // The keyboard controller pulses the CPU's reset line.
    for _ in 0..KEYBOARD_POLLS {
        if read8(0x64) & 2 == 0 {
            break;
        }
    }
    write8(0x64, 0xfe);
    settle();
    triple_fault()
}

/// Makes the firmware hand over the power registers if it has not yet (ACPI 6.5, 4.8.2.5).
fn take_over(pm1a: u16, tables: &acpi::Tables) {
    let Some((smi_port, value)) = tables.acpi_enable else {
        return;
    };
    if read16(pm1a) & SCI_ENABLED != 0 {
        return;
    }
    write8(smi_port, value);
    for _ in 0..HAND_OVER_POLLS {
        if read16(pm1a) & SCI_ENABLED != 0 {
            return;
        }
    }
}

fn enter_sleep(port: u16, sleep_type: u8) {
    let rest = read16(port) & !(SLEEP_TYPE | SLEEP_ENABLE);
    let value = rest | u16::from(sleep_type) << SLEEP_TYPE_SHIFT;
    write16(port, value);
    write16(port, value | SLEEP_ENABLE);
    settle();
}

/// Gives the hardware time to act before the next means is tried; an emulator may act only when another of its threads
/// gets to it.
fn settle() {
    const PATIENCE_NS: u64 = 1_000_000_000;
    if tsc::is_running() {
        let start = tsc::now_ns();
        while tsc::now_ns() - start < PATIENCE_NS {
            read8(DELAY_PORT);
        }
    } else {
        for _ in 0..1_000_000 {
            read8(DELAY_PORT);
        }
    }
}

/// Takes an exception with no table to handle it: the CPU shuts down, and the board resets it.
fn triple_fault() -> ! {
    let none = x86_64::structures::DescriptorTablePointer {
        limit: 0,
        base: x86_64::VirtAddr::zero(),
    };
    // SAFETY: nothing is meant to work after this.
    unsafe { x86_64::instructions::tables::lidt(&none) };
    // SAFETY: as above.
    unsafe { core::arch::asm!("int3") };
    super::halt_forever()
}

fn read8(port: u16) -> u8 {
    // SAFETY: called for the reset, keyboard and delay ports only, whose reads change nothing.
    unsafe { Port::new(port).read() }
}

fn write8(port: u16, value: u8) {
    // SAFETY: the machine is going down; the ports are those that do it.
    unsafe { Port::new(port).write(value) }
}

fn read16(port: u16) -> u16 {
    // SAFETY: the port is a PM1 control register, named so by the FADT.
    unsafe { Port::new(port).read() }
}

fn write16(port: u16, value: u16) {
    // SAFETY: as in `read16`.
    unsafe { Port::new(port).write(value) }
}
