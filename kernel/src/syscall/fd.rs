//! File descriptors: `dup(2)`, `close(2)`, `fcntl(2)` and what else works on an open file as such.

use alloc::sync::Arc;

use fs::attr;
use fs::file::oflag;
use fs::inode::{S_IFDIR, S_IFREG};
use fs::{Errno, File, PollEvents, Result};

use super::attr::within_limit;
use super::rw::CallerMemory;
use super::{Call, Plain, Stop, SysResult};
use crate::process::rlimit::Resource;
use crate::usermem;

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[
    (3, close),
    (16, ioctl),
    (32, dup),
    (33, dup2),
    (72, fcntl),
    (74, fsync),
    (75, fdatasync),
    (162, sync),
    (187, readahead),
    (221, fadvise64),
    (277, sync_file_range),
    (285, fallocate),
    (292, dup3),
    (306, syncfs),
    (436, close_range),
];

/// The caller's limit on descriptor numbers.
fn limit(call: &Call<'_>) -> u64 {
    call.thread.process().limit(Resource::Files)
}

/// Gives `file` the lowest free descriptor.
pub fn install(call: &Call<'_>, file: Arc<File>, cloexec: bool) -> SysResult {
    Ok(call.thread.files().install(file, cloexec, limit(call))? as u64)
}

/// What `close(2)` of a descriptor of the table numbered `table` does to its file.
pub fn close_file(file: Arc<File>, table: u64) -> Result<()> {
    file.close(table)
}

fn close(call: &mut Call<'_>) -> SysResult {
    let files = call.thread.files();
    let file = files.remove(call.int(0))?;
    close_file(file, files.id())?;
    Ok(0)
}

fn close_range(call: &mut Call<'_>) -> SysResult {
    const CLOSE_RANGE_UNSHARE: u64 = 2;
    const CLOSE_RANGE_CLOEXEC: u64 = 4;
    let (first, last, flags) = (call.arg(0) as u32, call.arg(1) as u32, call.arg(2));
    if flags & !(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL.into());
    }
    if flags & CLOSE_RANGE_UNSHARE != 0 {
        call.thread.unshare_files()?;
    }
    let files = call.thread.files();
    if flags & CLOSE_RANGE_CLOEXEC != 0 {
        files.cloexec_range(first, last);
    } else {
        files.close_range(first, last, |file| {
            let _ = close_file(file, files.id());
        });
    }
    Ok(0)
}

fn dup(call: &mut Call<'_>) -> SysResult {
    let file = call.thread.file(call.int(0))?;
    install(call, file, false)
}

fn replace(call: &Call<'_>, from: i32, to: i32, cloexec: bool) -> SysResult {
    let files = call.thread.files();
    let file = files.get(from)?;
    if let Some(old) = files.replace(to, file, cloexec, limit(call))? {
        let _ = close_file(old, files.id());
    }
    Ok(to as u64)
}

fn dup2(call: &mut Call<'_>) -> SysResult {
    let (from, to) = (call.int(0), call.int(1));
    if from == to {
        call.thread.file(from)?;
        return Ok(to as u64);
    }
    replace(call, from, to, false)
}

fn dup3(call: &mut Call<'_>) -> SysResult {
    let (from, to, flags) = (call.int(0), call.int(1), call.arg(2) as u32);
    if flags & !oflag::O_CLOEXEC != 0 || from == to {
        return Err(Errno::EINVAL.into());
    }
    replace(call, from, to, flags & oflag::O_CLOEXEC != 0)
}

/// Commands of `fcntl(2)`, from linux/fcntl.h.
mod cmd {
    pub const F_DUPFD: i32 = 0;
    pub const F_GETFD: i32 = 1;
    pub const F_SETFD: i32 = 2;
    pub const F_GETFL: i32 = 3;
    pub const F_SETFL: i32 = 4;
    pub const F_DUPFD_CLOEXEC: i32 = 1030;
}

const FD_CLOEXEC: u64 = 1;

fn fcntl(call: &mut Call<'_>) -> SysResult {
    let (fd, arg) = (call.int(0), call.arg(2));
    let files = call.thread.files();
    let file = files.get(fd)?;
    if file.is_path()
        && !matches!(
            call.int(1),
            cmd::F_DUPFD | cmd::F_DUPFD_CLOEXEC | cmd::F_GETFD..=cmd::F_GETFL
        )
    {
        return Err(Errno::EBADF.into());
    }
    match call.int(1) {
        c @ (cmd::F_DUPFD | cmd::F_DUPFD_CLOEXEC) => {
            let from = u64::from(arg as u32);
            if from >= limit(call) {
                return Err(Errno::EINVAL.into());
            }
            Ok(
                files.install_from(from as i32, file, c == cmd::F_DUPFD_CLOEXEC, limit(call))?
                    as u64,
            )
        }
        cmd::F_GETFD => Ok(u64::from(files.cloexec(fd)?)),
        cmd::F_SETFD => {
            files.set_cloexec(fd, arg & FD_CLOEXEC != 0)?;
            Ok(0)
        }
        cmd::F_GETFL => Ok(u64::from(file.flags() | oflag::O_LARGEFILE)),
        cmd::F_SETFL => {
            file.set_flags(arg as u32)?;
            Ok(0)
        }
        _ => super::fcntl::fcntl(call, &file),
    }
}

/// Commands of `ioctl(2)` that every file has, from asm-generic/ioctls.h and linux/fs.h.
mod request {
    pub const FIONCLEX: u32 = 0x5450;
    pub const FIOCLEX: u32 = 0x5451;
    pub const FIONBIO: u32 = 0x5421;
    pub const FIOASYNC: u32 = 0x5452;
    pub const FIOQSIZE: u32 = 0x5460;
    pub const FIGETBSZ: u32 = 2;
    pub const FIONREAD: u32 = 0x541b;
}

fn ioctl(call: &mut Call<'_>) -> SysResult {
    let (fd, request, arg) = (call.int(0), call.arg(1) as u32, call.arg(2));
    let file = call.thread.file(fd)?;
    if file.is_path() {
        return Err(Errno::EBADF.into());
    }
    match request {
        request::FIOCLEX | request::FIONCLEX => {
            call.thread
                .files()
                .set_cloexec(fd, request == request::FIOCLEX)?;
            Ok(0)
        }
        request::FIONBIO | request::FIOASYNC => {
            let bit = if request == request::FIONBIO {
                oflag::O_NONBLOCK
            } else {
                oflag::O_ASYNC
            };
            let on = usermem::read::<i32>(arg)? != 0;
            file.set_flags(if on {
                file.flags() | bit
            } else {
                file.flags() & !bit
            })?;
            Ok(0)
        }
        request::FIOQSIZE if matches!(file.inode().kind(), S_IFREG | S_IFDIR) => {
            usermem::write(arg, &(file.inode().size() as i64))?;
            Ok(0)
        }
        request::FIGETBSZ if matches!(file.inode().kind(), S_IFREG | S_IFDIR) => {
            usermem::write(arg, &4096i32)?;
            Ok(0)
        }
        request::FIONREAD if file.inode().kind() == S_IFREG => {
            let left = file.inode().size() as i64 - file.pos() as i64;
            usermem::write(arg, &(left as i32))?;
            Ok(0)
        }
        _ => match file.ops().ioctl(&file, request, arg, &CallerMemory) {
            // A terminal that has yet to send its output.
            Err(Errno::EAGAIN) => Err(Stop::NotReady(file, PollEvents::OUT)),
            other => Ok(other?),
        },
    }
}

fn open_file(call: &Call<'_>) -> Result<Arc<File>> {
    let file = call.thread.file(call.int(0))?;
    if file.is_path() {
        Err(Errno::EBADF)
    } else {
        Ok(file)
    }
}

fn fsync(call: &mut Call<'_>) -> SysResult {
    let file = open_file(call)?;
    synced(file.ops().fsync(&file, false))
}

/// What a sync answers; a disk's takes its time.
fn synced(outcome: Result<()>) -> SysResult {
    match outcome {
        Err(Errno::EIOCBQUEUED) => Err(Stop::Wait),
        other => Ok(other.map(|()| 0)?),
    }
}

fn fdatasync(call: &mut Call<'_>) -> SysResult {
    let file = open_file(call)?;
    synced(file.ops().fsync(&file, true))
}

/// Every file system so far is in memory, so there is nothing that could be behind.
fn sync(_: &mut Call<'_>) -> SysResult {
    Ok(0)
}

fn syncfs(call: &mut Call<'_>) -> SysResult {
    open_file(call)?;
    Ok(0)
}

fn sync_file_range(call: &mut Call<'_>) -> SysResult {
    let file = open_file(call)?;
    let (offset, len, flags) = (call.arg(1) as i64, call.arg(2) as i64, call.arg(3));
    if flags & !7 != 0 || offset < 0 || len < 0 || offset.checked_add(len).is_none() {
        return Err(Errno::EINVAL.into());
    }
    match file.inode().kind() {
        S_IFREG | S_IFDIR | fs::inode::S_IFBLK | fs::inode::S_IFLNK => Ok(0),
        _ => Err(Errno::ESPIPE.into()),
    }
}

/// All pages of a file in memory are there already.
fn readahead(call: &mut Call<'_>) -> SysResult {
    let file = open_file(call)?;
    if !file.readable() {
        return Err(Errno::EBADF.into());
    }
    if file.inode().kind() == S_IFREG {
        Ok(0)
    } else {
        Err(Errno::EINVAL.into())
    }
}

fn fadvise64(call: &mut Call<'_>) -> SysResult {
    let file = open_file(call)?;
    if file.inode().kind() == fs::inode::S_IFIFO {
        return Err(Errno::ESPIPE.into());
    }
    // POSIX_FADV_NORMAL to POSIX_FADV_NOREUSE.
    if (call.arg(2) as i64) < 0 || call.int(3) as u32 > 5 {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}

fn fallocate(call: &mut Call<'_>) -> SysResult {
    let file = open_file(call)?;
    let (mode, offset, len) = (call.arg(1) as u32, call.arg(2) as i64, call.arg(3) as i64);
    let end = (offset as u64).saturating_add(len as u64);
    within_limit(call, end, |limit| {
        attr::fallocate(&file, mode, offset, len, limit)
    })
}
