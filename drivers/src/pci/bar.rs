//! Base address registers: which registers and memory a function has, and where.

use super::{Config, offset};

/// How a function's registers are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// By I/O ports.
    Port,
    /// In memory.
    Memory {
        /// The address has 64 bits, and takes two registers.
        wide: bool,
        /// Reading has no side effects.
        prefetchable: bool,
    },
}

/// One block of a function's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Its number, 0 to 5.
    pub index: u8,
    /// How it is reached.
    pub kind: BarKind,
    /// Where it is; 0 if the firmware has given it no place.
    pub address: u64,
    /// Its size in bytes, a power of two.
    pub len: u64,
}

const IS_PORT: u32 = 1;
const WIDE: u32 = 0b100;
const PREFETCHABLE: u32 = 0b1000;
const PORT_MASK: u32 = !0b11;
const MEMORY_MASK: u32 = !0b1111;

impl Bar {
    /// Tells the function where the block is: [`Bar::address`].
    pub(super) fn write(&self, config: &Config) {
        let at = self.register();
        config.write(at, self.address as u32);
        if self.is_wide() {
            config.write(at + 4, (self.address >> 32) as u32);
        }
    }

    /// Whether the function has the block where [`Bar::address`] says.
    pub(super) fn is_written(&self, config: &Config) -> bool {
        let at = self.register();
        let mask = match self.kind {
            BarKind::Port => PORT_MASK,
            BarKind::Memory { .. } => MEMORY_MASK,
        };
        config.read::<u32>(at) & mask == self.address as u32
            && (!self.is_wide() || config.read::<u32>(at + 4) == (self.address >> 32) as u32)
    }

    fn register(&self) -> u16 {
        offset::BAR0 + 4 * u16::from(self.index)
    }

    fn is_wide(&self) -> bool {
        matches!(self.kind, BarKind::Memory { wide: true, .. })
    }

    /// The `IORESOURCE_*` flags that sysfs shows.
    pub fn resource_flags(&self) -> u32 {
        match self.kind {
            BarKind::Port => 0x40101,
            BarKind::Memory { wide, prefetchable } => {
                0x40200
                    | if prefetchable {
                        0x2000 | PREFETCHABLE
                    } else {
                        0
                    }
                    | if wide { 0x10_0000 | WIDE } else { 0 }
            }
        }
    }
}

/// Finds out what each of a function's `count` base address registers stands for.
///
/// # Context
/// Task, before the function is in use: its registers move meanwhile, so the caller has switched their decoding off.
pub(super) fn size_all(config: &Config, count: u8) -> [Option<Bar>; 6] {
    let mut bars = [None; 6];
    let mut index = 0;
    while index < count {
        let found = size(config, index, index + 1 < count);
        let wide = found.is_some_and(|bar| bar.is_wide());
        bars[usize::from(index)] = found;
        index += if wide { 2 } else { 1 };
    }
    bars
}

/// Writes all ones and looks which bits stay.
fn size(config: &Config, index: u8, has_next: bool) -> Option<Bar> {
    let at = offset::BAR0 + 4 * u16::from(index);
    let probe = |at: u16| {
        let before: u32 = config.read(at);
        config.write(at, u32::MAX);
        let mask: u32 = config.read(at);
        config.write(at, before);
        (before, mask)
    };
    let (low, mask) = probe(at);
    if mask == 0 || mask == u32::MAX && low == u32::MAX {
        return None;
    }
    if low & IS_PORT != 0 {
        let len = (!(mask & PORT_MASK) & 0xffff) + 1;
        let address = u64::from(low & PORT_MASK);
        return checked(index, BarKind::Port, address, len.into());
    }
    let wide = low & WIDE != 0;
    if wide && !has_next {
        return None;
    }
    let (high, high_mask) = if wide { probe(at + 4) } else { (0, u32::MAX) };
    let mask = u64::from(high_mask) << 32 | u64::from(mask & MEMORY_MASK);
    let kind = BarKind::Memory {
        wide,
        prefetchable: low & PREFETCHABLE != 0,
    };
    let address = u64::from(high) << 32 | u64::from(low & MEMORY_MASK);
    checked(index, kind, address, (!mask).wrapping_add(1))
}

/// A size that is no power of two, or does not fit its address, is no size.
fn checked(index: u8, kind: BarKind, address: u64, len: u64) -> Option<Bar> {
    let sane = len.is_power_of_two() && address.checked_add(len - 1).is_some();
    sane.then_some(Bar {
        index,
        kind,
        address,
        len,
    })
}
