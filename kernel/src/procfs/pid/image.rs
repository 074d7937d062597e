//! The program and its surroundings: arguments, environment, executable, directories, mounts, memory.

use alloc::sync::Arc;
use alloc::vec::Vec;

use fs::inode::LinkTarget;
use fs::mount::Path;
use fs::{Credentials, Errno, File, FileOps, Result, Sink, Source};

use super::Subject;
use crate::mm::AddressSpace;
use crate::mounts::namespace;
use crate::process::core::{Filter, filter};
use crate::process::current;
use crate::process::thread::COMM_LEN;
use crate::pseudofs::{Link, Node, Out, Special, Text, put};

/// Bytes copied from another address space at a time.
const CHUNK: usize = 4096;
/// Most bytes of arguments or environment that are shown.
const STRINGS_MAX: u64 = 2 << 20;

/// Copies a range of the process's memory, as far as it is there.
fn memory(subject: &Subject, start: u64, end: u64, out: &mut Out) {
    let Some(space) = subject.process.mm() else {
        return;
    };
    let mut at = start;
    let end = end.min(start.saturating_add(STRINGS_MAX));
    let mut chunk = alloc::vec![0; CHUNK];
    while at < end {
        let want = (end - at).min(CHUNK as u64) as usize;
        let n = space.read_memory(at, &mut chunk[..want], true);
        out.bytes(&chunk[..n]);
        if n < want {
            return;
        }
        at += n as u64;
    }
}

pub(super) fn cmdline(subject: &Subject, out: &mut Out) -> Result<()> {
    if let Some(space) = subject.process.mm() {
        let layout = space.layout();
        memory(subject, layout.arg_start, layout.arg_end, out);
    }
    Ok(())
}

pub(super) fn environ(subject: &Subject, out: &mut Out) -> Result<()> {
    if let Some(space) = subject.process.mm() {
        let layout = space.layout();
        memory(subject, layout.env_start, layout.env_end, out);
    }
    Ok(())
}

pub(super) fn auxv(subject: &Subject, out: &mut Out) -> Result<()> {
    let auxv = subject.process.image.lock().auxv.clone();
    for word in auxv.iter() {
        out.bytes(&word.to_ne_bytes());
    }
    Ok(())
}

/// `comm`: the command name, which threads of the process may set.
pub(super) fn comm_file(subject: &Subject) -> Node {
    Node::Text(Arc::new(Comm(subject.clone())))
}

struct Comm(Subject);

impl Text for Comm {
    fn show(&self, out: &mut Out) -> Result<()> {
        out.bytes(&self.0.comm());
        out.bytes(b"\n");
        Ok(())
    }

    fn store(&self, text: &[u8], _: &Credentials) -> Result<()> {
        if !Arc::ptr_eq(current().process(), &self.0.process) {
            return Err(Errno::EINVAL);
        }
        self.0
            .live()?
            .set_comm(&text[..text.len().min(COMM_LEN - 1)]);
        Ok(())
    }
}

/// `coredump_filter`: which memory a core file has.
pub(super) fn dump_filter(subject: &Subject) -> Node {
    Node::Text(Arc::new(DumpFilter(subject.clone())))
}

struct DumpFilter(Subject);

impl Text for DumpFilter {
    fn show(&self, out: &mut Out) -> Result<()> {
        put!(out, "{:08x}\n", self.0.process.image.lock().dump_filter.0);
        Ok(())
    }

    fn store(&self, text: &[u8], _: &Credentials) -> Result<()> {
        let text = core::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        let text = text.trim();
        let value = match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => text.parse(),
        };
        let value = value.map_err(|_| Errno::EINVAL)?;
        let mut image = self.0.process.image.lock();
        image.dump_filter = Filter(value & filter::ALL);
        Ok(())
    }
}

/// A link that leads straight to an object of the process.
struct Place {
    subject: Subject,
    find: fn(&Subject) -> Result<Path>,
}

impl Link for Place {
    fn target(&self) -> Result<LinkTarget> {
        self.subject.check_access()?;
        (self.find)(&self.subject).map(LinkTarget::Jump)
    }
}

fn place(subject: &Subject, find: fn(&Subject) -> Result<Path>) -> Node {
    Node::Link(Arc::new(Place {
        subject: subject.clone(),
        find,
    }))
}

pub(super) fn exe(subject: &Subject) -> Node {
    place(subject, |subject| {
        let exe = subject.process.image.lock().exe.clone();
        Ok(exe.ok_or(Errno::ENOENT)?.file().path().clone())
    })
}

pub(super) fn cwd(subject: &Subject) -> Node {
    place(subject, |subject| {
        Ok(subject
            .live()?
            .try_fs()
            .ok_or(Errno::ENOENT)?
            .lock()
            .cwd
            .clone())
    })
}

pub(super) fn root(subject: &Subject) -> Node {
    place(subject, root_of)
}

fn root_of(subject: &Subject) -> Result<Path> {
    Ok(subject
        .live()?
        .try_fs()
        .ok_or(Errno::ENOENT)?
        .lock()
        .root
        .clone())
}

pub(super) fn mounts(subject: &Subject, out: &mut Out) -> Result<()> {
    let root = root_of(subject).map_err(|_| Errno::EINVAL)?;
    out.string(|text| namespace().show_mounts(&root, text));
    Ok(())
}

pub(super) fn mountinfo(subject: &Subject, out: &mut Out) -> Result<()> {
    let root = root_of(subject).map_err(|_| Errno::EINVAL)?;
    out.string(|text| namespace().show_mountinfo(&root, text));
    Ok(())
}

/// `mem`: the process's memory, at its addresses.
pub(super) fn mem(subject: &Subject) -> Node {
    Node::Special(Arc::new(Mem(subject.clone())))
}

struct Mem(Subject);

impl Special for Mem {
    fn open(&self, _: u32) -> Result<Arc<dyn FileOps>> {
        self.0.check_access()?;
        let space = self.0.process.mm().ok_or(Errno::EIO)?;
        Ok(Arc::new(OpenMem(space)))
    }
}

/// Keeps the address space that was there when it was opened.
struct OpenMem(Arc<AddressSpace>);

impl FileOps for OpenMem {
    fn read(&self, _: &File, pos: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        let mut chunk = zeroed(buf.remaining().min(CHUNK))?;
        let found = self.0.read_memory(*pos, &mut chunk, true);
        if found == 0 && !chunk.is_empty() {
            return Err(Errno::EIO);
        }
        let n = buf.put(&chunk[..found]);
        if n == 0 && found > 0 {
            return Err(Errno::EFAULT);
        }
        *pos += n as u64;
        Ok(n)
    }

    fn write(&self, _: &File, pos: &mut u64, buf: &mut dyn Source) -> Result<usize> {
        let mut chunk = zeroed(buf.remaining().min(CHUNK))?;
        let taken = buf.take(&mut chunk);
        if taken == 0 && !chunk.is_empty() {
            return Err(Errno::EFAULT);
        }
        let n = self.0.write_memory(*pos, &chunk[..taken], true);
        if n == 0 && taken > 0 {
            return Err(Errno::EIO);
        }
        *pos += n as u64;
        Ok(n)
    }

    fn seek(&self, _: &File, pos: u64, offset: i64, whence: fs::file::Whence) -> Result<u64> {
        match whence {
            // Addresses of the upper half are negative as offsets.
            fs::file::Whence::Set => Ok(offset as u64),
            fs::file::Whence::Current => Ok(pos.wrapping_add_signed(offset)),
            _ => Err(Errno::EINVAL),
        }
    }
}

fn zeroed(len: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(len, 0);
    Ok(bytes)
}
