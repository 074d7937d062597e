//! The VFS as its callers see it, on a tmpfs.

mod common;
mod mounts;
mod paths;
mod stress;
