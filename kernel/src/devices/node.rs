//! Character devices of drivers.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use drivers::device::{CharDevice, CharError, Published};
use fs::device::{self, Device, DeviceKind, Opened};
use fs::{Errno, File, FileOps, Inode, PollEvents, PollTable, Result, Sink, Source};

use crate::devtmpfs;
use crate::sysfs::{self, Class};

/// Major number of devices that have none of their own (Linux: `MISC_MAJOR`).
const MISC_MAJOR: u32 = 10;
/// How many of them there may be; they are numbered downwards from the last, as Linux does.
const DYNAMIC: u32 = 64;
/// The longest write.
const LONGEST: usize = 4096;

/// The dynamic numbers in use.
static USED: AtomicU64 = AtomicU64::new(0);

/// A minor number, if it is a dynamic one until it is dropped.
struct Minor(u32);

impl Minor {
    fn take(fixed: Option<u32>) -> Option<Self> {
        if let Some(minor) = fixed.filter(|minor| *minor >= DYNAMIC) {
            return Some(Self(minor));
        }
        let bit = |used: u64| used.trailing_ones();
        let update = |used: u64| (bit(used) < DYNAMIC).then(|| used | 1 << bit(used));
        let before = USED
            .try_update(Ordering::AcqRel, Ordering::Relaxed, update)
            .ok()?;
        Some(Self(DYNAMIC - 1 - bit(before)))
    }
}

impl Drop for Minor {
    fn drop(&mut self) {
        if self.0 >= DYNAMIC {
            return;
        }
        USED.fetch_and(!(1 << (DYNAMIC - 1 - self.0)), Ordering::AcqRel);
    }
}

/// A published device, taken back by dropping it.
struct Node {
    parent: String,
    name: String,
    class: &'static str,
    minor: Minor,
}

/// Makes the node `name` of `device`, below the directory `parent` in sysfs.
pub(super) fn publish(
    parent: &str,
    name: String,
    class: &'static str,
    minor: Option<u32>,
    device: Arc<dyn CharDevice>,
) -> Option<Published> {
    let minor = Minor::take(minor)?;
    let number = (MISC_MAJOR, minor.0);
    let opener = Arc::new(Opener(device));
    device::register(DeviceKind::Char, "misc", number, 1, opener).ok()?;
    let node = Node {
        parent: parent.into(),
        name,
        class,
        minor,
    };
    sysfs::add_device(
        sysfs::tree(),
        parent,
        Class::Char(class),
        &node.name,
        number,
    );
    if let Err(error) = devtmpfs::add(&node.name, 0o600, number) {
        log::error!("devtmpfs: no node for {}: {error}", node.name);
    }
    Some(Published::new(node))
}

impl Drop for Node {
    fn drop(&mut self) {
        let number = (MISC_MAJOR, self.minor.0);
        device::unregister(DeviceKind::Char, number);
        // Programs may have taken the node away themselves.
        let _ = devtmpfs::remove(&self.name);
        let class = Class::Char(self.class);
        sysfs::remove_device(sysfs::tree(), &self.parent, class, &self.name, number);
    }
}

struct Opener(Arc<dyn CharDevice>);

impl Device for Opener {
    fn open(&self, _: u64, _: &Arc<Inode>, _: u32) -> Result<Opened> {
        Ok(Opened::stream(Arc::new(Open(self.0.clone()))))
    }
}

/// An open device.
struct Open(Arc<dyn CharDevice>);

/// What a program is told.
fn errno(error: CharError) -> Errno {
    match error {
        CharError::NotReady => Errno::EAGAIN,
        CharError::Invalid => Errno::EINVAL,
        CharError::Device => Errno::EIO,
        CharError::Gone => Errno::ENODEV,
    }
}

impl FileOps for Open {
    fn read(&self, _: &File, _: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        let want = buf.remaining();
        let read = self
            .0
            .read(&mut |bytes| buf.put(&bytes[..bytes.len().min(want)]));
        match read.map_err(errno)? {
            0 if want > 0 => Err(Errno::EFAULT),
            n => Ok(n),
        }
    }

    fn write(&self, _: &File, _: &mut u64, buf: &mut dyn Source) -> Result<usize> {
        let want = buf.remaining();
        if want > LONGEST {
            return Err(Errno::EINVAL);
        }
        let mut chunk = Vec::new();
        chunk.try_reserve_exact(want).map_err(|_| Errno::ENOMEM)?;
        chunk.resize(want, 0);
        if buf.take(&mut chunk) < want {
            return Err(Errno::EFAULT);
        }
        self.0.write(&chunk).map_err(errno)
    }

    fn poll(&self, _: &File, table: Option<&mut PollTable<'_>>) -> PollEvents {
        if let Some(table) = table {
            table.register(&self.0.changed());
        }
        let ready = self.0.readiness();
        let mut events = PollEvents::empty();
        events.set(PollEvents::READ, ready.read);
        events.set(PollEvents::WRITE, ready.write);
        events
    }
}
