//! Input devices as programs find them: nodes `/dev/input/event*`, `/sys/class/input`, `/proc/bus/input/devices`; and
//! Ctrl-Alt-Del, which is the kernel's own to hear.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use drivers::device::Published;
use drivers::input::{Input, Reader, code};
use executor::sync::SpinLock;
use fs::Result;
use fs::device::{self, DeviceKind};

use super::evdev::{Bits, Opener};
use crate::devtmpfs;
use crate::pseudofs::{Out, put};
use crate::sysfs::{self, Class};

/// Linux's `INPUT_MAJOR`, and the first of the minor numbers of `event*`.
const MAJOR: u32 = 13;
const FIRST_MINOR: u32 = 64;
/// Nodes with such numbers.
const MOST: usize = 32;

/// A device that is shown.
struct Shown {
    /// Number of the device, which is never given twice.
    number: u32,
    /// Number of its node.
    event: u32,
    /// The device's directory in sysfs.
    path: String,
    input: Arc<Input>,
}

/// What is shown, for `/proc/bus/input/devices`.
static SHOWN: SpinLock<Vec<Arc<Shown>>> = SpinLock::new(Vec::new());
static NEXT_NUMBER: AtomicU32 = AtomicU32::new(0);

/// What was published of a device, taken back by dropping it.
struct Node(Arc<Shown>);

/// Makes the node of `input`, below the directory `parent` in sysfs.
pub(super) fn publish(parent: &str, input: Arc<Input>) -> Option<Published> {
    let shown = {
        let mut all = SHOWN.lock();
        let event = (0..MOST as u32).find(|own| all.iter().all(|shown| shown.event != *own))?;
        let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
        let shown = Arc::new(Shown {
            number,
            event,
            path: format!("{parent}/input/input{number}"),
            input: input.clone(),
        });
        all.push(shown.clone());
        shown
    };
    let node = Node(shown);
    let opener = Arc::new(Opener(input.clone()));
    device::register(DeviceKind::Char, "input", node.number(), 1, opener).ok()?;
    node.show();
    let name = format!("input/event{}", node.0.event);
    if let Err(error) = devtmpfs::add(&name, 0o600, node.number()) {
        log::error!("devtmpfs: no node for {name}: {error}");
    }
    log::info!("input: {} as /{}", input.name, node.0.path);
    if input.keys().contains(&DELETE) {
        let reader = input.open();
        executor::spawn("ctrl-alt-del", hear(reader)).detach();
    }
    Some(Published::new(node))
}

impl Node {
    fn number(&self) -> (u32, u32) {
        (MAJOR, FIRST_MINOR + self.0.event)
    }

    fn name(&self) -> String {
        format!("event{}", self.0.event)
    }

    fn show(&self) {
        let tree = sysfs::tree();
        let Shown {
            number,
            path,
            input,
            ..
        } = &*self.0;
        let id = input.identity;
        let constant = |name: &str, text: String| {
            tree.constant(&format!("{path}/{name}"), format!("{text}\n"));
        };
        constant("name", input.name.into());
        constant("phys", input.phys.into());
        constant("uniq", String::new());
        constant("properties", "0".into());
        for (name, value) in [
            ("bustype", id.bus),
            ("vendor", id.vendor),
            ("product", id.product),
            ("version", id.version),
        ] {
            constant(&format!("id/{name}"), format!("{value:04x}"));
        }
        for (name, kind) in [
            ("ev", 0),
            ("key", code::EV_KEY),
            ("rel", 2),
            ("abs", 3),
            ("msc", code::EV_MSC),
            ("sw", 5),
            ("led", 0x11),
            ("snd", 0x12),
            ("ff", 0x15),
        ] {
            let bits = Bits::of(input, kind).map_or_else(|| "0".into(), |bits| bits.text());
            constant(&format!("capabilities/{name}"), bits);
        }
        let uevent = format!(
            "PRODUCT={:x}/{:x}/{:x}/{:x}\nNAME=\"{}\"\nPHYS=\"{}\"",
            id.bus, id.vendor, id.product, id.version, input.name, input.phys
        );
        constant("uevent", uevent);
        tree.link(&format!("{path}/subsystem"), "class/input");
        tree.link(&format!("class/input/input{number}"), path);
        let class = Class::CharBelow("input");
        sysfs::add_device(tree, path, class, &self.name(), self.number());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        device::unregister(DeviceKind::Char, self.number());
        // Programs may have taken the node away themselves.
        let _ = devtmpfs::remove(&format!("input/{}", self.name()));
        let tree = sysfs::tree();
        let Shown { number, path, .. } = &*self.0;
        let class = Class::CharBelow("input");
        sysfs::remove_device(tree, path, class, &self.name(), self.number());
        tree.remove(&format!("class/input/input{number}"));
        tree.remove(path);
        SHOWN.lock().retain(|own| !Arc::ptr_eq(own, &self.0));
    }
}

/// Writes `/proc/bus/input/devices`.
pub fn proc_devices(out: &mut Out) -> Result<()> {
    let all = SHOWN.lock().clone();
    for shown in all {
        let Shown {
            event, path, input, ..
        } = &*shown;
        let id = input.identity;
        put!(
            out,
            "I: Bus={:04x} Vendor={:04x} Product={:04x} Version={:04x}\n",
            id.bus,
            id.vendor,
            id.product,
            id.version
        );
        put!(out, "N: Name=\"{}\"\nP: Phys={}\n", input.name, input.phys);
        put!(
            out,
            "S: Sysfs=/{path}\nU: Uniq=\nH: Handlers=event{event} \n"
        );
        put!(out, "B: PROP=0\n");
        for (name, kind) in [("EV", 0), ("KEY", code::EV_KEY), ("MSC", code::EV_MSC)] {
            let bits = Bits::of(input, kind).filter(|bits| !bits.is_empty());
            if let Some(bits) = bits {
                put!(out, "B: {name}={}\n", bits.text());
            }
        }
        put!(out, "\n");
    }
    Ok(())
}

// Keys that the kernel listens to.
const CONTROL: [u16; 2] = [29, 97];
const ALT: [u16; 2] = [56, 100];
const DELETE: u16 = 111;

/// Listens to a keyboard for Ctrl-Alt-Del, until it is gone.
async fn hear(reader: Arc<Reader>) {
    let mut down: Vec<u16> = Vec::new();
    loop {
        let event = || match reader.next() {
            Some(event) => Some(Some(event)),
            None => reader.is_gone().then_some(None),
        };
        let Some(event) = reader.changed().wait_until(event).await else {
            return;
        };
        match (event.kind, event.value) {
            (code::EV_SYN, _) if event.code == code::SYN_DROPPED => down.clear(),
            (code::EV_KEY, 0) => down.retain(|own| *own != event.code),
            (code::EV_KEY, 1) => {
                if CONTROL.iter().chain(&ALT).any(|own| *own == event.code) {
                    down.push(event.code);
                }
                let held = |keys: &[u16]| keys.iter().any(|key| down.contains(key));
                if event.code == DELETE && held(&CONTROL) && held(&ALT) {
                    crate::syscall::sysinfo::ctrl_alt_del().await;
                }
            }
            _ => {}
        }
    }
}
