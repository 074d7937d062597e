//! What `stat` and `statfs` answer, before it is packed into a user structure.

use crate::time::Time;

/// File attributes, enough for `stat` and `statx`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of stat(2)")]
pub struct Stat {
    pub dev: u64,
    pub ino: u64,
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub size: u64,
    pub blksize: u32,
    /// In units of 512 bytes.
    pub blocks: u64,
    pub atime: Time,
    pub mtime: Time,
    pub ctime: Time,
    pub btime: Time,
    /// `STATX_ATTR_*`.
    pub attributes: u64,
    /// The mount's id, for `STATX_MNT_ID`.
    pub mount_id: u64,
}

/// File system figures of `statfs(2)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of statfs(2)")]
pub struct StatFs {
    pub magic: u64,
    pub bsize: u64,
    pub blocks: u64,
    pub bfree: u64,
    pub bavail: u64,
    pub files: u64,
    pub ffree: u64,
    pub fsid: u64,
    pub namelen: u64,
    pub frsize: u64,
    /// `ST_*` flags; the mount's are added by the caller.
    pub flags: u64,
}

impl StatFs {
    /// What a file system without blocks of its own answers: its magic number, pages as blocks, names of up to 255 bytes.
    #[must_use]
    pub fn simple(magic: u64) -> StatFs {
        let page = crate::page::PAGE_SIZE as u64;
        StatFs {
            magic,
            bsize: page,
            frsize: page,
            namelen: 255,
            ..StatFs::default()
        }
    }
}
