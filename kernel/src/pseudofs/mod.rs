//! File systems whose files are made up when they are looked at: the ground that procfs and sysfs stand on.
//!
//! A directory is anything that can find a name and list names ([`Directory`]); a file anything that can write its text
//! ([`Text`]); a link anything that knows where it leads ([`Link`]). [`mount`] puts a root directory under a superblock.
//! Inodes are made at each lookup and never cached, so what belongs to a process that is gone is gone at once.

mod dir;
mod file;
mod inode;
mod out;

use alloc::boxed::Box;
use alloc::sync::Arc;

use fs::file::SlowIo;
use fs::inode::LinkTarget;
use fs::stat::StatFs;
use fs::superblock::SuperOps;
use fs::{Credentials, Dentry, Errno, File, FileOps, PollEvents, PollTable, Result, SuperBlock};

pub use dir::{Fixed, ListSink};
pub use file::seek_text;
pub use out::Out;
pub(crate) use out::put;

/// A directory.
pub trait Directory: Send + Sync + 'static {
    /// Finds a name.
    ///
    /// # Errors
    /// `ENOENT`.
    fn lookup(&self, name: &[u8]) -> Result<Entry>;

    /// Gives the names from position `from` on, in an order that stays.
    fn list(&self, from: u64, sink: &mut ListSink<'_>) -> Result<()>;

    /// Makes a directory in it.
    ///
    /// # Errors
    /// `EPERM` where none can be made; else as the file system says.
    fn make_dir(&self, name: &[u8], mode: u32) -> Result<Entry> {
        let _ = (name, mode);
        Err(Errno::EPERM)
    }

    /// Takes a directory out of it.
    ///
    /// # Errors
    /// `EPERM` where none can be taken out; else as the file system says.
    fn remove_dir(&self, name: &[u8]) -> Result<()> {
        let _ = name;
        Err(Errno::EPERM)
    }

    /// Number of directories in it, for its link count.
    fn subdirectories(&self) -> u32 {
        0
    }
}

/// A file of text that is made when it is read.
pub trait Text: Send + Sync + 'static {
    /// Writes the whole of it.
    ///
    /// # Errors
    /// What reading answers instead.
    fn show(&self, out: &mut Out) -> Result<()>;

    /// Takes what was written in one piece.
    ///
    /// # Errors
    /// `EIO` where it cannot be written; else as the file says.
    fn store(&self, text: &[u8], cred: &Credentials) -> Result<()> {
        let _ = (text, cred);
        Err(Errno::EIO)
    }

    /// Whether it may be opened.
    ///
    /// # Errors
    /// What opening answers instead.
    fn check_open(&self, flags: u32) -> Result<()> {
        let _ = flags;
        Ok(())
    }

    /// What takes its time: the writes of a file whose [`store`](Text::store) answers `EIOCBQUEUED`.
    fn slow(&self) -> Option<&dyn SlowIo> {
        None
    }

    /// Readiness of an open file; text is always ready.
    fn poll(&self, file: &File, table: Option<&mut PollTable<'_>>) -> PollEvents {
        let _ = (file, table);
        PollEvents::READ | PollEvents::WRITE
    }
}

/// A symbolic link.
pub trait Link: Send + Sync + 'static {
    /// Where it leads.
    ///
    /// # Errors
    /// `ENOENT`, `EACCES`.
    fn target(&self) -> Result<LinkTarget>;

    /// Its text for readlink(2), where that is not the path that it leads to.
    fn text(&self) -> Result<Option<alloc::vec::Vec<u8>>> {
        Ok(None)
    }
}

/// A file that brings its own operations.
pub trait Special: Send + Sync + 'static {
    /// Opens it.
    ///
    /// # Errors
    /// As the file says.
    fn open(&self, flags: u32) -> Result<Arc<dyn FileOps>>;
}

/// What a name leads to.
#[derive(Clone)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Node {
    Dir(Arc<dyn Directory>),
    Text(Arc<dyn Text>),
    Link(Arc<dyn Link>),
    Special(Arc<dyn Special>),
}

/// A name's object with its attributes.
#[derive(Clone)]
pub struct Entry {
    /// Inode number; unique within the file system.
    pub ino: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The object.
    pub node: Node,
}

impl Entry {
    /// An object that belongs to root.
    pub fn new(ino: u64, mode: u32, node: Node) -> Entry {
        Entry {
            ino,
            mode,
            uid: 0,
            gid: 0,
            node,
        }
    }

    /// A file whose text `show` writes.
    pub fn text(ino: u64, mode: u32, show: fn(&mut Out) -> Result<()>) -> Entry {
        Entry::new(ino, mode, Node::Text(Arc::new(Shown(show))))
    }

    /// A directory.
    pub fn dir(ino: u64, directory: impl Directory) -> Entry {
        Entry::new(ino, 0o555, Node::Dir(Arc::new(directory)))
    }

    /// A link with a fixed text.
    pub fn link(ino: u64, target: &str) -> Entry {
        Entry::new(
            ino,
            0o777,
            Node::Link(Arc::new(FixedLink(target.as_bytes().into()))),
        )
    }

    /// The same with another owner.
    #[must_use]
    pub fn owned_by(mut self, uid: u32, gid: u32) -> Entry {
        (self.uid, self.gid) = (uid, gid);
        self
    }
}

struct Shown(fn(&mut Out) -> Result<()>);

impl Text for Shown {
    fn show(&self, out: &mut Out) -> Result<()> {
        (self.0)(out)
    }
}

/// A file that is read and written by a function each.
pub struct Setting {
    /// Writes its text.
    pub show: fn(&mut Out) -> Result<()>,
    /// Takes what was written.
    pub store: fn(&[u8], &Credentials) -> Result<()>,
}

impl Text for Setting {
    fn show(&self, out: &mut Out) -> Result<()> {
        (self.show)(out)
    }

    fn store(&self, text: &[u8], cred: &Credentials) -> Result<()> {
        (self.store)(text, cred)
    }
}

struct FixedLink(Arc<[u8]>);

impl Link for FixedLink {
    fn target(&self) -> Result<LinkTarget> {
        Ok(LinkTarget::Text(self.0.clone()))
    }
}

/// A file system of such files as a whole.
struct Super {
    magic: u64,
}

impl SuperOps for Super {
    fn statfs(&self) -> StatFs {
        StatFs::simple(self.magic)
    }
}

/// Makes a file system of type `kind` whose root is `root`.
pub fn mount(kind: &'static str, magic: u64, root: Entry) -> Arc<Dentry> {
    let sb = SuperBlock::anonymous(kind, magic, Box::new(Super { magic }));
    Dentry::root(inode::make(&sb, root), b"/")
}
