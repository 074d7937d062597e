//! devpts: the file system of pseudo-terminal slaves, and the list of all pairs.
//!
//! There is one instance; every mount shows it. A node appears when a master is opened and goes with it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt::Write;

use conquer_once::noblock::OnceCell;
use executor::sync::SpinLock;
use fs::file::Positioning;
use fs::inode::{NewNode, S_IFCHR, S_IFDIR, SetAttr, make_dev};
use fs::stat::StatFs;
use fs::superblock::{FileSystemType, SuperOps};
use fs::{Dentry, DirSink, Errno, File, FileOps, Inode, InodeOps, Mount, Path, Result, SuperBlock};

use super::pty::{Master, SLAVE_MAJOR};
use super::{Tty, console};
use crate::process::current;

/// `DEVPTS_SUPER_MAGIC`.
const MAGIC: u64 = 0x1cd1;
/// Most pairs (`kernel.pty.max`).
const MAX_PAIRS: u32 = 4096;
/// Inode number of the root; that of pair `n` is `n + FIRST_SLAVE_INO`.
const ROOT_INO: u64 = 1;
const PTMX_INO: u64 = 2;
const FIRST_SLAVE_INO: u64 = 3;
const DT_CHR: u8 = 2;
const DT_DIR: u8 = 4;

/// Mount options.
#[derive(Clone, Copy, Debug)]
struct Options {
    uid: Option<u32>,
    gid: Option<u32>,
    mode: u32,
    ptmx_mode: u32,
    max: u32,
}

const DEFAULTS: Options = Options {
    uid: None,
    gid: None,
    mode: 0o600,
    ptmx_mode: 0,
    max: MAX_PAIRS,
};

/// One pair.
struct Entry {
    slave: Arc<Tty>,
    master: Weak<Master>,
    node: Arc<Inode>,
}

/// A place in the list.
enum Slot {
    Free,
    /// Taken while the pair is made.
    Reserved,
    Used(Entry),
}

static PAIRS: SpinLock<Vec<Slot>> = SpinLock::new(Vec::new());
static OPTIONS: SpinLock<Options> = SpinLock::new(DEFAULTS);
static INSTANCE: OnceCell<Arc<Dentry>> = OnceCell::uninit();

/// The root of the one instance.
fn root() -> Arc<Dentry> {
    if INSTANCE.try_get().is_err() {
        let sb = SuperBlock::anonymous("devpts", MAGIC, Box::new(Devpts));
        let new = NewNode {
            mode: S_IFDIR | 0o755,
            uid: 0,
            gid: 0,
            rdev: 0,
            target: None,
        };
        let dir = Root {
            ptmx: device_node(&sb, PTMX_INO, 0, (0, 0), make_dev(console::AUX_MAJOR, 2)),
        };
        let inode = Inode::new(&sb, ROOT_INO, &new, None, Box::new(dir));
        // Lost if another was quicker.
        let _ = INSTANCE.try_init_once(|| Dentry::root(inode, b"/"));
    }
    INSTANCE.try_get().expect("made above").clone()
}

fn device_node(
    sb: &Arc<SuperBlock>,
    ino: u64,
    mode: u32,
    (uid, gid): (u32, u32),
    rdev: u64,
) -> Arc<Inode> {
    let new = NewNode {
        mode: S_IFCHR | mode,
        uid,
        gid,
        rdev,
        target: None,
    };
    Inode::new(sb, ino, &new, None, Box::new(Node))
}

/// Makes a pair under the lowest free number and gives it a node.
///
/// # Errors
/// `ENOSPC` if there are too many; `ENOMEM`; those of `make`.
pub(super) fn allocate(make: impl FnOnce(u32) -> Result<Arc<Master>>) -> Result<Arc<Master>> {
    let options = *OPTIONS.lock();
    let index = reserve(options.max)?;
    let made = make(index).inspect_err(|_| PAIRS.lock()[index as usize] = Slot::Free)?;
    let cred = current().cred();
    let owner = (
        options.uid.unwrap_or(cred.fsuid),
        options.gid.unwrap_or(cred.fsgid),
    );
    let device = make_dev(SLAVE_MAJOR, index);
    let root = root();
    let sb = root.existing()?.sb();
    let node = device_node(
        sb,
        u64::from(index) + FIRST_SLAVE_INO,
        options.mode,
        owner,
        device,
    );
    let entry = Entry {
        slave: made.slave().clone(),
        master: Arc::downgrade(&made),
        node,
    };
    PAIRS.lock()[index as usize] = Slot::Used(entry);
    Ok(made)
}

fn reserve(max: u32) -> Result<u32> {
    let mut pairs = PAIRS.lock();
    let free = pairs.iter().position(|slot| matches!(slot, Slot::Free));
    let index = match free {
        Some(index) => index,
        None => {
            pairs.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            pairs.push(Slot::Free);
            pairs.len() - 1
        }
    };
    if index >= max as usize {
        return Err(Errno::ENOSPC);
    }
    pairs[index] = Slot::Reserved;
    Ok(index as u32)
}

/// Forgets a pair whose master is closed.
pub(super) fn remove(index: u32) {
    let gone = PAIRS
        .lock()
        .get_mut(index as usize)
        .map(|slot| core::mem::replace(slot, Slot::Free));
    drop(gone);
}

/// How many pairs there are.
pub fn count() -> usize {
    PAIRS
        .lock()
        .iter()
        .filter(|slot| !matches!(slot, Slot::Free))
        .count()
}

/// The slave of pair `index`, for opening its node.
///
/// # Errors
/// `EIO` if there is none, or it is locked.
pub(super) fn slave(index: u32) -> Result<Arc<Tty>> {
    let (slave, master) = match PAIRS.lock().get(index as usize) {
        Some(Slot::Used(entry)) => (entry.slave.clone(), entry.master.upgrade()),
        _ => return Err(Errno::EIO),
    };
    match master {
        Some(master) if !master.is_locked() => Ok(slave),
        _ => Err(Errno::EIO),
    }
}

/// Opens the slave of pair `index` for its master, whatever leads to it by name.
///
/// # Errors
/// As [`slave`].
pub(super) fn open_slave(index: u32, flags: u32) -> Result<Arc<File>> {
    let slave = slave(index)?;
    let node = match PAIRS.lock().get(index as usize) {
        Some(Slot::Used(entry)) => entry.node.clone(),
        _ => return Err(Errno::EIO),
    };
    let root = root();
    let mut name = String::new();
    // Writing to a string does not fail.
    let _ = write!(name, "{index}");
    let dentry = Dentry::nameless(&root, name.as_bytes(), node);
    let path = Path {
        mount: Mount::internal(root)?,
        dentry,
    };
    File::new(
        console::open(&slave, flags)?,
        path,
        flags,
        Positioning::Stream,
    )
}

/// The root directory.
struct Root {
    ptmx: Arc<Inode>,
}

impl InodeOps for Root {
    fn lookup(&self, _: &Arc<Inode>, name: &[u8]) -> Result<Arc<Inode>> {
        if name == b"ptmx" {
            return Ok(self.ptmx.clone());
        }
        let index = parse_index(name).ok_or(Errno::ENOENT)?;
        match PAIRS.lock().get(index) {
            Some(Slot::Used(entry)) => Ok(entry.node.clone()),
            _ => Err(Errno::ENOENT),
        }
    }

    fn cacheable(&self) -> bool {
        false
    }

    fn open(&self, _: &Arc<Inode>, _: u32) -> Result<Arc<dyn FileOps>> {
        Ok(Arc::new(RootDir))
    }
}

/// A decimal number as the kernel writes it: no sign, no leading zero.
fn parse_index(name: &[u8]) -> Option<usize> {
    let text = core::str::from_utf8(name).ok()?;
    let plain =
        text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// The open root directory.
struct RootDir;

impl FileOps for RootDir {
    fn readdir(&self, _: &File, pos: &mut u64, sink: &mut dyn DirSink) -> Result<()> {
        let fixed: [(&[u8], u64, u8); 3] = [
            (b".", ROOT_INO, DT_DIR),
            (b"..", ROOT_INO, DT_DIR),
            (b"ptmx", PTMX_INO, DT_CHR),
        ];
        while let Some(&(name, ino, kind)) = fixed.get(*pos as usize) {
            if !sink.emit(ino, *pos + 1, kind, name) {
                return Ok(());
            }
            *pos += 1;
        }
        let mut name = String::new();
        loop {
            let first = *pos as usize - fixed.len();
            let found = {
                let pairs = PAIRS.lock();
                (first..pairs.len()).find(|&i| matches!(pairs[i], Slot::Used(_)))
            };
            let Some(index) = found else { return Ok(()) };
            name.clear();
            let _ = write!(name, "{index}");
            let next = (index + fixed.len() + 1) as u64;
            if !sink.emit(
                index as u64 + FIRST_SLAVE_INO,
                next,
                DT_CHR,
                name.as_bytes(),
            ) {
                return Ok(());
            }
            *pos = next;
        }
    }
}

/// A device node; its owner and mode may be changed.
struct Node;

impl InodeOps for Node {}

/// The file system as a whole.
struct Devpts;

impl SuperOps for Devpts {
    fn statfs(&self) -> StatFs {
        StatFs::simple(MAGIC)
    }

    fn remount(&self, options: &[u8]) -> Result<()> {
        apply(options)
    }

    fn show_options(&self, out: &mut String) {
        let options = *OPTIONS.lock();
        if let Some(uid) = options.uid {
            let _ = write!(out, ",uid={uid}");
        }
        if let Some(gid) = options.gid {
            let _ = write!(out, ",gid={gid}");
        }
        let _ = write!(
            out,
            ",mode={:03o},ptmxmode={:03o}",
            options.mode, options.ptmx_mode
        );
        if options.max < MAX_PAIRS {
            let _ = write!(out, ",max={}", options.max);
        }
    }
}

/// Puts mount options in force.
fn apply(text: &[u8]) -> Result<()> {
    let options = parse(text)?;
    *OPTIONS.lock() = options;
    if let Some(root) = root().existing()?.ops_as::<Root>() {
        root.ptmx.apply(&SetAttr {
            mode: Some(options.ptmx_mode),
            ..SetAttr::default()
        });
    }
    Ok(())
}

fn parse(text: &[u8]) -> Result<Options> {
    let text = core::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
    let mut options = DEFAULTS;
    for option in text.split(',').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let decimal = || value.parse::<u32>().map_err(|_| Errno::EINVAL);
        let octal = || {
            u32::from_str_radix(value, 8)
                .map(|mode| mode & 0o7777)
                .map_err(|_| Errno::EINVAL)
        };
        match name {
            "uid" => options.uid = Some(decimal()?),
            "gid" => options.gid = Some(decimal()?),
            "mode" => options.mode = octal()?,
            "ptmxmode" => options.ptmx_mode = octal()?,
            "max" => {
                options.max = Some(decimal()?)
                    .filter(|&max| max <= MAX_PAIRS)
                    .ok_or(Errno::EINVAL)?
            }
            "newinstance" => {}
            _ => return Err(Errno::EINVAL),
        }
    }
    Ok(options)
}

/// The type, for `mount -t devpts`.
#[derive(Debug)]
pub struct DevptsType;

impl FileSystemType for DevptsType {
    fn name(&self) -> &'static str {
        "devpts"
    }

    fn mount(&self, _: &[u8], options: &[u8]) -> Result<Arc<Dentry>> {
        apply(options)?;
        Ok(root())
    }
}
