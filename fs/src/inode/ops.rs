//! What a file system does for an inode: [`InodeOps`], and what its calls are told.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

use super::Inode;
use crate::file::FileOps;
use crate::mount::Path;
use crate::stat::Stat;
use crate::time::Time;
use crate::{Errno, Result};

/// What to create: the attributes of a new inode.
#[derive(Clone, Copy, Debug)]
pub struct NewNode<'a> {
    /// Type and permission bits, umask already applied.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group, set-group-id directory already considered.
    pub gid: u32,
    /// Device number of a device node.
    pub rdev: u64,
    /// Target of a symbolic link.
    pub target: Option<&'a [u8]>,
}

/// Attributes to change; `None` stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetAttr {
    /// Permission bits (the type stays).
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<Time>,
    /// Last modification.
    pub mtime: Option<Time>,
}

/// Where a symbolic link leads.
#[derive(Clone, Debug)]
pub enum LinkTarget {
    /// To a path, walked from the link's directory.
    Text(Arc<[u8]>),
    /// Straight to an object, as the links of `/proc/PID/fd` do.
    Jump(Path),
}

/// The flags of `renameat2`.
pub mod rename_flag {
    /// Fail with `EEXIST` if the new name exists.
    pub const NOREPLACE: u32 = 1;
    /// Swap the two names.
    pub const EXCHANGE: u32 = 2;
    /// Leave a whiteout behind.
    pub const WHITEOUT: u32 = 4;
}

/// One side of a rename.
#[derive(Clone, Copy)]
pub struct RenameSide<'a> {
    /// The directory.
    pub dir: &'a Arc<Inode>,
    /// The name in it.
    pub name: &'a [u8],
    /// What the name leads to, if anything.
    pub inode: Option<&'a Arc<Inode>>,
}

/// The operations of an inode; each default is what Linux answers for an inode without it.
///
/// Calls that change a directory are made with its lock held ([`Inode::lock_dir`]), names checked, permissions granted and,
/// where a name must or must not exist, that looked up already. File systems check none of it again.
pub trait InodeOps: Any + Send + Sync {
    /// Finds `name` in this directory; `ENOENT` if it is not there.
    fn lookup(&self, dir: &Arc<Inode>, name: &[u8]) -> Result<Arc<Inode>> {
        let _ = (dir, name);
        Err(Errno::ENOTDIR)
    }

    /// Tells whether lookups in this directory may be remembered. Directories whose contents come and go by themselves say no.
    fn cacheable(&self) -> bool {
        true
    }

    /// Creates `name`: a file, directory, link or node as `new.mode` says.
    fn create(&self, dir: &Arc<Inode>, name: &[u8], new: &NewNode<'_>) -> Result<Arc<Inode>> {
        let _ = (dir, name, new);
        Err(Errno::EPERM)
    }

    /// Creates a file without a name (`O_TMPFILE`).
    fn tmpfile(&self, dir: &Arc<Inode>, new: &NewNode<'_>) -> Result<Arc<Inode>> {
        let _ = (dir, new);
        Err(Errno::EOPNOTSUPP)
    }

    /// Adds the name `name` for `inode`.
    fn link(&self, dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        let _ = (dir, name, inode);
        Err(Errno::EPERM)
    }

    /// Removes the name `name` of the non-directory `inode`.
    fn unlink(&self, dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        let _ = (dir, name, inode);
        Err(Errno::EPERM)
    }

    /// Removes the directory `inode`; `ENOTEMPTY` if it has entries.
    fn rmdir(&self, dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        let _ = (dir, name, inode);
        Err(Errno::EPERM)
    }

    /// Renames `from` to `to`, replacing what is there (`ENOTEMPTY` for a directory with entries), or exchanges both.
    fn rename(&self, from: RenameSide<'_>, to: RenameSide<'_>, flags: u32) -> Result<()> {
        let _ = (from, to, flags);
        Err(Errno::EPERM)
    }

    /// Returns where this symbolic link leads.
    fn link_target(&self, inode: &Arc<Inode>) -> Result<LinkTarget> {
        let _ = inode;
        Err(Errno::EINVAL)
    }

    /// Returns the text of this symbolic link for `readlink`; `None` means that [`link_target`](InodeOps::link_target) has it.
    fn link_text(&self, inode: &Arc<Inode>) -> Result<Option<Vec<u8>>> {
        let _ = inode;
        Ok(None)
    }

    /// Opens a regular file or directory. Devices, FIFOs and sockets are opened by the VFS.
    fn open(&self, inode: &Arc<Inode>, flags: u32) -> Result<Arc<dyn FileOps>> {
        let _ = (inode, flags);
        Err(Errno::ENXIO)
    }

    /// Changes attributes, already checked, on the file system's side and on the inode's.
    fn setattr(&self, inode: &Inode, attr: &SetAttr) -> Result<()> {
        if attr.size.is_some() {
            return Err(Errno::EINVAL);
        }
        inode.apply(attr);
        Ok(())
    }

    /// Adjusts what `stat` answers.
    fn getattr(&self, inode: &Inode, stat: &mut Stat) -> Result<()> {
        let _ = (inode, stat);
        Ok(())
    }

    /// Returns the value of an extended attribute.
    fn get_xattr(&self, inode: &Inode, name: &[u8]) -> Result<Vec<u8>> {
        let _ = (inode, name);
        Err(Errno::EOPNOTSUPP)
    }

    /// Sets an extended attribute; `flags` are `XATTR_CREATE`, `XATTR_REPLACE`.
    fn set_xattr(&self, inode: &Inode, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        let _ = (inode, name, value, flags);
        Err(Errno::EOPNOTSUPP)
    }

    /// Removes an extended attribute.
    fn remove_xattr(&self, inode: &Inode, name: &[u8]) -> Result<()> {
        let _ = (inode, name);
        Err(Errno::EOPNOTSUPP)
    }

    /// Calls `each` with the name of every extended attribute.
    fn list_xattr(&self, inode: &Inode, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        let _ = (inode, each);
        Err(Errno::EOPNOTSUPP)
    }

    /// Runs once, when neither names nor open files are left.
    fn evict(&self, inode: &Inode) {
        let _ = inode;
    }
}
