//! Hooks by which file operations tell watchers what happened to an inode (Linux's `fsnotify`).
//!
//! The operations of the VFS call these functions after they succeeded, with no spin lock held. While nobody watches anything, each
//! costs a load and a branch. A watch hangs on its inode as a [`Mark`]; [`inotify`](crate::inotify) is the one kind there is.
//!
//! A mark keeps its inode in memory; it goes when its owner removes it, or when the last name of the inode and the last
//! open file have gone ([`inode_removed`]).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::dentry::Dentry;
use crate::inode::Inode;
use crate::sync::SpinLock;
use crate::{Errno, Result};

bitflags::bitflags! {
    /// What happened, with the values of `inotify(7)`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct NotifyEvents: u32 {
        /// Was read.
        const ACCESS = 0x1;
        /// Was written or truncated.
        const MODIFY = 0x2;
        /// Attributes, or the number of links, changed.
        const ATTRIB = 0x4;
        /// A file open for writing was closed.
        const CLOSE_WRITE = 0x8;
        /// A file not open for writing was closed.
        const CLOSE_NOWRITE = 0x10;
        /// Was opened.
        const OPEN = 0x20;
        /// A name was moved out of the directory.
        const MOVED_FROM = 0x40;
        /// A name was moved into the directory.
        const MOVED_TO = 0x80;
        /// A name was made in the directory.
        const CREATE = 0x100;
        /// A name was removed from the directory.
        const DELETE = 0x200;
        /// The inode itself is gone.
        const DELETE_SELF = 0x400;
        /// The inode itself got another name.
        const MOVE_SELF = 0x800;
        /// The file system was unmounted.
        const UNMOUNT = 0x2000;
        /// The queue was full, and events are missing.
        const Q_OVERFLOW = 0x4000;
        /// The watch is gone.
        const IGNORED = 0x8000;
        /// The subject is a directory.
        const ISDIR = 0x4000_0000;
    }
}

/// Who is told.
pub trait Mark: Send + Sync {
    /// Tells of `events` on the marked inode or, with a `name`, on that entry of the marked directory.
    ///
    /// `cookie` joins the two halves of a rename. Whether `events` are asked for, and whether the watched object is the one
    /// of the mark, is the mark's to check.
    fn notify(&self, events: NotifyEvents, name: Option<&[u8]>, cookie: u32);

    /// The inode is gone: the mark was taken off it already.
    fn detached(&self);

    /// Returns the events asked for.
    fn mask(&self) -> NotifyEvents;
}

/// The marks of an inode.
#[derive(Default)]
pub struct Marks {
    /// The union of what the marks ask for.
    mask: AtomicU32,
    list: SpinLock<Vec<Arc<dyn Mark>>>,
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Marks({:#x})", self.mask.load(Ordering::Relaxed))
    }
}

/// How many marks there are.
static MARKS: AtomicUsize = AtomicUsize::new(0);

/// Tells whether anybody watches anything.
#[inline(always)]
pub fn any() -> bool {
    MARKS.load(Ordering::Relaxed) != 0
}

impl Marks {
    /// Makes an empty list.
    pub const fn new() -> Marks {
        Marks {
            mask: AtomicU32::new(0),
            list: SpinLock::new(Vec::new()),
        }
    }

    /// Adds a mark.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn add(&self, mark: Arc<dyn Mark>) -> Result<()> {
        let mut list = self.list.lock();
        list.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.mask.fetch_or(mark.mask().bits(), Ordering::Relaxed);
        list.push(mark);
        MARKS.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Takes a mark out; `false` if it was not there any more.
    pub fn remove(&self, mark: &Arc<dyn Mark>) -> bool {
        let mut list = self.list.lock();
        let Some(at) = list.iter().position(|m| Arc::ptr_eq(m, mark)) else {
            return false;
        };
        let gone = list.swap_remove(at);
        self.recompute(&list);
        drop(list);
        drop(gone);
        MARKS.fetch_sub(1, Ordering::Relaxed);
        true
    }

    /// Looks at the masks of the marks again, one of which changed.
    pub fn update(&self) {
        self.recompute(&self.list.lock());
    }

    /// Returns the first mark that `pick` chooses.
    pub fn find(&self, pick: impl Fn(&Arc<dyn Mark>) -> bool) -> Option<Arc<dyn Mark>> {
        self.list.lock().iter().find(|m| pick(m)).cloned()
    }

    fn recompute(&self, list: &[Arc<dyn Mark>]) {
        let mask = list.iter().fold(0, |mask, m| mask | m.mask().bits());
        self.mask.store(mask, Ordering::Relaxed);
    }

    fn wants(&self, events: NotifyEvents) -> bool {
        self.mask.load(Ordering::Relaxed) & events.bits() != 0
    }

    /// Calls each mark outside the list's lock.
    fn notify(&self, events: NotifyEvents, name: Option<&[u8]>, cookie: u32) {
        if !self.wants(events - NotifyEvents::ISDIR) {
            return;
        }
        for at in 0.. {
            let Some(mark) = self.list.lock().get(at).cloned() else {
                return;
            };
            mark.notify(events, name, cookie);
        }
    }

    /// Empties the list, telling each mark.
    fn detach_all(&self) {
        loop {
            let Some(mark) = self.list.lock().pop() else {
                self.mask.store(0, Ordering::Relaxed);
                return;
            };
            MARKS.fetch_sub(1, Ordering::Relaxed);
            mark.detached();
        }
    }
}

fn dir_flag(inode: &Inode) -> NotifyEvents {
    if inode.is_dir() {
        NotifyEvents::ISDIR
    } else {
        NotifyEvents::empty()
    }
}

/// Something happened to the object at `dentry`: tells those who watch it and those who watch its directory.
///
/// For `ACCESS MODIFY ATTRIB OPEN CLOSE_*`. `read` calls it with `ACCESS` where it returned more than nothing, `write` and
/// `truncate` with `MODIFY`, `setattr` with `ATTRIB`.
#[inline(always)]
pub fn on_dentry(dentry: &Dentry, events: NotifyEvents) {
    if any() {
        on_dentry_watched(dentry, events);
    }
}

#[cold]
fn on_dentry_watched(dentry: &Dentry, events: NotifyEvents) {
    let Some(inode) = dentry.inode() else { return };
    let events = events | dir_flag(inode);
    if let Some(dir) = dentry.parent()
        && let Some(dir) = dir.inode()
        && dir.marks().wants(events - NotifyEvents::ISDIR)
    {
        dir.marks().notify(events, Some(&dentry.name()), 0);
    }
    inode.marks().notify(events, None, 0);
}

/// Something happened to `inode` under no name in particular: tells those who watch it. The link count (`ATTRIB`) is such.
#[inline(always)]
pub fn on_inode(inode: &Inode, events: NotifyEvents) {
    if any() {
        inode.marks().notify(events | dir_flag(inode), None, 0);
    }
}

/// The entry `name` of `dir`, leading to `inode`, was made (`CREATE`) or removed (`DELETE`).
///
/// A removed non-directory changes the link count of its inode as well, so `unlink` calls [`on_inode`] with `ATTRIB`.
#[inline(always)]
pub fn on_entry(dir: &Inode, name: &[u8], inode: &Inode, events: NotifyEvents) {
    if any() {
        dir.marks().notify(events | dir_flag(inode), Some(name), 0);
    }
}

/// `inode` was renamed from `from_name` in `from` to `to_name` in `to`.
///
/// What was replaced there is told as if it was unlinked: by the caller, through [`on_inode`] with `ATTRIB`.
#[inline(always)]
pub fn on_rename(from: &Inode, from_name: &[u8], to: &Inode, to_name: &[u8], inode: &Inode) {
    if any() {
        on_rename_watched(from, from_name, to, to_name, inode);
    }
}

#[cold]
fn on_rename_watched(from: &Inode, from_name: &[u8], to: &Inode, to_name: &[u8], inode: &Inode) {
    static COOKIE: AtomicU32 = AtomicU32::new(1);
    let cookie = COOKIE.fetch_add(1, Ordering::Relaxed);
    let dir = dir_flag(inode);
    let moved_from = NotifyEvents::MOVED_FROM | dir;
    let moved_to = NotifyEvents::MOVED_TO | dir;
    from.marks().notify(moved_from, Some(from_name), cookie);
    to.marks().notify(moved_to, Some(to_name), cookie);
    inode.marks().notify(NotifyEvents::MOVE_SELF, None, 0);
}

/// The last name of `inode` is gone and nobody has it open: its marks go. Called as the last dentry of an inode without links is dropped.
#[inline(always)]
pub fn inode_removed(inode: &Inode) {
    if any() {
        inode.marks().notify(NotifyEvents::DELETE_SELF, None, 0);
        inode.marks().detach_all();
    }
}

/// The file system of `inode` was unmounted: its marks go. Called for each inode that is still in memory.
#[inline(always)]
pub fn inode_unmounted(inode: &Inode) {
    if any() {
        inode.marks().notify(NotifyEvents::UNMOUNT, None, 0);
        inode.marks().detach_all();
    }
}
