//! Configuration space.

use alloc::sync::Arc;
use core::fmt;

use super::Address;
use crate::io::{Value, Width};

/// Offsets of the registers that every function has (PCI 3.0, 6.1).
#[expect(missing_docs, reason = "the names are the specification's")]
pub mod offset {
    pub const VENDOR: u16 = 0x00;
    pub const DEVICE: u16 = 0x02;
    pub const COMMAND: u16 = 0x04;
    pub const STATUS: u16 = 0x06;
    pub const REVISION: u16 = 0x08;
    pub const CLASS: u16 = 0x09;
    pub const HEADER_TYPE: u16 = 0x0e;
    pub const BAR0: u16 = 0x10;
    pub const SECONDARY_BUS: u16 = 0x19;
    pub const SUBORDINATE_BUS: u16 = 0x1a;
    pub const PORT_BASE: u16 = 0x1c;
    pub const PORT_LIMIT: u16 = 0x1d;
    pub const MEMORY_BASE: u16 = 0x20;
    pub const MEMORY_LIMIT: u16 = 0x22;
    pub const PREFETCHABLE_BASE: u16 = 0x24;
    pub const PREFETCHABLE_LIMIT: u16 = 0x26;
    pub const PREFETCHABLE_BASE_HIGH: u16 = 0x28;
    pub const SUBSYSTEM_VENDOR: u16 = 0x2c;
    pub const PREFETCHABLE_LIMIT_HIGH: u16 = 0x2c;
    pub const SUBSYSTEM: u16 = 0x2e;
    pub const CAPABILITIES: u16 = 0x34;
    pub const INTERRUPT_LINE: u16 = 0x3c;
    pub const INTERRUPT_PIN: u16 = 0x3d;
}

/// Size of the space that every function has, and that ports reach.
pub const LEGACY_LEN: u16 = 256;
/// Size of the space of PCI Express.
pub const EXPRESS_LEN: u16 = 4096;

/// Access to the configuration space of all functions: memory-mapped or by ports on the machine, models in a test.
///
/// Offsets are aligned to the width.
pub trait ConfigSpace: Send + Sync {
    /// How much each function has: [`LEGACY_LEN`] or [`EXPRESS_LEN`].
    fn len(&self) -> u16 {
        EXPRESS_LEN
    }

    /// Never: every function has some.
    fn is_empty(&self) -> bool {
        false
    }

    /// Makes the configuration space of a bus reachable: nothing is read there before.
    ///
    /// # Context
    /// Task.
    fn open_bus(&self, bus: u8) {
        let _ = bus;
    }

    /// Reads; all ones where no function is.
    fn read(&self, function: Address, offset: u16, width: Width) -> u32;

    /// Writes.
    fn write(&self, function: Address, offset: u16, width: Width, value: u32);
}

/// The configuration space of one function.
#[derive(Clone)]
pub struct Config {
    space: Arc<dyn ConfigSpace>,
    address: Address,
}

impl Config {
    /// That of the function at `address`.
    pub fn new(space: Arc<dyn ConfigSpace>, address: Address) -> Self {
        Self { space, address }
    }

    /// Whose it is.
    pub fn address(&self) -> Address {
        self.address
    }

    /// That of all functions of its machine.
    pub(super) fn space(&self) -> &Arc<dyn ConfigSpace> {
        &self.space
    }

    /// How many bytes it has.
    pub fn len(&self) -> u16 {
        self.space.len()
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Reads a register of 8, 16 or 32 bits. One that is misaligned or beyond the end reads as all ones.
    ///
    /// # Context
    /// Any.
    pub fn read<T: Value>(&self, offset: u16) -> T {
        let bits = match self.holds(offset, T::WIDTH) {
            true => self.space.read(self.address, offset, T::WIDTH).into(),
            false => T::WIDTH.all_ones(),
        };
        T::from_bits(bits)
    }

    /// Writes a register of 8, 16 or 32 bits. One that is misaligned or beyond the end is left alone.
    ///
    /// # Context
    /// Any.
    pub fn write<T: Value>(&self, offset: u16, value: T) {
        if self.holds(offset, T::WIDTH) {
            self.space
                .write(self.address, offset, T::WIDTH, value.to_bits() as u32);
        }
    }

    /// Whether a function answers there.
    pub fn is_present(&self) -> bool {
        self.read::<u16>(offset::VENDOR) != 0xffff
    }

    fn holds(&self, offset: u16, width: Width) -> bool {
        let bytes = width.bytes() as u16;
        width != Width::U64
            && offset.is_multiple_of(bytes)
            && offset
                .checked_add(bytes)
                .is_some_and(|end| end <= self.len())
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Config").field(&self.address).finish()
    }
}
