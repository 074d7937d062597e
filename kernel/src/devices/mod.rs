//! The machine beneath the drivers of crate `drivers`, and programs above them.
//!
//! Beneath: registers in memory and at ports ([`mmio`]), memory for DMA ([`dma`]), configuration space, messages and
//! lines ([`pci`]). Above: what drivers publish becomes nodes in `/dev` and entries in `/sys` ([`upper`]).

mod disk;
mod dma;
mod mmio;
mod node;
mod pci;
mod ports;
#[cfg(feature = "ktest")]
mod tests;
mod upper;

use alloc::sync::Arc;

use conquer_once::noblock::OnceCell;
use drivers::device::Model;
use drivers::pci::PciBus;

pub use disk::proc_partitions;
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
        &drivers::virtio::RNG,
        &drivers::edu::DRIVER,
    ] {
        bus.add_driver(driver);
    }
    bus.settle().await;
}
