//! Makes files of archive entries.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Error;
use super::parser::{Header, Receiver};
use crate::file::{File, oflag::*};
use crate::inode::{S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, SetAttr, make_dev};
use crate::iobuf::SliceSource;
use crate::mount::Path;
use crate::namei::{LookupFlags, PATH_MAX, Walk};
use crate::open::{OpenHow, open};
use crate::time::Time;
use crate::{Errno, Result, dirops};

/// What was unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Entries that were made.
    pub entries: u64,
    /// Bytes of contents.
    pub bytes: u64,
    /// Entries that could not be made.
    pub skipped: u64,
    /// The first of them, and why.
    pub first_skipped: Option<(Vec<u8>, Errno)>,
}

/// Device, inode number and type: what tells a hard link.
type LinkKey = ((u32, u32), u32, u32);

/// Makes files of the entries it receives.
pub struct Unpacker<'a> {
    walk: &'a Walk<'a>,
    report: Report,
    /// Where the first name of a file with several was made.
    links: BTreeMap<LinkKey, Path>,
    /// The entry being received.
    name: Vec<u8>,
    header: Header,
    file: Option<Arc<File>>,
    /// The target of a symbolic link so far.
    target: Option<Vec<u8>>,
    /// Directories and their times, to be stamped when nothing is added to them any more.
    dirs: Vec<(Path, u32)>,
}

impl<'a> Unpacker<'a> {
    /// Makes an unpacker that works from the root of `walk`.
    pub fn new(walk: &'a Walk<'a>) -> Unpacker<'a> {
        Unpacker {
            walk,
            report: Report::default(),
            links: BTreeMap::new(),
            name: Vec::new(),
            header: Header::default(),
            file: None,
            target: None,
            dirs: Vec::new(),
        }
    }

    /// Stamps the directories and returns what was done.
    pub fn finish(mut self) -> Report {
        for (path, mtime) in core::mem::take(&mut self.dirs) {
            stamp(&path, mtime);
        }
        self.report
    }

    fn walk(&self) -> Walk<'a> {
        Walk {
            root: self.walk.root,
            start: self.walk.root,
            cred: self.walk.cred,
        }
    }

    fn skip(&mut self, error: Errno) {
        self.report.skipped += 1;
        if self.report.first_skipped.is_none() {
            self.report.first_skipped = Some((self.name.clone(), error));
        }
    }

    /// Makes way for an entry: what has its name but not its type goes.
    fn clear(&self, kind: u32) -> Result<()> {
        let Ok(path) = self.walk().lookup(&self.name, LookupFlags::NOFOLLOW) else {
            return Ok(());
        };
        let old = path.dentry.existing()?.kind();
        if old == kind && matches!(kind, S_IFREG | S_IFDIR) {
            return Ok(());
        }
        if old == S_IFDIR {
            dirops::rmdir(&self.walk(), &self.name)
        } else {
            dirops::unlink(&self.walk(), &self.name)
        }
    }

    /// Sets owner, permissions and time.
    fn finish_entry(&mut self, path: &Path) -> Result<()> {
        let inode = path.dentry.existing()?;
        let mode = (self.header.mode & S_IFMT != S_IFLNK).then_some(self.header.mode & 0o7777);
        let (uid, gid) = (Some(self.header.uid), Some(self.header.gid));
        inode.ops().setattr(
            inode,
            &SetAttr {
                mode,
                uid,
                gid,
                ..SetAttr::default()
            },
        )?;
        if inode.is_dir() {
            self.dirs.push((path.clone(), self.header.mtime));
        } else {
            stamp(path, self.header.mtime);
        }
        self.report.entries += 1;
        Ok(())
    }

    /// Gives a file that was made before this entry's name, if it is another name of one.
    fn link(&mut self, key: LinkKey) -> Result<Option<Path>> {
        let Some(first) = self.links.get(&key) else {
            return Ok(None);
        };
        dirops::link(first, &self.walk(), &self.name)?;
        Ok(Some(self.walk().lookup(&self.name, LookupFlags::NOFOLLOW)?))
    }

    fn make(&mut self) -> Result<()> {
        let Header {
            mode,
            nlink,
            dev,
            ino,
            rdev,
            size,
            ..
        } = self.header;
        let kind = mode & S_IFMT;
        let key = (dev, ino, kind);
        let walk = self.walk();
        match kind {
            S_IFLNK => {
                if size as usize >= PATH_MAX {
                    return Err(Errno::ENAMETOOLONG);
                }
                self.target = Some(Vec::new());
                return Ok(());
            }
            S_IFDIR => {
                self.clear(kind)?;
                let path = match walk.lookup(&self.name, LookupFlags::NOFOLLOW) {
                    Ok(path) => path,
                    Err(_) => dirops::mkdir(&walk, &self.name, mode & 0o7777, 0)?,
                };
                return self.finish_entry(&path);
            }
            _ => {}
        }
        let shared = nlink > 1;
        if shared && self.links.contains_key(&key) {
            let _ = dirops::unlink(&walk, &self.name);
        }
        let linked = if shared { self.link(key)? } else { None };
        let path = if kind == S_IFREG {
            self.clear(kind)?;
            // Only one of the names has the contents; the others must not cut them off.
            let cut = if linked.is_none() || size > 0 {
                O_TRUNC
            } else {
                0
            };
            let flags = O_WRONLY | O_CREAT | O_NOFOLLOW | cut;
            let how = OpenHow {
                flags,
                mode: mode & 0o7777,
                umask: 0,
            };
            let file = open(&walk, &self.name, how)?;
            let path = file.path().clone();
            self.file = Some(file);
            path
        } else {
            let path = match linked {
                Some(path) => path,
                None => {
                    self.clear(kind)?;
                    dirops::mknod(&walk, &self.name, mode, make_dev(rdev.0, rdev.1), 0)?
                }
            };
            self.finish_entry(&path)?;
            path
        };
        if shared {
            self.links.entry(key).or_insert(path);
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<()> {
        if let Some(target) = self.target.take() {
            self.clear(S_IFLNK)?;
            let path = dirops::symlink(&self.walk(), &target, &self.name)?;
            self.finish_entry(&path)?;
        }
        if let Some(file) = self.file.take() {
            let path = file.path().clone();
            drop(file);
            self.finish_entry(&path)?;
        }
        Ok(())
    }
}

fn stamp(path: &Path, mtime: u32) {
    let time = Time {
        sec: mtime.into(),
        nsec: 0,
    };
    if let Some(inode) = path.dentry.inode() {
        inode.update_times(|t| (t.atime, t.mtime) = (time, time));
    }
}

impl Receiver for Unpacker<'_> {
    fn begin(&mut self, header: &Header, name: &[u8]) -> core::result::Result<(), Error> {
        self.header = *header;
        self.name = Vec::from(name);
        if let Err(error) = self.make() {
            self.skip(error);
        }
        Ok(())
    }

    fn contents(&mut self, bytes: &[u8]) -> core::result::Result<(), Error> {
        self.report.bytes += bytes.len() as u64;
        if let Some(target) = &mut self.target {
            target.extend_from_slice(bytes);
        }
        if let Some(file) = &self.file {
            let written = file.write(&mut SliceSource::new(bytes));
            if written != Ok(bytes.len()) {
                let error = written.err().unwrap_or(Errno::ENOSPC);
                return Err(Error::Write {
                    name: self.name.clone(),
                    error,
                });
            }
        }
        Ok(())
    }

    fn end(&mut self) -> core::result::Result<(), Error> {
        if let Err(error) = self.complete() {
            self.skip(error);
        }
        Ok(())
    }

    fn trailer(&mut self) {
        self.links.clear();
    }
}
