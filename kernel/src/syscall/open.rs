//! Opening files: `open(2)`, `creat(2)`, `openat(2)`, `openat2(2)`.

use alloc::sync::Arc;

use fs::file::oflag;
use fs::open::OpenHow;
use fs::{Errno, File, PollEvents};

use super::path::{FDCWD, Form, Place};
use super::{Call, Plain, Stop, SysResult, fd};
use crate::usermem::{self, PathBuf};

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[
    (2, |call| open(call, Form::Cwd)),
    (85, creat),
    (257, |call| open(call, Form::At)),
    (437, openat2),
];

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

fn open(call: &mut Call<'_>, form: Form) -> SysResult {
    let (dirfd, [path, flags, mode]) = form.args(call);
    open_at(call, dirfd, path, flags as u32, mode as u32)
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
