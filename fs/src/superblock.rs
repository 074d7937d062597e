//! Mounted file systems and their types.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::dentry::Dentry;
use crate::inode::make_dev;
use crate::stat::StatFs;
use crate::sync::{SpinLock, SpinLockGuard};
use crate::{Errno, Result};

/// The operations of a file system as a whole.
pub trait SuperOps: Any + Send + Sync {
    /// Returns the figures of `statfs`.
    fn statfs(&self) -> StatFs;

    /// Brings everything to stable storage.
    fn sync(&self) -> Result<()> {
        Ok(())
    }

    /// Changes options of a mounted file system.
    fn remount(&self, options: &[u8]) -> Result<()> {
        let _ = options;
        Ok(())
    }

    /// Writes the options as `/proc/mounts` shows them, each with a comma in front.
    fn show_options(&self, out: &mut String) {
        let _ = out;
    }
}

/// A mounted file system.
pub struct SuperBlock {
    dev: u64,
    kind: &'static str,
    magic: u64,
    read_only: AtomicBool,
    /// Mounts that show some part of it.
    mounts: AtomicU32,
    /// Files open for writing, through whatever mount.
    writers: AtomicU32,
    /// Held by renames across directories.
    renames: SpinLock<()>,
    ops: Box<dyn SuperOps>,
}

impl fmt::Debug for SuperBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SuperBlock({} dev {:#x})", self.kind, self.dev)
    }
}

impl SuperBlock {
    /// Makes the superblock of a file system that has no device, under a device number of its own (`0:N`).
    pub fn anonymous(kind: &'static str, magic: u64, ops: Box<dyn SuperOps>) -> Arc<SuperBlock> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let dev = make_dev(0, NEXT.fetch_add(1, Ordering::Relaxed));
        Arc::new(SuperBlock {
            dev,
            kind,
            magic,
            read_only: AtomicBool::new(false),
            mounts: AtomicU32::new(0),
            writers: AtomicU32::new(0),
            renames: SpinLock::new(()),
            ops,
        })
    }

    /// Returns the device number that `stat` shows.
    #[inline]
    pub fn dev(&self) -> u64 {
        self.dev
    }

    /// Returns the type's name.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Returns the number that `statfs` shows as type.
    pub fn magic(&self) -> u64 {
        self.magic
    }

    /// Tells whether nothing on it may change.
    #[inline]
    pub fn read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    /// Sets or clears read-only.
    pub fn set_read_only(&self, read_only: bool) {
        self.read_only.store(read_only, Ordering::Relaxed);
    }

    /// Keeps the tree as it is, for a rename across directories.
    pub(crate) fn lock_renames(&self) -> SpinLockGuard<'_, ()> {
        self.renames.lock()
    }

    pub(crate) fn add_writer(&self) {
        self.writers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn remove_writer(&self) {
        self.writers.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn writers(&self) -> u32 {
        self.writers.load(Ordering::Relaxed)
    }

    pub(crate) fn add_mount(&self) {
        self.mounts.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one mount less and tells whether it was the last.
    pub(crate) fn remove_mount(&self) -> bool {
        self.mounts.fetch_sub(1, Ordering::Relaxed) == 1
    }

    /// Returns the operations.
    pub fn ops(&self) -> &dyn SuperOps {
        &*self.ops
    }

    /// Returns the operations as the concrete type `T`, if they are one.
    pub fn ops_as<T: SuperOps>(&self) -> Option<&T> {
        let any: &dyn Any = &*self.ops;
        any.downcast_ref()
    }
}

/// A kind of file system that `mount` knows by name.
pub trait FileSystemType: Send + Sync {
    /// Returns the name for `mount -t`.
    fn name(&self) -> &'static str;

    /// Tells whether it needs a block device (without one, `/proc/filesystems` says `nodev`).
    fn needs_device(&self) -> bool {
        false
    }

    /// Makes, or finds, a superblock and returns its root.
    fn mount(&self, source: &[u8], options: &[u8]) -> Result<Arc<Dentry>>;
}

/// Checks that no options were given.
pub fn no_options(options: &[u8]) -> Result<()> {
    if options.is_empty() {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

static TYPES: SpinLock<Vec<&'static dyn FileSystemType>> = SpinLock::new(Vec::new());

/// Makes a file system type known to `mount`.
///
/// # Errors
/// `EBUSY` if the name is taken.
pub fn register_filesystem(kind: &'static dyn FileSystemType) -> Result<()> {
    let mut types = TYPES.lock();
    if types.iter().any(|t| t.name() == kind.name()) {
        return Err(Errno::EBUSY);
    }
    types.push(kind);
    Ok(())
}

/// Finds a file system type by name.
pub fn filesystem(name: &[u8]) -> Option<&'static dyn FileSystemType> {
    TYPES
        .lock()
        .iter()
        .find(|t| t.name().as_bytes() == name)
        .copied()
}

/// Writes `/proc/filesystems`.
pub fn show_filesystems(out: &mut String) {
    let types = TYPES.lock().clone();
    for kind in types {
        out.push_str(if kind.needs_device() { "\t" } else { "nodev\t" });
        out.push_str(kind.name());
        out.push('\n');
    }
}
