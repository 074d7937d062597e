//! Calls that change directories: `mkdir`, `mknod`, `symlink`, `link`, `unlink`, `rmdir`.

use alloc::sync::Arc;

use crate::cred::{Cap, Credentials, MAY_EXEC, MAY_WRITE};
use crate::dentry::{self, Dentry, Name};
use crate::inode::{
    Inode, NewNode, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK, S_ISVTX,
};
use crate::mount::Path;
use crate::namei::{Last, PATH_MAX, Walk, may_create};
use crate::notify::{self, NotifyEvents};
use crate::open::new_node;
use crate::{Errno, Result, protect};

/// Walks to a name that is to be made, locks its directory, checks, and calls `make` for the inode.
fn create_with(
    walk: &Walk<'_>,
    path: &[u8],
    is_dir: bool,
    make: impl FnOnce(&Path, &Arc<Inode>, Name<'_>) -> Result<Arc<Inode>>,
) -> Result<Path> {
    let (dir, last) = walk.parent(path)?;
    let Last::Name(last) = last else {
        return Err(Errno::EEXIST);
    };
    let name = last.name(path);
    let inode = dir.dentry.existing()?;
    let dentry = {
        let _guard = inode.lock_dir();
        let found = dentry::lookup_locked(&dir.dentry, name)?;
        if found.inode().is_some() {
            return Err(Errno::EEXIST);
        }
        if last.slashes && !is_dir {
            return Err(Errno::ENOENT);
        }
        dir.want_write()?;
        let made = make(&dir, inode, name)?;
        dentry::insert(&dir.dentry, name, Some(made))
    };
    notify::on_entry(inode, name.bytes, dentry.existing()?, NotifyEvents::CREATE);
    Ok(Path {
        mount: dir.mount.clone(),
        dentry,
    })
}

/// Makes a directory and returns its path.
///
/// # Errors
/// `EEXIST`, `EROFS`, `EACCES`, `ENOSPC`, and those of the walk.
pub fn mkdir(walk: &Walk<'_>, path: &[u8], mode: u32, umask: u32) -> Result<Path> {
    create_with(walk, path, true, |_, dir, name| {
        may_create(walk.cred, dir)?;
        let mode = S_IFDIR | mode & (0o777 | S_ISVTX) & !umask;
        dir.ops()
            .create(dir, name.bytes, &new_node(walk.cred, dir, mode))
    })
}

/// Makes a regular file, device node, FIFO or socket node and returns its path.
///
/// # Errors
/// `EPERM` for a directory, or a device without `CAP_MKNOD`; `EINVAL` for other types; as [`mkdir`].
pub fn mknod(walk: &Walk<'_>, path: &[u8], mode: u32, rdev: u64, umask: u32) -> Result<Path> {
    let kind = match mode & S_IFMT {
        0 => S_IFREG,
        kind @ (S_IFREG | S_IFCHR | S_IFBLK | S_IFIFO | S_IFSOCK) => kind,
        S_IFDIR => return Err(Errno::EPERM),
        _ => return Err(Errno::EINVAL),
    };
    let is_device = matches!(kind, S_IFCHR | S_IFBLK);
    create_with(walk, path, false, |_, dir, name| {
        may_create(walk.cred, dir)?;
        if is_device && !walk.cred.capable(Cap::Mknod) {
            return Err(Errno::EPERM);
        }
        let mode = kind | mode & 0o7777 & !umask;
        let new = NewNode {
            rdev: if is_device { rdev } else { 0 },
            ..new_node(walk.cred, dir, mode)
        };
        dir.ops().create(dir, name.bytes, &new)
    })
}

/// Makes a symbolic link to `target` and returns its path.
///
/// # Errors
/// `ENOENT` for an empty target, `ENAMETOOLONG`; as [`mkdir`].
pub fn symlink(walk: &Walk<'_>, target: &[u8], path: &[u8]) -> Result<Path> {
    if target.is_empty() {
        return Err(Errno::ENOENT);
    }
    if target.len() >= PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    create_with(walk, path, false, |_, dir, name| {
        may_create(walk.cred, dir)?;
        let new = NewNode {
            target: Some(target),
            ..new_node(walk.cred, dir, S_IFLNK | 0o777)
        };
        dir.ops().create(dir, name.bytes, &new)
    })
}

/// Gives what `old` leads to another name.
///
/// # Errors
/// `EXDEV`, `EPERM` for a directory, `ENOENT` if it has no name at all, `EMLINK`; as [`mkdir`].
pub fn link(old: &Path, walk: &Walk<'_>, path: &[u8]) -> Result<()> {
    let inode = old.dentry.existing()?;
    create_with(walk, path, false, |at, dir, name| {
        if !Arc::ptr_eq(&at.mount, &old.mount) {
            return Err(Errno::EXDEV);
        }
        may_create(walk.cred, dir)?;
        if !Arc::ptr_eq(inode.sb(), dir.sb()) {
            return Err(Errno::EXDEV);
        }
        if inode.is_dir() {
            return Err(Errno::EPERM);
        }
        protect::may_link(walk.cred, inode)?;
        if inode.nlink() == 0 && !inode.linkable() {
            return Err(Errno::ENOENT);
        }
        if inode.nlink() == u32::MAX {
            return Err(Errno::EMLINK);
        }
        dir.ops().link(dir, name.bytes, inode)?;
        inode.set_linkable(false);
        Ok(inode.clone())
    })?;
    notify::on_inode(inode, NotifyEvents::ATTRIB);
    Ok(())
}

/// Checks that `cred` may remove `victim` from `dir`.
///
/// # Errors
/// `EACCES`, `EPERM`, `EISDIR`, `ENOTDIR`, `ENOENT`.
pub fn may_delete(cred: &Credentials, dir: &Inode, victim: &Inode, want_dir: bool) -> Result<()> {
    cred.permission(dir, MAY_WRITE | MAY_EXEC)?;
    let sticky = dir.mode() & S_ISVTX != 0
        && cred.fsuid != victim.uid()
        && cred.fsuid != dir.uid()
        && !cred.capable(Cap::Fowner);
    if sticky {
        return Err(Errno::EPERM);
    }
    if want_dir && !victim.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    if !want_dir && victim.is_dir() {
        return Err(Errno::EISDIR);
    }
    if dir.nlink() == 0 {
        return Err(Errno::ENOENT);
    }
    Ok(())
}

/// Removes the name of a non-directory.
///
/// # Errors
/// `EISDIR`, `ENOENT`, `ENOTDIR` for a trailing slash, `EPERM` in a sticky directory, `EBUSY`, `EROFS`, `EACCES`.
pub fn unlink(walk: &Walk<'_>, path: &[u8]) -> Result<()> {
    let (dir, last) = walk.parent(path)?;
    let Last::Name(last) = last else {
        return Err(Errno::EISDIR);
    };
    let name = last.name(path);
    let dir_inode = dir.dentry.existing()?;
    dir.want_write()?;
    let victim = {
        let _guard = dir_inode.lock_dir();
        let victim = dentry::lookup_locked(&dir.dentry, name)?;
        let inode = victim.existing()?;
        if last.slashes {
            return Err(if inode.is_dir() {
                Errno::EISDIR
            } else {
                Errno::ENOTDIR
            });
        }
        may_delete(walk.cred, dir_inode, inode, false)?;
        if victim.is_mountpoint() {
            return Err(Errno::EBUSY);
        }
        dir_inode.ops().unlink(dir_inode, name.bytes, inode)?;
        dentry::deleted(&dir.dentry, name, &victim);
        victim
    };
    let inode = victim.existing()?;
    notify::on_inode(inode, NotifyEvents::ATTRIB);
    notify::on_entry(dir_inode, name.bytes, inode, NotifyEvents::DELETE);
    gone(&victim);
    Ok(())
}

/// Tells the watchers of an inode that its last name is gone, once nobody else has it open.
pub(crate) fn gone(dentry: &Arc<Dentry>) {
    if notify::any()
        && Arc::strong_count(dentry) == 1
        && let Some(inode) = dentry.inode()
        && (inode.nlink() == 0 || inode.is_dir())
    {
        notify::inode_removed(inode);
    }
}

/// Removes an empty directory.
///
/// # Errors
/// `EINVAL` for `.`, `ENOTEMPTY` (also for `..`), `EBUSY` for a root or mountpoint, `ENOTDIR`; as [`unlink`].
pub fn rmdir(walk: &Walk<'_>, path: &[u8]) -> Result<()> {
    let (dir, last) = walk.parent(path)?;
    let last = match last {
        Last::Name(last) => last,
        Last::Root => return Err(Errno::EBUSY),
        Last::Dot => return Err(Errno::EINVAL),
        Last::DotDot => return Err(Errno::ENOTEMPTY),
    };
    let name = last.name(path);
    let dir_inode = dir.dentry.existing()?;
    dir.want_write()?;
    let victim = {
        let _guard = dir_inode.lock_dir();
        let victim = dentry::lookup_locked(&dir.dentry, name)?;
        let inode = victim.existing()?;
        may_delete(walk.cred, dir_inode, inode, true)?;
        if victim.is_mountpoint() {
            return Err(Errno::EBUSY);
        }
        // Under its own lock nobody creates anything in it between the look and the removal.
        let victim_guard = inode.lock_dir();
        dir_inode.ops().rmdir(dir_inode, name.bytes, inode)?;
        dentry::deleted(&dir.dentry, name, &victim);
        drop(victim_guard);
        victim
    };
    notify::on_entry(
        dir_inode,
        name.bytes,
        victim.existing()?,
        NotifyEvents::DELETE,
    );
    gone(&victim);
    Ok(())
}
