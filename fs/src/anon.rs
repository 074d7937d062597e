//! Files that no path leads to: pipes, sockets, event files.
//!
//! Each needs a place for `fstat` and `/proc/PID/fd` all the same. Here is one internal mount per kind, made when first used.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::dentry::Dentry;
use crate::file::{File, FileOps, Positioning};
use crate::inode::{Inode, InodeOps, NewNode, S_IFIFO, S_IFSOCK};
use crate::mount::{Mount, Path};
use crate::stat::StatFs;
use crate::superblock::{SuperBlock, SuperOps};
use crate::sync::SpinLock;
use crate::{Errno, Result};

/// What kind of object a nameless inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnonKind {
    /// A pipe: `pipe:[INO]`.
    Pipe,
    /// A socket: `socket:[INO]`.
    Socket,
    /// Everything else: `anon_inode:NAME`, all with one inode.
    Other,
}

struct Nameless;

impl InodeOps for Nameless {}

struct NamelessSuper(u64);

impl SuperOps for NamelessSuper {
    fn statfs(&self) -> StatFs {
        StatFs::simple(self.0)
    }
}

/// A mount and the inode of its root.
struct Home {
    mount: Arc<Mount>,
    inode: Arc<Inode>,
}

static HOMES: [SpinLock<Option<Home>>; 3] = [const { SpinLock::new(None) }; 3];
static NEXT_INO: AtomicU64 = AtomicU64::new(2);

/// Returns the mount for objects of a kind, and the inode of its root.
fn home(kind: AnonKind) -> Result<(Arc<Mount>, Arc<Inode>)> {
    let (at, name, magic) = match kind {
        AnonKind::Pipe => (0, "pipefs", 0x5049_5045),
        AnonKind::Socket => (1, "sockfs", 0x534f_434b),
        AnonKind::Other => (2, "anon_inodefs", 0x0904_1934),
    };
    let mut home = HOMES[at].lock();
    if home.is_none() {
        let sb = SuperBlock::anonymous(name, magic, Box::new(NamelessSuper(magic)));
        // The one inode of anonymous files has permissions but no type.
        let new = NewNode {
            mode: 0o600,
            uid: 0,
            gid: 0,
            rdev: 0,
            target: None,
        };
        let inode = Inode::new(&sb, 1, &new, None, Box::new(Nameless));
        let mount = Mount::internal(Dentry::root(inode.clone(), b"/"))?;
        *home = Some(Home { mount, inode });
    }
    let home = home.as_ref().ok_or(Errno::ENOMEM)?;
    Ok((home.mount.clone(), home.inode.clone()))
}

/// Makes the inode of a pipe or socket, owned by `uid` and `gid`, and the place of it.
pub fn unique(kind: AnonKind, uid: u32, gid: u32) -> Result<Path> {
    let (mount, _) = home(kind)?;
    let ino = NEXT_INO.fetch_add(1, Ordering::Relaxed);
    let (mode, prefix) = match kind {
        AnonKind::Pipe => (S_IFIFO | 0o600, &b"pipe:["[..]),
        _ => (S_IFSOCK | 0o777, &b"socket:["[..]),
    };
    let new = NewNode {
        mode,
        uid,
        gid,
        rdev: 0,
        target: None,
    };
    let inode = Inode::new(mount.sb(), ino, &new, None, Box::new(Nameless));
    let mut text = [0; 32];
    Ok(Path {
        mount,
        dentry: Dentry::root(inode, name(&mut text, prefix, ino)),
    })
}

/// Writes `prefix`, `number` and `]` into `text` and returns that.
fn name<'a>(text: &'a mut [u8; 32], prefix: &[u8], mut number: u64) -> &'a [u8] {
    let mut at = text.len() - 1;
    text[at] = b']';
    loop {
        at -= 1;
        text[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    at -= prefix.len();
    text[at..at + prefix.len()].copy_from_slice(prefix);
    &text[at..]
}

/// Makes an open file of its own kind, shown as `anon_inode:NAME` (by custom, the name has brackets).
pub fn file(
    name: &str,
    ops: Arc<dyn FileOps>,
    flags: u32,
    positioning: Positioning,
) -> Result<Arc<File>> {
    let (mount, inode) = home(AnonKind::Other)?;
    let dentry = Dentry::root(inode, alloc::format!("anon_inode:{name}").as_bytes());
    File::new(ops, Path { mount, dentry }, flags, positioning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_show_what_they_are() {
        let path = unique(AnonKind::Socket, 3, 4).unwrap();
        let inode = path.dentry.inode().unwrap().clone();
        assert_eq!((inode.kind(), inode.uid(), inode.gid()), (S_IFSOCK, 3, 4));
        let root = crate::tmpfs::rootfs().unwrap().root_path();
        let shown = path.display(&root).unwrap();
        assert_eq!(shown, alloc::format!("socket:[{}]", inode.ino()).as_bytes());
        let file = file("[eventfd]", Arc::new(Void), 2, Positioning::Stream).unwrap();
        assert_eq!(file.path().display(&root).unwrap(), b"anon_inode:[eventfd]");
    }

    struct Void;
    impl FileOps for Void {}
}
