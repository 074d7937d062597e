//! What is above the drivers: the part of the kernel that shows devices to programs.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use executor::sync::{SpinLock, WaitQueue};

use crate::block::Disk;
use crate::input::Input;

/// A device as it is shown.
#[derive(Debug)]
pub struct Described<'a> {
    /// Its bus.
    pub bus: &'static str,
    /// Its name on the bus.
    pub name: &'a str,
    /// Its directory, from the top of sysfs.
    pub path: &'a str,
    /// Attributes that do not change.
    pub attributes: Vec<(&'static str, String)>,
    /// The variables of its uevent.
    pub uevent: Vec<String>,
}

/// Is told of what comes and goes, and makes it visible. Called by tasks, with no lock held.
pub trait Upper: Send + Sync + 'static {
    /// A bus is there.
    fn bus_added(&self, bus: &'static str) {
        let _ = bus;
    }
    /// A driver is there.
    fn driver_added(&self, bus: &'static str, driver: &'static str) {
        let _ = (bus, driver);
    }
    /// A driver is gone.
    fn driver_removed(&self, bus: &'static str, driver: &'static str) {
        let _ = (bus, driver);
    }
    /// A device is there.
    fn device_added(&self, device: &Described<'_>) {
        let _ = device;
    }
    /// A device is gone.
    fn device_removed(&self, bus: &'static str, name: &str, path: &str) {
        let _ = (bus, name, path);
    }
    /// A driver serves a device.
    fn bound(&self, bus: &'static str, name: &str, path: &str, driver: &'static str) {
        let _ = (bus, name, path, driver);
    }
    /// A driver no longer serves a device.
    fn unbound(&self, bus: &'static str, name: &str, path: &str, driver: &'static str) {
        let _ = (bus, name, path, driver);
    }
    /// Makes what a driver offers reachable for programs, below the device's directory `path`.
    ///
    /// # Errors
    /// `None` if there is no place for it; the interface is dropped.
    fn publish(&self, path: &str, interface: Interface) -> Option<Published> {
        let _ = (path, interface);
        Some(Published::nowhere())
    }
    /// Takes random bytes of a quality that the driver vouches for.
    fn entropy(&self, bytes: &[u8]) {
        let _ = bytes;
    }
}

/// Shows nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoUpper;

impl Upper for NoUpper {}

/// What a driver offers.
pub enum Interface {
    /// A character device.
    Char {
        /// Name of the node in `/dev`.
        name: String,
        /// Directory below `/sys/class`.
        class: &'static str,
        /// Its number among the devices of major 10, if it has one of its own.
        minor: Option<u32>,
        /// Its operations.
        device: Arc<dyn CharDevice>,
    },
    /// A disk, with its partitions.
    Disk(Arc<Disk>),
    /// Keys and buttons.
    Input(Arc<Input>),
    /// A terminal's line.
    Terminal(Arc<dyn TerminalPort>),
}

/// What was published, until it is dropped.
pub struct Published(Arc<SpinLock<Option<Guard>>>);

/// Takes something back when it is dropped.
type Guard = Box<dyn Send + Sync>;

impl Published {
    /// Taken back by dropping `guard`.
    pub fn new(guard: impl Send + Sync + 'static) -> Self {
        Self(Arc::new(SpinLock::new(Some(Box::new(guard)))))
    }

    /// Published where nobody sees it.
    pub fn nowhere() -> Self {
        Self(Arc::default())
    }

    /// Takes it back, for when its owner cannot.
    pub(super) fn revoker(&self) -> impl FnOnce() + Send + 'static {
        let guard = Arc::downgrade(&self.0);
        move || {
            let guard = guard.upgrade().and_then(|guard| guard.lock().take());
            drop(guard);
        }
    }
}

impl core::fmt::Debug for Published {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Published")
    }
}

/// Why a character device does not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CharError {
    /// Nothing to read, or no room: wait for a change and ask again.
    NotReady,
    /// What was written makes no sense to it.
    Invalid,
    /// The device failed.
    Device,
    /// The device is gone.
    Gone,
}

/// What can be done with a character device now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Reading gives something, an error included.
    pub read: bool,
    /// Writing is taken.
    pub write: bool,
}

/// A character device: attempts that never wait, and a queue to wait on between them.
pub trait CharDevice: Send + Sync + 'static {
    /// Offers what there is to read to `take`, which answers how many bytes of it, from the first on, are read now: the
    /// rest stays, so that nothing is lost where the reader's memory is missing.
    ///
    /// # Errors
    /// [`CharError`].
    fn read(&self, take: &mut dyn FnMut(&[u8]) -> usize) -> Result<usize, CharError>;

    /// Writes, and answers how many bytes were taken.
    ///
    /// # Errors
    /// [`CharError`].
    fn write(&self, bytes: &[u8]) -> Result<usize, CharError>;

    /// What can be done now.
    fn readiness(&self) -> Readiness;

    /// Woken when [`CharDevice::readiness`] may have changed.
    fn changed(&self) -> Arc<WaitQueue>;
}

/// A line with a terminal at its far end: what a driver offers.
pub trait TerminalPort: Send + Sync + 'static {
    /// Gives it the near end, which it takes bytes from and brings bytes to from now on.
    fn attach(&self, end: Arc<dyn TerminalEnd>);

    /// There is output, or room for input: called when there may be.
    ///
    /// # Context
    /// Any.
    fn changed(&self);

    /// Columns and rows of the far end, where it tells.
    fn size(&self) -> Option<(u16, u16)> {
        None
    }
}

/// The terminal at the near end of a line.
pub trait TerminalEnd: Send + Sync + 'static {
    /// Takes received bytes, as many as there is room for, and answers how many.
    fn received(&self, bytes: &[u8]) -> usize;

    /// Fills `buf` with the next bytes to send, and answers how many there were.
    fn next_output(&self, buf: &mut [u8]) -> usize;

    /// All that was handed out was sent.
    fn output_sent(&self);

    /// The far end has another size.
    fn resized(&self, size: (u16, u16)) {
        let _ = size;
    }
}
