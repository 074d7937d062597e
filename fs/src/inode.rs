//! Inodes: the files themselves, whatever their names.

mod mode;
mod ops;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

use crate::locks;
use crate::mapping::Mapping;
use crate::mount::{Mount, ms};
use crate::notify::Marks;
use crate::stat::Stat;
use crate::superblock::SuperBlock;
use crate::sync::{SpinLock, SpinLockGuard};
use crate::time::{Time, now};
use crate::{Errno, Result};

pub use mode::*;
pub use ops::{InodeOps, LinkTarget, NewNode, RenameSide, SetAttr, rename_flag};

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
    /// It may have [`filecaps`](crate::filecaps): who changes it takes them away.
    has_capabilities: AtomicBool,
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
            has_capabilities: AtomicBool::new(false),
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
            .try_update(Ordering::Relaxed, Ordering::Relaxed, add);
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
            .try_update(Ordering::Relaxed, Ordering::Relaxed, take);
        old.map(drop).map_err(|_| Errno::ETXTBSY)
    }

    /// Ends [`deny_write_access`](Inode::deny_write_access).
    pub fn allow_write_access(&self) {
        self.writers.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that it was given capabilities.
    pub(crate) fn set_has_capabilities(&self) {
        self.has_capabilities.store(true, Ordering::Release);
    }

    /// Takes its capabilities away, since what it says or whose it is changes.
    #[inline]
    pub fn drop_capabilities(&self) -> Result<()> {
        if self.has_capabilities.load(Ordering::Acquire) {
            self.remove_capabilities()
        } else {
            Ok(())
        }
    }

    #[cold]
    fn remove_capabilities(&self) -> Result<()> {
        match self.ops.remove_xattr(self, crate::filecaps::ATTRIBUTE) {
            Ok(()) | Err(Errno::ENODATA) => Ok(()),
            Err(e) => Err(e),
        }
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
