//! Directories, fixed and made up.

use alloc::sync::Arc;

use fs::file::Whence;
use fs::inode::dirent_type;
use fs::{DirSink, Errno, File, FileOps, Result};

use super::{Directory, Entry, Node};

const DT_DIR: u8 = 4;

/// Positions of `.` and `..`.
const DOTS: u64 = 2;

/// Takes the names of a directory.
pub struct ListSink<'a> {
    inner: &'a mut dyn DirSink,
    pos: &'a mut u64,
}

impl ListSink<'_> {
    /// Gives one name; `next` is the position to go on from after it. False if there is no room, and the listing ends.
    pub fn emit(&mut self, name: &[u8], entry: &Entry, next: u64) -> bool {
        self.emit_raw(name, entry.ino, entry.node.dirent_type(), next)
    }

    /// Gives one name whose object need not be made.
    pub fn emit_raw(&mut self, name: &[u8], ino: u64, kind: u8, next: u64) -> bool {
        let taken = self.inner.emit(ino, next + DOTS, kind, name);
        if taken {
            *self.pos = next + DOTS;
        }
        taken
    }
}

impl Node {
    /// The type bits of its mode.
    pub(super) fn kind(&self) -> u32 {
        match self {
            Node::Dir(_) => fs::inode::S_IFDIR,
            Node::Link(_) => fs::inode::S_IFLNK,
            Node::Text(_) | Node::Special(_) => fs::inode::S_IFREG,
        }
    }

    fn dirent_type(&self) -> u8 {
        dirent_type(self.kind())
    }
}

/// A directory whose entries do not change.
pub struct Fixed(pub alloc::vec::Vec<(&'static str, Entry)>);

impl Directory for Fixed {
    fn lookup(&self, name: &[u8]) -> Result<Entry> {
        let found = self.0.iter().find(|(own, _)| own.as_bytes() == name);
        found.map(|(_, entry)| entry.clone()).ok_or(Errno::ENOENT)
    }

    fn list(&self, from: u64, sink: &mut ListSink<'_>) -> Result<()> {
        for (at, (name, entry)) in self.0.iter().enumerate().skip(from as usize) {
            if !sink.emit(name.as_bytes(), entry, at as u64 + 1) {
                break;
            }
        }
        Ok(())
    }

    fn subdirectories(&self) -> u32 {
        self.0
            .iter()
            .filter(|(_, entry)| matches!(entry.node, Node::Dir(_)))
            .count() as u32
    }
}

/// An open directory.
pub(super) struct OpenDir(pub(super) Arc<dyn Directory>);

impl FileOps for OpenDir {
    fn readdir(&self, file: &File, pos: &mut u64, sink: &mut dyn DirSink) -> Result<()> {
        let own = file.inode().ino();
        let parent = file.path().dentry.parent();
        let parent = parent
            .and_then(|p| p.inode().map(|i| i.ino()))
            .unwrap_or(own);
        for (at, name, ino) in [(0, &b"."[..], own), (1, b"..", parent)] {
            if *pos == at {
                if !sink.emit(ino, at + 1, DT_DIR, name) {
                    return Ok(());
                }
                *pos = at + 1;
            }
        }
        let from = *pos - DOTS;
        self.0.list(from, &mut ListSink { inner: sink, pos })
    }

    fn seek(&self, _: &File, pos: u64, offset: i64, whence: Whence) -> Result<u64> {
        match whence {
            Whence::Set => u64::try_from(offset).map_err(|_| Errno::EINVAL),
            Whence::Current => pos.checked_add_signed(offset).ok_or(Errno::EINVAL),
            _ => Err(Errno::EINVAL),
        }
    }
}
