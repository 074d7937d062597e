//! Calls that look at or change attributes: `stat`, `chmod`, `chown`, `utimensat`, `truncate`, `access`, `statfs`, `readlink`.

use alloc::vec::Vec;

use crate::cred::{Cap, Credentials, MAY_EXEC, MAY_WRITE};
use crate::file::File;
use crate::inode::{
    Inode, LinkTarget, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_ISGID, S_ISUID, SetAttr,
    touch_atime,
};
use crate::mount::{Path, ms};
use crate::notify::{self, NotifyEvents};
use crate::stat::{Stat, StatFs};
use crate::time::{Time, now};
use crate::{Errno, Result};

/// Returns the attributes of what `path` leads to.
#[inline]
pub fn stat(path: &Path) -> Result<Stat> {
    let mut stat = path.dentry.existing()?.stat()?;
    stat.mount_id = path.mount.id();
    Ok(stat)
}

/// Returns the figures of the file system, with the mount's flags.
pub fn statfs(path: &Path) -> Result<StatFs> {
    const ST_VALID: u64 = 0x20;
    const ST_RELATIME: u64 = 0x1000;
    let mut stat = path.mount.sb().ops().statfs();
    let dev = path.mount.sb().dev();
    stat.fsid = dev;
    let flags = path.mount.flags();
    // These have the same values in `mount` and in `statfs`.
    let same = ms::NOSUID | ms::NODEV | ms::NOEXEC | ms::NOATIME | ms::NODIRATIME;
    stat.flags |= ST_VALID | u64::from(flags & same) | u64::from(path.mount.read_only());
    if flags & ms::RELATIME != 0 {
        stat.flags |= ST_RELATIME;
    }
    Ok(stat)
}

/// Returns the text of a symbolic link as seen from `root`.
///
/// # Errors
/// `EINVAL` if it is none.
pub fn readlink(path: &Path, root: &Path) -> Result<Vec<u8>> {
    let inode = path.dentry.existing()?;
    if inode.kind() != S_IFLNK {
        return Err(Errno::EINVAL);
    }
    touch_atime(&path.mount, inode);
    if let Some(text) = inode.ops().link_text(inode)? {
        return Ok(text);
    }
    match inode.ops().link_target(inode)? {
        LinkTarget::Text(text) => Ok(text.to_vec()),
        LinkTarget::Jump(path) => path.display(root),
    }
}

/// Checks `mode` (`R_OK | W_OK | X_OK`) as `access` does; the caller gives the real or the effective ids as `cred`.
///
/// # Errors
/// `EINVAL`, `EACCES`, `EROFS`.
pub fn access(path: &Path, cred: &Credentials, mode: u32) -> Result<()> {
    if mode & !7 != 0 {
        return Err(Errno::EINVAL);
    }
    let inode = path.dentry.existing()?;
    let kind = inode.kind();
    if mode & MAY_EXEC != 0 && kind == S_IFREG && path.mount.flags() & ms::NOEXEC != 0 {
        return Err(Errno::EACCES);
    }
    cred.permission(inode, mode)?;
    // Devices and the like are no part of the file system they are on.
    if mode & MAY_WRITE != 0 && matches!(kind, S_IFREG | S_IFDIR | S_IFLNK) {
        path.want_write()?;
    }
    Ok(())
}

/// Makes the credentials that `access` (without `AT_EACCESS`) judges by: the real ids.
pub fn real_credentials(cred: &Credentials) -> Credentials {
    let mut real = cred.clone();
    real.fsuid = cred.uid;
    real.fsgid = cred.gid;
    real.cap_effective = if cred.uid == 0 { cred.cap_permitted } else { 0 };
    real
}

fn set(path: &Path, attr: &SetAttr, event: NotifyEvents) -> Result<()> {
    let inode = path.dentry.existing()?;
    inode.ops().setattr(inode, attr)?;
    notify::on_dentry(&path.dentry, event);
    Ok(())
}

/// Changes permission bits.
///
/// # Errors
/// `EPERM`, `EROFS`, `EOPNOTSUPP` for a symbolic link.
pub fn chmod(path: &Path, cred: &Credentials, mode: u32) -> Result<()> {
    path.want_write()?;
    let inode = path.dentry.existing()?;
    if !cred.owner_or_capable(inode) {
        return Err(Errno::EPERM);
    }
    if inode.kind() == S_IFLNK {
        return Err(Errno::EOPNOTSUPP);
    }
    let mut mode = mode & 0o7777;
    if !cred.in_group(inode.gid()) && !cred.capable(Cap::Fsetid) {
        mode &= !S_ISGID;
    }
    set(
        path,
        &SetAttr {
            mode: Some(mode),
            ..SetAttr::default()
        },
        NotifyEvents::ATTRIB,
    )
}

/// Changes owner and group; `None` leaves one as it is.
///
/// # Errors
/// `EPERM`, `EROFS`.
pub fn chown(path: &Path, cred: &Credentials, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    path.want_write()?;
    let inode = path.dentry.existing()?;
    let owns = cred.fsuid == inode.uid();
    let capable = cred.capable(Cap::Chown);
    if uid.is_some_and(|uid| !(capable || owns && uid == inode.uid())) {
        return Err(Errno::EPERM);
    }
    if gid.is_some_and(|gid| !(capable || owns && (cred.in_group(gid) || gid == inode.gid()))) {
        return Err(Errno::EPERM);
    }
    let mut attr = SetAttr {
        uid,
        gid,
        ..SetAttr::default()
    };
    let mode = inode.mode();
    if mode & S_IFMT != S_IFDIR && (uid.is_some() || gid.is_some()) {
        // A new owner did not ask for these; Linux takes them from root's files too.
        inode.drop_capabilities()?;
        let mut kill = mode & S_ISUID;
        if mode & S_ISGID != 0
            && (mode & 0o010 != 0 || !cred.in_group(inode.gid()) && !cred.capable(Cap::Fsetid))
        {
            kill |= S_ISGID;
        }
        if kill != 0 {
            attr.mode = Some(mode & !kill & 0o7777);
        }
    }
    set(path, &attr, NotifyEvents::ATTRIB)
}

/// A time for `utimensat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewTime {
    /// The time now (`UTIME_NOW`).
    Now,
    /// As it is (`UTIME_OMIT`).
    Omit,
    /// This one.
    At(Time),
}

/// Sets access and modification time.
///
/// # Errors
/// `EACCES` if both are `Now`, else `EPERM`, for who is not the owner; `EROFS`; `EINVAL` for bad nanoseconds.
pub fn utimens(path: &Path, cred: &Credentials, atime: NewTime, mtime: NewTime) -> Result<()> {
    for time in [atime, mtime] {
        if matches!(time, NewTime::At(t) if t.nsec >= 1_000_000_000) {
            return Err(Errno::EINVAL);
        }
    }
    if atime == NewTime::Omit && mtime == NewTime::Omit {
        return Ok(());
    }
    path.want_write()?;
    let inode = path.dentry.existing()?;
    if !cred.owner_or_capable(inode) {
        // Who may write may also say that it was touched now.
        if (atime, mtime) != (NewTime::Now, NewTime::Now) {
            return Err(Errno::EPERM);
        }
        cred.permission(inode, MAY_WRITE)?;
    }
    let now = now();
    let pick = |time| match time {
        NewTime::Now => Some(now),
        NewTime::Omit => None,
        NewTime::At(time) => Some(time),
    };
    let attr = SetAttr {
        atime: pick(atime),
        mtime: pick(mtime),
        ..SetAttr::default()
    };
    set(path, &attr, NotifyEvents::ATTRIB)
}

/// Lets a file grow to `size` bytes only within the caller's `RLIMIT_FSIZE`; one that is longer already may stay so.
fn limit_growth(inode: &Inode, size: u64, limit: u64) -> Result<()> {
    if size > limit && size > inode.size() {
        Err(Errno::EFBIG)
    } else {
        Ok(())
    }
}

fn resize(
    path: &Path,
    inode: &Inode,
    cred: Option<&Credentials>,
    size: u64,
    limit: u64,
) -> Result<()> {
    if size > i64::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    limit_growth(inode, size, limit)?;
    inode.drop_capabilities()?;
    if cred.is_some_and(|cred| !cred.capable(Cap::Fsetid)) {
        inode.strip_privileges()?;
    }
    set(
        path,
        &SetAttr {
            size: Some(size),
            ..SetAttr::default()
        },
        NotifyEvents::MODIFY,
    )
}

/// Sets the size of what `path` leads to, growing up to `limit` (`RLIMIT_FSIZE`) bytes.
///
/// # Errors
/// `EISDIR`, `EINVAL` for what is no regular file, `EACCES`, `EROFS`, `ETXTBSY`, `EFBIG` (beyond the limit the caller sends
/// `SIGXFSZ`).
pub fn truncate(path: &Path, cred: &Credentials, size: u64, limit: u64) -> Result<()> {
    let inode = path.dentry.existing()?;
    match inode.kind() {
        S_IFREG => {}
        S_IFDIR => return Err(Errno::EISDIR),
        _ => return Err(Errno::EINVAL),
    }
    path.want_write()?;
    cred.permission(inode, MAY_WRITE)?;
    inode.get_write_access()?;
    let result = resize(path, inode, Some(cred), size, limit);
    inode.put_write_access();
    result
}

/// Sets the size of an open file, growing up to `limit` (`RLIMIT_FSIZE`) bytes.
///
/// # Errors
/// `EINVAL` if it is no regular file or not open for writing, `EFBIG` as [`truncate`].
pub fn ftruncate(file: &File, size: u64, limit: u64) -> Result<()> {
    if file.is_path() {
        return Err(Errno::EBADF);
    }
    if file.inode().kind() != S_IFREG || !file.writable() {
        return Err(Errno::EINVAL);
    }
    file.strip_privileges()?;
    resize(file.path(), file.inode(), None, size, limit)
}

/// Allocates, zeroes or frees a range of an open file, which grows up to `limit` (`RLIMIT_FSIZE`) bytes.
///
/// # Errors
/// Those of `fallocate(2)`; `EFBIG` as [`truncate`].
pub fn fallocate(file: &File, mode: u32, offset: i64, len: i64, limit: u64) -> Result<()> {
    use crate::pagefile::falloc;
    if offset < 0 || len <= 0 {
        return Err(Errno::EINVAL);
    }
    let known = falloc::KEEP_SIZE
        | falloc::PUNCH_HOLE
        | falloc::COLLAPSE_RANGE
        | falloc::ZERO_RANGE
        | falloc::INSERT_RANGE
        | falloc::UNSHARE_RANGE;
    if mode & !known != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    if mode & falloc::PUNCH_HOLE != 0 && mode & falloc::KEEP_SIZE == 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    if !file.writable() {
        return Err(Errno::EBADF);
    }
    match file.inode().kind() {
        S_IFREG => {}
        S_IFIFO => return Err(Errno::ESPIPE),
        S_IFDIR => return Err(Errno::EISDIR),
        _ => return Err(Errno::ENODEV),
    }
    let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
    // What stays beyond the end of the file counts as well.
    if mode & !falloc::KEEP_SIZE == 0 {
        limit_growth(file.inode(), end as u64, limit)?;
    }
    file.ops()
        .fallocate(file, mode, offset as u64, len as u64)?;
    notify::on_dentry(&file.path().dentry, NotifyEvents::MODIFY);
    Ok(())
}
