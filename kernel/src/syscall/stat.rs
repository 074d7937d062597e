//! What is known of files: `stat(2)`, `statx(2)`, `statfs(2)`, `getdents64(2)`, extended attributes.

use alloc::vec::Vec;

use fs::file::DirSink;
use fs::inode::{dev_major, dev_minor};
use fs::namei::{LookupFlags, at};
use fs::stat::{Stat, StatFs};
use fs::time::Time;
use fs::{Errno, Path, Result, attr, xattr};

use super::path::{FDCWD, lookup};
use super::{Call, Plain, SysResult};
use crate::usermem;

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[
    (4, stat),
    (5, fstat),
    (6, lstat),
    (78, getdents),
    (137, statfs),
    (138, fstatfs),
    (188, setxattr),
    (189, lsetxattr),
    (190, fsetxattr),
    (191, getxattr),
    (192, lgetxattr),
    (193, fgetxattr),
    (194, listxattr),
    (195, llistxattr),
    (196, flistxattr),
    (197, removexattr),
    (198, lremovexattr),
    (199, fremovexattr),
    (217, getdents64),
    (262, newfstatat),
    (332, statx),
];

/// The user's encoding of a device number: minor 0-7, major 8-19, the rest of the minor above.
fn encode_dev(dev: u64) -> u64 {
    let (major, minor) = (u64::from(dev_major(dev)), u64::from(dev_minor(dev)));
    minor & 0xff | (major & 0xfff) << 8 | (minor & !0xff) << 12 | (major & !0xfff) << 32
}

/// Writes `struct stat` (asm/stat.h, 144 bytes).
fn write_stat(ptr: u64, s: &Stat) -> SysResult {
    let words: [u64; 18] = [
        encode_dev(s.dev),
        s.ino,
        u64::from(s.nlink),
        u64::from(s.mode) | u64::from(s.uid) << 32,
        u64::from(s.gid),
        encode_dev(s.rdev),
        s.size,
        u64::from(s.blksize),
        s.blocks,
        s.atime.sec as u64,
        u64::from(s.atime.nsec),
        s.mtime.sec as u64,
        u64::from(s.mtime.nsec),
        s.ctime.sec as u64,
        u64::from(s.ctime.nsec),
        0,
        0,
        0,
    ];
    usermem::write(ptr, &words)?;
    Ok(0)
}

fn stat(call: &mut Call<'_>) -> SysResult {
    let (_, found) = lookup(call, FDCWD, call.arg(0), LookupFlags::FOLLOW)?;
    write_stat(call.arg(1), &attr::stat(&found)?)
}

fn lstat(call: &mut Call<'_>) -> SysResult {
    let (_, found) = lookup(call, FDCWD, call.arg(0), LookupFlags::NOFOLLOW)?;
    write_stat(call.arg(1), &attr::stat(&found)?)
}

fn fstat(call: &mut Call<'_>) -> SysResult {
    let file = call.thread.file(call.int(0))?;
    write_stat(call.arg(1), &attr::stat(file.path())?)
}

/// Finds what a `*at` call with `AT_EMPTY_PATH` means.
fn find_at(call: &Call<'_>, dirfd: i32, path: u64, flags: u32) -> Result<Path> {
    Ok(lookup(call, dirfd, path, LookupFlags::from_at(flags))?.1)
}

fn newfstatat(call: &mut Call<'_>) -> SysResult {
    let flags = call.arg(3) as u32;
    let sync = at::STATX_FORCE_SYNC | at::STATX_DONT_SYNC;
    if flags & !(at::SYMLINK_NOFOLLOW | at::NO_AUTOMOUNT | at::EMPTY_PATH | sync) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let found = find_at(call, call.int(0), call.arg(1), flags)?;
    write_stat(call.arg(2), &attr::stat(&found)?)
}

/// `struct statx` (linux/stat.h) as 32 64-bit words.
fn pack_statx(s: &Stat) -> [u64; 32] {
    /// All basic fields and the time of birth.
    const BASIC_AND_BTIME: u64 = 0xfff;
    const STATX_MNT_ID: u64 = 0x1000;
    let mut w = [0u64; 32];
    w[0] = BASIC_AND_BTIME | STATX_MNT_ID | u64::from(s.blksize) << 32;
    w[1] = s.attributes;
    w[2] = u64::from(s.nlink) | u64::from(s.uid) << 32;
    w[3] = u64::from(s.gid) | u64::from(s.mode as u16) << 32;
    w[4] = s.ino;
    w[5] = s.size;
    w[6] = s.blocks;
    w[7] = s.attributes;
    for (i, time) in [s.atime, s.btime, s.ctime, s.mtime].into_iter().enumerate() {
        let Time { sec, nsec } = time;
        w[8 + 2 * i] = sec as u64;
        w[9 + 2 * i] = u64::from(nsec);
    }
    w[16] = u64::from(dev_major(s.rdev)) | u64::from(dev_minor(s.rdev)) << 32;
    w[17] = u64::from(dev_major(s.dev)) | u64::from(dev_minor(s.dev)) << 32;
    w[18] = s.mount_id;
    w
}

fn statx(call: &mut Call<'_>) -> SysResult {
    const STATX_RESERVED: u64 = 0x8000_0000;
    let flags = call.arg(2) as u32;
    let sync = at::STATX_FORCE_SYNC | at::STATX_DONT_SYNC;
    if flags & !(at::SYMLINK_NOFOLLOW | at::NO_AUTOMOUNT | at::EMPTY_PATH | sync) != 0
        || flags & sync == sync
        || call.arg(3) & STATX_RESERVED != 0
    {
        return Err(Errno::EINVAL.into());
    }
    let found = find_at(call, call.int(0), call.arg(1), flags)?;
    usermem::write(call.arg(4), &pack_statx(&attr::stat(&found)?))?;
    Ok(0)
}

/// Writes `struct statfs` (120 bytes).
fn write_statfs(ptr: u64, s: &StatFs) -> SysResult {
    let words: [u64; 15] = [
        s.magic, s.bsize, s.blocks, s.bfree, s.bavail, s.files, s.ffree, s.fsid, s.namelen,
        s.frsize, s.flags, 0, 0, 0, 0,
    ];
    usermem::write(ptr, &words)?;
    Ok(0)
}

fn statfs(call: &mut Call<'_>) -> SysResult {
    let (_, found) = lookup(call, FDCWD, call.arg(0), LookupFlags::FOLLOW)?;
    write_statfs(call.arg(1), &attr::statfs(&found)?)
}

fn fstatfs(call: &mut Call<'_>) -> SysResult {
    let file = call.thread.file(call.int(0))?;
    write_statfs(call.arg(1), &attr::statfs(file.path())?)
}

/// Collects directory entries as records of `getdents64(2)`, or of the older `getdents(2)`.
struct Records {
    bytes: Vec<u8>,
    room: usize,
    old: bool,
    /// An entry did not fit.
    refused: bool,
}

impl DirSink for Records {
    fn emit(&mut self, ino: u64, next: u64, kind: u8, name: &[u8]) -> bool {
        // ino, offset, length; then type and name with its zero, or name with its zero and the type last.
        let len = (8 + 8 + 2 + 1 + name.len() + 1).next_multiple_of(8);
        if self.bytes.len() + len > self.room || self.bytes.try_reserve(len).is_err() {
            self.refused = true;
            return false;
        }
        let end = self.bytes.len() + len;
        self.bytes.extend_from_slice(&ino.to_le_bytes());
        self.bytes.extend_from_slice(&next.to_le_bytes());
        self.bytes.extend_from_slice(&(len as u16).to_le_bytes());
        if !self.old {
            self.bytes.push(kind);
        }
        self.bytes.extend_from_slice(name);
        self.bytes.resize(end, 0);
        if self.old {
            self.bytes[end - 1] = kind;
        }
        true
    }
}

/// Bytes of records that one call collects before it copies them out.
const DENTS_MAX: usize = 64 * 1024;

fn read_dir(call: &Call<'_>, old: bool) -> SysResult {
    let file = call.thread.file(call.int(0))?;
    if file.is_path() {
        return Err(Errno::EBADF.into());
    }
    let room = (call.arg(2) as u32 as usize).min(DENTS_MAX);
    let mut records = Records {
        bytes: Vec::new(),
        room,
        old,
        refused: false,
    };
    records
        .bytes
        .try_reserve(room.min(4096))
        .map_err(|_| Errno::ENOMEM)?;
    let before = file.pos();
    file.readdir(&mut records)?;
    if records.bytes.is_empty() && records.refused {
        return Err(Errno::EINVAL.into());
    }
    if let Err(e) = usermem::write_bytes(call.arg(1), &records.bytes) {
        file.seek(before as i64, fs::file::Whence::Set)?;
        return Err(e.into());
    }
    Ok(records.bytes.len() as u64)
}

fn getdents64(call: &mut Call<'_>) -> SysResult {
    read_dir(call, false)
}

fn getdents(call: &mut Call<'_>) -> SysResult {
    read_dir(call, true)
}

/// Longest name and value of an extended attribute (linux/limits.h).
const XATTR_NAME_MAX: usize = 255;
const XATTR_SIZE_MAX: usize = 65536;

fn xattr_name(ptr: u64) -> Result<Vec<u8>> {
    let name = match usermem::read_cstr(ptr, XATTR_NAME_MAX) {
        Err(Errno::ENAMETOOLONG) => return Err(Errno::ERANGE),
        other => other?,
    };
    if name.is_empty() {
        Err(Errno::ERANGE)
    } else {
        Ok(name)
    }
}

/// What an attribute call is about: a path, a path whose last link is not followed, a descriptor.
#[derive(Clone, Copy)]
enum Of {
    Path,
    Link,
    Fd,
}

fn subject(call: &Call<'_>, of: Of) -> Result<Path> {
    match of {
        Of::Path => Ok(lookup(call, FDCWD, call.arg(0), LookupFlags::FOLLOW)?.1),
        Of::Link => Ok(lookup(call, FDCWD, call.arg(0), LookupFlags::NOFOLLOW)?.1),
        Of::Fd => {
            let file = call.thread.file(call.int(0))?;
            if file.is_path() {
                Err(Errno::EBADF)
            } else {
                Ok(file.path().clone())
            }
        }
    }
}

fn set(call: &Call<'_>, of: Of) -> SysResult {
    let (size, flags) = (call.arg(3) as usize, call.arg(4) as u32);
    if flags & !3 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let name = xattr_name(call.arg(1))?;
    if size > XATTR_SIZE_MAX {
        return Err(Errno::E2BIG.into());
    }
    let value = usermem::read_vec::<u8>(call.arg(2), size)?;
    xattr::set(
        &subject(call, of)?,
        &call.thread.cred(),
        &name,
        &value,
        flags,
    )?;
    Ok(0)
}

/// Copies out what a query gave; a size of zero asks how much there is.
fn answer(ptr: u64, size: usize, bytes: &[u8]) -> SysResult {
    if size > 0 {
        if bytes.len() > size {
            return Err(Errno::ERANGE.into());
        }
        usermem::write_bytes(ptr, bytes)?;
    }
    Ok(bytes.len() as u64)
}

fn get(call: &Call<'_>, of: Of) -> SysResult {
    let name = xattr_name(call.arg(1))?;
    let value = xattr::get(&subject(call, of)?, &call.thread.cred(), &name)?;
    answer(call.arg(2), call.arg(3) as usize, &value)
}

fn list(call: &Call<'_>, of: Of) -> SysResult {
    let names = xattr::list(&subject(call, of)?, &call.thread.cred())?;
    answer(call.arg(1), call.arg(2) as usize, &names)
}

fn remove(call: &Call<'_>, of: Of) -> SysResult {
    let name = xattr_name(call.arg(1))?;
    xattr::remove(&subject(call, of)?, &call.thread.cred(), &name)?;
    Ok(0)
}

macro_rules! xattr_calls {
    ($($name:ident = $op:ident($of:ident);)*) => {$(
        fn $name(call: &mut Call<'_>) -> SysResult {
            $op(call, Of::$of)
        }
    )*};
}

xattr_calls! {
    setxattr = set(Path);
    lsetxattr = set(Link);
    fsetxattr = set(Fd);
    getxattr = get(Path);
    lgetxattr = get(Link);
    fgetxattr = get(Fd);
    listxattr = list(Path);
    llistxattr = list(Link);
    flistxattr = list(Fd);
    removexattr = remove(Path);
    lremovexattr = remove(Link);
    fremovexattr = remove(Fd);
}
