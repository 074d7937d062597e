//! What a file's inode says of it: mode, owner, size; and who may do what with it.

use alloc::sync::Arc;

use fs::attr;
use fs::namei::{LookupFlags, at};
use fs::{Errno, Path, Result};

use super::path::{FDCWD, Form, Place, lookup};
use super::{Call, Plain, SysResult};
use crate::process::rlimit::Resource;
use crate::signal::{self, Signal};
use crate::usermem::PathBuf;

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[
    (21, |call| access(call, Form::Cwd, 0)),
    (76, truncate),
    (77, ftruncate),
    (90, |call| chmod(call, Form::Cwd)),
    (91, fchmod),
    (92, |call| chown(call, Form::Cwd, LookupFlags::FOLLOW)),
    (93, fchown),
    (94, |call| chown(call, Form::Cwd, LookupFlags::NOFOLLOW)),
    (260, fchownat),
    (268, |call| chmod(call, Form::At)),
    (269, |call| access(call, Form::At, 0)),
    (439, |call| access(call, Form::At, call.arg(3) as u32)),
];

fn chmod(call: &mut Call<'_>, form: Form) -> SysResult {
    let (dirfd, [path, mode]) = form.args(call);
    let (place, found) = lookup(call, dirfd, path, LookupFlags::FOLLOW)?;
    attr::chmod(&found, &place.cred, mode as u32)?;
    Ok(0)
}

/// The path of an open descriptor, not one of `O_PATH`.
fn fd_path(call: &Call<'_>) -> Result<Path> {
    let file = call.thread.file(call.int(0))?;
    if file.is_path() {
        Err(Errno::EBADF)
    } else {
        Ok(file.path().clone())
    }
}

fn fchmod(call: &mut Call<'_>) -> SysResult {
    attr::chmod(&fd_path(call)?, &call.thread.cred(), call.arg(1) as u32)?;
    Ok(0)
}

/// An id argument: all ones leaves the id as it is.
fn id(arg: u64) -> Option<u32> {
    (arg as u32 != u32::MAX).then_some(arg as u32)
}

fn chown(call: &Call<'_>, form: Form, look: LookupFlags) -> SysResult {
    let (dirfd, [path, uid, gid]) = form.args(call);
    let (place, found) = lookup(call, dirfd, path, look)?;
    attr::chown(&found, &place.cred, id(uid), id(gid))?;
    Ok(0)
}

fn fchown(call: &mut Call<'_>) -> SysResult {
    attr::chown(
        &fd_path(call)?,
        &call.thread.cred(),
        id(call.arg(1)),
        id(call.arg(2)),
    )?;
    Ok(0)
}

fn fchownat(call: &mut Call<'_>) -> SysResult {
    let flags = call.arg(4) as u32;
    if flags & !(at::SYMLINK_NOFOLLOW | at::EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    chown(call, Form::At, LookupFlags::from_at(flags))
}

fn access(call: &Call<'_>, form: Form, flags: u32) -> SysResult {
    let (dirfd, [path, mode]) = form.args(call);
    let mode = mode as u32;
    if mode & !7 != 0 || flags & !(at::EACCESS | at::SYMLINK_NOFOLLOW | at::EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = PathBuf::read(path)?;
    let mut place = Place::at(call, dirfd, path.as_bytes())?;
    if flags & at::EACCESS == 0 {
        place.cred = Arc::new(attr::real_credentials(&place.cred));
    }
    let found = place
        .walk()
        .lookup(path.as_bytes(), LookupFlags::from_at(flags))?;
    attr::access(&found, &place.cred, mode)?;
    Ok(0)
}

/// Does what may make a file `size` bytes long, given the caller's `RLIMIT_FSIZE`; a refusal by that is a `SIGXFSZ` too.
pub(super) fn within_limit(
    call: &Call<'_>,
    size: u64,
    change: impl FnOnce(u64) -> Result<()>,
) -> SysResult {
    let limit = call.thread.process().limit(Resource::FileSize);
    let result = change(limit);
    if result == Err(Errno::EFBIG) && size > limit {
        signal::send::send_to_self(call.thread, Signal::SIGXFSZ);
    }
    Ok(result.map(|()| 0)?)
}

fn truncate(call: &mut Call<'_>) -> SysResult {
    let size = call.arg(1);
    if (size as i64) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let (place, found) = lookup(call, FDCWD, call.arg(0), LookupFlags::FOLLOW)?;
    within_limit(call, size, |limit| {
        attr::truncate(&found, &place.cred, size, limit)
    })
}

fn ftruncate(call: &mut Call<'_>) -> SysResult {
    let size = call.arg(1);
    if (size as i64) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = call.thread.file(call.int(0))?;
    within_limit(call, size, |limit| attr::ftruncate(&file, size, limit))
}
