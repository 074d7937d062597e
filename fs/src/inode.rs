//! Inodes: the files themselves, whatever their names.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

use crate::file::FileOps;
use crate::locks;
use crate::mapping::Mapping;
use crate::mount::{Mount, Path, ms};
use crate::notify::Marks;
use crate::stat::Stat;
use crate::superblock::SuperBlock;
use crate::sync::{SpinLock, SpinLockGuard};
use crate::time::{Time, now};
use crate::{Errno, Result};

/// The mask of the type bits in a mode.
pub const S_IFMT: u32 = 0o170000;
/// Socket.
pub const S_IFSOCK: u32 = 0o140000;
/// Symbolic link.
pub const S_IFLNK: u32 = 0o120000;
/// Regular file.
pub const S_IFREG: u32 = 0o100000;
/// Block device.
pub const S_IFBLK: u32 = 0o060000;
/// Directory.
pub const S_IFDIR: u32 = 0o040000;
/// Character device.
pub const S_IFCHR: u32 = 0o020000;
/// FIFO.
pub const S_IFIFO: u32 = 0o010000;
/// Set user id on execution.
pub const S_ISUID: u32 = 0o4000;
/// Set group id on execution; on a directory, new entries take its group.
pub const S_ISGID: u32 = 0o2000;
/// Sticky: only owners remove entries.
pub const S_ISVTX: u32 = 0o1000;

/// Returns the `DT_*` value of a mode.
pub const fn dirent_type(mode: u32) -> u8 {
    ((mode & S_IFMT) >> 12) as u8
}

/// Packs a device number as Linux's `dev_t` in `stat` and `mknod`.
pub const fn make_dev(major: u32, minor: u32) -> u64 {
    let (major, minor) = (major as u64, minor as u64);
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12 | (major & !0xfff) << 32
}

/// Returns the major number of a packed device number.
pub const fn dev_major(dev: u64) -> u32 {
    ((dev >> 8 & 0xfff) | (dev >> 32 & !0xfff)) as u32
}

/// Returns the minor number of a packed device number.
pub const fn dev_minor(dev: u64) -> u32 {
    ((dev & 0xff) | (dev >> 12 & !0xff)) as u32
}

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

/// The time stamps of an inode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Last access.
    pub atime: Time,
    /// Last modification of the contents.
    pub mtime: Time,
    /// Last change of the inode.
    pub ctime: Time,
    /// Birth.
    pub btime: Time,
}

/// Something another part of the kernel hangs on an inode: the pipe of a FIFO, a bound socket.
pub type Attachment = Arc<dyn Any + Send + Sync>;

/// A file: what the names, the open descriptions and the mappings of it have in common.
pub struct Inode {
    ino: u64,
    rdev: u64,
    mode: AtomicU32,
    uid: AtomicU32,
    gid: AtomicU32,
    nlink: AtomicU32,
    size: AtomicU64,
    /// In units of 512 bytes.
    blocks: AtomicU64,
    times: SpinLock<Times>,
    /// Held while the directory's entries change.
    dir_lock: SpinLock<()>,
    attachment: SpinLock<Option<Attachment>>,
    marks: Marks,
    /// Above zero: open for writing so many times; below: being executed so many times.
    writers: AtomicI32,
    /// Made without a name, by `O_TMPFILE`, and may be given one.
    linkable: AtomicBool,
    locks: locks::Slot,
    mapping: Option<Arc<Mapping>>,
    sb: Arc<SuperBlock>,
    ops: Box<dyn InodeOps>,
}

impl fmt::Debug for Inode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inode({}:{} {:o})", self.sb.dev(), self.ino, self.mode())
    }
}

impl Inode {
    /// Makes an inode with one link (a directory two) and all times now.
    pub fn new(
        sb: &Arc<SuperBlock>,
        ino: u64,
        new: &NewNode<'_>,
        mapping: Option<Arc<Mapping>>,
        ops: Box<dyn InodeOps>,
    ) -> Arc<Inode> {
        let now = now();
        let nlink = if new.mode & S_IFMT == S_IFDIR { 2 } else { 1 };
        Arc::new(Inode {
            ino,
            rdev: new.rdev,
            mode: AtomicU32::new(new.mode),
            uid: AtomicU32::new(new.uid),
            gid: AtomicU32::new(new.gid),
            nlink: AtomicU32::new(nlink),
            size: AtomicU64::new(new.target.map_or(0, |t| t.len() as u64)),
            blocks: AtomicU64::new(0),
            times: SpinLock::new(Times {
                atime: now,
                mtime: now,
                ctime: now,
                btime: now,
            }),
            dir_lock: SpinLock::new(()),
            attachment: SpinLock::new(None),
            marks: Marks::new(),
            writers: AtomicI32::new(0),
            linkable: AtomicBool::new(false),
            locks: locks::Slot::new(),
            mapping,
            sb: sb.clone(),
            ops,
        })
    }

    /// Returns the inode number.
    #[inline]
    pub fn ino(&self) -> u64 {
        self.ino
    }

    /// Returns type and permission bits.
    #[inline]
    pub fn mode(&self) -> u32 {
        self.mode.load(Ordering::Relaxed)
    }

    /// Returns the type bits.
    #[inline]
    pub fn kind(&self) -> u32 {
        self.mode() & S_IFMT
    }

    /// Tells whether it is a directory.
    #[inline]
    pub fn is_dir(&self) -> bool {
        self.kind() == S_IFDIR
    }

    /// Returns the owner.
    #[inline]
    pub fn uid(&self) -> u32 {
        self.uid.load(Ordering::Relaxed)
    }

    /// Returns the group.
    #[inline]
    pub fn gid(&self) -> u32 {
        self.gid.load(Ordering::Relaxed)
    }

    /// Returns the number of names.
    pub fn nlink(&self) -> u32 {
        self.nlink.load(Ordering::Relaxed)
    }

    /// Sets the number of names.
    pub fn set_nlink(&self, nlink: u32) {
        self.nlink.store(nlink, Ordering::Relaxed);
    }

    /// Adds a name.
    pub fn inc_nlink(&self) {
        self.nlink.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a name away.
    pub fn dec_nlink(&self) {
        let before = self.nlink.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "link count below zero");
    }

    /// Returns the device number of a device node.
    pub fn rdev(&self) -> u64 {
        self.rdev
    }

    /// Returns the size in bytes.
    #[inline]
    pub fn size(&self) -> u64 {
        match &self.mapping {
            Some(mapping) => mapping.size(),
            None => self.size.load(Ordering::Relaxed),
        }
    }

    /// Sets the size of an inode without a page cache.
    pub fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Relaxed);
    }

    /// Sets the number of 512-byte blocks of an inode without a page cache.
    pub fn set_blocks(&self, blocks: u64) {
        self.blocks.store(blocks, Ordering::Relaxed);
    }

    /// Returns the time stamps.
    pub fn times(&self) -> Times {
        *self.times.lock()
    }

    /// Changes the time stamps.
    pub fn update_times(&self, change: impl FnOnce(&mut Times)) {
        change(&mut self.times.lock());
    }

    /// Stamps modification and change with the time now.
    pub fn touch_modified(&self) {
        let now = now();
        self.update_times(|t| (t.mtime, t.ctime) = (now, now));
    }

    /// Stamps change with the time now.
    pub fn touch_changed(&self) {
        let now = now();
        self.update_times(|t| t.ctime = now);
    }

    /// Returns the page cache, if the file has one.
    #[inline]
    pub fn mapping(&self) -> Option<&Arc<Mapping>> {
        self.mapping.as_ref()
    }

    /// Returns the file system.
    #[inline]
    pub fn sb(&self) -> &Arc<SuperBlock> {
        &self.sb
    }

    /// Returns the operations.
    #[inline]
    pub fn ops(&self) -> &dyn InodeOps {
        &*self.ops
    }

    /// Returns the operations as the concrete type `T`, if they are one.
    pub fn ops_as<T: InodeOps>(&self) -> Option<&T> {
        let any: &dyn Any = &*self.ops;
        any.downcast_ref()
    }

    /// Locks the directory's entries; two directories are locked in the order of their addresses.
    pub fn lock_dir(&self) -> SpinLockGuard<'_, ()> {
        self.dir_lock.lock()
    }

    /// Returns who watches the inode.
    #[inline]
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Returns what hangs on the inode, making it with `make` if nothing does and `make` is given.
    pub fn attachment_or(&self, make: impl FnOnce() -> Attachment) -> Attachment {
        self.attachment.lock().get_or_insert_with(make).clone()
    }

    /// Returns what hangs on the inode.
    pub fn attachment(&self) -> Option<Attachment> {
        self.attachment.lock().clone()
    }

    /// Replaces what hangs on the inode.
    pub fn attach(&self, attachment: Option<Attachment>) {
        let old = core::mem::replace(&mut *self.attachment.lock(), attachment);
        drop(old);
    }

    #[inline]
    pub(crate) fn locks(&self) -> &locks::Slot {
        &self.locks
    }

    /// Tells whether `link` may give a name to this inode, which has none.
    pub fn linkable(&self) -> bool {
        self.linkable.load(Ordering::Relaxed)
    }

    /// Sets whether `link` may give a name to this inode, which has none.
    pub fn set_linkable(&self, linkable: bool) {
        self.linkable.store(linkable, Ordering::Relaxed);
    }

    /// Counts a writer.
    ///
    /// # Errors
    /// `ETXTBSY` while it is being executed.
    pub fn get_write_access(&self) -> Result<()> {
        let add = |n: i32| (n >= 0).then_some(n + 1);
        let old = self
            .writers
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        old.map(drop).map_err(|_| Errno::ETXTBSY)
    }

    /// Ends [`get_write_access`](Inode::get_write_access).
    pub fn put_write_access(&self) {
        self.writers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Keeps writers away from a file that is executed.
    ///
    /// # Errors
    /// `ETXTBSY` while it is open for writing.
    pub fn deny_write_access(&self) -> Result<()> {
        let take = |n: i32| (n <= 0).then_some(n - 1);
        let old = self
            .writers
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        old.map(drop).map_err(|_| Errno::ETXTBSY)
    }

    /// Ends [`deny_write_access`](Inode::deny_write_access).
    pub fn allow_write_access(&self) {
        self.writers.fetch_add(1, Ordering::Relaxed);
    }

    /// Clears set-user-id, and set-group-id where it means what it says (the group may execute).
    pub fn strip_privileges(&self) -> Result<()> {
        let mode = self.mode();
        let mut kill = mode & S_ISUID;
        if mode & S_ISGID != 0 && mode & 0o010 != 0 {
            kill |= S_ISGID;
        }
        if kill == 0 || mode & S_IFMT != S_IFREG {
            return Ok(());
        }
        self.ops.setattr(
            self,
            &SetAttr {
                mode: Some(mode & !kill),
                ..SetAttr::default()
            },
        )
    }

    /// Applies `attr`, but for the size, and stamps the change.
    pub fn apply(&self, attr: &SetAttr) {
        if let Some(mode) = attr.mode {
            self.mode
                .store(self.kind() | mode & 0o7777, Ordering::Relaxed);
        }
        if let Some(uid) = attr.uid {
            self.uid.store(uid, Ordering::Relaxed);
        }
        if let Some(gid) = attr.gid {
            self.gid.store(gid, Ordering::Relaxed);
        }
        let now = now();
        self.update_times(|t| {
            t.atime = attr.atime.unwrap_or(t.atime);
            t.mtime = attr.mtime.unwrap_or(t.mtime);
            t.ctime = now;
        });
    }

    /// Returns the attributes.
    pub fn stat(&self) -> Result<Stat> {
        let times = self.times();
        let mut stat = Stat {
            dev: self.sb.dev(),
            ino: self.ino,
            mode: self.mode(),
            nlink: self.nlink(),
            uid: self.uid(),
            gid: self.gid(),
            rdev: self.rdev,
            size: self.size(),
            blksize: 4096,
            blocks: match &self.mapping {
                Some(mapping) => mapping.pages() * 8,
                None => self.blocks.load(Ordering::Relaxed),
            },
            atime: times.atime,
            mtime: times.mtime,
            ctime: times.ctime,
            btime: times.btime,
            attributes: 0,
            mount_id: 0,
        };
        self.ops.getattr(self, &mut stat)?;
        Ok(stat)
    }
}

impl Drop for Inode {
    fn drop(&mut self) {
        self.ops.evict(self);
    }
}

/// Stamps an access through `mount`, unless its flags say no or, under `relatime`, the last stamp is good enough.
#[inline]
pub fn touch_atime(mount: &Mount, inode: &Inode) {
    let flags = mount.flags();
    if flags & ms::NOATIME != 0 || mount.read_only() {
        return;
    }
    if flags & ms::NODIRATIME != 0 && inode.is_dir() {
        return;
    }
    const DAY: i64 = 24 * 60 * 60;
    let now = now();
    inode.update_times(|t| {
        let recent = t.atime > t.mtime && t.atime > t.ctime && now.sec - t.atime.sec < DAY;
        if flags & ms::RELATIME == 0 || !recent {
            t.atime = now;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_pack_as_linux_packs_them() {
        assert_eq!(make_dev(1, 3), 0x103);
        assert_eq!(make_dev(8, 0x12345), 0x1230_0845);
        for (major, minor) in [
            (0, 0),
            (5, 1),
            (136, 300),
            (0xfff, 0xfffff),
            (0xfffff, 0xffffffff),
        ] {
            let dev = make_dev(major, minor);
            assert_eq!((dev_major(dev), dev_minor(dev)), (major, minor));
        }
    }
}
