//! Files whose bytes take their time: disks.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;

use super::File;
use crate::Result;

/// A transfer under way.
pub type Transfer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// Bytes that were read.
pub type Bytes = Box<dyn AsRef<[u8]> + Send>;

/// The operations of a file that cannot answer at once: its plain ones say `EIOCBQUEUED`, and whoever can wait does
/// these instead.
///
/// # Cancel safety
/// Of all: dropping a future abandons the result, not the transfer.
pub trait SlowIo: Send + Sync {
    /// Reads at most `len` bytes at `pos`; none at the end.
    ///
    /// # Errors
    /// `EIO`, and the file's own.
    fn read_at<'a>(&'a self, file: &'a File, pos: u64, len: usize) -> Transfer<'a, Bytes>;

    /// Writes at `pos`, and answers how many bytes it took, at least one.
    ///
    /// # Errors
    /// `EIO`, `ENOSPC` at the end, and the file's own.
    fn write_at<'a>(&'a self, file: &'a File, pos: u64, bytes: Vec<u8>) -> Transfer<'a, usize>;

    /// Brings what was written to stable storage.
    ///
    /// # Errors
    /// `EIO`.
    fn sync<'a>(&'a self, file: &'a File) -> Transfer<'a, ()>;

    /// The most bytes that a transfer is worth splitting for.
    fn chunk(&self) -> usize;
}
