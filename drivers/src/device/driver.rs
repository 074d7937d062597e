//! What a driver is.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::future::Future;
use core::pin::Pin;

use executor::time::Elapsed;

use super::Device;
use crate::dma::NoMemory;

/// A driver's whole life with one device.
pub type DriverFuture = Pin<Box<dyn Future<Output = Result<(), DriverError>> + Send>>;

/// A driver of devices of a bus.
pub struct Driver<D: 'static> {
    /// Its name, as sysfs shows it.
    pub name: &'static str,
    /// Whether it is for such a device.
    pub matches: fn(&D) -> bool,
    /// Serves one device.
    pub run: fn(Arc<Device<D>>) -> DriverFuture,
}

impl<D> fmt::Debug for Driver<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Driver").field(&self.name).finish()
    }
}

/// Why a driver does not serve a device, or no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverError {
    /// Something that it needs is not there yet: it is tried again when another device is bound.
    Defer,
    /// It is not one of its devices after all.
    NotMine,
    /// No memory, or none that the device can reach.
    NoMemory,
    /// The registers are missing or too few.
    NoRegisters,
    /// No interrupt is to be had.
    NoInterrupt,
    /// The device did not answer in time.
    Silent,
    /// The device is gone.
    Gone,
    /// The device said something that cannot be.
    Lied(&'static str),
    /// It has no name left, or the upper side has no place for it.
    NoPlace,
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Defer => "something it needs is not there yet",
            Self::NotMine => "not one of its devices",
            Self::NoMemory => "no memory that the device can reach",
            Self::NoRegisters => "registers are missing",
            Self::NoInterrupt => "no interrupt is to be had",
            Self::Silent => "the device does not answer",
            Self::Gone => "the device is gone",
            Self::Lied(what) => what,
            Self::NoPlace => "no place for it",
        })
    }
}

impl core::error::Error for DriverError {}

impl From<NoMemory> for DriverError {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}

impl From<Elapsed> for DriverError {
    fn from(_: Elapsed) -> Self {
        Self::Silent
    }
}
