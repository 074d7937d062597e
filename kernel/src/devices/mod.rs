//! The machine beneath the drivers of crate `drivers`, and programs above them.
//!
//! Beneath: registers in memory and at ports ([`mmio`]), memory for DMA ([`dma`]), configuration space, messages and
//! lines ([`pci`]). Above: what drivers publish becomes nodes in `/dev` and entries in `/sys` ([`upper`]).

mod disk;
mod dma;
mod evdev;
mod input;
mod line;
mod mmio;
mod node;
mod pci;
mod platform;
mod ports;
#[cfg(feature = "ktest")]
mod tests;
mod upper;

use alloc::sync::Arc;

use conquer_once::noblock::OnceCell;
use drivers::device::Model;
use drivers::pci::PciBus;
use drivers::platform::PlatformBus;

pub use disk::proc_partitions;
pub use input::proc_devices as proc_input_devices;
pub use pci::proc_devices;

/// The PCI bus, once it was looked at.
static PCI: OnceCell<Arc<PciBus>> = OnceCell::uninit();

/// The PCI bus with its functions.
///
/// # Panics
/// Before [`init`].
pub fn pci_bus() -> &'static Arc<PciBus> {
    PCI.try_get()
        .expect("the buses are found before programs run")
}

/// The bus of what no other bus has, once it was looked at.
static PLATFORM: OnceCell<Arc<PlatformBus>> = OnceCell::uninit();

/// A bus of this machine's, found by its name.
#[derive(Clone, Copy)]
enum Found {
    Pci(&'static PciBus),
    Platform(&'static PlatformBus),
}

impl Found {
    fn of(name: &str) -> Option<Self> {
        let pci = PCI.try_get().ok().map(|bus| Self::Pci(bus));
        let platform = PLATFORM.try_get().ok().map(|bus| Self::Platform(bus));
        let all = pci.into_iter().chain(platform);
        all.into_iter().find(|bus| bus.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Pci(bus) => bus.name(),
            Self::Platform(bus) => bus.name(),
        }
    }

    fn driver_of(self, device: &str) -> Option<&'static str> {
        match self {
            Self::Pci(bus) => bus.device(device)?.driver(),
            Self::Platform(bus) => bus.device(device)?.driver(),
        }
    }

    fn bind(self, device: &str) -> bool {
        match self {
            Self::Pci(bus) => bus.bind(device),
            Self::Platform(bus) => bus.bind(device),
        }
    }

    async fn unbind(self, device: &str) -> bool {
        match self {
            Self::Pci(bus) => bus.unbind(device).await,
            Self::Platform(bus) => bus.unbind(device).await,
        }
    }
}

/// Finds the devices, starts their drivers, and waits until each has got its device going or given up.
///
/// # Context
/// Task, at the end of the boot, when `/dev` and `/sys` are there.
pub async fn init() {
    let model = Model::new(upper::Nodes);
    let bus = PciBus::new("pci", &model);
    // Fails only if it was done before.
    let _ = PCI.try_init_once(|| bus.clone());
    pci::find(&bus);
    for driver in [
        &drivers::virtio::BLOCK,
        &drivers::virtio::CONSOLE,
        &drivers::virtio::RNG,
        &drivers::edu::DRIVER,
        &drivers::hotplug::DRIVER,
    ] {
        bus.add_driver(driver);
    }
    let platform = PlatformBus::new("platform", &model);
    let _ = PLATFORM.try_init_once(|| platform.clone());
    for driver in [&drivers::i8042::DRIVER, &drivers::power_button::DRIVER] {
        platform.add_driver(driver);
    }
    platform::find(&platform);
    bus.settle().await;
    platform.settle().await;
}
