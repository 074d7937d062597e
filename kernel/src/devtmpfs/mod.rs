//! devtmpfs: a tmpfs in which the kernel makes the device nodes, and the devices that are nothing but memory.
//!
//! There is one instance, which every mount shows. Programs may add to it and take away, as from any tmpfs.

mod kmsg;
mod memory;

use alloc::sync::Arc;

use conquer_once::noblock::OnceCell;
use fs::dentry::Dentry;
use fs::inode::{S_IFCHR, make_dev};
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

/// Makes the node `name` of the character device `major:minor`.
///
/// # Context
/// Task.
/// # Errors
/// `EEXIST`, `ENOMEM`; `ENODEV` before [`init`].
pub fn add(name: &str, mode: u32, (major, minor): (u32, u32)) -> Result<()> {
    let root = INSTANCE.try_get().map_err(|_| Errno::ENODEV)?.root_path();
    let cred = Credentials::root();
    let walk = Walk {
        root: &root,
        start: &root,
        cred: &cred,
    };
    dirops::mknod(
        &walk,
        name.as_bytes(),
        S_IFCHR | mode,
        make_dev(major, minor),
        0,
    )
    .map(|_| ())
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
