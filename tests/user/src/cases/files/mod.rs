//! Files and directories: opening, offsets, links, names, permissions, times, locks, mounts.

mod attributes;
mod contents;
mod descriptors;
mod locks;
mod mounts;
mod names;
mod opening;
mod permissions;

use crate::cases::parts;
use crate::sys::*;

parts![
    opening,
    contents,
    descriptors,
    names,
    permissions,
    attributes,
    locks,
    mounts
];

fn path_exists(path: &str) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

fn raw_error<T: std::fmt::Debug>(result: std::io::Result<T>) -> i32 {
    result
        .expect_err("it fails")
        .raw_os_error()
        .expect("from the system")
}

#[track_caller]
fn stat(path: &str) -> libc::stat {
    ok(lstat(path))
}

fn seek(fd: i32, offset: i64, whence: i32) -> Result<i64> {
    lseek(fd, offset, whence)
}
