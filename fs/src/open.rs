//! `open`: from a path to an open description.

use alloc::sync::Arc;

use crate::cred::{Cap, Credentials, MAY_EXEC, MAY_READ, MAY_WRITE};
use crate::dentry::{self, Dentry, Name};
use crate::file::oflag::*;
use crate::file::{File, Positioning, STRIP_PRIVILEGES};
use crate::inode::{
    Inode, NewNode, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK, S_ISGID,
    SetAttr,
};
use crate::mount::{Path, ms};
use crate::namei::{LookupFlags, OpenLast, Walk, may_create};
use crate::notify::{self, NotifyEvents};
use crate::{Errno, Result, device, pipe, protect};

/// The bit of [`O_TMPFILE`] that is not `O_DIRECTORY`.
const TMPFILE_BIT: u32 = O_TMPFILE & !O_DIRECTORY;

/// What to open and how.
#[derive(Clone, Copy, Debug)]
pub struct OpenHow {
    /// `O_*` flags.
    pub flags: u32,
    /// Permission bits of a file that is created.
    pub mode: u32,
    /// The process's umask.
    pub umask: u32,
}

/// Opens `path`.
///
/// A FIFO opened without `O_NONBLOCK` may be waiting for its other end: see [`FileOps::open_complete`](crate::FileOps::open_complete).
///
/// # Errors
/// Those of `open(2)`, but for the descriptor table's.
pub fn open(walk: &Walk<'_>, path: &[u8], how: OpenHow) -> Result<Arc<File>> {
    let OpenHow { mut flags, .. } = how;
    if flags & O_PATH != 0 {
        flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
        let found = walk.lookup(path, lookup_flags(flags))?;
        return File::new(Arc::new(PathOnly), found, flags, Positioning::Stream);
    }
    if flags & TMPFILE_BIT != 0 {
        return open_tmpfile(walk, path, how);
    }
    if flags & O_CREAT == 0 {
        let found = walk.lookup(path, lookup_flags(flags))?;
        return open_path(walk.cred, found, flags);
    }
    if flags & O_DIRECTORY != 0 {
        return Err(Errno::EINVAL);
    }
    open_create(walk, path, how)
}

fn lookup_flags(flags: u32) -> LookupFlags {
    LookupFlags {
        follow: flags & O_NOFOLLOW == 0,
        directory: flags & O_DIRECTORY != 0,
        empty: false,
    }
}

/// The operations of a file opened with `O_PATH`: none.
struct PathOnly;

impl crate::FileOps for PathOnly {}

fn open_create(walk: &Walk<'_>, path: &[u8], how: OpenHow) -> Result<Arc<File>> {
    let mut steps = walk.open_walk(path)?;
    loop {
        let (dir, name) = match steps.last()? {
            OpenLast::Here(path) => return open_found(walk.cred, path.clone(), how.flags),
            OpenLast::Name { slashes: true, .. } => return Err(Errno::EISDIR),
            OpenLast::Name { dir, name, .. } => (dir, name),
        };
        let dentry = match dentry::cached(&dir.dentry, name).filter(|d| d.inode().is_some()) {
            Some(dentry) => dentry,
            None => match create_missing(walk.cred, dir, name, how)? {
                Created::Found(dentry) => dentry,
                Created::New(dentry) => {
                    let path = Path {
                        mount: dir.mount.clone(),
                        dentry,
                    };
                    let flags = creation_flags(walk.cred, how.flags);
                    notify::on_entry(
                        dir.dentry.existing()?,
                        name.bytes,
                        path.dentry.existing()?,
                        NotifyEvents::CREATE,
                    );
                    let file = dispatch(path, flags & !O_TRUNC)?;
                    notify::on_dentry(&file.path().dentry, NotifyEvents::OPEN);
                    return Ok(file);
                }
            },
        };
        let is_link = dentry.existing()?.kind() == S_IFLNK;
        if !is_link || how.flags & (O_EXCL | O_NOFOLLOW) != 0 {
            let mut path = Path {
                mount: dir.mount.clone(),
                dentry,
            };
            path.enter_mounts();
            if how.flags & O_EXCL == 0 {
                let found = path.dentry.existing()?;
                protect::may_open_created(walk.cred, dir.dentry.existing()?, found)?;
            }
            return open_found(walk.cred, path, how.flags);
        }
        steps.follow(&dentry)?;
    }
}

/// Opens something that `O_CREAT` found to be there.
fn open_found(cred: &Credentials, path: Path, flags: u32) -> Result<Arc<File>> {
    if flags & O_EXCL != 0 {
        return Err(Errno::EEXIST);
    }
    if path.dentry.existing()?.is_dir() {
        return Err(Errno::EISDIR);
    }
    open_path(cred, path, flags)
}

enum Created {
    /// Somebody else made it.
    Found(Arc<Dentry>),
    New(Arc<Dentry>),
}

/// Creates a regular file unless the name exists after all.
fn create_missing(cred: &Credentials, dir: &Path, name: Name<'_>, how: OpenHow) -> Result<Created> {
    let inode = dir.dentry.existing()?;
    let _guard = inode.lock_dir();
    let dentry = dentry::lookup_locked(&dir.dentry, name)?;
    if dentry.inode().is_some() {
        return Ok(Created::Found(dentry));
    }
    dir.want_write()?;
    may_create(cred, inode)?;
    let mode = S_IFREG | how.mode & 0o7777 & !how.umask;
    let made = inode
        .ops()
        .create(inode, name.bytes, &new_node(cred, inode, mode))?;
    Ok(Created::New(dentry::insert(&dir.dentry, name, Some(made))))
}

/// Describes a new inode in `dir`: its owner, and what a set-group-id directory hands down.
pub(crate) fn new_node(cred: &Credentials, dir: &Inode, mode: u32) -> NewNode<'static> {
    let mut mode = mode;
    let mut gid = cred.fsgid;
    if dir.mode() & S_ISGID != 0 {
        gid = dir.gid();
        if mode & S_IFDIR == S_IFDIR && mode & S_IFREG == 0 {
            mode |= S_ISGID;
        } else if mode & (S_ISGID | 0o010) == S_ISGID | 0o010
            && !cred.in_group(gid)
            && !cred.capable(Cap::Fsetid)
        {
            mode &= !S_ISGID;
        }
    }
    NewNode {
        mode,
        uid: cred.fsuid,
        gid,
        rdev: 0,
        target: None,
    }
}

fn creation_flags(cred: &Credentials, flags: u32) -> u32 {
    if cred.capable(Cap::Fsetid) {
        flags
    } else {
        flags | STRIP_PRIVILEGES
    }
}

/// Returns what an opener with these flags must be allowed to do.
fn wanted(flags: u32) -> u32 {
    let mut mask = match flags & O_ACCMODE {
        O_RDONLY => MAY_READ,
        O_WRONLY => MAY_WRITE,
        _ => MAY_READ | MAY_WRITE,
    };
    if flags & O_TRUNC != 0 {
        mask |= MAY_WRITE;
    }
    mask
}

/// Opens what a walk, or a descriptor opened with `O_PATH`, has found.
///
/// # Errors
/// `ELOOP` for a symbolic link, `EISDIR`, `EACCES`, `EROFS`, `ETXTBSY`, `ENXIO`, `EPERM` for `O_NOATIME`.
pub fn open_path(cred: &Credentials, path: Path, mut flags: u32) -> Result<Arc<File>> {
    let inode = path.dentry.existing()?;
    let mask = wanted(flags);
    match inode.kind() {
        S_IFLNK => return Err(Errno::ELOOP),
        S_IFDIR if mask & MAY_WRITE != 0 => return Err(Errno::EISDIR),
        S_IFCHR | S_IFBLK => {
            if path.mount.flags() & ms::NODEV != 0 {
                return Err(Errno::EACCES);
            }
            flags &= !O_TRUNC;
        }
        S_IFIFO | S_IFSOCK => flags &= !O_TRUNC,
        S_IFREG if mask & MAY_WRITE != 0 => path.want_write()?,
        _ => {}
    }
    cred.permission(inode, mask)?;
    if flags & O_NOATIME != 0 && !cred.owner_or_capable(inode) {
        return Err(Errno::EPERM);
    }
    let truncate = flags & O_TRUNC != 0 && inode.kind() == S_IFREG;
    let inode = truncate.then(|| inode.clone());
    let file = dispatch(path, creation_flags(cred, flags))?;
    if let Some(inode) = inode {
        // A file opened for reading only may be cut as well, if nobody executes it.
        if !file.writable() {
            inode.get_write_access()?;
        }
        let cut = inode.ops().setattr(
            &inode,
            &SetAttr {
                size: Some(0),
                ..SetAttr::default()
            },
        );
        if !file.writable() {
            inode.put_write_access();
        }
        cut?;
        file.strip_privileges()?;
        notify::on_dentry(&file.path().dentry, NotifyEvents::MODIFY);
    }
    notify::on_dentry(&file.path().dentry, NotifyEvents::OPEN);
    Ok(file)
}

/// Makes the file, by the type of its inode.
fn dispatch(path: Path, flags: u32) -> Result<Arc<File>> {
    let inode = path.dentry.existing()?;
    let (ops, positioning) = match inode.kind() {
        S_IFREG | S_IFDIR => (inode.ops().open(inode, flags)?, Positioning::Seekable),
        S_IFCHR | S_IFBLK => {
            let opened = device::open(inode, flags)?;
            (opened.ops, opened.positioning)
        }
        S_IFIFO => (pipe::open_fifo(inode, flags)?, Positioning::Stream),
        _ => return Err(Errno::ENXIO),
    };
    let file = File::new(ops, path, flags, positioning)?;
    if flags & O_DIRECT != 0 {
        file.ops().check_flags(&file, flags)?;
    }
    Ok(file)
}

/// Makes a file without a name on the file system of the directory `path`.
fn open_tmpfile(walk: &Walk<'_>, path: &[u8], how: OpenHow) -> Result<Arc<File>> {
    if how.flags & O_TMPFILE != O_TMPFILE || how.flags & O_CREAT != 0 {
        return Err(Errno::EINVAL);
    }
    if !matches!(how.flags & O_ACCMODE, O_WRONLY | O_RDWR) {
        return Err(Errno::EINVAL);
    }
    let dir = walk.lookup(
        path,
        LookupFlags {
            directory: true,
            ..LookupFlags::FOLLOW
        },
    )?;
    let inode = dir.dentry.existing()?;
    dir.want_write()?;
    walk.cred.permission(inode, MAY_WRITE | MAY_EXEC)?;
    let mode = S_IFREG | how.mode & 0o7777 & !how.umask;
    let made = inode
        .ops()
        .tmpfile(inode, &new_node(walk.cred, inode, mode))?;
    made.set_linkable(how.flags & O_EXCL == 0);
    let name = alloc::format!("#{}", made.ino());
    let dentry = Dentry::nameless(&dir.dentry, name.as_bytes(), made);
    let flags = creation_flags(walk.cred, how.flags & !TMPFILE_BIT & !O_DIRECTORY);
    dispatch(
        Path {
            mount: dir.mount,
            dentry,
        },
        flags,
    )
}
