//! What drivers publish, as programs see it.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;

use drivers::device::{Described, Interface, Published, Upper};
use fs::{Errno, Result};

use super::{Found, disk, input, node};
use crate::pseudofs::{Out, Text, put};
use crate::tty::hvc;
use crate::{random, sysfs};

/// Nodes in `/dev`, entries in `/sys`.
pub(super) struct Nodes;

impl Upper for Nodes {
    fn bus_added(&self, bus: &'static str) {
        let tree = sysfs::tree();
        tree.dir(&format!("bus/{bus}/devices"));
        tree.dir(&format!("bus/{bus}/drivers"));
    }

    fn driver_added(&self, bus: &'static str, driver: &'static str) {
        let tree = sysfs::tree();
        let dir = format!("bus/{bus}/drivers/{driver}");
        tree.action(&format!("{dir}/bind"), move |name| {
            match Found::of(bus).is_some_and(|bus| bus.bind(name)) {
                true => Ok(()),
                false => Err(Errno::ENODEV),
            }
        });
        tree.action(&format!("{dir}/unbind"), move |name| {
            let bus = Found::of(bus).filter(|bus| bus.driver_of(name) == Some(driver));
            let (bus, name) = (bus.ok_or(Errno::ENODEV)?, name.to_owned());
            executor::spawn("unbind", async move {
                bus.unbind(&name).await;
            })
            .detach();
            Ok(())
        });
    }

    fn driver_removed(&self, bus: &'static str, driver: &'static str) {
        sysfs::tree().remove(&format!("bus/{bus}/drivers/{driver}"));
    }

    fn device_added(&self, device: &Described<'_>) {
        let tree = sysfs::tree();
        let Described {
            bus, name, path, ..
        } = device;
        for (attribute, text) in &device.attributes {
            tree.constant(&format!("{path}/{attribute}"), format!("{text}\n"));
        }
        let variables = device.uevent.iter().map(|line| format!("{line}\n"));
        let uevent = Uevent {
            bus,
            device: String::from(*name),
            variables: variables.collect(),
        };
        tree.view(&format!("{path}/uevent"), uevent);
        tree.link(&format!("{path}/subsystem"), &format!("bus/{bus}"));
        tree.link(&format!("bus/{bus}/devices/{name}"), path);
    }

    fn device_removed(&self, bus: &'static str, name: &str, path: &str) {
        let tree = sysfs::tree();
        tree.remove(&format!("bus/{bus}/devices/{name}"));
        tree.remove(path);
    }

    fn bound(&self, bus: &'static str, name: &str, path: &str, driver: &'static str) {
        let tree = sysfs::tree();
        let dir = format!("bus/{bus}/drivers/{driver}");
        tree.link(&format!("{path}/driver"), &dir);
        tree.link(&format!("{dir}/{name}"), path);
        log::info!("{driver} {name}: bound");
    }

    fn unbound(&self, bus: &'static str, name: &str, path: &str, driver: &'static str) {
        let tree = sysfs::tree();
        tree.remove(&format!("{path}/driver"));
        tree.remove(&format!("bus/{bus}/drivers/{driver}/{name}"));
    }

    fn publish(&self, path: &str, interface: Interface) -> Option<Published> {
        match interface {
            Interface::Char {
                name,
                class,
                minor,
                device,
            } => node::publish(path, name, class, minor, device),
            Interface::Disk(disk) => disk::publish(path, &disk),
            Interface::Input(device) => input::publish(path, device),
            Interface::Terminal(port) => hvc::publish(path, port),
        }
    }

    fn entropy(&self, bytes: &[u8]) {
        random::add_trusted(bytes);
    }
}

/// The file `uevent` of a device: the driver that serves it, and what the bus tells.
struct Uevent {
    bus: &'static str,
    device: String,
    variables: String,
}

impl Text for Uevent {
    fn show(&self, out: &mut Out) -> Result<()> {
        let driver = Found::of(self.bus).and_then(|bus| bus.driver_of(&self.device));
        if let Some(driver) = driver {
            put!(out, "DRIVER={driver}\n");
        }
        out.bytes(self.variables.as_bytes());
        Ok(())
    }
}
