//! sysfs: devices as directories, their attributes as files.
//!
//! The tree is made when it is first asked for, with CPUs, the memory and terminal devices, and the directories that
//! programs expect to find; devices that are found, plugged and unplugged later come and go in it ([`tree`]).
//!
//! Source: sysfs(5), Linux's Documentation/ABI.

mod clock;
mod cpu;
mod devices;
mod tree;

pub use devices::{Class, add_device, remove_device};
pub use tree::Tree;

use alloc::sync::Arc;

use conquer_once::noblock::OnceCell;
use executor::sync::SpinLock;
use fs::Result;
use fs::dentry::Dentry;
use fs::superblock::{FileSystemType, no_options, register_filesystem};

use crate::pseudofs;

/// `SYSFS_MAGIC`.
const MAGIC: u64 = 0x6265_6572;

/// The one instance, made by the first mount.
static INSTANCE: SpinLock<Option<Arc<Dentry>>> = SpinLock::new(None);
/// What it shows.
static TREE: OnceCell<Tree> = OnceCell::uninit();

/// The tree, to add to and to take from.
///
/// # Context
/// Task.
pub fn tree() -> &'static Tree {
    // Fails only if it is there.
    let _ = TREE.try_init_once(build);
    TREE.try_get().expect("made above")
}

/// The type, for `mount -t sysfs`.
#[derive(Debug)]
struct SysfsType;

impl FileSystemType for SysfsType {
    fn name(&self) -> &'static str {
        "sysfs"
    }

    fn mount(&self, _: &[u8], options: &[u8]) -> Result<Arc<Dentry>> {
        no_options(options)?;
        let kept = INSTANCE.lock().clone();
        if let Some(root) = kept {
            return Ok(root);
        }
        let made = pseudofs::mount("sysfs", MAGIC, tree().clone().into_entry());
        Ok(INSTANCE.lock().get_or_insert(made).clone())
    }
}

/// The whole tree.
fn build() -> Tree {
    let tree = Tree::new();
    for dir in [
        "block",
        "bus/platform/devices",
        "bus/platform/drivers",
        "bus/cpu/devices",
        "class",
        "dev/block",
        "dev/char",
        "devices/platform",
        "devices/system/node",
        "devices/virtual",
        "firmware",
        "fs/cgroup",
        "kernel/mm",
        "module",
        "power",
    ] {
        tree.dir(dir);
    }
    tree.text("kernel/uevent_seqnum", |out| {
        out.bytes(b"0\n");
        Ok(())
    });
    tree.text("kernel/fscaps", |out| {
        out.bytes(b"1\n");
        Ok(())
    });
    cpu::add(&tree);
    clock::add(&tree);
    devices::add(&tree);
    tree
}

/// Registers sysfs.
///
/// # Context
/// Task, at the end of the boot.
/// # Errors
/// `EBUSY` if it was done before.
pub fn init() -> Result<()> {
    register_filesystem(&SysfsType)
}
