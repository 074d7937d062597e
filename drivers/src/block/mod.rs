//! Block devices: requests that are futures over owned buffers, and the partitions of disks.

pub mod partition;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::Pin;

use crate::dma::{DmaBuf, NoMemory};

/// The unit in which disks count, whatever their own blocks are.
pub const SECTOR: usize = 512;

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockError {
    /// It reaches beyond the end of the disk, or is not a whole number of sectors.
    OutOfRange,
    /// The disk cannot be written.
    ReadOnly,
    /// The disk cannot do that.
    Unsupported,
    /// The disk says that it failed, or what it said cannot be.
    Device,
    /// It did not answer in time.
    TimedOut,
    /// It is gone.
    Gone,
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfRange => "beyond the end of the disk",
            Self::ReadOnly => "the disk cannot be written",
            Self::Unsupported => "the disk cannot do that",
            Self::Device => "the disk failed",
            Self::TimedOut => "the disk did not answer in time",
            Self::Gone => "the disk is gone",
        })
    }
}

impl core::error::Error for BlockError {}

/// A request that failed, with its buffer, unless the device may still write to that.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub error: BlockError,
    /// The buffer.
    pub buffer: Option<DmaBuf>,
}

/// A request under way.
pub type BlockFuture<'a> = Pin<Box<dyn Future<Output = Result<DmaBuf, Failed>> + Send + 'a>>;

/// What is known of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Its size in sectors of [`SECTOR`] bytes.
    pub sectors: u64,
    /// Its own unit in bytes: smaller requests are refused.
    pub block_size: u32,
    /// Whether it cannot be written.
    pub read_only: bool,
    /// The largest request in bytes.
    pub max_bytes: usize,
}

/// A block device.
///
/// # Cancel safety
/// Of all its futures: dropping one abandons the result, not the transfer. The driver keeps the buffer until the device
/// is through with it.
pub trait BlockDevice: Send + Sync + 'static {
    /// Size and limits.
    fn geometry(&self) -> Geometry;

    /// What it calls itself; empty if it does not.
    fn serial(&self) -> String {
        String::new()
    }

    /// A buffer for its requests.
    ///
    /// # Errors
    /// [`NoMemory`].
    fn buffer(&self, len: usize) -> Result<DmaBuf, NoMemory>;

    /// Fills `buffer` from sector `sector` on.
    ///
    /// # Errors
    /// [`BlockError`], with the buffer.
    fn read(&self, sector: u64, buffer: DmaBuf) -> BlockFuture<'_>;

    /// Writes `buffer` from sector `sector` on.
    ///
    /// # Errors
    /// As [`BlockDevice::read`].
    fn write(&self, sector: u64, buffer: DmaBuf) -> BlockFuture<'_>;

    /// Brings everything written before to stable storage.
    ///
    /// # Errors
    /// [`BlockError`].
    fn flush(&self) -> Pin<Box<dyn Future<Output = Result<(), BlockError>> + Send + '_>>;
}

/// A disk as it is published: a name and the device behind it.
pub struct Disk {
    /// Its name in `/dev`.
    pub name: String,
    /// Its number among its driver's disks, from which its minor numbers follow.
    pub index: u32,
    /// The device.
    pub device: Arc<dyn BlockDevice>,
    /// Its parts.
    pub partitions: Vec<partition::Partition>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("name", &self.name)
            .field("geometry", &self.device.geometry())
            .finish_non_exhaustive()
    }
}
