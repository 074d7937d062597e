//! What a bridge passes on, and places in it for functions that the firmware has not seen.
//!
//! Source: PCI-to-PCI Bridge 1.2, 3.2.5.

use alloc::vec::Vec;
use core::ops::RangeInclusive;

use super::{Bar, BarKind, Config, Function, offset};

/// A range of addresses that a bridge passes on to the bus behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// What is reached there.
    pub kind: BarKind,
    /// From the first address to the last one.
    pub range: RangeInclusive<u64>,
}

/// A part of a range: where the address begins in the registers, and how many bits are below it.
const PORT_STEP: u32 = 8;
const MEMORY_STEP: u32 = 16;
/// The low bits of these registers say how wide the address is.
const ADDRESS_BITS: u32 = !0xf;
const WIDE: u16 = 1;

impl Window {
    /// The windows of the bridge whose configuration space this is: ports, memory, and memory without side effects.
    ///
    /// # Context
    /// Task.
    pub fn of(config: &Config) -> Vec<Self> {
        let ports = {
            let (base, limit): (u8, u8) = (
                config.read(offset::PORT_BASE),
                config.read(offset::PORT_LIMIT),
            );
            let at = |register: u8| u64::from((u32::from(register) & ADDRESS_BITS) << PORT_STEP);
            (BarKind::Port, at(base), at(limit) | 0xfff)
        };
        let pair =
            |base: u16, limit: u16| -> (u16, u16) { (config.read(base), config.read(limit)) };
        let at = |register: u16| u64::from((u32::from(register) & ADDRESS_BITS) << MEMORY_STEP);
        let (base, limit) = pair(offset::MEMORY_BASE, offset::MEMORY_LIMIT);
        let plain = BarKind::Memory {
            wide: false,
            prefetchable: false,
        };
        let memory = (plain, at(base), at(limit) | 0xf_ffff);
        let (base, limit) = pair(offset::PREFETCHABLE_BASE, offset::PREFETCHABLE_LIMIT);
        let wide = base & 0xf == WIDE;
        let high = |register: u16| match wide {
            true => u64::from(config.read::<u32>(register)) << 32,
            false => 0,
        };
        let prefetchable = BarKind::Memory {
            wide,
            prefetchable: true,
        };
        let prefetchable = (
            prefetchable,
            high(offset::PREFETCHABLE_BASE_HIGH) | at(base),
            high(offset::PREFETCHABLE_LIMIT_HIGH) | at(limit) | 0xf_ffff,
        );
        // A base above its limit is a window that is shut; one at zero was never opened.
        [ports, memory, prefetchable]
            .into_iter()
            .filter(|(_, first, last)| *first != 0 && first < last)
            .map(|(kind, first, last)| Self {
                kind,
                range: first..=last,
            })
            .collect()
    }

    /// Its number among the bridge's in sysfs, and the `IORESOURCE_*` flags that are shown there.
    pub(super) fn resource(&self) -> (usize, u32) {
        match self.kind {
            BarKind::Port => (0, 0x100),
            BarKind::Memory {
                prefetchable: false,
                ..
            } => (1, 0x200),
            BarKind::Memory { wide: false, .. } => (2, 0x2200),
            BarKind::Memory { wide: true, .. } => (2, 0x10_2201),
        }
    }

    /// Whether a block of registers may lie in it, whatever its size.
    fn suits(&self, bar: &Bar) -> bool {
        match (self.kind, bar.kind) {
            (BarKind::Port, BarKind::Port) => true,
            (
                BarKind::Memory { prefetchable, .. },
                BarKind::Memory {
                    wide,
                    prefetchable: may_be,
                },
            ) => (may_be || !prefetchable) && (wide || *self.range.end() <= u64::from(u32::MAX)),
            _ => false,
        }
    }

    /// The first place for `bar` that none of `taken` is in.
    fn find(&self, bar: &Bar, taken: &[(u64, u64)]) -> Option<u64> {
        let mut start = self.range.start().checked_next_multiple_of(bar.len)?;
        loop {
            let last = start.checked_add(bar.len - 1)?;
            if last > *self.range.end() {
                return None;
            }
            let inside = |taken: &&(u64, u64)| taken.0 <= last && taken.1 >= start;
            match taken.iter().find(inside) {
                None => return Some(start),
                Some((_, end)) => start = end.checked_add(1)?.checked_next_multiple_of(bar.len)?,
            }
        }
    }
}

/// Gives the registers of `functions`, which are all that is behind a bridge with `windows`, their places; the largest first,
/// so that no room is lost between them. What finds no place has none: its driver will say so.
///
/// # Context
/// Task, before the functions are in use.
pub fn place(windows: &[Window], functions: &mut [Function]) {
    let mut bars: Vec<(usize, Bar)> = functions
        .iter()
        .enumerate()
        .flat_map(|(at, function)| function.bars().iter().flatten().map(move |bar| (at, *bar)))
        .collect();
    bars.sort_by_key(|(_, bar)| core::cmp::Reverse(bar.len));
    let mut taken = Vec::new();
    for (at, bar) in bars {
        // Memory without side effects for what may lie there: the other is the scarce one.
        let mut suiting: Vec<_> = windows.iter().filter(|own| own.suits(&bar)).collect();
        suiting.sort_by_key(|own| own.kind != bar.kind);
        let found = suiting.iter().find_map(|own| own.find(&bar, &taken));
        if let Some(start) = found {
            taken.push((start, start + bar.len - 1));
        } else {
            let address = functions[at].address();
            log::warn!(
                "pci {address}: no place for block {} of {:#x} bytes",
                bar.index,
                bar.len
            );
        }
        functions[at].place(usize::from(bar.index), found.unwrap_or(0));
    }
}
