//! Names: opening, links, directories, owners and permissions, mounts.

use super::{Result, calls, filled};

calls! {
    /// Opens a file; a new one has these permissions.
    open_mode(path: &str, flags: i32, mode: u32) -> i32 = SYS_open;
    /// Opens a file from a directory on.
    openat(dir: i32, path: &str, flags: i32, mode: u32) -> i32 = SYS_openat;
    /// Makes a directory.
    mkdir(path: &str, mode: u32) = SYS_mkdir;
    /// Makes a directory from a directory on.
    mkdirat(dir: i32, path: &str, mode: u32) = SYS_mkdirat;
    /// Removes an empty directory.
    rmdir(path: &str) = SYS_rmdir;
    /// Makes a file of any kind.
    mknod(path: &str, mode: u32, device: u64) = SYS_mknod;
    /// Removes a name.
    unlink(path: &str) = SYS_unlink;
    /// Removes a name from a directory on.
    unlinkat(dir: i32, path: &str, flags: i32) = SYS_unlinkat;
    /// Gives a file another name.
    rename(from: &str, to: &str) = SYS_rename;
    /// Gives a file another name, from directories on.
    renameat(from_dir: i32, from: &str, to_dir: i32, to: &str) = SYS_renameat;
    /// Gives a file one more name.
    linkat(from_dir: i32, from: &str, to_dir: i32, to: &str, flags: i32) = SYS_linkat;
    /// Makes a symbolic link.
    symlinkat(text: &str, dir: i32, path: &str) = SYS_symlinkat;
    /// Reads a symbolic link.
    readlink(path: &str, to: &mut [u8]) -> usize = SYS_readlink;
    /// Makes a file longer or shorter.
    truncate(path: &str, len: i64) = SYS_truncate;
    /// Changes permissions.
    chmod(path: &str, mode: u32) = SYS_chmod;
    /// Changes an open file's permissions.
    fchmod(fd: i32, mode: u32) = SYS_fchmod;
    /// Changes permissions from a directory on.
    fchmodat(dir: i32, path: &str, mode: u32) = SYS_fchmodat;
    /// Changes the owner.
    chown(path: &str, user: u32, group: u32) = SYS_chown;
    /// Changes the owner from a directory on.
    fchownat(dir: i32, path: &str, user: u32, group: u32, flags: i32) = SYS_fchownat;
    /// Whether the real user may.
    access(path: &str, mode: i32) = SYS_access;
    /// Whether a user may, from a directory on.
    faccessat(dir: i32, path: &str, mode: i32, flags: i32) = SYS_faccessat2;
    /// Changes when a file was used and changed.
    utimensat(dir: i32, path: &str, times: Option<&[libc::timespec; 2]>, flags: i32) = SYS_utimensat;
    /// Which permissions new files do not have; gives what it was.
    try_umask(mask: u32) -> u32 = SYS_umask;
    /// Moves the working directory.
    chdir(path: &str) = SYS_chdir;
    /// Moves the working directory to an open one.
    fchdir(fd: i32) = SYS_fchdir;
    /// Moves the root directory.
    chroot(path: &str) = SYS_chroot;
    /// Mounts a file system.
    mount(from: &str, to: &str, kind: &str, flags: u64, data: &str) = SYS_mount;
    /// Takes a mount away.
    umount2(path: &str, flags: i32) = SYS_umount2;
    /// Sets an extended attribute.
    setxattr(path: &str, name: &str, value: &[u8], flags: i32) = SYS_setxattr;
    /// Reads an extended attribute.
    getxattr(path: &str, name: &str, to: &mut [u8]) -> usize = SYS_getxattr;
    /// Removes an extended attribute.
    removexattr(path: &str, name: &str) = SYS_removexattr;
}

mod raw {
    use super::calls;

    calls! {
        /// Tells about an open file.
        fstat(fd: i32, to: &mut libc::stat) = SYS_fstat;
        /// Tells about a file, a link's target not.
        lstat(path: &str, to: &mut libc::stat) = SYS_lstat;
        /// Tells about a file system.
        statfs(path: &str, to: &mut libc::statfs) = SYS_statfs;
        /// Tells about a file what is asked for.
        statx(dir: i32, path: &str, flags: i32, mask: u32, to: &mut libc::statx) = SYS_statx;
    }
}

/// Opens a file.
pub fn open(path: &str, flags: i32) -> Result<i32> {
    open_mode(path, flags, 0o644)
}

/// What is known of an open file.
pub fn fstat(fd: i32) -> Result<libc::stat> {
    filled(|stat| raw::fstat(fd, stat))
}

/// What is known of a file, or of a link itself.
pub fn lstat(path: &str) -> Result<libc::stat> {
    filled(|stat| raw::lstat(path, stat))
}

/// What is known of the file system that a file is on.
pub fn statfs(path: &str) -> Result<libc::statfs> {
    filled(|info| raw::statfs(path, info))
}

/// What is asked for of a file.
pub fn statx(dir: i32, path: &str, flags: i32, mask: u32) -> Result<libc::statx> {
    filled(|info| raw::statx(dir, path, flags, mask, info))
}

/// Sets which permissions new files do not have, and gives what it was.
pub fn umask(mask: u32) -> u32 {
    super::ok(try_umask(mask))
}

/// Takes a mount away that nobody uses.
pub fn umount(path: &str) -> Result {
    umount2(path, 0)
}

/// Makes a named pipe.
pub fn mkfifo(path: &str, mode: u32) -> Result {
    mknod(path, libc::S_IFIFO | mode, 0)
}
