//! Queues as files, and the directory that they are in.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use conquer_once::spin::OnceCell;
use executor::sync::SpinLock;
use fs::cred::{MAY_EXEC, MAY_READ, MAY_WRITE};
use fs::dirops::may_delete;
use fs::file::{Positioning, oflag};
use fs::inode::{NewNode, S_IFDIR, S_IFREG};
use fs::stat::{Stat, StatFs};
use fs::superblock::{FileSystemType, SuperOps, no_options};
use fs::{
    Cap, Credentials, Dentry, DirSink, Errno, File, FileOps, Inode, InodeOps, Mount, Path,
    PollEvents, PollTable, Result, Sink, SuperBlock,
};

use super::limits;
use super::queue::{Attr, Notice, Queue};
use crate::process::{self, Thread};

/// `MQUEUE_MAGIC`.
const MAGIC: u64 = 0x1980_0202;
const ROOT_INO: u64 = 1;
const DT_DIR: u8 = 4;
const DT_REG: u8 = 8;
/// Bytes that a queue's file says it has.
const FILE_SIZE: u64 = 80;

/// The file system that there is.
struct Instance {
    root: Arc<Dentry>,
    mount: Arc<Mount>,
}

static INSTANCE: OnceCell<Instance> = OnceCell::uninit();
static NEXT_INO: AtomicU64 = AtomicU64::new(ROOT_INO + 1);

/// Makes the file system and tells of its type.
///
/// # Context
/// Boot, once.
/// # Errors
/// `ENOMEM`.
pub fn init() -> Result<()> {
    let sb = SuperBlock::anonymous("mqueue", MAGIC, Box::new(Mqueue));
    let inode = Inode::new(
        &sb,
        ROOT_INO,
        &node(S_IFDIR | 0o1777, 0, 0),
        None,
        Box::new(Root::default()),
    );
    let root = Dentry::root(inode, b"/");
    let mount = Mount::internal(root.clone())?;
    let made = INSTANCE.try_init_once(|| Instance { root, mount });
    assert!(made.is_ok(), "boot makes it once");
    fs::superblock::register_filesystem(&MqueueType)
}

fn instance() -> &'static Instance {
    INSTANCE.try_get().expect("made at boot")
}

fn node(mode: u32, uid: u32, gid: u32) -> NewNode<'static> {
    NewNode {
        mode,
        uid,
        gid,
        rdev: 0,
        target: None,
    }
}

/// The root directory.
#[derive(Default)]
struct Root {
    queues: SpinLock<BTreeMap<Box<[u8]>, Arc<Inode>>>,
}

/// The root directory, and its inode.
fn root() -> Result<(&'static Arc<Inode>, &'static Root)> {
    let inode = instance().root.existing()?;
    Ok((inode, inode.ops_as::<Root>().ok_or(Errno::EINVAL)?))
}

impl Root {
    /// Makes a queue.
    fn make(
        &self,
        dir: &Arc<Inode>,
        name: &[u8],
        new: &NewNode<'_>,
        attr: Option<Attr>,
    ) -> Result<Arc<Inode>> {
        let thread = process::current();
        let exempt = thread.cred().capable(Cap::SysResource);
        let attr = attr.unwrap_or_else(limits::default);
        let queue = Arc::new(Queue::new(attr, limits::charge(&thread, attr)?));
        let ino = NEXT_INO.fetch_add(1, Ordering::Relaxed);
        let inode = Inode::new(dir.sb(), ino, new, None, Box::new(Node(queue)));
        let mut queues = self.queues.lock();
        if queues.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        if queues.len() >= limits::QUEUES_MAX.count() && !exempt {
            return Err(Errno::ENOSPC);
        }
        queues.insert(name.into(), inode.clone());
        Ok(inode)
    }

    fn find(&self, name: &[u8]) -> Option<Arc<Inode>> {
        self.queues.lock().get(name).cloned()
    }

    fn remove(&self, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        let mut queues = self.queues.lock();
        if !queues
            .get(name)
            .is_some_and(|found| Arc::ptr_eq(found, inode))
        {
            return Err(Errno::ENOENT);
        }
        let gone = queues.remove(name);
        drop(queues);
        drop(gone);
        inode.set_nlink(0);
        Ok(())
    }
}

impl InodeOps for Root {
    fn lookup(&self, _: &Arc<Inode>, name: &[u8]) -> Result<Arc<Inode>> {
        self.find(name).ok_or(Errno::ENOENT)
    }

    fn cacheable(&self) -> bool {
        false
    }

    fn create(&self, dir: &Arc<Inode>, name: &[u8], new: &NewNode<'_>) -> Result<Arc<Inode>> {
        if new.mode & fs::inode::S_IFMT != S_IFREG {
            return Err(Errno::EPERM);
        }
        self.make(dir, name, new, None)
    }

    fn unlink(&self, _: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        self.remove(name, inode)
    }

    fn open(&self, _: &Arc<Inode>, _: u32) -> Result<Arc<dyn FileOps>> {
        Ok(Arc::new(OpenRoot))
    }
}

/// The open root directory. Positions are inode numbers, which only grow.
struct OpenRoot;

impl FileOps for OpenRoot {
    fn readdir(&self, _: &File, pos: &mut u64, sink: &mut dyn DirSink) -> Result<()> {
        for (at, name) in [&b"."[..], b".."].into_iter().enumerate() {
            let next = at as u64 + 1;
            if *pos < next {
                if !sink.emit(ROOT_INO, next, DT_DIR, name) {
                    return Ok(());
                }
                *pos = next;
            }
        }
        let (_, root) = root()?;
        loop {
            let next = {
                let queues = root.queues.lock();
                let later = queues.iter().filter(|(_, inode)| inode.ino() >= *pos);
                let first = later.min_by_key(|(_, inode)| inode.ino());
                first.map(|(name, inode)| (name.clone(), inode.ino()))
            };
            let Some((name, ino)) = next else {
                return Ok(());
            };
            if !sink.emit(ino, ino + 1, DT_REG, &name) {
                return Ok(());
            }
            *pos = ino + 1;
        }
    }
}

/// A queue's inode.
struct Node(Arc<Queue>);

impl InodeOps for Node {
    fn open(&self, _: &Arc<Inode>, _: u32) -> Result<Arc<dyn FileOps>> {
        Ok(Arc::new(OpenQueue(self.0.clone())))
    }

    fn getattr(&self, _: &Inode, stat: &mut Stat) -> Result<()> {
        stat.size = FILE_SIZE;
        Ok(())
    }
}

/// An open queue.
pub struct OpenQueue(pub Arc<Queue>);

impl FileOps for OpenQueue {
    fn read(&self, _: &File, pos: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        let figures = self.0.figures();
        let text = format!(
            "QSIZE:{:<10} NOTIFY:{:<5} SIGNO:{:<5} NOTIFY_PID:{:<6}\n",
            figures.bytes, 0, figures.signal, figures.pid
        );
        let rest = usize::try_from(*pos)
            .ok()
            .and_then(|at| text.as_bytes().get(at..))
            .unwrap_or_default();
        let want = rest.len().min(buf.remaining());
        let read = buf.put(&rest[..want]);
        if read == 0 && want > 0 {
            return Err(Errno::EFAULT);
        }
        *pos += read as u64;
        Ok(read)
    }

    fn poll(&self, _: &File, table: Option<&mut PollTable<'_>>) -> PollEvents {
        if let Some(table) = table {
            table.register(&self.0.readers);
            table.register(&self.0.writers);
        }
        let messages = self.0.figures().messages;
        let mut ready = PollEvents::empty();
        if messages > 0 {
            ready |= PollEvents::IN | PollEvents::RDNORM;
        }
        if messages < self.0.attr.max {
            ready |= PollEvents::OUT | PollEvents::WRNORM;
        }
        ready
    }

    fn pollable(&self, _: &File) -> bool {
        true
    }

    fn flush(&self, _: &File) -> Result<()> {
        if let Some(thread) = process::current::try_current() {
            self.0.unwatch(thread.process());
        }
        Ok(())
    }
}

/// A name as `mq_open` takes it: one part of a path.
fn check_name(name: &[u8]) -> Result<()> {
    match name {
        b"" => Err(Errno::ENOENT),
        b"." | b".." => Err(Errno::EACCES),
        name if name.contains(&b'/') => Err(Errno::EACCES),
        name if name.len() > 255 => Err(Errno::ENAMETOOLONG),
        _ => Ok(()),
    }
}

/// Opens the queue `name` for `thread`, or makes it with these rights and like this.
///
/// # Errors
/// Those of mq_open(3); `EACCES` for a name that is none.
pub fn open(
    thread: &Thread,
    name: &[u8],
    flags: u32,
    mode: u32,
    attr: impl FnOnce() -> Result<Option<Attr>>,
) -> Result<Arc<File>> {
    check_name(name)?;
    let cred = thread.cred();
    let (dir, root) = root()?;
    cred.permission(dir, MAY_EXEC)?;
    let found = match root.find(name) {
        Some(_) if flags & oflag::O_CREAT != 0 && flags & oflag::O_EXCL != 0 => {
            return Err(Errno::EEXIST);
        }
        Some(found) => {
            let wanted = match flags & oflag::O_ACCMODE {
                oflag::O_RDONLY => MAY_READ,
                oflag::O_WRONLY => MAY_WRITE,
                oflag::O_RDWR => MAY_READ | MAY_WRITE,
                _ => return Err(Errno::EINVAL),
            };
            cred.permission(&found, wanted)?;
            found
        }
        None if flags & oflag::O_CREAT == 0 => return Err(Errno::ENOENT),
        None => {
            cred.permission(dir, MAY_WRITE | MAY_EXEC)?;
            let umask = thread.fs().lock().umask;
            let mode = S_IFREG | mode & 0o777 & !umask;
            root.make(dir, name, &node(mode, cred.fsuid, cred.fsgid), attr()?)?
        }
    };
    let mut shown = Vec::from(&b"/"[..]);
    shown.extend_from_slice(name);
    let ops = found.ops().open(&found, flags)?;
    let path = Path {
        mount: instance().mount.clone(),
        dentry: Dentry::root(found, &shown),
    };
    File::new(ops, path, flags, Positioning::Seekable)
}

/// Takes the name of a queue away.
///
/// # Errors
/// Those of mq_unlink(3); `EPERM` where only the owner may.
pub fn unlink(cred: &Credentials, name: &[u8]) -> Result<()> {
    check_name(name)?;
    let (dir, root) = root()?;
    let found = root.find(name).ok_or(Errno::ENOENT)?;
    may_delete(cred, dir, &found, false)?;
    root.remove(name, &found)
}

/// Has the process of `thread` told of messages, or not any more.
///
/// # Errors
/// `EBUSY`.
pub fn notify(thread: &Thread, queue: &Queue, notice: Option<Notice>) -> Result<()> {
    match notice {
        Some(notice) => queue.watch(thread, notice),
        None => {
            queue.unwatch(thread.process());
            Ok(())
        }
    }
}

/// The file system as a whole.
struct Mqueue;

impl SuperOps for Mqueue {
    fn statfs(&self) -> StatFs {
        StatFs::simple(MAGIC)
    }
}

/// The type, for `mount -t mqueue`.
#[derive(Debug)]
struct MqueueType;

impl FileSystemType for MqueueType {
    fn name(&self) -> &'static str {
        "mqueue"
    }

    fn mount(&self, _: &[u8], options: &[u8]) -> Result<Arc<Dentry>> {
        no_options(options)?;
        Ok(instance().root.clone())
    }
}
