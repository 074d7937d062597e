//! Names in directories: making, removing and moving them, and reading symbolic links.

use fs::inode::rename_flag;
use fs::namei::{LookupFlags, at};
use fs::{Cap, Errno, attr, dirops};

use super::path::{FDCWD, Form, Place, lookup};
use super::{Call, Plain, SysResult};
use crate::usermem::{self, PathBuf};

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[
    (82, rename),
    (83, |call| mkdir(call, Form::Cwd)),
    (84, |call| remove(call, FDCWD, call.arg(0), Kind::Directory)),
    (86, link),
    (87, |call| remove(call, FDCWD, call.arg(0), Kind::Other)),
    (88, |call| symlink(call, FDCWD, [call.arg(0), call.arg(1)])),
    (89, |call| readlink(call, Form::Cwd)),
    (133, |call| mknod(call, Form::Cwd)),
    (258, |call| mkdir(call, Form::At)),
    (259, |call| mknod(call, Form::At)),
    (263, unlinkat),
    (264, |call| rename_at(call, 0)),
    (265, linkat),
    (266, |call| {
        symlink(call, call.int(1), [call.arg(0), call.arg(2)])
    }),
    (267, |call| readlink(call, Form::At)),
    (316, |call| rename_at(call, call.arg(4) as u32)),
];

fn mkdir(call: &mut Call<'_>, form: Form) -> SysResult {
    let (dirfd, [path, mode]) = form.args(call);
    crate::mm::admit()?;
    let path = PathBuf::read(path)?;
    let place = Place::at(call, dirfd, path.as_bytes())?;
    dirops::mkdir(&place.walk(), path.as_bytes(), mode as u32, place.umask)?;
    Ok(0)
}

fn mknod(call: &mut Call<'_>, form: Form) -> SysResult {
    let (dirfd, [path, mode, dev]) = form.args(call);
    let dev = dev as u32;
    crate::mm::admit()?;
    let path = PathBuf::read(path)?;
    let place = Place::at(call, dirfd, path.as_bytes())?;
    // The user's 32-bit encoding: minor 0-7, major 8-19, the rest of the minor above.
    let (major, minor) = (dev >> 8 & 0xfff, dev & 0xff | dev >> 12 & 0xfff00);
    dirops::mknod(
        &place.walk(),
        path.as_bytes(),
        mode as u32,
        fs::inode::make_dev(major, minor),
        place.umask,
    )?;
    Ok(0)
}

/// What a name that is to be removed stands for.
#[derive(Clone, Copy)]
enum Kind {
    Directory,
    Other,
}

fn remove(call: &Call<'_>, dirfd: i32, path: u64, kind: Kind) -> SysResult {
    let path = PathBuf::read(path)?;
    let place = Place::at(call, dirfd, path.as_bytes())?;
    match kind {
        Kind::Directory => dirops::rmdir(&place.walk(), path.as_bytes())?,
        Kind::Other => dirops::unlink(&place.walk(), path.as_bytes())?,
    }
    Ok(0)
}

fn unlinkat(call: &mut Call<'_>) -> SysResult {
    let kind = match call.arg(2) as u32 {
        0 => Kind::Other,
        at::REMOVEDIR => Kind::Directory,
        _ => return Err(Errno::EINVAL.into()),
    };
    remove(call, call.int(0), call.arg(1), kind)
}

/// Where a name is: a descriptor to start from and the path's address.
type Name = (i32, u64);

fn move_name(call: &Call<'_>, (from_fd, from): Name, (to_fd, to): Name, flags: u32) -> SysResult {
    let known = rename_flag::NOREPLACE | rename_flag::EXCHANGE | rename_flag::WHITEOUT;
    if flags & !known != 0 {
        return Err(Errno::EINVAL.into());
    }
    crate::mm::admit()?;
    let (from, to) = (PathBuf::read(from)?, PathBuf::read(to)?);
    let from_place = Place::at(call, from_fd, from.as_bytes())?;
    let to_place = Place::at(call, to_fd, to.as_bytes())?;
    fs::rename::rename(
        &from_place.walk(),
        from.as_bytes(),
        &to_place.walk(),
        to.as_bytes(),
        flags,
    )?;
    Ok(0)
}

fn rename(call: &mut Call<'_>) -> SysResult {
    move_name(call, (FDCWD, call.arg(0)), (FDCWD, call.arg(1)), 0)
}

fn rename_at(call: &mut Call<'_>, flags: u32) -> SysResult {
    move_name(
        call,
        (call.int(0), call.arg(1)),
        (call.int(2), call.arg(3)),
        flags,
    )
}

fn add_name(call: &Call<'_>, (old_fd, old): Name, (new_fd, new): Name, flags: u32) -> SysResult {
    if flags & !(at::SYMLINK_FOLLOW | at::EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    crate::mm::admit()?;
    let look = LookupFlags {
        follow: flags & at::SYMLINK_FOLLOW != 0,
        directory: false,
        empty: flags & at::EMPTY_PATH != 0 && call.thread.cred().capable(Cap::DacReadSearch),
    };
    let (_, old) = lookup(call, old_fd, old, look)?;
    let new = PathBuf::read(new)?;
    let place = Place::at(call, new_fd, new.as_bytes())?;
    dirops::link(&old, &place.walk(), new.as_bytes())?;
    Ok(0)
}

fn link(call: &mut Call<'_>) -> SysResult {
    add_name(call, (FDCWD, call.arg(0)), (FDCWD, call.arg(1)), 0)
}

fn linkat(call: &mut Call<'_>) -> SysResult {
    let flags = call.arg(4) as u32;
    add_name(
        call,
        (call.int(0), call.arg(1)),
        (call.int(2), call.arg(3)),
        flags,
    )
}

/// The descriptor stands between the two paths, so this pair has no [`Form`].
fn symlink(call: &Call<'_>, dirfd: i32, [target, path]: [u64; 2]) -> SysResult {
    crate::mm::admit()?;
    let (target, path) = (PathBuf::read(target)?, PathBuf::read(path)?);
    let place = Place::at(call, dirfd, path.as_bytes())?;
    dirops::symlink(&place.walk(), target.as_bytes(), path.as_bytes())?;
    Ok(0)
}

fn readlink(call: &mut Call<'_>, form: Form) -> SysResult {
    let (dirfd, [path, buf, size]) = form.args(call);
    let size = size as i32;
    if size <= 0 {
        return Err(Errno::EINVAL.into());
    }
    // An empty path means the descriptor itself, which must be a link then.
    let (place, found) = lookup(
        call,
        dirfd,
        path,
        LookupFlags {
            empty: true,
            ..LookupFlags::NOFOLLOW
        },
    )?;
    let text = match attr::readlink(&found, &place.root) {
        Err(Errno::EINVAL) if usermem::read::<u8>(path)? == 0 => return Err(Errno::ENOENT.into()),
        other => other?,
    };
    let len = text.len().min(size as usize);
    usermem::write_bytes(buf, &text[..len])?;
    Ok(len as u64)
}
