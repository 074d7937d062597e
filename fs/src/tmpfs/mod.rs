//! tmpfs: files that live in memory.
//!
//! Regular files are page caches with nothing behind them; directories are ordered maps. Both count against the limits of the
//! mount (`size=`, `nr_inodes=`). It is also what the root file system and `memfd_create` are made of.

mod dir;
mod node;
mod options;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::dentry::Dentry;
use crate::file::{File, Positioning, oflag};
use crate::inode::{Inode, NewNode, S_IFDIR, S_IFREG};
use crate::mapping::{Account, Mapping};
use crate::mount::{Mount, Path};
use crate::pagefile::{PageFile, root_owned};
use crate::stat::StatFs;
use crate::superblock::{FileSystemType, SuperBlock, SuperOps};
use crate::sync::SpinLock;
use crate::{Errno, Result, seal};

use node::Node;
use options::Options;

/// The magic number of tmpfs in `statfs`.
pub const TMPFS_MAGIC: u64 = 0x0102_1994;

static TOTAL_PAGES: AtomicU64 = AtomicU64::new(0);

/// Tells how many pages of memory there are; half of it is the default size of a tmpfs.
pub fn set_total_pages(pages: u64) {
    TOTAL_PAGES.store(pages, Ordering::Relaxed);
}

/// The default limit of pages, and of inodes.
fn default_limit() -> u64 {
    match TOTAL_PAGES.load(Ordering::Relaxed) {
        0 => u64::MAX,
        pages => pages / 2,
    }
}

/// A count with a limit.
#[derive(Debug)]
struct Quota {
    limit: AtomicU64,
    used: AtomicU64,
}

impl Quota {
    fn new(limit: u64) -> Quota {
        Quota {
            limit: AtomicU64::new(limit),
            used: AtomicU64::new(0),
        }
    }

    fn charge(&self, count: u64) -> Result<()> {
        let limit = self.limit.load(Ordering::Relaxed);
        if self.used.fetch_add(count, Ordering::Relaxed) + count > limit {
            self.uncharge(count);
            return Err(Errno::ENOSPC);
        }
        Ok(())
    }

    fn uncharge(&self, count: u64) {
        self.used.fetch_sub(count, Ordering::Relaxed);
    }

    fn free(&self) -> u64 {
        let limit = self.limit.load(Ordering::Relaxed);
        limit.saturating_sub(self.used.load(Ordering::Relaxed))
    }

    /// Sets another limit, but not below what is in use.
    fn set_limit(&self, limit: u64) -> Result<()> {
        if limit < self.used.load(Ordering::Relaxed) {
            return Err(Errno::EINVAL);
        }
        self.limit.store(limit, Ordering::Relaxed);
        Ok(())
    }
}

/// What all inodes of one tmpfs share.
#[derive(Debug)]
struct Tmpfs {
    pages: Quota,
    inodes: Quota,
    next_ino: AtomicU64,
    options: SpinLock<Options>,
    file_ops: Arc<PageFile>,
    dir_ops: Arc<dir::TmpDir>,
}

impl Account for Tmpfs {
    fn charge(&self, pages: u64) -> Result<()> {
        self.pages.charge(pages)
    }

    fn uncharge(&self, pages: u64) {
        self.pages.uncharge(pages);
    }
}

/// The superblock's side of [`Tmpfs`].
struct Super(Arc<Tmpfs>);

impl SuperOps for Super {
    fn statfs(&self) -> StatFs {
        let (pages, inodes) = (&self.0.pages, &self.0.inodes);
        let mut stat = StatFs::simple(TMPFS_MAGIC);
        // Without a limit the figures stay zero, as Linux has it.
        let limit = pages.limit.load(Ordering::Relaxed);
        if limit != u64::MAX {
            (stat.blocks, stat.bfree, stat.bavail) = (limit, pages.free(), pages.free());
        }
        let limit = inodes.limit.load(Ordering::Relaxed);
        if limit != u64::MAX {
            (stat.files, stat.ffree) = (limit, inodes.free());
        }
        stat
    }

    fn remount(&self, options: &[u8]) -> Result<()> {
        let old = *self.0.options.lock();
        let new = Options::parse(options, old)?;
        if new.pages != old.pages {
            self.0.pages.set_limit(new.pages)?;
        }
        if new.inodes != old.inodes {
            self.0.inodes.set_limit(new.inodes)?;
        }
        *self.0.options.lock() = Options {
            mode: old.mode,
            uid: old.uid,
            gid: old.gid,
            ..new
        };
        Ok(())
    }

    fn show_options(&self, out: &mut String) {
        let options = *self.0.options.lock();
        if options.pages != default_limit() {
            let pages = if options.pages == u64::MAX {
                0
            } else {
                options.pages
            };
            let _ = write!(out, ",size={}k", pages * 4);
        }
        if options.inodes != default_limit() {
            let inodes = if options.inodes == u64::MAX {
                0
            } else {
                options.inodes
            };
            let _ = write!(out, ",nr_inodes={inodes}");
        }
        if options.mode != 0o1777 {
            let _ = write!(out, ",mode={:03o}", options.mode);
        }
        if options.uid != 0 {
            let _ = write!(out, ",uid={}", options.uid);
        }
        if options.gid != 0 {
            let _ = write!(out, ",gid={}", options.gid);
        }
        out.push_str(",inode64");
    }
}

/// Makes an empty tmpfs under the type name `kind` and returns its root.
fn create(kind: &'static str, options: Options) -> Result<Arc<Dentry>> {
    let fs = Arc::new(Tmpfs {
        pages: Quota::new(options.pages),
        inodes: Quota::new(options.inodes),
        next_ino: AtomicU64::new(1),
        options: SpinLock::new(options),
        file_ops: Arc::new(PageFile),
        dir_ops: Arc::new(dir::TmpDir),
    });
    let sb = SuperBlock::anonymous(kind, TMPFS_MAGIC, Box::new(Super(fs.clone())));
    let new = NewNode {
        uid: options.uid,
        gid: options.gid,
        ..root_owned(S_IFDIR | options.mode)
    };
    Ok(Dentry::root(fs.new_inode(&sb, &new)?, b""))
}

impl Tmpfs {
    /// Makes an inode of any type; a file that has a name cannot be sealed.
    fn new_inode(self: &Arc<Self>, sb: &Arc<SuperBlock>, new: &NewNode<'_>) -> Result<Arc<Inode>> {
        self.new_sealed(sb, new, seal::SEAL)
    }

    fn new_sealed(
        self: &Arc<Self>,
        sb: &Arc<SuperBlock>,
        new: &NewNode<'_>,
        seals: u32,
    ) -> Result<Arc<Inode>> {
        self.inodes.charge(1)?;
        let node = Node::new(self.clone(), new).inspect_err(|_| self.inodes.uncharge(1))?;
        let ino = self.next_ino.fetch_add(1, Ordering::Relaxed);
        let mapping = (new.mode & crate::inode::S_IFMT == S_IFREG)
            .then(|| Mapping::sealed(Some(self.clone() as Arc<dyn Account>), seals));
        let inode = Inode::new(sb, ino, new, mapping, Box::new(node));
        if inode.is_dir() {
            inode.set_size(2 * dir::DIRENT_SIZE);
        }
        Ok(inode)
    }
}

/// The type `tmpfs`, and `ramfs` under another name.
#[derive(Debug)]
struct TmpfsType(&'static str);

impl FileSystemType for TmpfsType {
    fn name(&self) -> &'static str {
        self.0
    }

    fn mount(&self, _source: &[u8], options: &[u8]) -> Result<Arc<Dentry>> {
        create(self.0, Options::parse(options, Options::default())?)
    }
}

/// Registers `tmpfs` and `ramfs`.
///
/// # Errors
/// `EBUSY` if it was done before.
pub fn register() -> Result<()> {
    crate::superblock::register_filesystem(&TmpfsType("tmpfs"))?;
    crate::superblock::register_filesystem(&TmpfsType("ramfs"))
}

/// Makes the root file system: an empty tmpfs with its usual permissions, as on Linux, mounted on nothing.
pub fn rootfs() -> Result<Arc<Mount>> {
    Mount::new(create("rootfs", Options::default())?, b"rootfs", 0)
}

/// Makes an empty tmpfs that shows under another type's name (devtmpfs), its root with permission bits `mode`.
///
/// # Errors
/// `ENOMEM`.
pub fn instance(kind: &'static str, mode: u32) -> Result<Arc<Dentry>> {
    let options = Options {
        mode,
        ..Options::default()
    };
    create(kind, options)
}

/// Makes a file without a name in any directory, as `memfd_create` wants it.
///
/// # Errors
/// `EINVAL` for a name over 249 bytes, `ENOSPC`, `ENOMEM`.
pub fn memfd(name: &[u8], flags: u32, seals: u32, uid: u32, gid: u32) -> Result<Arc<File>> {
    if name.len() > 249 {
        return Err(Errno::EINVAL);
    }
    let mut full = alloc::vec::Vec::from(&b"memfd:"[..]);
    full.extend_from_slice(name);
    nameless(&full, flags, seals, uid, gid)
}

/// Makes a file that is in no directory and shows as `name`, which is at most 255 bytes long.
///
/// # Errors
/// `ENOSPC`, `ENOMEM`.
pub fn nameless(name: &[u8], flags: u32, seals: u32, uid: u32, gid: u32) -> Result<Arc<File>> {
    static MOUNT: SpinLock<Option<Arc<Mount>>> = SpinLock::new(None);
    let mount = {
        let mut mount = MOUNT.lock();
        if mount.is_none() {
            *mount = Some(Mount::internal(create("tmpfs", Options::unlimited())?)?);
        }
        mount.clone().ok_or(Errno::ENOMEM)?
    };
    let root = mount.root().existing()?;
    let node = root.ops_as::<Node>().ok_or(Errno::EINVAL)?;
    let new = NewNode {
        uid,
        gid,
        ..root_owned(S_IFREG | 0o777)
    };
    let inode = node.fs().new_sealed(mount.sb(), &new, seals)?;
    inode.set_nlink(0);
    let dentry = Dentry::nameless(mount.root(), name, inode);
    let ops = node.fs().file_ops.clone();
    File::new(
        ops,
        Path { mount, dentry },
        flags | oflag::O_RDWR,
        Positioning::Seekable,
    )
}

#[cfg(test)]
mod tests;
