//! Mounts: which file system is seen where.

use alloc::sync::Arc;
use core::fmt;

use crate::dentry::Dentry;
use crate::superblock::SuperBlock;

/// A place in the tree: a dentry as seen through a mount.
#[derive(Clone)]
pub struct Path {
    /// The mount.
    pub mount: Arc<Mount>,
    /// The dentry, on the mount's file system.
    pub dentry: Arc<Dentry>,
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Path({:?})", self.dentry)
    }
}

/// A file system, or a part of one, in the tree.
pub struct Mount {
    id: u64,
    sb: Arc<SuperBlock>,
}

impl Mount {
    /// Returns the mount's id.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns the file system.
    pub fn sb(&self) -> &Arc<SuperBlock> {
        &self.sb
    }
}

/// What paths of a process start from.
#[derive(Clone, Debug)]
pub struct FsContext {
    /// What `/` means.
    pub root: Path,
    /// Where relative paths start.
    pub cwd: Path,
    /// Permission bits taken from new files.
    pub umask: u32,
}
