//! The high-precision event timer, as a counter only.
//!
//! Source: IA-PC HPET specification 1.0a, 2.3.

#![allow(unsafe_code, reason = "maps device registers")]

use super::mmio::Registers;

const CAPABILITIES: u64 = 0x00;
const CONFIGURATION: u64 = 0x10;
const COUNTER: u64 = 0xf0;
const COUNTER_64: u64 = 1 << 13;
const ENABLE: u64 = 1;
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

impl Hpet {
    /// Maps and starts the HPET that ACPI names, if there is one that makes sense.
    ///
    /// # Context
    /// Boot.
    pub fn start() -> Option<Self> {
        let phys = crate::boot::acpi::tables().hpet?;
        // SAFETY: the HPET table says that the registers are there, and this module alone drives them.
        let registers = unsafe { Registers::map(phys, 0x400) }?;
        let capabilities = registers.read64(CAPABILITIES);
        let period_fs = capabilities >> 32;
        if period_fs == 0 || period_fs > MAX_PERIOD_FS {
            return None;
        }
        registers.write64(CONFIGURATION, registers.read64(CONFIGURATION) | ENABLE);
        let bits = if capabilities & COUNTER_64 != 0 {
            64
        } else {
            32
        };
        Some(Self {
            registers,
            hz: 1_000_000_000_000_000 / period_fs,
            bits,
        })
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
