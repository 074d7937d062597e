//! Device numbers and the drivers behind them.
//!
//! A device node on any file system is a type and a number; opening it asks this table who serves the number.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;

use crate::file::{FileOps, Positioning};
use crate::inode::{Inode, S_IFBLK, S_IFCHR, dev_major, dev_minor};
use crate::sync::SpinLock;
use crate::{Errno, Result};

/// What opening a device gives.
pub struct Opened {
    /// The operations.
    pub ops: Arc<dyn FileOps>,
    /// How the file treats its position.
    pub positioning: Positioning,
}

impl Opened {
    /// An opened device with a position.
    pub fn seekable(ops: Arc<dyn FileOps>) -> Opened {
        Opened {
            ops,
            positioning: Positioning::Seekable,
        }
    }

    /// An opened device without one, such as a terminal.
    pub fn stream(ops: Arc<dyn FileOps>) -> Opened {
        Opened {
            ops,
            positioning: Positioning::Stream,
        }
    }
}

/// Opens devices of a range of numbers.
pub trait Device: Send + Sync {
    /// Opens the device `rdev` through the node `inode`; `flags` are those of `open`.
    ///
    /// # Errors
    /// `ENXIO` if there is no such device, and the driver's own.
    fn open(&self, rdev: u64, inode: &Arc<Inode>, flags: u32) -> Result<Opened>;
}

/// Every open gets the same operations.
impl<T: FileOps> Device for SharedOps<T> {
    fn open(&self, _: u64, _: &Arc<Inode>, _: u32) -> Result<Opened> {
        Ok(Opened {
            ops: self.0.clone(),
            positioning: self.1,
        })
    }
}

/// A [`Device`] whose files all share one object.
pub struct SharedOps<T>(Arc<T>, Positioning);

impl<T: FileOps> SharedOps<T> {
    /// Makes the device of one operations object.
    pub fn new(ops: T, positioning: Positioning) -> SharedOps<T> {
        SharedOps(Arc::new(ops), positioning)
    }
}

/// Whether a number is of a character or of a block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceKind {
    /// A character device.
    Char,
    /// A block device.
    Block,
}

struct Range {
    name: &'static str,
    /// How many minors from the first on.
    count: u32,
    device: Arc<dyn Device>,
}

/// Ranges by kind, major and first minor.
type Table = BTreeMap<(DeviceKind, u32, u32), Range>;

static DEVICES: SpinLock<Table> = SpinLock::new(BTreeMap::new());

/// Registers `device` for `count` minors of `major` from `minor` on, under a name for `/proc/devices`.
///
/// # Errors
/// `EBUSY` if some of them are taken.
pub fn register(
    kind: DeviceKind,
    name: &'static str,
    (major, minor): (u32, u32),
    count: u32,
    device: Arc<dyn Device>,
) -> Result<()> {
    let mut devices = DEVICES.lock();
    let last = minor + (count - 1);
    let before = devices
        .range((kind, major, 0)..=(kind, major, last))
        .next_back();
    if before.is_some_and(|((_, _, first), range)| first + (range.count - 1) >= minor) {
        return Err(Errno::EBUSY);
    }
    devices.insert(
        (kind, major, minor),
        Range {
            name,
            count,
            device,
        },
    );
    Ok(())
}

/// Removes the range that starts at a number.
pub fn unregister(kind: DeviceKind, (major, minor): (u32, u32)) {
    let gone = DEVICES.lock().remove(&(kind, major, minor));
    drop(gone);
}

/// Opens the device behind a node.
///
/// # Errors
/// `ENXIO` if nobody serves the number.
pub(crate) fn open(inode: &Arc<Inode>, flags: u32) -> Result<Opened> {
    let kind = match inode.kind() {
        S_IFCHR => DeviceKind::Char,
        S_IFBLK => DeviceKind::Block,
        _ => return Err(Errno::ENXIO),
    };
    let rdev = inode.rdev();
    let (major, minor) = (dev_major(rdev), dev_minor(rdev));
    let device = {
        let devices = DEVICES.lock();
        let found = devices
            .range((kind, major, 0)..=(kind, major, minor))
            .next_back();
        found
            .filter(|((_, _, first), r)| minor - first < r.count)
            .map(|(_, r)| r.device.clone())
    };
    device.ok_or(Errno::ENXIO)?.open(rdev, inode, flags)
}

/// Writes `/proc/devices`.
pub fn show_devices(out: &mut String) {
    use core::fmt::Write;
    for (kind, title) in [
        (DeviceKind::Char, "Character"),
        (DeviceKind::Block, "\nBlock"),
    ] {
        let _ = writeln!(out, "{title} devices:");
        let devices = DEVICES.lock();
        let mut last = None;
        for ((_, major, _), range) in devices.range((kind, 0, 0)..=(kind, u32::MAX, u32::MAX)) {
            if last != Some((*major, range.name)) {
                let _ = writeln!(out, "{major:3} {}", range.name);
                last = Some((*major, range.name));
            }
        }
    }
}
