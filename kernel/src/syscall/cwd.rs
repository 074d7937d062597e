//! A process's place in the tree: working directory, root, and the mask of what it makes.

use fs::namei::LookupFlags;
use fs::{Cap, Errno, Path};

use super::path::{FDCWD, lookup};
use super::{Call, Plain, SysResult};
use crate::usermem;

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[
    (79, getcwd),
    (80, chdir),
    (81, fchdir),
    (95, umask),
    (161, chroot),
];

fn getcwd(call: &mut Call<'_>) -> SysResult {
    let context = call.thread.fs();
    let (root, cwd) = {
        let context = context.lock();
        (context.root.clone(), context.cwd.clone())
    };
    let mut text = cwd.getcwd(&root)?;
    text.push(0);
    if text.len() as u64 > call.arg(1) {
        return Err(Errno::ERANGE.into());
    }
    usermem::write_bytes(call.arg(0), &text)?;
    Ok(text.len() as u64)
}

/// Makes `path` the working directory, if the caller may search it.
fn set_cwd(call: &Call<'_>, path: Path) -> SysResult {
    let inode = path.dentry.inode().ok_or(Errno::ENOENT)?;
    if !inode.is_dir() {
        return Err(Errno::ENOTDIR.into());
    }
    call.thread.cred().permission(inode, fs::cred::MAY_EXEC)?;
    let context = call.thread.fs();
    let before = core::mem::replace(&mut context.lock().cwd, path);
    drop(before);
    Ok(0)
}

fn chdir(call: &mut Call<'_>) -> SysResult {
    let (_, found) = lookup(call, FDCWD, call.arg(0), LookupFlags::DIRECTORY)?;
    set_cwd(call, found)
}

fn fchdir(call: &mut Call<'_>) -> SysResult {
    let path = call.thread.file(call.int(0))?.path().clone();
    set_cwd(call, path)
}

fn chroot(call: &mut Call<'_>) -> SysResult {
    let (place, found) = lookup(call, FDCWD, call.arg(0), LookupFlags::DIRECTORY)?;
    let inode = found.dentry.inode().ok_or(Errno::ENOENT)?;
    place.cred.permission(inode, fs::cred::MAY_EXEC)?;
    if !place.cred.capable(Cap::SysChroot) {
        return Err(Errno::EPERM.into());
    }
    let context = call.thread.fs();
    let before = core::mem::replace(&mut context.lock().root, found);
    drop(before);
    Ok(0)
}

fn umask(call: &mut Call<'_>) -> SysResult {
    let context = call.thread.fs();
    let before = core::mem::replace(&mut context.lock().umask, call.arg(0) as u32 & 0o777);
    Ok(u64::from(before))
}
