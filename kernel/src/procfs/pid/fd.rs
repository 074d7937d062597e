//! `fd` and `fdinfo`: the open files of a process.

use alloc::string::{String, ToString};
use alloc::sync::Arc;

use fs::inode::LinkTarget;
use fs::{Errno, File, Result};

use super::{Subject, ino_of};
use crate::pseudofs::{Directory, Entry, Link, ListSink, Node, Out, Text, put};

const DT_REG: u8 = 8;
const DT_LNK: u8 = 10;

/// Inode numbers of the links and of the descriptions lie so much above those of the other files.
const LINK_FILES: u64 = 0x2000_0000;
const INFO_FILES: u64 = 0x3000_0000;

/// Read and search, write and search: a link's mode shows how the file is open.
const MODE_READ: u32 = 0o500;
const MODE_WRITE: u32 = 0o300;

/// The directory `fd`.
pub(super) fn links(subject: &Subject) -> Node {
    Node::Dir(Arc::new(Descriptors {
        subject: subject.clone(),
        infos: false,
    }))
}

/// The directory `fdinfo`.
pub(super) fn infos(subject: &Subject) -> Node {
    Node::Dir(Arc::new(Descriptors {
        subject: subject.clone(),
        infos: true,
    }))
}

struct Descriptors {
    subject: Subject,
    infos: bool,
}

fn file_of(subject: &Subject, fd: i32) -> Result<Arc<File>> {
    let files = subject.live()?.try_files().ok_or(Errno::ENOENT)?;
    files.get(fd).map_err(|_| Errno::ENOENT)
}

impl Descriptors {
    fn ino(&self, fd: i32) -> u64 {
        ino_of(
            self.subject.id,
            if self.infos { INFO_FILES } else { LINK_FILES } + fd as u64,
        )
    }
}

impl Directory for Descriptors {
    fn lookup(&self, name: &[u8]) -> Result<Entry> {
        self.subject.check_access()?;
        let fd: i32 = core::str::from_utf8(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(Errno::ENOENT)?;
        if fd < 0 || fd.to_string().as_bytes() != name {
            return Err(Errno::ENOENT);
        }
        let file = file_of(&self.subject, fd)?;
        let (uid, gid) = self.subject.owner();
        let open = Descriptor {
            subject: self.subject.clone(),
            fd,
        };
        let entry = if self.infos {
            Entry::new(self.ino(fd), 0o400, Node::Text(Arc::new(open)))
        } else {
            let read = if file.readable() { MODE_READ } else { 0 };
            let write = if file.writable() { MODE_WRITE } else { 0 };
            Entry::new(self.ino(fd), read | write, Node::Link(Arc::new(open)))
        };
        Ok(entry.owned_by(uid, gid))
    }

    fn list(&self, from: u64, sink: &mut ListSink<'_>) -> Result<()> {
        self.subject.check_access()?;
        let Some(files) = self.subject.live()?.try_files() else {
            return Ok(());
        };
        let mut next = from as i32;
        while let Some((fd, _)) = files.next_open(next) {
            next = fd + 1;
            let kind = if self.infos { DT_REG } else { DT_LNK };
            if !sink.emit_raw(fd.to_string().as_bytes(), self.ino(fd), kind, next as u64) {
                break;
            }
        }
        Ok(())
    }
}

/// One open file of a process.
struct Descriptor {
    subject: Subject,
    fd: i32,
}

impl Link for Descriptor {
    fn target(&self) -> Result<LinkTarget> {
        self.subject.check_access()?;
        Ok(LinkTarget::Jump(
            file_of(&self.subject, self.fd)?.path().clone(),
        ))
    }
}

impl Text for Descriptor {
    fn show(&self, out: &mut Out) -> Result<()> {
        let files = self.subject.live()?.try_files().ok_or(Errno::ENOENT)?;
        let file = files.get(self.fd).map_err(|_| Errno::ENOENT)?;
        let cloexec = if files.cloexec(self.fd) == Ok(true) {
            fs::file::oflag::O_CLOEXEC
        } else {
            0
        };
        let path = file.path();
        put!(
            out,
            "pos:\t{}\nflags:\t0{:o}\n",
            file.pos(),
            file.flags() | cloexec
        );
        put!(
            out,
            "mnt_id:\t{}\nino:\t{}\n",
            path.mount.id(),
            file.inode().ino()
        );
        let mut more = String::new();
        // Writing to a string does not fail.
        let _ = file.ops().show_fdinfo(&file, &mut more);
        out.bytes(more.as_bytes());
        Ok(())
    }

    fn check_open(&self, _: u32) -> Result<()> {
        self.subject.check_access()
    }
}
