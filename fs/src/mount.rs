//! Mounts: which file system is seen where.
//!
//! A [`Mount`] shows a dentry, and all beneath it, at a mountpoint: a dentry of another mount, its parent. Walks go down through
//! the parent's list of children, which they consult only for dentries that carry the mountpoint mark, and up through
//! the child's place. One lock, `TREE`, orders all changes; each list and place has a lock of its own for the readers.

use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::dentry::{self, Dentry};
use crate::superblock::SuperBlock;
use crate::sync::SpinLock;
use crate::{Errno, Result};

/// Flags of `mount(2)`.
#[allow(missing_docs, reason = "the names are those of mount(2)")]
pub mod ms {
    pub const RDONLY: u32 = 1;
    pub const NOSUID: u32 = 2;
    pub const NODEV: u32 = 4;
    pub const NOEXEC: u32 = 8;
    pub const SYNCHRONOUS: u32 = 16;
    pub const REMOUNT: u32 = 32;
    pub const MANDLOCK: u32 = 64;
    pub const DIRSYNC: u32 = 128;
    pub const NOSYMFOLLOW: u32 = 256;
    pub const NOATIME: u32 = 1024;
    pub const NODIRATIME: u32 = 2048;
    pub const BIND: u32 = 4096;
    pub const MOVE: u32 = 8192;
    pub const REC: u32 = 16384;
    pub const SILENT: u32 = 32768;
    pub const UNBINDABLE: u32 = 1 << 17;
    pub const PRIVATE: u32 = 1 << 18;
    pub const SLAVE: u32 = 1 << 19;
    pub const SHARED: u32 = 1 << 20;
    pub const RELATIME: u32 = 1 << 21;
    pub const STRICTATIME: u32 = 1 << 24;
    pub const LAZYTIME: u32 = 1 << 25;
    /// What belongs to one mount rather than to the file system.
    pub const PER_MOUNT: u32 =
        RDONLY | NOSUID | NODEV | NOEXEC | NOSYMFOLLOW | NOATIME | NODIRATIME | RELATIME;
}

/// Orders changes of the mount tree.
pub(crate) static TREE: SpinLock<()> = SpinLock::new(());

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

impl PartialEq for Path {
    fn eq(&self, other: &Path) -> bool {
        Arc::ptr_eq(&self.mount, &other.mount) && Arc::ptr_eq(&self.dentry, &other.dentry)
    }
}

impl Eq for Path {}

impl Path {
    /// Checks that the file system may be changed through this mount.
    ///
    /// # Errors
    /// `EROFS`.
    #[inline]
    pub fn want_write(&self) -> Result<()> {
        if self.mount.read_only() {
            Err(Errno::EROFS)
        } else {
            Ok(())
        }
    }

    /// Tells whether this is the root of its mount.
    #[inline]
    pub fn is_mount_root(&self) -> bool {
        Arc::ptr_eq(&self.dentry, &self.mount.root)
    }

    /// Goes down to the root of whatever is mounted here, through all layers.
    #[inline]
    pub fn enter_mounts(&mut self) {
        while self.dentry.is_mountpoint() {
            let Some(child) = self.mount.child_at(&self.dentry) else {
                break;
            };
            self.dentry = child.root.clone();
            self.mount = child;
        }
    }

    /// Goes up from the root of a mount to the dentry it covers; `false` at the top of the tree.
    pub fn leave_mount(&mut self) -> bool {
        match self.mount.place() {
            Some((mount, dentry)) => {
                *self = Path { mount, dentry };
                true
            }
            None => false,
        }
    }

    /// Tells whether `self` is `other` or lies beneath it, mounts included.
    pub fn is_below(&self, other: &Path) -> bool {
        let mut at = self.clone();
        while !Arc::ptr_eq(&at.mount, &other.mount) {
            if !at.leave_mount() {
                return false;
            }
        }
        at.dentry.is_below(&other.dentry)
    }

    /// Returns the path as seen from `root`, or from the top of its tree if it is not beneath that; with ` (deleted)` behind
    /// it if the name is gone. Objects that no path leads to have a name of their own, such as `pipe:[7]`.
    ///
    /// # Errors
    /// `ENAMETOOLONG` past 4096 bytes.
    pub fn display(&self, root: &Path) -> Result<Vec<u8>> {
        if self.mount.is_internal() && self.dentry.parent().is_none() {
            return Ok(self.dentry.name().to_vec());
        }
        let (mut path, _) = self.names_below(root)?;
        if self.dentry.is_deleted() {
            path.extend_from_slice(b" (deleted)");
        }
        Ok(path)
    }

    /// Returns the path for `getcwd`, with `(unreachable)` in front if it is not beneath `root`.
    ///
    /// # Errors
    /// `ENOENT` if the directory was removed; `ENAMETOOLONG` past 4096 bytes.
    pub fn getcwd(&self, root: &Path) -> Result<Vec<u8>> {
        if self.dentry.is_deleted() {
            return Err(Errno::ENOENT);
        }
        let (mut path, reached) = self.names_below(root)?;
        if !reached {
            path.splice(0..0, b"(unreachable)".iter().copied());
        }
        Ok(path)
    }

    /// Joins the names between `root` and here; also tells whether `root` was met.
    pub(crate) fn names_below(&self, root: &Path) -> Result<(Vec<u8>, bool)> {
        let mut names: Vec<Arc<[u8]>> = Vec::new();
        let mut at = self.clone();
        let mut length = 0;
        let reached = loop {
            if at == *root {
                break true;
            }
            if at.is_mount_root() {
                if at.leave_mount() {
                    continue;
                }
                break false;
            }
            let (parent, name) = at.dentry.parent_and_name();
            length += name.len() + 1;
            if length >= 4096 {
                return Err(Errno::ENAMETOOLONG);
            }
            names.push(name);
            match parent {
                Some(parent) => at.dentry = parent,
                None => break false,
            }
        };
        let mut path = Vec::with_capacity(length.max(1));
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Ok((path, reached))
    }
}

/// A file system, or a part of one, in the tree.
pub struct Mount {
    id: u64,
    sb: Arc<SuperBlock>,
    root: Arc<Dentry>,
    source: Arc<[u8]>,
    flags: AtomicU32,
    /// Files open for writing, which stand in the way of becoming read-only.
    writers: AtomicU32,
    /// Attached later sorts later in `/proc/mounts`.
    order: AtomicU64,
    place: SpinLock<Option<(Weak<Mount>, Arc<Dentry>)>>,
    /// With the address of the dentry each sits at, which it keeps alive.
    children: SpinLock<Vec<(usize, Arc<Mount>)>>,
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mount({} {})", self.id, self.sb.kind())
    }
}

/// A mount of the kernel's own, outside every tree.
const INTERNAL: u32 = 1 << 31;
/// May not be bound elsewhere.
const UNBINDABLE: u32 = 1 << 30;
/// `MNT_EXPIRE` was asked for once, and nobody used it since.
const EXPIRING: u32 = 1 << 29;

impl Mount {
    /// Makes a mount of the tree under `root`, attached nowhere yet.
    pub fn new(root: Arc<Dentry>, source: &[u8], flags: u32) -> Result<Arc<Mount>> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let sb = root.existing()?.sb().clone();
        sb.add_mount();
        Ok(Arc::new(Mount {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            sb,
            root,
            source: Arc::from(source),
            flags: AtomicU32::new(flags),
            writers: AtomicU32::new(0),
            order: AtomicU64::new(0),
            place: SpinLock::new(None),
            children: SpinLock::new(Vec::new()),
        }))
    }

    /// Makes a mount for objects of the kernel that no path leads to: pipes, sockets, event files.
    pub fn internal(root: Arc<Dentry>) -> Result<Arc<Mount>> {
        Mount::new(root, b"none", INTERNAL)
    }

    /// Returns the mount's id.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns the file system.
    #[inline]
    pub fn sb(&self) -> &Arc<SuperBlock> {
        &self.sb
    }

    /// Returns the dentry that is seen at the mountpoint.
    pub fn root(&self) -> &Arc<Dentry> {
        &self.root
    }

    /// Returns what was given as the source of the mount.
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// Returns the path of the mount's root.
    pub fn root_path(self: &Arc<Self>) -> Path {
        Path {
            mount: self.clone(),
            dentry: self.root.clone(),
        }
    }

    /// Returns the `MS_*` flags that belong to the mount.
    #[inline]
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }

    /// Tells whether the mount or its file system is read-only.
    #[inline]
    pub fn read_only(&self) -> bool {
        self.flags() & ms::RDONLY != 0 || self.sb.read_only()
    }

    pub(crate) fn is_internal(&self) -> bool {
        self.flags() & INTERNAL != 0
    }

    pub(crate) fn is_unbindable(&self) -> bool {
        self.flags() & UNBINDABLE != 0
    }

    pub(crate) fn set_unbindable(&self, unbindable: bool) {
        if unbindable {
            self.flags.fetch_or(UNBINDABLE, Ordering::Relaxed);
        } else {
            self.flags.fetch_and(!UNBINDABLE, Ordering::Relaxed);
        }
    }

    /// Marks the mount as expiring and tells whether it was so already.
    pub(crate) fn mark_expiring(&self) -> bool {
        self.flags.fetch_or(EXPIRING, Ordering::Relaxed) & EXPIRING != 0
    }

    /// Returns the parent mount and the mountpoint; `None` at the top of a tree.
    pub fn place(&self) -> Option<(Arc<Mount>, Arc<Dentry>)> {
        let place = self.place.lock();
        let (mount, dentry) = place.as_ref()?;
        Some((mount.upgrade()?, dentry.clone()))
    }

    /// Returns the mount that sits at `dentry` of this one.
    #[inline]
    pub fn child_at(&self, dentry: &Arc<Dentry>) -> Option<Arc<Mount>> {
        let address = Arc::as_ptr(dentry).addr();
        let children = self.children.lock();
        let (_, child) = children.iter().find(|(at, _)| *at == address)?;
        Some(child.clone())
    }

    /// Returns the mounts that sit on this one.
    pub fn children(&self) -> Vec<Arc<Mount>> {
        let children = self.children.lock();
        children.iter().map(|(_, child)| child.clone()).collect()
    }

    /// Counts a file open for writing.
    pub(crate) fn add_writer(&self) {
        self.writers.fetch_add(1, Ordering::Relaxed);
        self.sb.add_writer();
    }

    pub(crate) fn remove_writer(&self) {
        self.writers.fetch_sub(1, Ordering::Relaxed);
        self.sb.remove_writer();
    }

    /// Returns how many files are open for writing.
    pub(crate) fn writers(&self) -> u32 {
        self.writers.load(Ordering::Relaxed)
    }

    pub(crate) fn set_flags(&self, flags: u32) {
        self.flags.store(flags, Ordering::Relaxed);
    }

    /// Hangs `self` at `at`. `TREE` is held.
    pub(crate) fn attach(self: &Arc<Self>, at: &Path) {
        static ORDER: AtomicU64 = AtomicU64::new(1);
        self.order
            .store(ORDER.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        *self.place.lock() = Some((Arc::downgrade(&at.mount), at.dentry.clone()));
        let address = Arc::as_ptr(&at.dentry).addr();
        at.mount.children.lock().push((address, self.clone()));
        at.dentry.add_mount();
    }

    /// Takes `self` from its place, which is returned; children stay with it. `TREE` is held.
    pub(crate) fn detach(self: &Arc<Self>) -> Option<Path> {
        let (parent, dentry) = self.place.lock().take()?;
        dentry.remove_mount();
        let mount = parent.upgrade()?;
        let mut children = mount.children.lock();
        if let Some(at) = children.iter().position(|(_, c)| Arc::ptr_eq(c, self)) {
            children.swap_remove(at);
        }
        drop(children);
        Some(Path { mount, dentry })
    }

    /// Lists this mount and all beneath it, parents first.
    pub fn subtree(self: &Arc<Self>) -> Vec<Arc<Mount>> {
        let mut all = Vec::from([self.clone()]);
        let mut at = 0;
        while at < all.len() {
            let children = all[at].children();
            all.extend(children);
            at += 1;
        }
        all
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.sb.remove_mount() {
            dentry::forget_super(&self.sb);
        }
    }
}

/// A tree of mounts that processes share.
pub struct MountNamespace {
    root: Arc<Mount>,
}

impl MountNamespace {
    /// Makes a namespace of the tree under `root`.
    pub fn new(root: Arc<Mount>) -> Arc<MountNamespace> {
        Arc::new(MountNamespace { root })
    }

    /// Returns the topmost mount.
    pub fn root(&self) -> Arc<Mount> {
        self.root.clone()
    }

    /// Returns what processes see as `/` at first: the topmost mount with all that covers its root.
    pub fn root_path(&self) -> Path {
        let mut path = self.root().root_path();
        path.enter_mounts();
        path
    }

    /// Tells whether `mount` is part of this tree.
    pub fn contains(&self, mount: &Arc<Mount>) -> bool {
        let mut at = mount.clone();
        while let Some((parent, _)) = at.place() {
            at = parent;
        }
        Arc::ptr_eq(&at, &self.root())
    }

    /// Lists the mounts that are visible beneath `root`, in the order they were made, each with its mountpoint.
    fn visible(&self, root: &Path) -> Vec<(Arc<Mount>, Vec<u8>)> {
        let mut mounts = self.root().subtree();
        mounts.sort_by_key(|m| m.order.load(Ordering::Relaxed));
        let place = |m: Arc<Mount>| match m.root_path().names_below(root) {
            Ok((path, true)) => Some((m, path)),
            _ => None,
        };
        mounts.into_iter().filter_map(place).collect()
    }

    /// Writes `/proc/PID/mounts` as a process with this root sees it.
    pub fn show_mounts(&self, root: &Path, out: &mut String) {
        for (mount, path) in self.visible(root) {
            escape(mount.source(), out);
            out.push(' ');
            escape(&path, out);
            out.push(' ');
            out.push_str(mount.sb.kind());
            out.push(' ');
            out.push_str(if mount.read_only() { "ro" } else { "rw" });
            show_flags(mount.flags(), out);
            mount.sb.ops().show_options(out);
            out.push_str(" 0 0\n");
        }
    }

    /// Writes `/proc/PID/mountinfo` as a process with this root sees it.
    pub fn show_mountinfo(&self, root: &Path, out: &mut String) {
        use core::fmt::Write;
        for (mount, path) in self.visible(root) {
            let parent = mount.place().map_or(mount.id, |(parent, _)| parent.id);
            let dev = mount.sb.dev();
            let (major, minor) = (crate::inode::dev_major(dev), crate::inode::dev_minor(dev));
            let _ = write!(out, "{} {parent} {major}:{minor} ", mount.id);
            escape(&dentry_path(&mount.root), out);
            out.push(' ');
            escape(&path, out);
            out.push_str(if mount.flags() & ms::RDONLY != 0 {
                " ro"
            } else {
                " rw"
            });
            show_flags(mount.flags(), out);
            let _ = write!(out, " - {} ", mount.sb.kind());
            escape(mount.source(), out);
            out.push_str(if mount.sb.read_only() { " ro" } else { " rw" });
            mount.sb.ops().show_options(out);
            out.push('\n');
        }
    }
}

/// Returns the path of a dentry within its file system.
fn dentry_path(dentry: &Arc<Dentry>) -> Vec<u8> {
    let mut names = Vec::new();
    let mut at = dentry.clone();
    while let (Some(parent), name) = at.parent_and_name() {
        names.push(name);
        at = parent;
    }
    let mut path = Vec::new();
    for name in names.iter().rev() {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    if path.is_empty() {
        path.push(b'/');
    }
    path
}

fn show_flags(flags: u32, out: &mut String) {
    const NAMES: [(u32, &str); 7] = [
        (ms::NOSUID, ",nosuid"),
        (ms::NODEV, ",nodev"),
        (ms::NOEXEC, ",noexec"),
        (ms::NOATIME, ",noatime"),
        (ms::NODIRATIME, ",nodiratime"),
        (ms::RELATIME, ",relatime"),
        (ms::NOSYMFOLLOW, ",nosymfollow"),
    ];
    for (flag, name) in NAMES {
        if flags & flag != 0 {
            out.push_str(name);
        }
    }
}

/// Writes a path with blanks and backslashes as octal, as `/proc/mounts` has it.
pub(crate) fn escape(bytes: &[u8], out: &mut String) {
    use core::fmt::Write;
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                ' ' | '\t' | '\n' | '\\' | '#' => drop(write!(out, "\\{:03o}", c as u32)),
                _ => out.push(c),
            }
        }
        if !chunk.invalid().is_empty() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
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
