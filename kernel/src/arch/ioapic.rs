//! The I/O APICs: where the lines of devices come in.
//!
//! Every line (global system interrupt, GSI) can be pointed at a CPU and a vector, and masked. All are masked at first.
//!
//! Source: Intel 82093AA data sheet, 3.0; ACPI 6.5, 5.2.12.

#![allow(unsafe_code, reason = "maps device registers")]

use super::mmio::Registers;
use super::{apic, pic, smp};
use crate::boot::acpi;
use crate::boot::list::List;
use crate::irq::{CpuSet, IrqError};
use crate::irq_route::Route;
use conquer_once::noblock::OnceCell;
use executor::sync::SpinLockIrq;

const SELECT: u64 = 0x00;
const WINDOW: u64 = 0x10;
const VERSION: u32 = 0x01;
const REDIRECTION: u32 = 0x10;

const MAX_CHIPS: usize = 8;

/// One controller.
#[derive(Clone, Copy)]
struct Chip {
    registers: Registers,
    gsi_base: u32,
    lines: u32,
}

static CHIPS: OnceCell<List<Chip, MAX_CHIPS>> = OnceCell::uninit();
/// Held from selecting a register to using it; also makes mask and unmask whole.
static SELECTING: SpinLockIrq<()> = SpinLockIrq::new(());

impl Chip {
    fn read(self, register: u32) -> u32 {
        self.registers.write32(SELECT, register);
        self.registers.read32(WINDOW)
    }

    fn write(self, register: u32, value: u32) {
        self.registers.write32(SELECT, register);
        self.registers.write32(WINDOW, value);
    }

    fn set_route(self, line: u32, route: Route) {
        let [low, high] = route.encode();
        // Masked while the two halves do not agree.
        self.write(REDIRECTION + 2 * line, Route::MASKED);
        self.write(REDIRECTION + 2 * line + 1, high);
        self.write(REDIRECTION + 2 * line, low);
    }
}

/// Maps the controllers that ACPI names and masks all their lines. Without any, or with `noapic`, the 8259s are in charge.
///
/// # Context
/// Boot, on the boot CPU.
pub fn init() {
    let mut chips = List::new();
    if crate::boot::info().cmdline().has("noapic")
        || acpi::tables().io_apics.iter().next().is_none()
    {
        pic::take_charge();
        return;
    }
    for found in acpi::tables().io_apics.iter() {
        // SAFETY: the MADT says that the registers are there, and this module alone drives them.
        let Some(registers) = (unsafe { Registers::map(found.address, 0x20) }) else {
            log::warn!("ioapic: no room to map the one at {:#x}", found.address);
            continue;
        };
        let mut chip = Chip {
            registers,
            gsi_base: found.gsi_base,
            lines: 0,
        };
        chip.lines = (chip.read(VERSION) >> 16 & 0xff) + 1;
        for line in 0..chip.lines {
            chip.write(REDIRECTION + 2 * line, Route::MASKED);
        }
        log::info!(
            "ioapic: id={} gsi={}-{}",
            found.id,
            chip.gsi_base,
            chip.gsi_base + chip.lines - 1
        );
        // As many as the table list has room for.
        let _ = chips.push(chip);
    }
    // Fails only if it was set before.
    let _ = CHIPS.try_init_once(|| chips);
}

/// The controller that has line `gsi`, and its number there.
fn find(gsi: u32) -> Option<(Chip, u32)> {
    let chips = CHIPS.try_get().ok()?;
    chips.iter().find_map(|chip| {
        let line = gsi.checked_sub(chip.gsi_base)?;
        (line < chip.lines).then_some((chip, line))
    })
}

/// Whether there is a line `gsi`.
pub fn has(gsi: u32) -> bool {
    find(gsi).is_some()
}

/// Points line `gsi` at a CPU and a vector. Does nothing where there is no such line.
///
/// # Context
/// Any.
pub fn set_route(gsi: u32, route: Route) {
    if let Some((chip, line)) = find(gsi) {
        SELECTING.with(|()| chip.set_route(line, route));
    }
}

/// Changes the lower half of a line's entry, and gives it as it is then; 0 where there is no such line.
fn change(gsi: u32, change: impl FnOnce(u32) -> u32) -> u32 {
    let Some((chip, line)) = find(gsi) else {
        return 0;
    };
    SELECTING.with(|()| {
        let register = REDIRECTION + 2 * line;
        let old = chip.read(register);
        let new = change(old);
        if new != old {
            chip.write(register, new);
        }
        new
    })
}

/// Sends line `gsi` to the CPU with APIC identity `target`.
fn set_target(gsi: u32, target: u32) {
    let Some((chip, line)) = find(gsi) else {
        return;
    };
    SELECTING.with(|()| {
        let register = REDIRECTION + 2 * line;
        let low = chip.read(register);
        // Masked while the two halves do not agree; a level that comes meanwhile is still there afterwards.
        chip.write(register, low | Route::MASKED);
        chip.write(register + 1, target << 24);
        chip.write(register, low);
    });
}

/// The I/O APICs' lines, numbered by GSI. What must be acknowledged is the local APIC, which sits behind them.
pub struct IoApic;

impl crate::irq::Chip for IoApic {
    fn name(&self) -> &'static str {
        "IO-APIC"
    }

    fn mask(&self, gsi: u32) {
        change(gsi, |low| low | Route::MASKED);
    }

    fn unmask(&self, gsi: u32) {
        change(gsi, |low| low & !Route::MASKED);
    }

    fn ack(&self, _: u32) {
        apic::eoi();
    }

    fn eoi(&self, _: u32) {
        apic::eoi();
    }

    fn set_affinity(&self, gsi: u32, cpus: CpuSet) -> Result<u32, IrqError> {
        let (cpu, target) = smp::choose(cpus).ok_or(IrqError::Invalid)?;
        set_target(gsi, target);
        Ok(cpu)
    }

    fn retrigger(&self, gsi: u32) -> bool {
        let vector = change(gsi, |low| low) as u8;
        smp::send_to_self(vector);
        true
    }
}
