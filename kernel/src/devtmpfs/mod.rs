//! devtmpfs: a tmpfs in which the kernel makes the device nodes, and the devices that are nothing but memory.
//!
//! There is one instance, which every mount shows. Programs may add to it and take away, as from any tmpfs.

mod kmsg;
mod memory;

use alloc::sync::Arc;

use conquer_once::noblock::OnceCell;
use fs::dentry::Dentry;
use fs::inode::{S_IFBLK, S_IFCHR, make_dev};
use fs::namei::Walk;
use fs::superblock::{FileSystemType, register_filesystem};
use fs::{Credentials, Errno, Mount, Result, dirops, tmpfs};

/// The root, mounted where nobody sees it.
static INSTANCE: OnceCell<Arc<Mount>> = OnceCell::uninit();

/// The type, for `mount -t devtmpfs`.
#[derive(Debug)]
struct DevtmpfsType;

impl FileSystemType for DevtmpfsType {
    fn name(&self) -> &'static str {
        "devtmpfs"
    }

    fn mount(&self, _: &[u8], _: &[u8]) -> Result<Arc<Dentry>> {
        let mount = INSTANCE.try_get().map_err(|_| Errno::ENODEV)?;
        Ok(mount.root().clone())
    }
}

/// Makes the node `name` of the character device `major:minor`, in a directory of its own if the name has one.
///
/// # Context
/// Task.
/// # Errors
/// `EEXIST`, `ENOMEM`; `ENODEV` before [`init`].
pub fn add(name: &str, mode: u32, number: (u32, u32)) -> Result<()> {
    add_node(name, S_IFCHR | mode, number)
}

/// Makes the node `name` of the block device `major:minor`.
///
/// # Context
/// Task.
/// # Errors
/// As [`add`].
pub fn add_block(name: &str, mode: u32, number: (u32, u32)) -> Result<()> {
    add_node(name, S_IFBLK | mode, number)
}

/// Takes the node `name` away.
///
/// # Context
/// Task.
/// # Errors
/// `ENOENT` if somebody has done so before; `ENODEV` before [`init`].
pub fn remove(name: &str) -> Result<()> {
    with_walk(|walk| dirops::unlink(walk, name.as_bytes()))
}

fn add_node(name: &str, mode: u32, (major, minor): (u32, u32)) -> Result<()> {
    with_walk(|walk| {
        if let Some((dir, _)) = name.rsplit_once('/') {
            match dirops::mkdir(walk, dir.as_bytes(), 0o755, 0) {
                Ok(_) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(error),
            }
        }
        let number = make_dev(major, minor);
        dirops::mknod(walk, name.as_bytes(), mode, number, 0).map(|_| ())
    })
}

fn with_walk<T>(act: impl FnOnce(&Walk<'_>) -> Result<T>) -> Result<T> {
    let root = INSTANCE.try_get().map_err(|_| Errno::ENODEV)?.root_path();
    let cred = Credentials::root();
    act(&Walk {
        root: &root,
        start: &root,
        cred: &cred,
    })
}

/// Makes the file system with the nodes of the memory devices, and registers both.
///
/// # Context
/// Task, at the end of the boot.
/// # Errors
/// `ENOMEM`; `EBUSY` if it was done before.
pub fn init() -> Result<()> {
    let mount = Mount::internal(tmpfs::instance("devtmpfs", 0o755)?)?;
    INSTANCE.try_init_once(|| mount).map_err(|_| Errno::EBUSY)?;
    register_filesystem(&DevtmpfsType)?;
    memory::init()?;
    kmsg::init()
}
