//! The inodes of tmpfs.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Tmpfs;
use super::dir::{DIRENT_SIZE, Entries};
use crate::file::FileOps;
use crate::inode::{
    Inode, InodeOps, LinkTarget, NewNode, RenameSide, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, SetAttr,
    rename_flag,
};
use crate::seal;
use crate::sync::SpinLock;
use crate::time::now;
use crate::xattr::Xattrs;
use crate::{Errno, Result};

enum Content {
    Dir(SpinLock<Entries>),
    Link(Arc<[u8]>),
    /// A regular file, whose content is its mapping, or a special one, which has none.
    Other,
}

/// An inode's part that only tmpfs knows.
pub(super) struct Node {
    fs: Arc<Tmpfs>,
    content: Content,
    xattrs: Xattrs,
}

impl Node {
    pub(super) fn new(fs: Arc<Tmpfs>, new: &NewNode<'_>) -> Result<Node> {
        let content = match new.mode & S_IFMT {
            S_IFDIR => Content::Dir(SpinLock::new(Entries::new())),
            S_IFLNK => Content::Link(Arc::from(new.target.ok_or(Errno::EINVAL)?)),
            _ => Content::Other,
        };
        Ok(Node {
            fs,
            content,
            xattrs: Xattrs::new(),
        })
    }

    pub(super) fn fs(&self) -> &Arc<Tmpfs> {
        &self.fs
    }

    pub(super) fn entries(&self) -> Result<&SpinLock<Entries>> {
        match &self.content {
            Content::Dir(entries) => Ok(entries),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn is_empty_dir(inode: &Inode) -> bool {
        let entries = inode.ops_as::<Node>().map(Node::entries);
        matches!(entries, Some(Ok(entries)) if entries.lock().is_empty())
    }

    /// Enters `inode` under `name` and stamps the directory.
    fn add(&self, dir: &Inode, name: &[u8], inode: Arc<Inode>) -> Result<()> {
        self.entries()?.lock().insert(name, inode);
        dir.set_size(dir.size() + DIRENT_SIZE);
        dir.touch_modified();
        Ok(())
    }

    /// Removes `name` and stamps the directory.
    fn remove(&self, dir: &Inode, name: &[u8]) -> Result<Arc<Inode>> {
        let gone = self.entries()?.lock().remove(name).ok_or(Errno::ENOENT)?;
        dir.set_size(dir.size() - DIRENT_SIZE);
        dir.touch_modified();
        Ok(gone)
    }

    fn exchange(from: RenameSide<'_>, to: RenameSide<'_>) -> Result<()> {
        let (Some(a), Some(b)) = (from.inode, to.inode) else {
            return Err(Errno::ENOENT);
        };
        for (side, inode) in [(from, b), (to, a)] {
            let node = side.dir.ops_as::<Node>().ok_or(Errno::EXDEV)?;
            node.entries()?.lock().replace(side.name, inode.clone());
        }
        if !Arc::ptr_eq(from.dir, to.dir) && a.is_dir() != b.is_dir() {
            let (loses, gains) = if a.is_dir() {
                (from.dir, to.dir)
            } else {
                (to.dir, from.dir)
            };
            loses.dec_nlink();
            gains.inc_nlink();
        }
        from.dir.touch_modified();
        to.dir.touch_modified();
        a.touch_changed();
        b.touch_changed();
        Ok(())
    }
}

impl InodeOps for Node {
    fn lookup(&self, _: &Arc<Inode>, name: &[u8]) -> Result<Arc<Inode>> {
        self.entries()?.lock().get(name).ok_or(Errno::ENOENT)
    }

    fn create(&self, dir: &Arc<Inode>, name: &[u8], new: &NewNode<'_>) -> Result<Arc<Inode>> {
        let inode = self.fs.new_inode(dir.sb(), new)?;
        self.add(dir, name, inode.clone())?;
        if inode.is_dir() {
            dir.inc_nlink();
        }
        Ok(inode)
    }

    fn tmpfile(&self, dir: &Arc<Inode>, new: &NewNode<'_>) -> Result<Arc<Inode>> {
        let inode = self.fs.new_inode(dir.sb(), new)?;
        inode.set_nlink(0);
        Ok(inode)
    }

    fn link(&self, dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        self.add(dir, name, inode.clone())?;
        inode.inc_nlink();
        inode.touch_changed();
        Ok(())
    }

    fn unlink(&self, dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        self.remove(dir, name)?;
        inode.dec_nlink();
        inode.touch_changed();
        Ok(())
    }

    fn rmdir(&self, dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        if !Node::is_empty_dir(inode) {
            return Err(Errno::ENOTEMPTY);
        }
        self.remove(dir, name)?;
        inode.set_nlink(0);
        inode.touch_changed();
        dir.dec_nlink();
        Ok(())
    }

    fn rename(&self, from: RenameSide<'_>, to: RenameSide<'_>, flags: u32) -> Result<()> {
        let inode = from.inode.ok_or(Errno::ENOENT)?;
        let target_dir = to.dir.ops_as::<Node>().ok_or(Errno::EXDEV)?;
        if flags & rename_flag::EXCHANGE != 0 {
            return Node::exchange(from, to);
        }
        if flags & rename_flag::WHITEOUT != 0 {
            return Err(Errno::EINVAL);
        }
        if let Some(replaced) = to.inode {
            if replaced.is_dir() {
                target_dir.rmdir(to.dir, to.name, replaced)?;
            } else {
                target_dir.unlink(to.dir, to.name, replaced)?;
            }
        }
        self.remove(from.dir, from.name)?;
        target_dir.add(to.dir, to.name, inode.clone())?;
        if inode.is_dir() && !Arc::ptr_eq(from.dir, to.dir) {
            from.dir.dec_nlink();
            to.dir.inc_nlink();
        }
        inode.touch_changed();
        Ok(())
    }

    fn link_target(&self, _: &Arc<Inode>) -> Result<LinkTarget> {
        match &self.content {
            Content::Link(target) => Ok(LinkTarget::Text(target.clone())),
            _ => Err(Errno::EINVAL),
        }
    }

    fn open(&self, inode: &Arc<Inode>, _: u32) -> Result<Arc<dyn FileOps>> {
        match inode.kind() {
            S_IFREG => Ok(self.fs.file_ops.clone()),
            S_IFDIR => Ok(self.fs.dir_ops.clone()),
            _ => Err(Errno::ENXIO),
        }
    }

    fn setattr(&self, inode: &Inode, attr: &SetAttr) -> Result<()> {
        if let Some(size) = attr.size {
            let mapping = inode.mapping().ok_or(Errno::EINVAL)?;
            let (seals, old) = (mapping.seals(), mapping.size());
            if size < old && seals & seal::SHRINK != 0 || size > old && seals & seal::GROW != 0 {
                return Err(Errno::EPERM);
            }
            mapping.truncate(size)?;
            let now = now();
            inode.update_times(|t| (t.mtime, t.ctime) = (now, now));
        }
        inode.apply(attr);
        Ok(())
    }

    fn get_xattr(&self, _: &Inode, name: &[u8]) -> Result<Vec<u8>> {
        self.xattrs.get(name)
    }

    fn set_xattr(&self, inode: &Inode, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        self.xattrs.set(name, value, flags)?;
        inode.touch_changed();
        Ok(())
    }

    fn remove_xattr(&self, inode: &Inode, name: &[u8]) -> Result<()> {
        self.xattrs.remove(name)?;
        inode.touch_changed();
        Ok(())
    }

    fn list_xattr(&self, _: &Inode, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.xattrs.list(each);
        Ok(())
    }

    fn evict(&self, _: &Inode) {
        self.fs.inodes.uncharge(1);
    }
}
