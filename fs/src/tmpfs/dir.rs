//! Directories of tmpfs.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use super::node::Node;
use crate::file::{DirSink, File, FileOps, Whence};
use crate::inode::{Inode, dirent_type, touch_atime};
use crate::iobuf::Sink;
use crate::{Errno, Result};

/// What an entry adds to a directory's size.
pub(super) const DIRENT_SIZE: u64 = 20;

/// The smallest cookie; below it are the start, `.` and `..`.
const FIRST_COOKIE: u64 = 3;

/// The entries of a directory: found by name, listed by cookie.
///
/// A cookie is given to an entry when it is made, ever greater, and listed from the newest to the oldest as Linux does. A
/// reader's position is the cookie it saw last, so it misses and repeats nothing when others come and go.
pub(super) struct Entries {
    by_name: BTreeMap<Arc<[u8]>, u64>,
    by_cookie: BTreeMap<u64, (Arc<[u8]>, Arc<Inode>)>,
    next: u64,
}

impl Entries {
    pub(super) fn new() -> Entries {
        Entries {
            by_name: BTreeMap::new(),
            by_cookie: BTreeMap::new(),
            next: FIRST_COOKIE,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<Arc<Inode>> {
        let cookie = self.by_name.get(name)?;
        Some(self.by_cookie.get(cookie)?.1.clone())
    }

    /// Adds an entry whose name is not there.
    pub(super) fn insert(&mut self, name: &[u8], inode: Arc<Inode>) {
        let name: Arc<[u8]> = Arc::from(name);
        let old = self.by_name.insert(name.clone(), self.next);
        debug_assert!(old.is_none(), "entry exists");
        self.by_cookie.insert(self.next, (name, inode));
        self.next += 1;
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> Option<Arc<Inode>> {
        let cookie = self.by_name.remove(name)?;
        self.by_cookie.remove(&cookie).map(|(_, inode)| inode)
    }

    /// Makes an existing name lead to `inode`.
    pub(super) fn replace(&mut self, name: &[u8], inode: Arc<Inode>) {
        if let Some(cookie) = self.by_name.get(name)
            && let Some(entry) = self.by_cookie.get_mut(cookie)
        {
            entry.1 = inode;
        }
    }

    /// Emits entries older than the position `pos` and moves it.
    fn list(&self, pos: &mut u64, sink: &mut dyn DirSink) {
        let upper = if *pos < FIRST_COOKIE { u64::MAX } else { *pos };
        for (cookie, (name, inode)) in self.by_cookie.range(..upper).rev() {
            if !sink.emit(inode.ino(), *cookie, dirent_type(inode.mode()), name) {
                return;
            }
            *pos = *cookie;
        }
    }
}

/// Emits `.` and `..` for positions 0 and 1; `false` if the sink is full.
pub(crate) fn emit_dots(file: &File, pos: &mut u64, sink: &mut dyn DirSink) -> bool {
    const DT_DIR: u8 = 4;
    if *pos == 0 {
        if !sink.emit(file.inode().ino(), 1, DT_DIR, b".") {
            return false;
        }
        *pos = 1;
    }
    if *pos == 1 {
        let parent = file.path().dentry.parent();
        let ino = parent
            .and_then(|p| p.inode().map(|i| i.ino()))
            .unwrap_or(file.inode().ino());
        if !sink.emit(ino, 2, DT_DIR, b"..") {
            return false;
        }
        *pos = 2;
    }
    true
}

/// The operations of an open directory.
#[derive(Debug)]
pub(super) struct TmpDir;

impl FileOps for TmpDir {
    fn read(&self, _: &File, _: &mut u64, _: &mut dyn Sink) -> Result<usize> {
        Err(Errno::EISDIR)
    }

    fn readdir(&self, file: &File, pos: &mut u64, sink: &mut dyn DirSink) -> Result<()> {
        let inode = file.inode();
        let node = inode.ops_as::<Node>().ok_or(Errno::ENOTDIR)?;
        let _guard = inode.lock_dir();
        if inode.nlink() == 0 {
            return Err(Errno::ENOENT);
        }
        if emit_dots(file, pos, sink) {
            node.entries()?.lock().list(pos, sink);
        }
        touch_atime(&file.path().mount, inode);
        Ok(())
    }

    fn seek(&self, _: &File, pos: u64, offset: i64, whence: Whence) -> Result<u64> {
        match whence {
            Whence::Set => u64::try_from(offset).map_err(|_| Errno::EINVAL),
            Whence::Current => pos.checked_add_signed(offset).ok_or(Errno::EINVAL),
            _ => Err(Errno::EINVAL),
        }
    }

    fn fsync(&self, _: &File, _: bool) -> Result<()> {
        Ok(())
    }
}
