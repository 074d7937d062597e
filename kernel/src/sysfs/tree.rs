//! A tree of files under construction.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;

use fs::{Errno, Result};

use crate::pseudofs::{Directory, Entry, ListSink, Node, Out, Text};

/// Permission bits of directories.
const DIR_MODE: u32 = 0o755;
/// Permission bits of attributes.
const TEXT_MODE: u32 = 0o444;

/// Writes the text of an attribute.
type Show = fn(&mut Out) -> Result<()>;

/// What a name leads to while the tree grows.
enum Item {
    Dir(BTreeMap<String, Item>),
    Leaf(Node, u32),
}

/// A tree of files.
pub(super) struct Tree(BTreeMap<String, Item>);

impl Tree {
    pub(super) fn new() -> Tree {
        Tree(BTreeMap::new())
    }

    /// Makes the directory `path` and those above it.
    pub(super) fn dir(&mut self, path: &str) {
        self.at(path);
    }

    /// Adds an attribute that `show` writes.
    pub(super) fn text(&mut self, path: &str, show: Show) {
        struct Shown(Show);
        impl Text for Shown {
            fn show(&self, out: &mut Out) -> Result<()> {
                (self.0)(out)
            }
        }
        self.leaf(path, Node::Text(Arc::new(Shown(show))), TEXT_MODE);
    }

    /// Adds an attribute whose text does not change.
    pub(super) fn constant(&mut self, path: &str, text: impl Into<String>) {
        struct Constant(String);
        impl Text for Constant {
            fn show(&self, out: &mut Out) -> Result<()> {
                out.bytes(self.0.as_bytes());
                Ok(())
            }
        }
        self.leaf(path, Node::Text(Arc::new(Constant(text.into()))), TEXT_MODE);
    }

    /// Adds a link to `target`, a path from the top, by a relative path as sysfs has them.
    pub(super) fn link(&mut self, path: &str, target: &str) {
        let mut text = "../".repeat(path.matches('/').count());
        text.push_str(target);
        let node = Entry::link(0, &text).node;
        self.leaf(path, node, 0o777);
    }

    fn leaf(&mut self, path: &str, node: Node, mode: u32) {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.at(dir).insert(name.to_owned(), Item::Leaf(node, mode));
    }

    /// The directory `path`, made where it is missing.
    ///
    /// # Panics
    /// If a part of it is no directory.
    fn at(&mut self, path: &str) -> &mut BTreeMap<String, Item> {
        let mut dir = &mut self.0;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let item = dir
                .entry(name.to_owned())
                .or_insert_with(|| Item::Dir(BTreeMap::new()));
            match item {
                Item::Dir(next) => dir = next,
                Item::Leaf(..) => panic!("sysfs: {path} leads through a file"),
            }
        }
        dir
    }

    /// The finished tree, with inode numbers.
    pub(super) fn into_entry(self) -> Entry {
        finish(self.0, &mut 1)
    }
}

fn finish(items: BTreeMap<String, Item>, next: &mut u64) -> Entry {
    let ino = *next;
    *next += 1;
    let mut names = BTreeMap::new();
    for (name, item) in items {
        let entry = match item {
            Item::Dir(items) => finish(items, next),
            Item::Leaf(node, mode) => {
                *next += 1;
                Entry::new(*next - 1, mode, node)
            }
        };
        names.insert(name, entry);
    }
    let mut entry = Entry::dir(ino, Named(names));
    entry.mode = DIR_MODE;
    entry
}

/// A finished directory, in the order of its names.
struct Named(BTreeMap<String, Entry>);

impl Directory for Named {
    fn lookup(&self, name: &[u8]) -> Result<Entry> {
        let name = core::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        self.0.get(name).cloned().ok_or(Errno::ENOENT)
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
            .values()
            .filter(|entry| matches!(entry.node, Node::Dir(_)))
            .count() as u32
    }
}
