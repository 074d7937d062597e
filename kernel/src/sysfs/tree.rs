//! The tree of files, which grows and shrinks with the devices.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use executor::sync::SpinLock;
use fs::{Credentials, Errno, Result};

use crate::pseudofs::{Directory, Entry, ListSink, Node, Out, Special, Text};

/// Permission bits of directories.
const DIR_MODE: u32 = 0o755;
/// Permission bits of attributes.
const TEXT_MODE: u32 = 0o444;
/// Permission bits of attributes that root may write.
const SETTING_MODE: u32 = 0o644;
/// Permission bits of attributes that are only written.
const ACTION_MODE: u32 = 0o200;

/// Inode numbers are never given twice.
static NEXT_INO: AtomicU64 = AtomicU64::new(1);

fn next_ino() -> u64 {
    NEXT_INO.fetch_add(1, Ordering::Relaxed)
}

/// Writes the text of an attribute.
type Show = fn(&mut Out) -> Result<()>;

/// What a name leads to.
enum Item {
    Dir(Arc<Dir>),
    Leaf(Entry),
}

/// A directory.
struct Dir {
    ino: u64,
    items: SpinLock<BTreeMap<String, Item>>,
}

impl Dir {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            ino: next_ino(),
            items: SpinLock::default(),
        })
    }

    fn entry(self: &Arc<Self>) -> Entry {
        Entry::new(self.ino, DIR_MODE, Node::Dir(self.clone()))
    }

    /// The directory `name` in it, made if there is none.
    fn child(&self, name: &str) -> Option<Arc<Self>> {
        let mut items = self.items.lock();
        let item = items
            .entry(name.to_owned())
            .or_insert_with(|| Item::Dir(Dir::new()));
        match item {
            Item::Dir(dir) => Some(dir.clone()),
            Item::Leaf(_) => None,
        }
    }
}

/// An attribute whose text does not change.
struct Constant(String);

impl Text for Constant {
    fn show(&self, out: &mut Out) -> Result<()> {
        out.bytes(self.0.as_bytes());
        Ok(())
    }
}

/// An attribute that a function writes.
struct Shown(Show);

impl Text for Shown {
    fn show(&self, out: &mut Out) -> Result<()> {
        (self.0)(out)
    }
}

/// An attribute that does something when it is written.
struct Doing<F>(F);

impl<F: Fn(&str) -> Result<()> + Send + Sync + 'static> Text for Doing<F> {
    fn show(&self, _: &mut Out) -> Result<()> {
        Err(Errno::EIO)
    }

    fn store(&self, text: &[u8], _: &Credentials) -> Result<()> {
        let text = core::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        (self.0)(text.trim_end_matches('\n'))
    }
}

/// A tree of files. Paths are from its top, without a leading slash.
#[derive(Clone)]
pub struct Tree(Arc<Dir>);

impl Tree {
    pub(super) fn new() -> Tree {
        Tree(Dir::new())
    }

    /// Its top, for mounting.
    pub(super) fn into_entry(self) -> Entry {
        self.0.entry()
    }

    /// Makes the directory `path` and those above it.
    pub fn dir(&self, path: &str) {
        self.at(path);
    }

    /// Adds an attribute that `show` writes.
    pub fn text(&self, path: &str, show: Show) {
        self.view(path, Shown(show));
    }

    /// Adds an attribute that `text` writes, and nobody changes.
    pub fn view(&self, path: &str, text: impl Text) {
        self.leaf(path, Node::Text(Arc::new(text)), TEXT_MODE);
    }

    /// Adds an attribute that `text` writes and takes.
    pub fn setting(&self, path: &str, text: impl Text) {
        self.leaf(path, Node::Text(Arc::new(text)), SETTING_MODE);
    }

    /// Adds an attribute whose text does not change.
    pub fn constant(&self, path: &str, text: impl Into<String>) {
        self.view(path, Constant(text.into()));
    }

    /// Adds an attribute that is only written, without its newline, and then does something.
    pub fn action(&self, path: &str, run: impl Fn(&str) -> Result<()> + Send + Sync + 'static) {
        self.leaf(path, Node::Text(Arc::new(Doing(run))), ACTION_MODE);
    }

    /// Adds a file that brings its own operations.
    pub fn special(&self, path: &str, mode: u32, special: impl Special) {
        self.leaf(path, Node::Special(Arc::new(special)), mode);
    }

    /// Adds a link to `target`, a path from the top, by a relative path as sysfs has them.
    pub fn link(&self, path: &str, target: &str) {
        let mut text = "../".repeat(path.matches('/').count());
        text.push_str(target);
        let node = Entry::link(0, &text).node;
        self.leaf(path, node, 0o777);
    }

    /// Takes a file, or a directory with all that is in it, out of the tree.
    pub fn remove(&self, path: &str) {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Some(dir) = self.at(dir) else { return };
        let gone = dir.items.lock().remove(name);
        drop(gone);
    }

    fn leaf(&self, path: &str, node: Node, mode: u32) {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Some(dir) = self.at(dir) else { return };
        let entry = Entry::new(next_ino(), mode, node);
        let old = dir.items.lock().insert(name.to_owned(), Item::Leaf(entry));
        drop(old);
    }

    /// The directory `path`, made where it is missing; `None`, and a line in the log, if a part of it is no directory.
    fn at(&self, path: &str) -> Option<Arc<Dir>> {
        let mut names = path.split('/').filter(|name| !name.is_empty());
        let found = names.try_fold(self.0.clone(), |dir, name| dir.child(name));
        if found.is_none() {
            log::error!("sysfs: {path} leads through a file");
        }
        found
    }
}

impl Directory for Dir {
    fn lookup(&self, name: &[u8]) -> Result<Entry> {
        let name = core::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        match self.items.lock().get(name) {
            Some(Item::Dir(dir)) => Ok(dir.entry()),
            Some(Item::Leaf(entry)) => Ok(entry.clone()),
            None => Err(Errno::ENOENT),
        }
    }

    fn list(&self, from: u64, sink: &mut ListSink<'_>) -> Result<()> {
        let items = self.items.lock();
        for (at, (name, item)) in items.iter().enumerate().skip(from as usize) {
            let next = at as u64 + 1;
            let taken = match item {
                Item::Dir(dir) => sink.emit(name.as_bytes(), &dir.entry(), next),
                Item::Leaf(entry) => sink.emit(name.as_bytes(), entry, next),
            };
            if !taken {
                break;
            }
        }
        Ok(())
    }

    fn subdirectories(&self) -> u32 {
        let items = self.items.lock();
        items
            .values()
            .filter(|item| matches!(item, Item::Dir(_)))
            .count() as u32
    }
}
