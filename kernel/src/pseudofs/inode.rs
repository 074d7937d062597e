//! Inodes of made-up files.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use fs::inode::{LinkTarget, NewNode, S_IFDIR, S_IFMT};
use fs::{Errno, FileOps, Inode, InodeOps, Result, SuperBlock};

use super::dir::OpenDir;
use super::file::OpenText;
use super::{Entry, Node};

/// Makes the inode of an object.
pub(super) fn make(sb: &Arc<SuperBlock>, entry: Entry) -> Arc<Inode> {
    let new = NewNode {
        mode: entry.node.kind() | entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        rdev: 0,
        target: None,
    };
    let links = match &entry.node {
        Node::Dir(dir) => 2 + dir.subdirectories(),
        _ => 1,
    };
    let inode = Inode::new(sb, entry.ino, &new, None, Box::new(Ops(entry.node)));
    inode.set_nlink(links);
    inode
}

struct Ops(Node);

impl InodeOps for Ops {
    fn lookup(&self, dir: &Arc<Inode>, name: &[u8]) -> Result<Arc<Inode>> {
        match &self.0 {
            Node::Dir(directory) => Ok(make(dir.sb(), directory.lookup(name)?)),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn create(&self, dir: &Arc<Inode>, name: &[u8], new: &NewNode<'_>) -> Result<Arc<Inode>> {
        match &self.0 {
            Node::Dir(directory) if new.mode & S_IFMT == S_IFDIR => Ok(make(
                dir.sb(),
                directory.make_dir(name, new.mode & !S_IFMT)?,
            )),
            _ => Err(Errno::EPERM),
        }
    }

    fn rmdir(&self, _: &Arc<Inode>, name: &[u8], _: &Arc<Inode>) -> Result<()> {
        match &self.0 {
            Node::Dir(directory) => directory.remove_dir(name),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn cacheable(&self) -> bool {
        false
    }

    fn link_target(&self, _: &Arc<Inode>) -> Result<LinkTarget> {
        match &self.0 {
            Node::Link(link) => link.target(),
            _ => Err(Errno::EINVAL),
        }
    }

    fn link_text(&self, _: &Arc<Inode>) -> Result<Option<Vec<u8>>> {
        match &self.0 {
            Node::Link(link) => link.text(),
            _ => Err(Errno::EINVAL),
        }
    }

    fn open(&self, _: &Arc<Inode>, flags: u32) -> Result<Arc<dyn FileOps>> {
        match &self.0 {
            Node::Dir(directory) => Ok(Arc::new(OpenDir(directory.clone()))),
            Node::Text(text) => {
                text.check_open(flags)?;
                Ok(Arc::new(OpenText::new(text.clone())))
            }
            Node::Special(special) => special.open(flags),
            Node::Link(_) => Err(Errno::ELOOP),
        }
    }

    fn setattr(&self, inode: &Inode, attr: &fs::inode::SetAttr) -> Result<()> {
        // Truncation by O_TRUNC means nothing to a file that is made when it is read.
        inode.apply(attr);
        Ok(())
    }
}
