//! The high-precision event timer: its counter, and the first of its comparators.
//!
//! The comparator drives a line of the I/O APIC; the legacy replacement, which would take the clock's line as well, is
//! not used.
//!
//! Source: IA-PC HPET specification 1.0a, 2.3.

#![allow(unsafe_code, reason = "maps device registers")]

use super::mmio::Registers;
use conquer_once::noblock::OnceCell;

const CAPABILITIES: u64 = 0x00;
const CONFIGURATION: u64 = 0x10;
const COUNTER: u64 = 0xf0;
const COUNTER_64: u64 = 1 << 13;
const ENABLE: u64 = 1;
const LEGACY: u64 = 1 << 1;
/// The first comparator's configuration, in two halves: what it is to do, and which lines it can drive.
const TIMER: u64 = 0x100;
const TIMER_ROUTES: u64 = 0x104;
const COMPARATOR: u64 = 0x108;
const TIMER_INTERRUPTS: u32 = 1 << 2;
const TIMER_PERIODIC: u32 = 1 << 3;
const TIMER_SETS_PERIOD: u32 = 1 << 6;
const TIMER_32_BITS: u32 = 1 << 8;
const TIMER_ROUTE: u32 = 9;
/// The specification's upper bound of the period, in femtoseconds.
const MAX_PERIOD_FS: u64 = 100_000_000;

/// A running HPET.
#[derive(Clone, Copy, Debug)]
pub struct Hpet {
    registers: Registers,
    /// Ticks per second.
    pub hz: u64,
    /// Bits of the counter.
    pub bits: u32,
}

static FOUND: OnceCell<Hpet> = OnceCell::uninit();

/// The one that was started, if there is one.
pub fn found() -> Option<Hpet> {
    FOUND.try_get().ok().copied()
}

impl Hpet {
    /// Maps and starts the HPET that ACPI names, if there is one that makes sense.
    ///
    /// # Context
    /// Boot.
    pub fn start() -> Option<Self> {
        if crate::boot::info().cmdline().value("hpet") == Some("disable") {
            return None;
        }
        let phys = crate::boot::acpi::tables().hpet?;
        // SAFETY: the HPET table says that the registers are there, and this module alone drives them.
        let registers = unsafe { Registers::map(phys, 0x400) }?;
        let capabilities = registers.read64(CAPABILITIES);
        let period_fs = capabilities >> 32;
        if period_fs == 0 || period_fs > MAX_PERIOD_FS {
            return None;
        }
        let configuration = registers.read64(CONFIGURATION) & !LEGACY;
        registers.write64(CONFIGURATION, configuration | ENABLE);
        let bits = if capabilities & COUNTER_64 != 0 {
            64
        } else {
            32
        };
        let hpet = Self {
            registers,
            hz: 1_000_000_000_000_000 / period_fs,
            bits,
        };
        hpet.silence();
        // Fails only if it was set before.
        let _ = FOUND.try_init_once(|| hpet);
        Some(hpet)
    }

    /// The lines of the I/O APIC that the comparator can drive, a bit each.
    pub fn routes(self) -> u32 {
        self.registers.read32(TIMER_ROUTES)
    }

    fn configure(self, change: impl FnOnce(u32) -> u32) {
        let old = self.registers.read32(TIMER);
        self.registers.write32(TIMER, change(old));
    }

    /// Has the comparator drive line `gsi` by edges, one of [`Hpet::routes`].
    pub fn route(self, gsi: u32) {
        self.configure(|_| TIMER_32_BITS | gsi << TIMER_ROUTE);
    }

    /// Has the comparator interrupt once, `ticks` from now. False if that moment has gone by.
    pub fn set_next(self, ticks: u32) -> bool {
        self.configure(|old| old & !TIMER_PERIODIC | TIMER_INTERRUPTS);
        let at = (self.read() as u32).wrapping_add(ticks);
        self.registers.write32(COMPARATOR, at);
        (at.wrapping_sub(self.read() as u32) as i32) > 0
    }

    /// Has the comparator interrupt every `ticks`.
    pub fn set_periodic(self, ticks: u32) {
        self.configure(|old| old | TIMER_INTERRUPTS | TIMER_PERIODIC | TIMER_SETS_PERIOD);
        // The first moment, and then the period.
        let first = (self.read() as u32).wrapping_add(ticks);
        self.registers.write32(COMPARATOR, first);
        self.registers.write32(COMPARATOR, ticks);
    }

    /// Has the comparator interrupt no more.
    pub fn silence(self) {
        self.configure(|old| old & !TIMER_INTERRUPTS);
    }

    /// The counter.
    #[inline]
    pub fn read(self) -> u64 {
        if self.bits == 64 {
            self.registers.read64(COUNTER)
        } else {
            u64::from(self.registers.read32(COUNTER))
        }
    }
}
