//! The tree as a file system: `mount -t cgroup2`.

use alloc::sync::Arc;
use alloc::vec::Vec;

use executor::sync::SpinLock;
use fs::dentry::Dentry;
use fs::inode::dirent_type;
use fs::superblock::{FileSystemType, no_options, register_filesystem};
use fs::{Errno, Result};

use super::files::{self, CgroupFile, EventsFile};
use super::{Cgroup, root};
use crate::pseudofs::{self, Directory, Entry, ListSink, Node};

/// `CGROUP2_SUPER_MAGIC`.
const MAGIC: u64 = 0x6367_7270;
const DIR_MODE: u32 = 0o755;

/// The one instance, made by the first mount.
static INSTANCE: SpinLock<Option<Arc<Dentry>>> = SpinLock::new(None);

/// The type.
#[derive(Debug)]
struct Cgroup2Type;

impl FileSystemType for Cgroup2Type {
    fn name(&self) -> &'static str {
        "cgroup2"
    }

    fn mount(&self, _: &[u8], options: &[u8]) -> Result<Arc<Dentry>> {
        no_options(options)?;
        let kept = INSTANCE.lock().clone();
        if let Some(root) = kept {
            return Ok(root);
        }
        let made = pseudofs::mount("cgroup2", MAGIC, entry(root()));
        Ok(INSTANCE.lock().get_or_insert(made).clone())
    }
}

/// Registers cgroup2.
///
/// # Context
/// Task, at the end of the boot.
/// # Errors
/// `EBUSY` if it was done before.
pub fn init() -> Result<()> {
    register_filesystem(&Cgroup2Type)
}

struct Dir(Arc<Cgroup>);

fn ino(cgroup: &Cgroup, file: usize) -> u64 {
    const FILES: u64 = 64;
    cgroup.id * FILES + file as u64
}

fn entry(cgroup: &Arc<Cgroup>) -> Entry {
    let node = Node::Dir(Arc::new(Dir(cgroup.clone())));
    Entry::new(ino(cgroup, 0), DIR_MODE, node)
}

impl Directory for Dir {
    fn lookup(&self, name: &[u8]) -> Result<Entry> {
        let found = files::of(&self.0).find(|(_, kind)| kind.name.as_bytes() == name);
        if let Some((number, kind)) = found {
            let cgroup = self.0.clone();
            let node = if kind.name == files::EVENTS {
                Node::Special(Arc::new(EventsFile(cgroup)))
            } else {
                Node::Text(Arc::new(CgroupFile { cgroup, kind }))
            };
            return Ok(Entry::new(ino(&self.0, number), kind.mode, node));
        }
        let state = self.0.state.lock();
        state.children.get(name).map(entry).ok_or(Errno::ENOENT)
    }

    fn list(&self, from: u64, sink: &mut ListSink<'_>) -> Result<()> {
        const FILE: u8 = dirent_type(fs::inode::S_IFREG);
        const DIR: u8 = dirent_type(fs::inode::S_IFDIR);
        let last = ino(&self.0, 0) + files::ALL.len() as u64;
        for (number, kind) in files::of(&self.0) {
            let next = number as u64;
            if next > from && !sink.emit_raw(kind.name.as_bytes(), ino(&self.0, number), FILE, next)
            {
                return Ok(());
            }
        }
        // Behind the files the groups, by number, which never comes again.
        let mut children = Vec::new();
        {
            let state = self.0.state.lock();
            let count = state.children.len();
            children
                .try_reserve_exact(count)
                .map_err(|_| Errno::ENOMEM)?;
            children.extend(state.children.values().cloned());
        }
        children.sort_by_key(|child| child.id);
        for child in children {
            let next = last + child.id;
            if next > from && !sink.emit_raw(&child.name, ino(&child, 0), DIR, next) {
                break;
            }
        }
        Ok(())
    }

    fn make_dir(&self, name: &[u8], _: u32) -> Result<Entry> {
        self.0.make_child(name).map(|child| entry(&child))
    }

    fn remove_dir(&self, name: &[u8]) -> Result<()> {
        self.0.remove_child(name)
    }

    fn subdirectories(&self) -> u32 {
        self.0.state.lock().children.len() as u32
    }
}
