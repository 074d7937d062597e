//! The two 8259 interrupt controllers: parked out of the exceptions' way, or, where there is no I/O APIC or `noapic` says so,
//! in charge of the legacy lines.
//!
//! They interrupt the boot CPU alone, by its local APIC's first pin (virtual wire mode). The driver is [`crate::i8259`].

#![allow(unsafe_code, reason = "port I/O")]

use super::{apic, vectors};
use crate::i8259::{Arrival, LINES, Pic, Ports};
use crate::irq::{Chip, Flow, Trigger};
use core::sync::atomic::{AtomicBool, Ordering};
use executor::sync::SpinLockIrq;
use x86_64::instructions::port::Port;

struct Machine;

impl Ports for Machine {
    fn read(&mut self, port: u16) -> u8 {
        // SAFETY: the driver knows the ports of the 8259s and of the register beside them, which nobody else uses.
        unsafe { Port::new(port).read() }
    }

    fn write(&mut self, port: u16, value: u8) {
        // SAFETY: as in `read`.
        unsafe { Port::new(port).write(value) }
    }
}

static PIC: SpinLockIrq<Pic<Machine>> = SpinLockIrq::new(Pic::new(Machine));
static IN_CHARGE: AtomicBool = AtomicBool::new(false);

/// Puts both controllers at vectors 32 to 47 and masks all their lines.
///
/// # Context
/// Boot.
pub fn disable() {
    PIC.with(|pic| pic.init(vectors::PIC_FIRST));
}

/// Puts them in charge of the legacy lines.
///
/// # Context
/// Boot, on the boot CPU, with its local APIC set up.
pub fn take_charge() {
    IN_CHARGE.store(true, Ordering::Relaxed);
    PIC.with(Pic::join);
    apic::accept_legacy();
    log::info!("8259: in charge of lines 0 to 15");
}

/// Whether they are in charge: there is no other controller of lines then.
pub fn is_in_charge() -> bool {
    IN_CHARGE.load(Ordering::Relaxed)
}

/// Whether there is a line `line`.
pub fn has(line: u32) -> bool {
    line < LINES
}

/// The vector of a line.
pub fn vector(line: u32) -> u8 {
    vectors::PIC_FIRST + line as u8
}

/// Whether an interrupt of `vector`, one of theirs, is a line's. To be asked once for each.
///
/// # Context
/// Hard interrupt.
pub fn is_real(vector: u8) -> bool {
    let line = u32::from(vector - vectors::PIC_FIRST);
    is_in_charge() && PIC.with(|pic| pic.arrived(line)) == Arrival::Real
}

/// Has `line` be a level, or an edge.
///
/// # Context
/// Task or boot.
pub fn set_level(line: u32, level: bool) {
    PIC.with(|pic| pic.set_level(line, level));
}

/// The lines as a controller's.
pub struct XtPic;

impl Chip for XtPic {
    fn name(&self) -> &'static str {
        "XT-PIC"
    }

    fn mask(&self, line: u32) {
        PIC.with(|pic| pic.mask(line));
    }

    fn unmask(&self, line: u32) {
        PIC.with(|pic| pic.unmask(line));
    }

    fn ack(&self, line: u32) {
        PIC.with(|pic| pic.end(line));
    }

    fn mask_ack(&self, line: u32) {
        PIC.with(|pic| {
            pic.mask(line);
            pic.end(line);
        });
    }

    /// Held off while they are served, edges as well: the chips note an edge of a line that is held off.
    fn flow(&self, _: Trigger) -> Flow {
        Flow::Level
    }
}
