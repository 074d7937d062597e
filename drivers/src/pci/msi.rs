//! Interrupts by message: MSI and MSI-X (PCI 3.0, 6.8).

use alloc::sync::Arc;
use alloc::vec::Vec;

use executor::irq::IrqEvent;

use super::{Config, Function, Host, Message};
use crate::device::DriverError;
use crate::interrupt::{Interrupt, Line};
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
    let (message, inner) = host.message(name)?;
    let control: u16 = config.read(at + MSI_CONTROL);
    config.write(at + MSI_ADDRESS, message.address as u32);
    let data = if control & MSI_WIDE != 0 {
        config.write(at + MSI_ADDRESS + 4, (message.address >> 32) as u32);
        at + MSI_ADDRESS + 8
    } else {
        at + MSI_ADDRESS + 4
    };
    config.write(data, message.data as u16);
    config.write(at + MSI_CONTROL, control & !MSI_COUNT | MSI_ENABLE);
    Some(Interrupt::new(MsiLine {
        config: config.clone(),
        at,
        inner,
    }))
}

struct MsiLine {
    config: Config,
    at: u16,
    inner: Interrupt,
}

impl Line for MsiLine {
    fn event(&self) -> &IrqEvent {
        self.inner.event()
    }
}

impl Drop for MsiLine {
    fn drop(&mut self) {
        let control: u16 = self.config.read(self.at + MSI_CONTROL);
        self.config
            .write(self.at + MSI_CONTROL, control & !MSI_ENABLE);
    }
}

// The capability of MSI-X, and an entry of its table.
const X_CONTROL: u16 = 2;
const X_TABLE: u16 = 4;
const X_ENABLE: u16 = 1 << 15;
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
        function: &Function,
        host: &dyn Host,
        wanted: usize,
        name: &'static str,
    ) -> Vec<Interrupt> {
        let config = function.config();
        let control: u16 = config.read(self.at + X_CONTROL);
        // All are held off while the table is half written.
        config.write(self.at + X_CONTROL, control | X_ENABLE | X_MASK_ALL);
        let enabled = Arc::new(Enabled {
            config: config.clone(),
            at: self.at,
        });
        let mut interrupts = Vec::new();
        for index in 0..self.count {
            let granted = (index < wanted).then(|| host.message(name)).flatten();
            match granted {
                Some((message, inner)) => {
                    self.set(index, message);
                    interrupts.push(Interrupt::new(MsiXLine {
                        entries: self.entries.clone(),
                        index,
                        inner,
                        _enabled: enabled.clone(),
                    }));
                }
                None => self.mask(index),
            }
        }
        if !interrupts.is_empty() {
            config.write(self.at + X_CONTROL, control & !X_MASK_ALL | X_ENABLE);
        }
        interrupts
    }

    fn set(&self, index: usize, message: Message) {
        let write = |register: Reg<u32, ReadWrite>, value| {
            self.entries
                .write(register.of_entry(index, ENTRY_LEN), value);
        };
        write(ENTRY_ADDRESS_LOW, message.address as u32);
        write(ENTRY_ADDRESS_HIGH, (message.address >> 32) as u32);
        write(ENTRY_DATA, message.data);
        write(ENTRY_CONTROL, 0);
    }

    fn mask(&self, index: usize) {
        let control = ENTRY_CONTROL.of_entry(index, ENTRY_LEN);
        self.entries.write(control, ENTRY_MASKED);
    }
}

/// Switches messages off when the last interrupt is gone.
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

struct MsiXLine {
    entries: Region,
    index: usize,
    inner: Interrupt,
    _enabled: Arc<Enabled>,
}

impl Line for MsiXLine {
    fn event(&self) -> &IrqEvent {
        self.inner.event()
    }
}

impl Drop for MsiXLine {
    fn drop(&mut self) {
        let control = ENTRY_CONTROL.of_entry(self.index, ENTRY_LEN);
        self.entries.write(control, ENTRY_MASKED);
    }
}
