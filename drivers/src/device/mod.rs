//! The device model: buses, devices, drivers, and how they find each other.
//!
//! A [`Driver`] is an `async fn` that is given its [`Device`]. The [`Bus`] matches the two, in whatever order they come, and
//! spawns the driver into the device's scope. The driver gets its device going, says [`Device::bound`], and serves it for
//! as long as it is there: when the device is unplugged or unbound the future is dropped at the await where it stands, and
//! what it owned goes with it: interrupts, mappings, published nodes, and the requests of others, which end with
//! an error.
//!
//! A driver that panics loses its task: the device is free then, and what the driver had promised to others is called off by
//! what it left for that case ([`Device::if_it_dies`]).
//!
//! Contexts: everything here is called by tasks. Lock order: a bus's list, then a device's state; nothing of a driver's
//! and nothing of the upper side is called under them.
//!
//! | Linux | here |
//! | --- | --- |
//! | `bus_register` | [`Bus::new`] |
//! | `device_register`, `device_del` | [`Bus::add_device`], [`Bus::remove_device`] |
//! | `driver_register`, `driver_unregister` | [`Bus::add_driver`], [`Bus::remove_driver`] |
//! | `probe` | the driver's future up to [`Device::bound`] |
//! | `remove`, `devm_*` | dropping that future |
//! | `-EPROBE_DEFER` | [`DriverError::Defer`] |
//! | klist iteration while devices come and go | [`Bus::devices`], a snapshot of counted references |
//!
//! ```
//! use drivers::device::{Bus, Describe, Device, Driver, DriverError, Model, NoUpper};
//! use executor::platform::host;
//! use std::sync::Arc;
//!
//! struct Lamp { id: u32 }
//! impl Describe for Lamp {}
//!
//! async fn lamp(device: Arc<Device<Lamp>>) -> Result<(), DriverError> {
//!     device.bound(); // it works; from here on it is in use
//!     core::future::pending().await
//! }
//! static DRIVER: Driver<Lamp> = Driver {
//!     name: "lamp",
//!     matches: |lamp| lamp.id == 7,
//!     run: |device| Box::pin(lamp(device)),
//! };
//!
//! host::block_on(async {
//!     let bus = Bus::new("lamps", &Model::new(NoUpper));
//!     bus.add_driver(&DRIVER);
//!     let device = bus.add_device("lamp0", "devices/lamp0", Lamp { id: 7 });
//!     while device.driver().is_none() {
//!         executor::yield_now().await;
//!     }
//!     bus.remove_device("lamp0").await; // the driver's future is gone after this
//!     assert!(device.is_gone());
//! });
//! ```

mod bus;
mod driver;
mod heir;
mod model;
#[cfg(test)]
mod tests;
mod upper;

pub use bus::{Bus, Device};
pub use driver::{Driver, DriverError, DriverFuture};
pub use heir::{Heir, take_heir};
pub use model::Model;
pub use upper::{
    CharDevice, CharError, Described, Interface, NoUpper, Published, Readiness, TerminalEnd,
    TerminalPort, Upper,
};

use alloc::string::String;
use alloc::vec::Vec;

/// What a bus tells the outside of its devices.
pub trait Describe: Send + Sync + 'static {
    /// Attributes that do not change, as sysfs shows them, each without its newline.
    fn attributes(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The variables of the device's uevent, `NAME=value` each.
    fn uevent(&self) -> Vec<String> {
        Vec::new()
    }
}
