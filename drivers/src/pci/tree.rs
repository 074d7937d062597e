//! Functions on their bus: names and directories as Linux gives them, bridges with what is behind them.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Function, PciBus, PciDevice};

/// Puts `functions` on `bus`, in this order, and starts their drivers. A function's directory is below its bridge's.
///
/// # Context
/// Task.
pub fn add(bus: &PciBus, functions: Vec<Function>) -> Vec<Arc<PciDevice>> {
    let put = |function: Function| {
        let name = format!("{}", function.address());
        let host = function.host().clone();
        let device = bus.add_device(&name, &path(&function), function);
        host.added(&device);
        device
    };
    functions.into_iter().map(put).collect()
}

/// Takes the device `name` off `bus`, after everything behind it if it is a bridge. False if there is none of that name.
///
/// # Context
/// Task; not one of the device's own, nor of one behind it.
pub async fn remove(bus: &PciBus, name: &str) -> bool {
    let Some(device) = bus.device(name) else {
        return false;
    };
    remove_behind(bus, &device).await;
    bus.remove_device(name).await
}

/// Takes everything behind the bridge `device` off `bus`, the last that was found first.
///
/// # Context
/// Task; not one of those devices' own.
pub(crate) async fn remove_behind(bus: &PciBus, device: &Function) {
    for below in behind(bus, device).iter().rev() {
        bus.remove_device(below.name()).await;
    }
}

/// Everything behind the bridge `device`.
pub(crate) fn behind(bus: &PciBus, device: &Function) -> Vec<Arc<PciDevice>> {
    let mut all = bus.devices();
    all.retain(|below| below.bridges().contains(&device.address()));
    all
}

/// A function's directory, from the top of sysfs.
fn path(function: &Function) -> String {
    let bridges = function.bridges();
    let own = function.address();
    let root = bridges.first().unwrap_or(&own);
    let mut path = format!("devices/pci{:04x}:{:02x}", root.segment, root.bus);
    for address in bridges.iter().chain([&own]) {
        path.push_str(&format!("/{address}"));
    }
    path
}
