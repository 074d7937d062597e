//! Calls that take a path: `open(2)`, `mkdir(2)`, `rename(2)`, `chmod(2)` and their `*at` forms.

use alloc::sync::Arc;

use fs::attr::{self, NewTime};
use fs::cred::Cap;
use fs::file::oflag;
use fs::inode::rename_flag;
use fs::namei::{LookupFlags, Walk, at};
use fs::open::OpenHow;
use fs::time::Time;
use fs::{Credentials, Errno, File, FsContext, Path, PollEvents, Result, dirops};

use super::{Call, Plain, Stop, SysResult, fd};
use crate::process::rlimit::Resource;
use crate::signal::{self, Signal};
use crate::usermem::{self, PathBuf};

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[
    (2, open),
    (21, access),
    (76, truncate),
    (77, ftruncate),
    (79, getcwd),
    (80, chdir),
    (81, fchdir),
    (82, rename),
    (83, mkdir),
    (84, rmdir),
    (85, creat),
    (86, link),
    (87, unlink),
    (88, symlink),
    (89, readlink),
    (90, chmod),
    (91, fchmod),
    (92, chown),
    (93, fchown),
    (94, lchown),
    (95, umask),
    (132, utime),
    (133, mknod),
    (161, chroot),
    (235, utimes),
    (257, openat),
    (258, mkdirat),
    (259, mknodat),
    (260, fchownat),
    (261, futimesat),
    (263, unlinkat),
    (264, renameat),
    (265, linkat),
    (266, symlinkat),
    (267, readlinkat),
    (268, fchmodat),
    (269, faccessat),
    (280, utimensat),
    (316, renameat2),
    (437, openat2),
    (439, faccessat2),
];

/// `AT_FDCWD`.
pub const FDCWD: i32 = -100;

/// The caller's place in the tree, taken apart for a walk.
pub struct Place {
    cred: Arc<Credentials>,
    root: Path,
    start: Path,
    umask: u32,
}

impl Place {
    /// Where a walk along `path` from descriptor `dirfd` starts.
    ///
    /// # Errors
    /// `EBADF` where the descriptor is needed and not open.
    pub fn at(call: &Call<'_>, dirfd: i32, path: &[u8]) -> Result<Self> {
        let context = call.thread.fs();
        let (root, cwd, umask) = {
            let FsContext { root, cwd, umask } = &*context.lock();
            (root.clone(), cwd.clone(), *umask)
        };
        let start = match dirfd {
            FDCWD => cwd,
            _ if path.first() == Some(&b'/') => cwd,
            fd => call.thread.file(fd)?.path().clone(),
        };
        Ok(Self {
            cred: call.thread.cred(),
            root,
            start,
            umask,
        })
    }

    /// A walk with the caller's credentials.
    #[inline]
    pub fn walk(&self) -> Walk<'_> {
        Walk {
            root: &self.root,
            start: &self.start,
            cred: &self.cred,
        }
    }
}

/// Finds what the path at user address `ptr` leads to.
#[inline]
pub fn lookup(call: &Call<'_>, dirfd: i32, ptr: u64, flags: LookupFlags) -> Result<(Place, Path)> {
    let path = PathBuf::read(ptr)?;
    let place = Place::at(call, dirfd, path.as_bytes())?;
    let found = place.walk().lookup(path.as_bytes(), flags)?;
    Ok((place, found))
}

fn follow_unless(flags: u32) -> LookupFlags {
    LookupFlags::from_at(flags)
}

/// Bits of open flags that exist; others are ignored by `open` and refused by `openat2`.
const VALID_FLAGS: u32 = 0o37777703;

fn open_at(call: &mut Call<'_>, dirfd: i32, path: u64, flags: u32, mode: u32) -> SysResult {
    let cloexec = flags & oflag::O_CLOEXEC != 0;
    if let Some(file) = call.opening.take() {
        return finish_open(call, file, cloexec);
    }
    call.admit_file()?;
    let path = PathBuf::read(path)?;
    let place = Place::at(call, dirfd, path.as_bytes())?;
    let how = OpenHow {
        flags: flags & VALID_FLAGS | oflag::O_LARGEFILE,
        mode: mode & 0o7777,
        umask: place.umask,
    };
    let file = fs::open::open(&place.walk(), path.as_bytes(), how)?;
    finish_open(call, file, cloexec)
}

/// Gives an opened file its descriptor, once a FIFO has its other end.
fn finish_open(call: &mut Call<'_>, file: Arc<File>, cloexec: bool) -> SysResult {
    if !file.ops().open_complete(&file, None) {
        call.opening = Some(file.clone());
        return Err(Stop::NotReady(file, PollEvents::empty()));
    }
    fd::install(call, file, cloexec)
}

fn open(call: &mut Call<'_>) -> SysResult {
    open_at(
        call,
        FDCWD,
        call.arg(0),
        call.arg(1) as u32,
        call.arg(2) as u32,
    )
}

fn creat(call: &mut Call<'_>) -> SysResult {
    open_at(
        call,
        FDCWD,
        call.arg(0),
        oflag::O_CREAT | oflag::O_WRONLY | oflag::O_TRUNC,
        call.arg(1) as u32,
    )
}

fn openat(call: &mut Call<'_>) -> SysResult {
    open_at(
        call,
        call.int(0),
        call.arg(1),
        call.arg(2) as u32,
        call.arg(3) as u32,
    )
}

fn openat2(call: &mut Call<'_>) -> SysResult {
    const SIZE_VER0: u64 = 24;
    const PAGE: u64 = 4096;
    let size = call.arg(3);
    if size < SIZE_VER0 {
        return Err(Errno::EINVAL.into());
    }
    if size > PAGE {
        return Err(Errno::E2BIG.into());
    }
    // What a longer structure holds beyond what we know must be zero.
    let mut how = [0u8; PAGE as usize];
    usermem::read_bytes(call.arg(2), &mut how[..size as usize])?;
    if how[SIZE_VER0 as usize..].iter().any(|&b| b != 0) {
        return Err(Errno::E2BIG.into());
    }
    let word =
        |i: usize| u64::from_le_bytes(how[i * 8..i * 8 + 8].try_into().expect("eight bytes"));
    let (flags, mode, resolve) = (word(0), word(1), word(2));
    let creates = flags & u64::from(oflag::O_CREAT) != 0
        || flags & u64::from(oflag::O_TMPFILE) == u64::from(oflag::O_TMPFILE);
    if flags & !u64::from(VALID_FLAGS) != 0 || mode & !0o7777 != 0 || (mode != 0 && !creates) {
        return Err(Errno::EINVAL.into());
    }
    if resolve != 0 {
        return Err(Errno::EINVAL.into());
    }
    open_at(call, call.int(0), call.arg(1), flags as u32, mode as u32)
}

fn mkdir_at(call: &Call<'_>, dirfd: i32, path: u64, mode: u32) -> SysResult {
    crate::mm::admit()?;
    let path = PathBuf::read(path)?;
    let place = Place::at(call, dirfd, path.as_bytes())?;
    dirops::mkdir(&place.walk(), path.as_bytes(), mode, place.umask)?;
    Ok(0)
}

fn mkdir(call: &mut Call<'_>) -> SysResult {
    mkdir_at(call, FDCWD, call.arg(0), call.arg(1) as u32)
}

fn mkdirat(call: &mut Call<'_>) -> SysResult {
    mkdir_at(call, call.int(0), call.arg(1), call.arg(2) as u32)
}

fn mknod_at(call: &Call<'_>, dirfd: i32, path: u64, mode: u32, dev: u32) -> SysResult {
    crate::mm::admit()?;
    let path = PathBuf::read(path)?;
    let place = Place::at(call, dirfd, path.as_bytes())?;
    // The user's 32-bit encoding: minor 0-7, major 8-19, the rest of the minor above.
    let (major, minor) = (dev >> 8 & 0xfff, dev & 0xff | dev >> 12 & 0xfff00);
    dirops::mknod(
        &place.walk(),
        path.as_bytes(),
        mode,
        fs::inode::make_dev(major, minor),
        place.umask,
    )?;
    Ok(0)
}

fn mknod(call: &mut Call<'_>) -> SysResult {
    mknod_at(
        call,
        FDCWD,
        call.arg(0),
        call.arg(1) as u32,
        call.arg(2) as u32,
    )
}

fn mknodat(call: &mut Call<'_>) -> SysResult {
    mknod_at(
        call,
        call.int(0),
        call.arg(1),
        call.arg(2) as u32,
        call.arg(3) as u32,
    )
}

fn unlink_at(call: &Call<'_>, dirfd: i32, path: u64, dir: bool) -> SysResult {
    let path = PathBuf::read(path)?;
    let place = Place::at(call, dirfd, path.as_bytes())?;
    match dir {
        true => dirops::rmdir(&place.walk(), path.as_bytes())?,
        false => dirops::unlink(&place.walk(), path.as_bytes())?,
    }
    Ok(0)
}

fn unlink(call: &mut Call<'_>) -> SysResult {
    unlink_at(call, FDCWD, call.arg(0), false)
}

fn rmdir(call: &mut Call<'_>) -> SysResult {
    unlink_at(call, FDCWD, call.arg(0), true)
}

fn unlinkat(call: &mut Call<'_>) -> SysResult {
    let flags = call.arg(2) as u32;
    if flags & !at::REMOVEDIR != 0 {
        return Err(Errno::EINVAL.into());
    }
    unlink_at(call, call.int(0), call.arg(1), flags & at::REMOVEDIR != 0)
}

fn rename_at(
    call: &Call<'_>,
    (from_fd, from): (i32, u64),
    (to_fd, to): (i32, u64),
    flags: u32,
) -> SysResult {
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
    rename_at(call, (FDCWD, call.arg(0)), (FDCWD, call.arg(1)), 0)
}

fn renameat(call: &mut Call<'_>) -> SysResult {
    rename_at(
        call,
        (call.int(0), call.arg(1)),
        (call.int(2), call.arg(3)),
        0,
    )
}

fn renameat2(call: &mut Call<'_>) -> SysResult {
    rename_at(
        call,
        (call.int(0), call.arg(1)),
        (call.int(2), call.arg(3)),
        call.arg(4) as u32,
    )
}

fn link_at(
    call: &Call<'_>,
    (old_fd, old): (i32, u64),
    (new_fd, new): (i32, u64),
    flags: u32,
) -> SysResult {
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
    link_at(call, (FDCWD, call.arg(0)), (FDCWD, call.arg(1)), 0)
}

fn linkat(call: &mut Call<'_>) -> SysResult {
    link_at(
        call,
        (call.int(0), call.arg(1)),
        (call.int(2), call.arg(3)),
        call.arg(4) as u32,
    )
}

fn symlink_at(call: &Call<'_>, target: u64, dirfd: i32, path: u64) -> SysResult {
    crate::mm::admit()?;
    let (target, path) = (PathBuf::read(target)?, PathBuf::read(path)?);
    let place = Place::at(call, dirfd, path.as_bytes())?;
    dirops::symlink(&place.walk(), target.as_bytes(), path.as_bytes())?;
    Ok(0)
}

fn symlink(call: &mut Call<'_>) -> SysResult {
    symlink_at(call, call.arg(0), FDCWD, call.arg(1))
}

fn symlinkat(call: &mut Call<'_>) -> SysResult {
    symlink_at(call, call.arg(0), call.int(1), call.arg(2))
}

fn readlink_at(call: &Call<'_>, dirfd: i32, path: u64, buf: u64, size: i32) -> SysResult {
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

fn readlink(call: &mut Call<'_>) -> SysResult {
    readlink_at(call, FDCWD, call.arg(0), call.arg(1), call.int(2))
}

fn readlinkat(call: &mut Call<'_>) -> SysResult {
    readlink_at(call, call.int(0), call.arg(1), call.arg(2), call.int(3))
}

fn chmod_at(call: &Call<'_>, dirfd: i32, path: u64, mode: u32) -> SysResult {
    let (place, found) = lookup(call, dirfd, path, LookupFlags::FOLLOW)?;
    attr::chmod(&found, &place.cred, mode)?;
    Ok(0)
}

fn chmod(call: &mut Call<'_>) -> SysResult {
    chmod_at(call, FDCWD, call.arg(0), call.arg(1) as u32)
}

fn fchmodat(call: &mut Call<'_>) -> SysResult {
    chmod_at(call, call.int(0), call.arg(1), call.arg(2) as u32)
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

fn chown_at(
    call: &Call<'_>,
    dirfd: i32,
    path: u64,
    ids: (u64, u64),
    look: LookupFlags,
) -> SysResult {
    let (place, found) = lookup(call, dirfd, path, look)?;
    attr::chown(&found, &place.cred, id(ids.0), id(ids.1))?;
    Ok(0)
}

fn chown(call: &mut Call<'_>) -> SysResult {
    chown_at(
        call,
        FDCWD,
        call.arg(0),
        (call.arg(1), call.arg(2)),
        LookupFlags::FOLLOW,
    )
}

fn lchown(call: &mut Call<'_>) -> SysResult {
    chown_at(
        call,
        FDCWD,
        call.arg(0),
        (call.arg(1), call.arg(2)),
        LookupFlags::NOFOLLOW,
    )
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
    chown_at(
        call,
        call.int(0),
        call.arg(1),
        (call.arg(2), call.arg(3)),
        follow_unless(flags),
    )
}

fn access_at(call: &Call<'_>, dirfd: i32, path: u64, mode: u32, flags: u32) -> SysResult {
    if mode & !7 != 0 || flags & !(at::EACCESS | at::SYMLINK_NOFOLLOW | at::EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = PathBuf::read(path)?;
    let mut place = Place::at(call, dirfd, path.as_bytes())?;
    if flags & at::EACCESS == 0 {
        place.cred = Arc::new(attr::real_credentials(&place.cred));
    }
    let found = place.walk().lookup(path.as_bytes(), follow_unless(flags))?;
    attr::access(&found, &place.cred, mode)?;
    Ok(0)
}

fn access(call: &mut Call<'_>) -> SysResult {
    access_at(call, FDCWD, call.arg(0), call.arg(1) as u32, 0)
}

fn faccessat(call: &mut Call<'_>) -> SysResult {
    access_at(call, call.int(0), call.arg(1), call.arg(2) as u32, 0)
}

fn faccessat2(call: &mut Call<'_>) -> SysResult {
    access_at(
        call,
        call.int(0),
        call.arg(1),
        call.arg(2) as u32,
        call.arg(3) as u32,
    )
}

/// Applies `RLIMIT_FSIZE` to a new size.
fn limit_size(call: &Call<'_>, size: u64) -> Result<u64> {
    if size as i64 > 0 && size > call.thread.process().limit(Resource::FileSize) {
        signal::send::send_to_self(call.thread, Signal::SIGXFSZ);
        return Err(Errno::EFBIG);
    }
    if (size as i64) < 0 {
        Err(Errno::EINVAL)
    } else {
        Ok(size)
    }
}

fn truncate(call: &mut Call<'_>) -> SysResult {
    let size = limit_size(call, call.arg(1))?;
    let (place, found) = lookup(call, FDCWD, call.arg(0), LookupFlags::FOLLOW)?;
    attr::truncate(&found, &place.cred, size)?;
    Ok(0)
}

fn ftruncate(call: &mut Call<'_>) -> SysResult {
    let size = limit_size(call, call.arg(1))?;
    attr::ftruncate(&*call.thread.file(call.int(0))?, size)?;
    Ok(0)
}

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

const UTIME_NOW: i64 = 0x3fff_ffff;
const UTIME_OMIT: i64 = 0x3fff_fffe;

/// Sets the times of what `path` leads to, or of the descriptor itself where there is no path.
fn set_times(call: &Call<'_>, dirfd: i32, path: u64, times: [NewTime; 2], flags: u32) -> SysResult {
    if times == [NewTime::Omit; 2] {
        return Ok(0);
    }
    let found = if path == 0 && dirfd != FDCWD {
        if flags != 0 {
            return Err(Errno::EINVAL.into());
        }
        call.thread.file(dirfd)?.path().clone()
    } else {
        lookup(call, dirfd, path, follow_unless(flags))?.1
    };
    attr::utimens(&found, &call.thread.cred(), times[0], times[1])?;
    Ok(0)
}

fn utimensat(call: &mut Call<'_>) -> SysResult {
    let flags = call.arg(3) as u32;
    if flags & !(at::SYMLINK_NOFOLLOW | at::EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut times = [NewTime::Now; 2];
    if call.arg(2) != 0 {
        let [a, b, c, d] = usermem::read::<[i64; 4]>(call.arg(2))?;
        for (time, (sec, nsec)) in times.iter_mut().zip([(a, b), (c, d)]) {
            *time = match nsec {
                UTIME_NOW => NewTime::Now,
                UTIME_OMIT => NewTime::Omit,
                0..=999_999_999 => NewTime::At(Time {
                    sec,
                    nsec: nsec as u32,
                }),
                _ => return Err(Errno::EINVAL.into()),
            };
        }
    }
    set_times(call, call.int(0), call.arg(1), times, flags)
}

/// Two `struct timeval` at `ptr`, or now where that is null.
fn timevals(ptr: u64) -> Result<[NewTime; 2]> {
    if ptr == 0 {
        return Ok([NewTime::Now; 2]);
    }
    let [a, b, c, d] = usermem::read::<[i64; 4]>(ptr)?;
    let time = |sec: i64, usec: i64| match usec {
        0..=999_999 => Ok(NewTime::At(Time {
            sec,
            nsec: usec as u32 * 1000,
        })),
        _ => Err(Errno::EINVAL),
    };
    Ok([time(a, b)?, time(c, d)?])
}

fn utimes(call: &mut Call<'_>) -> SysResult {
    let times = timevals(call.arg(1))?;
    set_times(call, FDCWD, call.arg(0), times, 0)
}

fn futimesat(call: &mut Call<'_>) -> SysResult {
    let times = timevals(call.arg(2))?;
    set_times(call, call.int(0), call.arg(1), times, 0)
}

fn utime(call: &mut Call<'_>) -> SysResult {
    let times = match call.arg(1) {
        0 => [NewTime::Now; 2],
        ptr => usermem::read::<[i64; 2]>(ptr)?.map(|sec| NewTime::At(Time { sec, nsec: 0 })),
    };
    set_times(call, FDCWD, call.arg(0), times, 0)
}
