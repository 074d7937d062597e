//! A function: what it is, and what its driver does with it.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use bitflags::bitflags;

use super::bar::size_all;
use super::host::PinInterrupt;
use super::{
    Address, Bar, Capabilities, Config, ConfigSpace, Host, Window, capability_id, msi, offset,
    swizzle,
};
use crate::device::{Describe, DriverError};
use crate::dma::Dma;
use crate::interrupt::Interrupt;
use crate::io::Region;

bitflags! {
    /// The command register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Command: u16 {
        /// Answers at its I/O ports.
        const PORTS = 1 << 0;
        /// Answers at its memory addresses.
        const MEMORY = 1 << 1;
        /// Reads and writes memory by itself, and sends messages.
        const BUS_MASTER = 1 << 2;
        /// Does not drive its interrupt pin.
        const NO_PIN = 1 << 10;
    }
}

/// What a function says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who made it.
    pub vendor: u16,
    /// Which of theirs.
    pub device: u16,
    /// Who made the card.
    pub subsystem_vendor: u16,
    /// Which of theirs.
    pub subsystem: u16,
    /// Class, subclass and programming interface: 24 bits.
    pub class: u32,
    /// Revision.
    pub revision: u8,
}

/// Kinds of header.
const HEADER_NORMAL: u8 = 0;
const HEADER_BRIDGE: u8 = 1;
const HEADER_KIND: u8 = 0x7f;
const MULTIFUNCTION: u8 = 0x80;

/// A function on a PCI bus.
pub struct Function {
    config: Config,
    identity: Identity,
    header: u8,
    bars: [Option<Bar>; 6],
    /// Where its interrupt pin arrives, if it has one.
    pin: Option<PinInterrupt>,
    /// The bridges that it is reached through, the one on the root bus first.
    bridges: Vec<Address>,
    host: Arc<dyn Host>,
}

impl Function {
    /// Looks at the function at `address`, if one answers, which is reached through `bridges`, the one on the root bus first.
    ///
    /// # Context
    /// Task, before the function is in use.
    pub(super) fn probe(
        space: &Arc<dyn ConfigSpace>,
        address: Address,
        host: &Arc<dyn Host>,
        bridges: &[Address],
    ) -> Option<Self> {
        let config = Config::new(space.clone(), address);
        if !config.is_present() {
            return None;
        }
        let header: u8 = config.read(offset::HEADER_TYPE);
        let normal = header & HEADER_KIND == HEADER_NORMAL;
        let class = config.read::<u32>(offset::REVISION);
        let identity = Identity {
            vendor: config.read(offset::VENDOR),
            device: config.read(offset::DEVICE),
            subsystem_vendor: if normal {
                config.read(offset::SUBSYSTEM_VENDOR)
            } else {
                0
            },
            subsystem: if normal {
                config.read(offset::SUBSYSTEM)
            } else {
                0
            },
            class: class >> 8,
            revision: class as u8,
        };
        let bars = match header & HEADER_KIND {
            HEADER_NORMAL => 6,
            HEADER_BRIDGE => 2,
            _ => 0,
        };
        let before: u16 = config.read(offset::COMMAND);
        let decoding = (Command::PORTS | Command::MEMORY).bits();
        config.write(offset::COMMAND, before & !decoding);
        let bars = size_all(&config, bars);
        config.write(offset::COMMAND, before);
        let pin = match config.read::<u8>(offset::INTERRUPT_PIN) {
            pin @ 1..=4 => {
                let (root, pin) = route(address, bridges, pin - 1);
                Some(PinInterrupt {
                    root,
                    pin,
                    firmware_line: config.read(offset::INTERRUPT_LINE),
                })
            }
            _ => None,
        };
        Some(Self {
            config,
            identity,
            header,
            bars,
            pin,
            bridges: bridges.to_vec(),
            host: host.clone(),
        })
    }

    /// Where it is.
    pub fn address(&self) -> Address {
        self.config.address()
    }

    /// What it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether it is of this vendor and number.
    pub fn is(&self, vendor: u16, device: u16) -> bool {
        (self.identity.vendor, self.identity.device) == (vendor, device)
    }

    /// Its configuration space.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its blocks of registers by number.
    pub fn bars(&self) -> &[Option<Bar>; 6] {
        &self.bars
    }

    /// Where its interrupt pin arrives, if it has one.
    pub fn pin(&self) -> Option<PinInterrupt> {
        self.pin
    }

    /// The bridges that it is reached through, the one on the root bus first.
    pub fn bridges(&self) -> &[Address] {
        &self.bridges
    }

    /// The machine around it.
    pub(super) fn host(&self) -> &Arc<dyn Host> {
        &self.host
    }

    /// Gives block `index` of its registers its place. Nobody has mapped it yet.
    pub(super) fn place(&mut self, index: usize, address: u64) {
        if let Some(bar) = &mut self.bars[index] {
            bar.address = address;
            bar.write(&self.config);
        }
    }

    /// Whether what answers there now is still this function, with its registers where they were.
    ///
    /// # Context
    /// Task.
    pub fn is_untouched(&self) -> bool {
        let id = &self.identity;
        let vendor: u16 = self.config.read(offset::VENDOR);
        let device: u16 = self.config.read(offset::DEVICE);
        let placed = |bar: &Bar| bar.is_written(&self.config);
        (vendor, device) == (id.vendor, id.device) && self.bars.iter().flatten().all(placed)
    }

    /// Has a bridge pass on what is meant for the functions behind it, and what they read and write.
    pub(super) fn open_bridge(&self) {
        let all = Command::PORTS | Command::MEMORY | Command::BUS_MASTER;
        self.change_command(all, true);
    }

    /// The bus behind it, if it is a bridge to one.
    pub fn secondary_bus(&self) -> Option<u8> {
        let bridge = self.header & HEADER_KIND == HEADER_BRIDGE;
        bridge.then(|| self.config.read(offset::SECONDARY_BUS))
    }

    /// Whether its device has more functions than the first.
    pub(super) fn is_multifunction(&self) -> bool {
        self.header & MULTIFUNCTION != 0
    }

    /// Its capabilities.
    pub fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::new(&self.config)
    }

    /// Where the first capability of a kind is.
    pub fn capability(&self, id: u8) -> Option<u16> {
        let found = self.capabilities().find(|own| own.id == id);
        found.map(|own| own.offset)
    }

    /// Maps block `index` of its registers, of which the driver needs `least` bytes, and has the function answer there.
    ///
    /// # Context
    /// Task.
    /// # Errors
    /// [`DriverError::NoRegisters`] if it has no such block, or a smaller one, or it has no place.
    pub fn map(&self, index: u8, least: usize) -> Result<Region, DriverError> {
        let bar = self.bars.get(usize::from(index)).copied().flatten();
        let bar = bar.ok_or(DriverError::NoRegisters)?;
        if bar.address == 0 || bar.len < least as u64 {
            return Err(DriverError::NoRegisters);
        }
        let io = self.host.map(&bar).ok_or(DriverError::NoRegisters)?;
        let decoding = match bar.kind {
            super::BarKind::Port => Command::PORTS,
            super::BarKind::Memory { .. } => Command::MEMORY,
        };
        self.change_command(decoding, true);
        Ok(Region::new(io))
    }

    /// Whether it answers at its blocks of registers.
    ///
    /// # Context
    /// Task.
    pub fn is_decoding(&self) -> bool {
        let command = Command::from_bits_retain(self.config.read(offset::COMMAND));
        command.intersects(Command::PORTS | Command::MEMORY)
    }

    /// Lets it read and write memory and send messages, or no longer: what it does then is nobody's buffer any more.
    pub fn set_bus_master(&self, on: bool) {
        self.change_command(Command::BUS_MASTER, on);
    }

    /// Memory that it can reach.
    pub fn dma(&self) -> Dma {
        Dma::new(self.host.memory(), u64::MAX)
    }

    /// Routes up to `wanted` interrupts, at least one: MSI-X messages, else one MSI message, else the pin.
    ///
    /// # Context
    /// Task.
    /// # Errors
    /// [`DriverError::NoInterrupt`]; [`DriverError::Lied`] about a table that is not where it says.
    pub fn interrupts(
        &self,
        wanted: usize,
        name: &'static str,
    ) -> Result<Vec<Interrupt>, DriverError> {
        self.change_command(Command::NO_PIN, true);
        if let Some(at) = self.capability(capability_id::MSI_X) {
            let table = msi::Table::map(self, at)?;
            let got = table.enable(&self.config, &*self.host, wanted, name);
            if !got.is_empty() {
                return Ok(got);
            }
        }
        if let Some(at) = self.capability(capability_id::MSI)
            && let Some(interrupt) = msi::enable(&self.config, at, &*self.host, name)
        {
            return Ok(alloc::vec![interrupt]);
        }
        Ok(alloc::vec![self.pin_interrupt(name)?])
    }

    /// Whether its interrupts are messages of its MSI-X table.
    pub fn sends_msi_x(&self) -> bool {
        let control = |at| self.config.read::<u16>(at + msi::X_CONTROL);
        self.capability(capability_id::MSI_X)
            .is_some_and(|at| control(at) & msi::X_ENABLE != 0)
    }

    /// Routes the interrupt of its pin, whatever messages it could send.
    ///
    /// # Context
    /// Task.
    /// # Errors
    /// [`DriverError::NoInterrupt`] if it has no pin, or that leads nowhere.
    pub fn pin_interrupt(&self, name: &'static str) -> Result<Interrupt, DriverError> {
        let pin = self.pin.ok_or(DriverError::NoInterrupt)?;
        let interrupt = self.host.pin(pin, name).ok_or(DriverError::NoInterrupt)?;
        self.change_command(Command::NO_PIN, false);
        Ok(interrupt)
    }

    /// Routes its only interrupt.
    ///
    /// # Errors
    /// As [`Function::interrupts`].
    pub fn interrupt(&self, name: &'static str) -> Result<Interrupt, DriverError> {
        let mut all = self.interrupts(1, name)?;
        all.pop().ok_or(DriverError::NoInterrupt)
    }

    fn change_command(&self, bits: Command, on: bool) {
        let mut command = Command::from_bits_retain(self.config.read(offset::COMMAND));
        command.set(bits, on);
        self.config.write(offset::COMMAND, command.bits());
    }
}

impl Describe for Function {
    fn attributes(&self) -> Vec<(&'static str, String)> {
        let id = &self.identity;
        alloc::vec![
            ("vendor", format!("{:#06x}", id.vendor)),
            ("device", format!("{:#06x}", id.device)),
            ("subsystem_vendor", format!("{:#06x}", id.subsystem_vendor)),
            ("subsystem_device", format!("{:#06x}", id.subsystem)),
            ("class", format!("{:#08x}", id.class)),
            ("revision", format!("{:#04x}", id.revision)),
            ("modalias", modalias(id)),
            ("resource", self.resources()),
            ("numa_node", "-1".into()),
        ]
    }

    fn uevent(&self) -> Vec<String> {
        let id = &self.identity;
        alloc::vec![
            format!("PCI_CLASS={:X}", id.class),
            format!("PCI_ID={:04X}:{:04X}", id.vendor, id.device),
            format!(
                "PCI_SUBSYS_ID={:04X}:{:04X}",
                id.subsystem_vendor, id.subsystem
            ),
            format!("PCI_SLOT_NAME={}", self.address()),
            format!("MODALIAS={}", modalias(id)),
        ]
    }
}

/// The name by which a module for it is asked for.
fn modalias(id: &Identity) -> String {
    let [_, base, sub, interface] = id.class.to_be_bytes();
    format!(
        "pci:v{:08X}d{:08X}sv{:08X}sd{:08X}bc{base:02X}sc{sub:02X}i{interface:02X}",
        id.vendor, id.device, id.subsystem_vendor, id.subsystem,
    )
}

/// Lines of the file `resource`: six blocks of registers, the ROM, six for virtual functions, and four windows of a bridge.
const RESOURCES: usize = 13;
const WINDOWS: usize = 4;

impl Function {
    /// The file `resource`: start, end and flags, a line for each.
    fn resources(&self) -> String {
        let mut lines = alloc::vec![(0, 0, 0); RESOURCES];
        for bar in self.bars.iter().flatten().filter(|bar| bar.address != 0) {
            let last = bar.address + (bar.len - 1);
            lines[usize::from(bar.index)] = (bar.address, last, bar.resource_flags());
        }
        if self.secondary_bus().is_some() {
            lines.resize(RESOURCES + WINDOWS, (0, 0, 0));
            for window in Window::of(&self.config) {
                let (at, flags) = window.resource();
                lines[RESOURCES + at] = (*window.range.start(), *window.range.end(), flags);
            }
        }
        let line = |(start, end, flags)| format!("{start:#018x} {end:#018x} {flags:#018x}");
        let lines: Vec<_> = lines.into_iter().map(line).collect();
        lines.join("\n")
    }
}

/// Where pin `pin` of the function at `from` arrives on the root bus.
fn route(from: Address, bridges: &[Address], pin: u8) -> (Address, u8) {
    bridges
        .iter()
        .rev()
        .fold((from, pin), |(below, pin), bridge| {
            (*bridge, swizzle(below.device, pin))
        })
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function")
            .field("address", &self.address())
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}
