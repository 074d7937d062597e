//! Interrupts by message: MSI and MSI-X (PCI 3.0, 6.8).

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Config, Function, Host, Message, MessageSlot};
use crate::device::DriverError;
use crate::interrupt::Interrupt;
use crate::io::{ReadWrite, Reg, Region};

// The capability of MSI.
const MSI_CONTROL: u16 = 2;
const MSI_ENABLE: u16 = 1 << 0;
/// How many messages it may send, as a power of two.
const MSI_COUNT: u16 = 0b111 << 4;
const MSI_WIDE: u16 = 1 << 7;
const MSI_ADDRESS: u16 = 4;

/// Has a function send one message; dropping the interrupt ends that.
pub(super) fn enable(
    config: &Config,
    at: u16,
    host: &dyn Host,
    name: &'static str,
) -> Option<Interrupt> {
    let slot = MsiSlot {
        config: config.clone(),
        at,
    };
    host.message(config.address(), 0, Arc::new(slot), name)
}

/// The one message of a capability, which is on or off.
struct MsiSlot {
    config: Config,
    at: u16,
}

impl MessageSlot for MsiSlot {
    fn write(&self, message: Message) {
        let (config, at) = (&self.config, self.at);
        let control: u16 = config.read(at + MSI_CONTROL);
        config.write(at + MSI_ADDRESS, message.address as u32);
        let data = if control & MSI_WIDE != 0 {
            config.write(at + MSI_ADDRESS + 4, (message.address >> 32) as u32);
            at + MSI_ADDRESS + 8
        } else {
            at + MSI_ADDRESS + 4
        };
        config.write(data, message.data as u16);
    }

    /// Masking single messages is optional, so the capability is switched off instead; the pin is off as well.
    fn set_masked(&self, masked: bool) {
        let control = self.config.read::<u16>(self.at + MSI_CONTROL) & !(MSI_COUNT | MSI_ENABLE);
        let enable = if masked { 0 } else { MSI_ENABLE };
        self.config.write(self.at + MSI_CONTROL, control | enable);
    }
}

// The capability of MSI-X, and an entry of its table.
pub(super) const X_CONTROL: u16 = 2;
const X_TABLE: u16 = 4;
pub(super) const X_ENABLE: u16 = 1 << 15;
const X_MASK_ALL: u16 = 1 << 14;
const X_LAST: u16 = 0x7ff;
const ENTRY_LEN: usize = 16;
const ENTRY_ADDRESS_LOW: Reg<u32, ReadWrite> = Reg::new(0);
const ENTRY_ADDRESS_HIGH: Reg<u32, ReadWrite> = Reg::new(4);
const ENTRY_DATA: Reg<u32, ReadWrite> = Reg::new(8);
const ENTRY_CONTROL: Reg<u32, ReadWrite> = Reg::new(12);
const ENTRY_MASKED: u32 = 1;

/// A function's table of messages.
pub(super) struct Table {
    entries: Region,
    count: usize,
    at: u16,
}

impl Table {
    /// Finds the table of the capability at `at`.
    pub(super) fn map(function: &Function, at: u16) -> Result<Self, DriverError> {
        let config = function.config();
        let count = usize::from(config.read::<u16>(at + X_CONTROL) & X_LAST) + 1;
        let place: u32 = config.read(at + X_TABLE);
        let (bar, start) = ((place & 0b111) as u8, (place & !0b111) as usize);
        let end = start + count * ENTRY_LEN;
        let registers = function.map(bar, end);
        let registers = registers.map_err(|_| DriverError::Lied("its MSI-X table is nowhere"))?;
        let entries = registers.part(start..end);
        Ok(Self {
            entries: entries.ok_or(DriverError::NoRegisters)?,
            count,
            at,
        })
    }

    /// Has the function send up to `wanted` messages, one for each of its first entries; the others stay masked.
    pub(super) fn enable(
        self,
        config: &Config,
        host: &dyn Host,
        wanted: usize,
        name: &'static str,
    ) -> Vec<Interrupt> {
        let control: u16 = config.read(self.at + X_CONTROL);
        // All are held off while the table is half written.
        config.write(self.at + X_CONTROL, control | X_ENABLE | X_MASK_ALL);
        for index in 0..self.count {
            let control = ENTRY_CONTROL.of_entry(index, ENTRY_LEN);
            self.entries.write(control, ENTRY_MASKED);
        }
        let enabled = Arc::new(Enabled {
            config: config.clone(),
            at: self.at,
        });
        let request = |index| {
            let slot = Arc::new(MsiXSlot {
                entries: self.entries.clone(),
                index,
                _enabled: enabled.clone(),
            });
            host.message(config.address(), index, slot, name)
        };
        let interrupts: Vec<_> = (0..self.count.min(wanted)).map_while(request).collect();
        if !interrupts.is_empty() {
            config.write(self.at + X_CONTROL, control & !X_MASK_ALL | X_ENABLE);
        }
        interrupts
    }
}

/// Switches messages off when the last one is gone.
struct Enabled {
    config: Config,
    at: u16,
}

impl Drop for Enabled {
    fn drop(&mut self) {
        let control: u16 = self.config.read(self.at + X_CONTROL);
        self.config.write(self.at + X_CONTROL, control & !X_ENABLE);
    }
}

/// One entry of the table.
struct MsiXSlot {
    entries: Region,
    index: usize,
    _enabled: Arc<Enabled>,
}

impl MsiXSlot {
    fn set(&self, register: Reg<u32, ReadWrite>, value: u32) {
        self.entries
            .write(register.of_entry(self.index, ENTRY_LEN), value);
    }
}

impl MessageSlot for MsiXSlot {
    fn write(&self, message: Message) {
        let control = ENTRY_CONTROL.of_entry(self.index, ENTRY_LEN);
        let before = self.entries.read(control);
        // A message that is half written goes nowhere.
        self.entries.write(control, before | ENTRY_MASKED);
        self.set(ENTRY_ADDRESS_LOW, message.address as u32);
        self.set(ENTRY_ADDRESS_HIGH, (message.address >> 32) as u32);
        self.set(ENTRY_DATA, message.data);
        self.entries.write(control, before);
    }

    fn set_masked(&self, masked: bool) {
        self.set(ENTRY_CONTROL, if masked { ENTRY_MASKED } else { 0 });
    }
}
