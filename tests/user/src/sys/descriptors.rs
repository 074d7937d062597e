//! Open files: reading and writing, offsets, duplicates, flags, locks, pipes.

use super::{Result, calls, ok};

calls! {
    /// Reads once.
    read(fd: i32, to: &mut [u8]) -> usize = SYS_read;
    /// Writes once.
    write(fd: i32, from: &[u8]) -> usize = SYS_write;
    /// Reads at an offset.
    pread(fd: i32, to: &mut [u8], offset: i64) -> usize = SYS_pread64;
    /// Writes at an offset.
    pwrite(fd: i32, from: &[u8], offset: i64) -> usize = SYS_pwrite64;
    /// Reads into several pieces.
    readv(fd: i32, to: &[libc::iovec]) -> usize = SYS_readv;
    /// Writes several pieces.
    writev(fd: i32, from: &[libc::iovec]) -> usize = SYS_writev;
    /// Moves the offset.
    lseek(fd: i32, offset: i64, whence: i32) -> i64 = SYS_lseek;
    /// Makes a file longer or shorter.
    ftruncate(fd: i32, len: i64) = SYS_ftruncate;
    /// Reserves room, or gives it back.
    fallocate(fd: i32, mode: i32, offset: i64, len: i64) = SYS_fallocate;
    /// Writes what is dirty.
    fsync(fd: i32) = SYS_fsync;
    /// Copies from a file to anything.
    sendfile(to: i32, from: i32, offset: Option<&mut i64>, len: usize) -> usize = SYS_sendfile;
    /// Copies from file to file.
    copy_file_range(
        from: i32, from_offset: Option<&mut i64>, to: i32, to_offset: Option<&mut i64>, len: usize, flags: u32,
    ) -> usize = SYS_copy_file_range;
    /// Moves between a pipe and anything.
    splice(
        from: i32, from_offset: Option<&mut i64>, to: i32, to_offset: Option<&mut i64>, len: usize, flags: u32,
    ) -> usize = SYS_splice;
    /// The file under the lowest free number.
    dup(fd: i32) -> i32 = SYS_dup;
    /// The file under this number.
    dup2(fd: i32, to: i32) -> i32 = SYS_dup2;
    /// The same with flags, for another number only.
    dup3(fd: i32, to: i32, flags: i32) -> i32 = SYS_dup3;
    /// A command with a number or none, for which 0 serves.
    fcntl(fd: i32, command: i32, arg: i32) -> i32 = SYS_fcntl;
    /// A command about a record lock.
    fcntl_lock(fd: i32, command: i32, lock: &mut libc::flock) = SYS_fcntl;
    /// Locks a whole file.
    flock(fd: i32, operation: i32) = SYS_flock;
    /// A pipe with flags.
    pipe2(ends: &mut [i32; 2], flags: i32) = SYS_pipe2;
    /// A file that is only memory.
    memfd_create(name: &str, flags: u32) -> i32 = SYS_memfd_create;
    /// A command that takes a number, or nothing, for which 0 serves.
    ioctl(fd: i32, command: libc::Ioctl, arg: i32) -> i32 = SYS_ioctl;
    /// Gives up a descriptor.
    try_close(fd: i32) = SYS_close;
    /// Gives up descriptors `first` to `last`, or marks them.
    close_range(first: u32, last: u32, flags: u32) = SYS_close_range;
}

/// A command that reads what is at `arg`, or writes there.
pub fn ioctl_at<T: super::Plain>(fd: i32, command: libc::Ioctl, arg: &mut T) -> Result<i32> {
    let at = std::ptr::from_mut(arg) as usize;
    super::call(libc::SYS_ioctl, &[fd as usize, command as usize, at]).map(|word| word as i32)
}

/// The status flags of a file.
#[track_caller]
pub fn file_flags(fd: i32) -> i32 {
    ok(fcntl(fd, libc::F_GETFL, 0))
}

/// Whether a number stands for an open file.
pub fn is_open(fd: i32) -> bool {
    fcntl(fd, libc::F_GETFD, 0).is_ok()
}

/// A pipe: its reading and its writing end.
pub fn pipe() -> (i32, i32) {
    let mut ends = [0; 2];
    ok(pipe2(&mut ends, 0));
    (ends[0], ends[1])
}

/// A new file with contents, open for reading and writing at its start.
#[track_caller]
pub fn file(path: &str, contents: &[u8]) -> i32 {
    std::fs::write(path, contents).expect("the directory is writable");
    ok(super::open(path, libc::O_RDWR))
}

/// Writes all of `data`.
#[track_caller]
pub fn put(fd: i32, data: &[u8]) {
    assert_eq!(ok(write(fd, data)), data.len());
}

/// Reads once, up to `len` bytes.
#[track_caller]
pub fn get(fd: i32, len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    let got = ok(read(fd, &mut data));
    data.truncate(got);
    data
}

/// Closes a file.
#[track_caller]
pub fn close(fd: i32) {
    ok(try_close(fd));
}

/// Closes every descriptor from this one on.
pub fn close_from(first: i32) {
    ok(close_range(first as u32, u32::MAX, 0));
}

/// A piece for [`readv`] and the like; it is the caller's to keep what it names.
pub fn piece_of(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

/// The same for what is to be written to.
pub fn piece_into(bytes: &mut [u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    }
}

/// Reads into several pieces at an offset.
pub fn preadv(fd: i32, to: &[libc::iovec], offset: i64) -> Result<usize> {
    let args = [fd as usize, to.as_ptr() as usize, to.len(), offset as usize];
    super::call(libc::SYS_preadv, &args)
}
