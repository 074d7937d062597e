//! Mode bits and device numbers, as `stat` shows them.

/// The mask of the type bits in a mode.
pub const S_IFMT: u32 = 0o170000;
/// Socket.
pub const S_IFSOCK: u32 = 0o140000;
/// Symbolic link.
pub const S_IFLNK: u32 = 0o120000;
/// Regular file.
pub const S_IFREG: u32 = 0o100000;
/// Block device.
pub const S_IFBLK: u32 = 0o060000;
/// Directory.
pub const S_IFDIR: u32 = 0o040000;
/// Character device.
pub const S_IFCHR: u32 = 0o020000;
/// FIFO.
pub const S_IFIFO: u32 = 0o010000;
/// Set user id on execution.
pub const S_ISUID: u32 = 0o4000;
/// Set group id on execution; on a directory, new entries take its group.
pub const S_ISGID: u32 = 0o2000;
/// Sticky: only owners remove entries.
pub const S_ISVTX: u32 = 0o1000;

/// Returns the `DT_*` value of a mode.
pub const fn dirent_type(mode: u32) -> u8 {
    ((mode & S_IFMT) >> 12) as u8
}

/// Packs a device number as Linux's `dev_t` in `stat` and `mknod`.
pub const fn make_dev(major: u32, minor: u32) -> u64 {
    let (major, minor) = (major as u64, minor as u64);
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12 | (major & !0xfff) << 32
}

/// Returns the major number of a packed device number.
pub const fn dev_major(dev: u64) -> u32 {
    ((dev >> 8 & 0xfff) | (dev >> 32 & !0xfff)) as u32
}

/// Returns the minor number of a packed device number.
pub const fn dev_minor(dev: u64) -> u32 {
    ((dev & 0xff) | (dev >> 12 & !0xff)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_pack_as_linux_packs_them() {
        assert_eq!(make_dev(1, 3), 0x103);
        assert_eq!(make_dev(8, 0x12345), 0x1230_0845);
        for (major, minor) in [
            (0, 0),
            (5, 1),
            (136, 300),
            (0xfff, 0xfffff),
            (0xfffff, 0xffffffff),
        ] {
            let dev = make_dev(major, minor);
            assert_eq!((dev_major(dev), dev_minor(dev)), (major, minor));
        }
    }
}
