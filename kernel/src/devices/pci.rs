//! PCI on this machine: configuration space, messages, lines, and the files in which functions are shown.
#![allow(
    unsafe_code,
    reason = "configuration ports, and registers that functions name"
)]

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use conquer_once::noblock::OnceCell;
use drivers::dma::DmaMemory;
use drivers::interrupt::{Interrupt, Line};
use drivers::io::{Io, Width};
use drivers::pci::{
    self, Address, Bar, BarKind, Config, ConfigSpace, Host, LEGACY_LEN, Message, MessageSlot,
    PciBus, PciDevice, PinInterrupt, Router, capability_id, offset, scan,
};
use executor::irq::IrqEvent;
use executor::sync::SpinLockIrq;
use fs::file::{Whence, generic_seek};
use fs::{Errno, File, FileOps, Result, Sink, Source};
use x86_64::instructions::port::Port;

use super::dma::Frames;
use super::mmio::Mmio;
use super::ports::Ports;
use crate::arch::line;
use crate::arch::msi::{self, Msi, Slot};
use crate::arch::pic;
use crate::boot::acpi::{self, PciConfigSpace};
use crate::irq::Request;
use crate::pseudofs::{Out, Special, Text, put};
use crate::sysfs;

const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;
const CONFIG_ENABLE: u32 = 1 << 31;

/// Configuration space by ports: one address, then the data, so one at a time.
struct PortConfig(SpinLockIrq<()>);

impl PortConfig {
    fn select(function: Address, offset: u16) -> Port<u32> {
        let at = u32::from(function.bus) << 16 | u32::from(function.devfn()) << 8;
        let mut address = Port::<u32>::new(CONFIG_ADDRESS);
        // SAFETY: the port is the host bridge's, and its lock is held.
        unsafe { address.write(CONFIG_ENABLE | at | u32::from(offset & 0xfc)) };
        Port::new(CONFIG_DATA + (offset & 3))
    }
}

impl ConfigSpace for PortConfig {
    fn len(&self) -> u16 {
        LEGACY_LEN
    }

    fn read(&self, function: Address, offset: u16, width: Width) -> u32 {
        let _alone = self.0.lock();
        let port = CONFIG_DATA + (offset & 3);
        let mut whole = Self::select(function, offset);
        // SAFETY: as in `select`; reading configuration space has no effect on memory.
        unsafe {
            match width {
                Width::U8 => Port::<u8>::new(port).read().into(),
                Width::U16 => Port::<u16>::new(port).read().into(),
                _ => whole.read(),
            }
        }
    }

    fn write(&self, function: Address, offset: u16, width: Width, value: u32) {
        let _alone = self.0.lock();
        let port = CONFIG_DATA + (offset & 3);
        let mut whole = Self::select(function, offset);
        // SAFETY: as in `select`; what is written is what the PCI code makes of the function.
        unsafe {
            match width {
                Width::U8 => Port::new(port).write(value as u8),
                Width::U16 => Port::new(port).write(value as u16),
                _ => whole.write(value),
            }
        }
    }
}

/// Configuration space in memory (MCFG), a MiB for each bus, mapped when the bus is looked at.
struct MappedConfig {
    area: PciConfigSpace,
    buses: Vec<OnceCell<Arc<dyn Io>>>,
}

impl MappedConfig {
    fn new(area: PciConfigSpace) -> Self {
        Self {
            area,
            buses: (0..256).map(|_| OnceCell::uninit()).collect(),
        }
    }

    fn bus(&self, bus: u8) -> Option<&dyn Io> {
        Some(&**self.buses.get(usize::from(bus))?.try_get().ok()?)
    }

    /// The offset of a register in its bus's part.
    fn place(function: Address, offset: u16) -> usize {
        usize::from(function.devfn()) << 12 | usize::from(offset)
    }
}

impl ConfigSpace for MappedConfig {
    fn open_bus(&self, bus: u8) {
        let PciConfigSpace {
            base,
            first_bus,
            last_bus,
            ..
        } = self.area;
        if !(first_bus..=last_bus).contains(&bus) || self.bus(bus).is_some() {
            return;
        }
        // SAFETY: the firmware says that configuration space is there.
        match unsafe { Mmio::map(base + (u64::from(bus) << 20), 1 << 20) } {
            // Fails only if somebody else was first.
            Some(mapped) => drop(self.buses[usize::from(bus)].try_init_once(|| mapped)),
            None => log::warn!("pci: no memory for the tables of bus {bus:02x}"),
        }
    }

    fn read(&self, function: Address, offset: u16, width: Width) -> u32 {
        match self.bus(function.bus) {
            Some(bus) => bus.read(Self::place(function, offset), width) as u32,
            None => width.all_ones() as u32,
        }
    }

    fn write(&self, function: Address, offset: u16, width: Width, value: u32) {
        if let Some(bus) = self.bus(function.bus) {
            bus.write(Self::place(function, offset), width, value.into());
        }
    }
}

/// The machine as functions see it.
struct Machine {
    router: Router,
}

impl Host for Machine {
    fn map(&self, bar: &Bar) -> Option<Arc<dyn Io>> {
        let len = usize::try_from(bar.len).ok()?;
        // SAFETY: the firmware has placed a function's registers there, and the function's driver asks.
        unsafe {
            match bar.kind {
                BarKind::Port => Ports::at(bar.address, len),
                BarKind::Memory { .. } => Mmio::map(bar.address, len),
            }
        }
    }

    fn memory(&self) -> Arc<dyn DmaMemory> {
        Arc::new(Frames)
    }

    fn message(
        &self,
        function: Address,
        index: usize,
        slot: Arc<dyn MessageSlot>,
        name: &'static str,
    ) -> Option<Interrupt> {
        let event = Arc::new(IrqEvent::new());
        // As Linux numbers them in /proc/interrupts: the function times 2048, and the entry.
        let requester = u32::from(function.bus) << 8 | u32::from(function.devfn());
        let hw = requester << 11 | index as u32;
        let request = Request::new(name).shared_event(event.clone());
        let request = request.handler(|_| crate::irq::Answer::WAKE_THREAD);
        match msi::request_msi(hw, Arc::new(MachineSlot(slot)), request) {
            Ok(line) => Some(Interrupt::new(MessageLine { event, _line: line })),
            Err(error) => {
                log::warn!("pci {function}: no message: {error:?}");
                None
            }
        }
    }

    fn added(&self, device: &Arc<PciDevice>) {
        let id = device.identity();
        log::info!(
            "pci {}: [{:04x}:{:04x}] class {:#08x}",
            device.name(),
            id.vendor,
            id.device,
            id.class
        );
        show(device);
    }

    fn pin(&self, pin: PinInterrupt, name: &'static str) -> Option<Interrupt> {
        super::line::request(line::pci(self.router.input(pin)?), name)
    }
}

/// A function's message as the interrupt lines know it.
struct MachineSlot(Arc<dyn MessageSlot>);

impl Slot for MachineSlot {
    fn write(&self, message: msi::Message) {
        self.0.write(Message {
            address: message.address,
            data: message.data,
        });
    }

    fn set_masked(&self, masked: bool) {
        self.0.set_masked(masked);
    }
}

/// A message.
struct MessageLine {
    event: Arc<IrqEvent>,
    _line: Msi,
}

impl Line for MessageLine {
    fn event(&self) -> &IrqEvent {
        &self.event
    }
}

/// Finds all functions and puts them on `bus`.
pub(super) fn find(bus: &PciBus) {
    let tables = acpi::tables();
    let mut found = 0;
    for area in tables.pci.iter() {
        let space = Arc::new(MappedConfig::new(area));
        log::info!(
            "pci: ECAM at {:#x}, bus {:02x}-{:02x}",
            area.base,
            area.first_bus,
            area.last_bus
        );
        found += find_in(bus, space, area.segment, area.first_bus);
    }
    if found == 0 {
        found = find_in(bus, Arc::new(PortConfig(SpinLockIrq::new(()))), 0, 0);
    }
    log::info!("pci: {found} functions");
}

fn find_in(bus: &PciBus, space: Arc<dyn ConfigSpace>, segment: u16, first_bus: u8) -> usize {
    space.open_bus(first_bus);
    let bridge = Config::new(
        space.clone(),
        Address {
            segment,
            ..Address::new(first_bus, 0, 0)
        },
    );
    let router = if pic::is_in_charge() {
        Router::FirmwareLine
    } else {
        Router::of(bridge.read(offset::VENDOR), bridge.read(offset::DEVICE))
    };
    let host: Arc<dyn Host> = Arc::new(Machine { router });
    let functions = scan(&space, &host, segment, first_bus);
    let count = functions.len();
    sysfs::tree().dir("bus/pci/slots");
    pci::add(bus, functions);
    count
}

/// Adds the files that only functions have.
fn show(device: &Arc<PciDevice>) {
    let tree = sysfs::tree();
    let path = device.path();
    let mut irq = 0;
    if device.pin().is_some() {
        irq = device.config().read::<u8>(offset::INTERRUPT_LINE);
    }
    tree.constant(&format!("{path}/irq"), format!("{irq}\n"));
    tree.view(&format!("{path}/enable"), Enabled(device.clone()));
    let whole = device.capability(capability_id::EXPRESS).is_some();
    let len = if whole {
        device.config().len()
    } else {
        LEGACY_LEN
    };
    let config = ConfigFile {
        config: device.config().clone(),
        len,
    };
    tree.special(&format!("{path}/config"), 0o644, config);
    let name = alloc::string::String::from(device.name());
    tree.action(&format!("{path}/remove"), move |text| {
        if text != "1" {
            return Err(Errno::EINVAL);
        }
        let name = name.clone();
        executor::spawn("pci-remove", async move {
            pci::remove(super::pci_bus(), &name).await;
        })
        .detach();
        Ok(())
    });
}

/// The file `enable`: whether a driver has made the function answer. What the firmware left on does not count.
struct Enabled(Arc<PciDevice>);

impl Text for Enabled {
    fn show(&self, out: &mut Out) -> Result<()> {
        let enabled = self.0.driver().is_some() && self.0.is_decoding();
        put!(out, "{}\n", u8::from(enabled));
        Ok(())
    }
}

/// The file `config`: a function's configuration space.
struct ConfigFile {
    config: Config,
    len: u16,
}

impl Special for ConfigFile {
    fn open(&self, _: u32) -> Result<Arc<dyn FileOps>> {
        Ok(Arc::new(OpenConfig {
            config: self.config.clone(),
            len: self.len,
        }))
    }
}

struct OpenConfig {
    config: Config,
    len: u16,
}

impl OpenConfig {
    /// How much the caller may read: behind the header, reading may have side effects.
    fn readable(&self) -> u16 {
        match crate::process::current().cred().capable(fs::Cap::SysAdmin) {
            true => self.len,
            false => 64,
        }
    }
}

impl FileOps for OpenConfig {
    fn splices(&self) -> bool {
        true
    }

    fn read(&self, _: &File, pos: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        let mut done = 0;
        while *pos < self.readable().into() && buf.remaining() > 0 {
            let byte: u8 = self.config.read(*pos as u16);
            if buf.put(&[byte]) == 0 {
                break;
            }
            *pos += 1;
            done += 1;
        }
        match done {
            0 if buf.faulted() => Err(Errno::EFAULT),
            done => Ok(done),
        }
    }

    /// Bytes are written in the largest pieces that are aligned, since some registers care.
    fn write(&self, _: &File, pos: &mut u64, buf: &mut dyn Source) -> Result<usize> {
        let mut bytes = [0; 256];
        let room = u64::from(self.len).saturating_sub(*pos) as usize;
        let want = buf.remaining().min(room).min(bytes.len());
        let got = buf.take(&mut bytes[..want]);
        if got < want {
            return Err(Errno::EFAULT);
        }
        let mut rest = &bytes[..got];
        while let Some((&first, after)) = rest.split_first() {
            let at = *pos as u16;
            let step = match *rest {
                [a, b, c, d, ..] if at.is_multiple_of(4) => {
                    self.config.write(at, u32::from_le_bytes([a, b, c, d]));
                    4
                }
                [a, b, ..] if at.is_multiple_of(2) => {
                    self.config.write(at, u16::from_le_bytes([a, b]));
                    2
                }
                _ => {
                    self.config.write(at, first);
                    1
                }
            };
            rest = &after[step - 1..];
            *pos += step as u64;
        }
        Ok(got)
    }

    fn seek(&self, _: &File, pos: u64, offset: i64, whence: Whence) -> Result<u64> {
        generic_seek(pos, self.len.into(), offset, whence)
    }
}

/// Writes `/proc/bus/pci/devices`: a line for each function, its driver last.
pub fn proc_devices(out: &mut Out) -> Result<()> {
    for device in super::pci_bus().devices() {
        let address = device.address();
        let id = device.identity();
        put!(
            out,
            "{:02x}{:02x}\t{:04x}{:04x}\t{:x}",
            address.bus,
            address.devfn(),
            id.vendor,
            id.device,
            device.config().read::<u8>(offset::INTERRUPT_LINE)
        );
        let bars = device.bars();
        for bar in bars {
            put!(out, "\t{:16x}", bar.map_or(0, |bar| bar.address));
        }
        put!(out, "\t{:16x}", 0);
        for bar in bars {
            put!(out, "\t{:16x}", bar.map_or(0, |bar| bar.len));
        }
        put!(out, "\t{:16x}\t{}\n", 0, device.driver().unwrap_or(""));
    }
    Ok(())
}
