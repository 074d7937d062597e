//! The virtual file system of Wake and the file systems that live in memory.
//!
//! Linux's four objects are here under Linux's names: a [`superblock`] is a mounted file system, an [`inode`] a file of it, a
//! [`dentry`] a name that leads to an inode, and a [`file`](mod@file) an open description. [`mount`] joins file systems
//! to one tree, [`namei`] walks paths through it and [`fdtable`] numbers a process's open files.
//!
//! Everything is a plain function that never waits: an operation that has nothing to do yet answers `EAGAIN` and
//! says through [`poll`](mod@poll) when to try again. Copies go through [`iobuf`] and stop at the first missing user page, so they are
//! allowed under spin locks. Identity, time and user memory come in as arguments or registered hooks; so
//! the whole crate runs, and is tested, on the host.
//!
//! Lock order, outermost first: mount tree, rename, directory inode (by address), dentry cache bucket, dentry,
//! inode attributes, mapping. The allocator's locks rank below all of them.
//!
//! Start reading at [`namei`].
#![no_std]
#![warn(missing_docs)]

extern crate alloc;
#[cfg(any(test, not(target_os = "none")))]
extern crate std;

pub mod anon;
pub mod attr;
pub mod cpio;
pub mod cred;
pub mod dentry;
pub mod device;
pub mod dirops;
pub mod epoll;
pub mod errno;
pub mod eventfd;
pub mod fdtable;
pub mod file;
pub mod filecaps;
pub mod inode;
pub mod inotify;
pub mod iobuf;
pub mod locks;
pub mod mapping;
pub mod mount;
pub mod mounting;
pub mod namei;
pub mod notify;
pub mod open;
pub mod page;
pub mod page_tree;
pub mod pagefile;
pub mod pipe;
pub mod poll;
pub mod protect;
pub mod rename;
pub mod seal;
pub mod socket;
pub mod splice;
pub mod stat;
pub mod superblock;
pub mod sync;
#[cfg(test)]
mod test_util;
pub mod time;
pub mod timerfd;
pub mod tmpfs;
pub mod transfer;
pub mod tunable;
pub mod unix;
pub mod user_count;
pub mod xattr;

pub use cred::{Cap, Credentials};
pub use dentry::Dentry;
pub use errno::{Errno, Result};
pub use fdtable::FdTable;
pub use file::{DirSink, File, FileOps};
pub use inode::{Inode, InodeOps};
pub use iobuf::{Sink, SliceSink, SliceSource, Source, UserMemory};
pub use mapping::Mapping;
pub use mount::{FsContext, Mount, Path};
pub use page::Page;
pub use poll::{PollEvents, PollTable, WaitQueue, Waiters};
pub use superblock::SuperBlock;
pub use tunable::Tunable;
