//! Unpacks a cpio archive, in the "newc" format of an initramfs, into a directory tree.
//!
//! The archive comes in pieces of any size ([`Unpacker::feed`]), so that it may be decompressed on the way. Everything in
//! it is checked: a bad header ends the unpacking with what is wrong and where; a file that cannot be made is an error of
//! its own. Names are taken relative to the root, and cannot leave it.
//!
//! Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::attr::{self, NewTime};
use crate::cred::Credentials;
use crate::file::oflag::{O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY};
use crate::inode::{
    S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK, make_dev,
};
use crate::iobuf::SliceSource;
use crate::mount::Path;
use crate::namei::{LookupFlags, Walk};
use crate::open::{OpenHow, open};
use crate::time::Time;
use crate::{Errno, File, dirops};

/// Bytes of a header: the magic number and thirteen fields of eight hexadecimal digits.
const HEADER_LEN: usize = 110;
/// Longest name, with its final zero.
const NAME_MAX: usize = 4096;
const TRAILER: &[u8] = b"TRAILER!!!";

/// Why an archive was not unpacked to its end.
#[derive(Debug, PartialEq, Eq)]
pub enum UnpackError {
    /// There is no header where one should be.
    NoMagic,
    /// A field of a header is no number, or says what cannot be.
    BadHeader,
    /// The archive ends in the middle of an entry.
    Truncated,
    /// An entry could not be made.
    Entry(Vec<u8>, Errno),
}

impl fmt::Display for UnpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnpackError::NoMagic => f.write_str("no cpio magic"),
            UnpackError::BadHeader => f.write_str("broken header"),
            UnpackError::Truncated => f.write_str("unexpected end of the archive"),
            UnpackError::Entry(name, e) => write!(f, "{}: {e}", name.escape_ascii()),
        }
    }
}

impl core::error::Error for UnpackError {}

/// The fields of a header that matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Header {
    ino: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    nlink: u32,
    mtime: u32,
    size: u32,
    dev: (u32, u32),
    rdev: (u32, u32),
    name_len: usize,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, UnpackError> {
        if !matches!(bytes.get(..6), Some(b"070701" | b"070702")) {
            return Err(UnpackError::NoMagic);
        }
        let mut fields = [0u32; 13];
        for (field, digits) in fields.iter_mut().zip(bytes[6..].chunks_exact(8)) {
            for &digit in digits {
                let value = (digit as char).to_digit(16).ok_or(UnpackError::BadHeader)?;
                *field = *field << 4 | value;
            }
        }
        let [
            ino,
            mode,
            uid,
            gid,
            nlink,
            mtime,
            size,
            dev_major,
            dev_minor,
            major,
            minor,
            name_len,
            _check,
        ] = fields;
        let name_len = name_len as usize;
        if !(1..=NAME_MAX).contains(&name_len) {
            return Err(UnpackError::BadHeader);
        }
        if mode & S_IFMT == S_IFLNK && size as usize > NAME_MAX {
            return Err(UnpackError::BadHeader);
        }
        let (dev, rdev) = ((dev_major, dev_minor), (major, minor));
        Ok(Self {
            ino,
            mode,
            uid,
            gid,
            nlink,
            mtime,
            size,
            dev,
            rdev,
            name_len,
        })
    }

    fn kind(&self) -> u32 {
        self.mode & S_IFMT
    }
}

/// What the next bytes are.
enum State {
    /// Padding between archives, or a header.
    Between,
    Header,
    Name(Header),
    Target(Header, Vec<u8>),
    /// Contents: into this file, or to be passed over.
    Data {
        left: usize,
        file: Option<Arc<File>>,
        name: Vec<u8>,
        mtime: u32,
    },
}

/// Unpacks one archive, or several behind one another.
pub struct Unpacker<'a> {
    root: &'a Path,
    cred: Credentials,
    state: State,
    /// Bytes of a header, name or link target that have come so far.
    collected: Vec<u8>,
    /// Bytes seen, for the padding to multiples of four.
    offset: u64,
    /// Padding to pass over before the state goes on.
    padding: usize,
    /// The first name of each file with several, until a trailer.
    links: BTreeMap<(u32, (u32, u32), u32), Vec<u8>>,
    /// Directories, whose times are set at the end.
    dirs: Vec<(Path, u32)>,
    entries: usize,
}

impl<'a> Unpacker<'a> {
    /// Unpacks below `root` as its owner.
    pub fn new(root: &'a Path) -> Self {
        Self {
            root,
            cred: Credentials::root(),
            state: State::Between,
            collected: Vec::new(),
            offset: 0,
            padding: 0,
            links: BTreeMap::new(),
            dirs: Vec::new(),
            entries: 0,
        }
    }

    /// Takes the next piece of the archive.
    ///
    /// # Errors
    /// What is wrong with it. Nothing more can be fed then; what was unpacked stays.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), UnpackError> {
        while !bytes.is_empty() {
            let used = self.step(bytes)?;
            self.offset += used as u64;
            bytes = &bytes[used..];
        }
        Ok(())
    }

    /// Whether an archive can end here.
    pub fn is_between(&self) -> bool {
        matches!(self.state, State::Between)
    }

    /// Ends the unpacking and tells how many entries were made.
    ///
    /// # Errors
    /// [`UnpackError::Truncated`].
    pub fn finish(self) -> Result<usize, UnpackError> {
        for (path, mtime) in self.dirs.iter().rev() {
            set_mtime(path, &self.cred, *mtime);
        }
        if !self.is_between() {
            return Err(UnpackError::Truncated);
        }
        Ok(self.entries)
    }

    /// Uses some of `bytes`, which are not empty, and tells how many.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, UnpackError> {
        if self.padding > 0 {
            let skip = self.padding.min(bytes.len());
            self.padding -= skip;
            return Ok(skip);
        }
        match &mut self.state {
            State::Between => {
                let zeros = bytes.iter().take_while(|&&b| b == 0).count();
                if zeros == 0 {
                    self.state = State::Header;
                }
                Ok(zeros)
            }
            State::Data {
                left, file, name, ..
            } => {
                let take = (*left).min(bytes.len());
                if let Some(file) = file {
                    write_all(file, &bytes[..take])
                        .map_err(|e| UnpackError::Entry(name.clone(), e))?;
                }
                *left -= take;
                if *left == 0 {
                    self.end_data(take);
                }
                Ok(take)
            }
            State::Header => self.collect(bytes, HEADER_LEN),
            State::Name(header) => {
                let want = header.name_len;
                self.collect(bytes, want)
            }
            State::Target(header, _) => {
                let want = header.size as usize;
                self.collect(bytes, want)
            }
        }
    }

    /// Collects up to `want` bytes; once they are there, goes on to what they mean.
    fn collect(&mut self, bytes: &[u8], want: usize) -> Result<usize, UnpackError> {
        let take = (want - self.collected.len()).min(bytes.len());
        self.collected
            .try_reserve(take)
            .map_err(|_| UnpackError::Entry(Vec::new(), Errno::ENOMEM))?;
        self.collected.extend_from_slice(&bytes[..take]);
        if self.collected.len() == want {
            let field = core::mem::take(&mut self.collected);
            self.complete(field, self.offset + take as u64)?;
        }
        Ok(take)
    }

    /// Pads to a multiple of four after the entry's part that ends at `end`.
    fn pad(&mut self, end: u64) {
        self.padding = (end.next_multiple_of(4) - end) as usize;
    }

    fn complete(&mut self, field: Vec<u8>, end: u64) -> Result<(), UnpackError> {
        match core::mem::replace(&mut self.state, State::Between) {
            State::Header => self.state = State::Name(Header::parse(&field)?),
            State::Name(header) => {
                self.pad(end);
                let Some((0, name)) = field.split_last().map(|(last, name)| (*last, name)) else {
                    return Err(UnpackError::BadHeader);
                };
                if name == TRAILER {
                    self.links.clear();
                    return Ok(());
                }
                self.entry(header, name)?;
            }
            State::Target(header, name) => {
                self.pad(end);
                self.symlink(&header, &name, &field)
                    .map_err(|e| UnpackError::Entry(name, e))?;
            }
            State::Between | State::Data { .. } => unreachable!("these collect nothing"),
        }
        Ok(())
    }

    fn end_data(&mut self, used: usize) {
        let end = self.offset + used as u64;
        self.pad(end);
        if let State::Data {
            file: Some(file),
            mtime,
            ..
        } = &self.state
        {
            set_mtime(file.path(), &self.cred, *mtime);
        }
        self.state = State::Between;
    }

    /// Begins the entry `name`.
    fn entry(&mut self, header: Header, name: &[u8]) -> Result<(), UnpackError> {
        let fail = |e| UnpackError::Entry(name.to_vec(), e);
        if header.kind() == S_IFLNK && header.size > 0 {
            self.state = State::Target(header, name.to_vec());
            return Ok(());
        }
        let file = match header.kind() {
            S_IFREG => Some(self.regular(&header, name).map_err(fail)?),
            S_IFDIR => {
                self.directory(&header, name).map_err(fail)?;
                None
            }
            S_IFCHR | S_IFBLK | S_IFIFO | S_IFSOCK => {
                self.special(&header, name).map_err(fail)?;
                None
            }
            _ => return Err(fail(Errno::EINVAL)),
        };
        if header.size > 0 {
            let (left, mtime) = (header.size as usize, header.mtime);
            self.state = State::Data {
                left,
                file,
                name: name.to_vec(),
                mtime,
            };
        } else if let Some(file) = file {
            set_mtime(file.path(), &self.cred, header.mtime);
        }
        Ok(())
    }

    fn walk(&self) -> Walk<'_> {
        Walk {
            root: self.root,
            start: self.root,
            cred: &self.cred,
        }
    }

    /// Takes away what is at `name`, unless it is a directory and is to be one.
    fn make_room(&self, name: &[u8], kind: u32) -> Result<Option<Path>, Errno> {
        let walk = self.walk();
        let Ok(path) = walk.lookup(name, LookupFlags::NOFOLLOW) else {
            return Ok(None);
        };
        let there = path.dentry.inode().ok_or(Errno::ENOENT)?.kind();
        match (there, kind) {
            (S_IFDIR, S_IFDIR) => return Ok(Some(path)),
            (S_IFDIR, _) => {
                drop(path);
                dirops::rmdir(&walk, name)?;
            }
            _ => {
                drop(path);
                dirops::unlink(&walk, name)?;
            }
        }
        Ok(None)
    }

    /// Sets owner, then mode: a change of owner takes special bits away.
    fn own(&mut self, header: &Header, path: &Path) -> Result<(), Errno> {
        attr::chown(path, &self.cred, Some(header.uid), Some(header.gid))?;
        if header.kind() != S_IFLNK {
            attr::chmod(path, &self.cred, header.mode & 0o7777)?;
        }
        self.entries += 1;
        Ok(())
    }

    fn directory(&mut self, header: &Header, name: &[u8]) -> Result<(), Errno> {
        let path = match self.make_room(name, S_IFDIR)? {
            Some(path) => path,
            None => dirops::mkdir(&self.walk(), name, header.mode & 0o7777, 0)?,
        };
        self.own(header, &path)?;
        self.dirs.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.dirs.push((path, header.mtime));
        Ok(())
    }

    /// Makes another name of a file that came before, if this is one.
    fn hard_link(&mut self, header: &Header, name: &[u8]) -> Result<bool, Errno> {
        if header.nlink < 2 {
            return Ok(false);
        }
        let key = (header.ino, header.dev, header.kind());
        let Some(first) = self.links.get(&key) else {
            self.links.insert(key, name.to_vec());
            return Ok(false);
        };
        let walk = self.walk();
        let old = walk.lookup(first, LookupFlags::NOFOLLOW)?;
        dirops::link(&old, &walk, name)?;
        Ok(true)
    }

    fn regular(&mut self, header: &Header, name: &[u8]) -> Result<Arc<File>, Errno> {
        self.make_room(name, S_IFREG)?;
        let linked = self.hard_link(header, name)?;
        let flags = O_WRONLY | O_NOFOLLOW | if linked { 0 } else { O_CREAT | O_EXCL };
        let file = open(
            &self.walk(),
            name,
            OpenHow {
                flags,
                mode: header.mode & 0o7777,
                umask: 0,
            },
        )?;
        self.own(header, file.path())?;
        Ok(file)
    }

    fn special(&mut self, header: &Header, name: &[u8]) -> Result<(), Errno> {
        self.make_room(name, header.kind())?;
        if self.hard_link(header, name)? {
            self.entries += 1;
            return Ok(());
        }
        let rdev = make_dev(header.rdev.0, header.rdev.1);
        let path = dirops::mknod(&self.walk(), name, header.mode, rdev, 0)?;
        self.own(header, &path)?;
        set_mtime(&path, &self.cred, header.mtime);
        Ok(())
    }

    fn symlink(&mut self, header: &Header, name: &[u8], target: &[u8]) -> Result<(), Errno> {
        self.make_room(name, S_IFLNK)?;
        let path = dirops::symlink(&self.walk(), target, name)?;
        self.own(header, &path)?;
        set_mtime(&path, &self.cred, header.mtime);
        Ok(())
    }
}

/// Times are for show: a file system that does not keep them is no reason to stop.
fn set_mtime(path: &Path, cred: &Credentials, mtime: u32) {
    let time = NewTime::At(Time {
        sec: i64::from(mtime),
        nsec: 0,
    });
    let _ = attr::utimens(path, cred, time, time);
}

fn write_all(file: &Arc<File>, bytes: &[u8]) -> Result<(), Errno> {
    let mut source = SliceSource::new(bytes);
    let mut done = 0;
    while done < bytes.len() {
        match file.write(&mut source)? {
            0 => return Err(Errno::ENOSPC),
            n => done += n,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iobuf::VecSink;
    use crate::tmpfs;
    use alloc::format;
    use proptest::prelude::*;

    fn entry(name: &str, mode: u32, ino: u32, nlink: u32, data: &[u8]) -> Vec<u8> {
        let fields = [
            ino,
            mode,
            0,
            0,
            nlink,
            1000,
            data.len() as u32,
            0,
            1,
            5,
            1,
            name.len() as u32 + 1,
            0,
        ];
        let mut out = b"070701".to_vec();
        for field in fields {
            out.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut all = entries.concat();
        all.extend(entry("TRAILER!!!", 0, 0, 1, b""));
        all.resize(all.len().next_multiple_of(512), 0);
        all
    }

    fn unpack(bytes: &[u8], piece: usize) -> (Path, Result<usize, UnpackError>) {
        let root = tmpfs::rootfs()
            .expect("memory for a file system")
            .root_path();
        let mut unpacker = Unpacker::new(&root);
        let fed = bytes
            .chunks(piece)
            .try_for_each(|chunk| unpacker.feed(chunk));
        let result = fed.and_then(|()| unpacker.finish());
        (root, result)
    }

    fn contents(root: &Path, name: &str) -> Result<Vec<u8>, Errno> {
        let cred = Credentials::root();
        let walk = Walk {
            root,
            start: root,
            cred: &cred,
        };
        let file = open(
            &walk,
            name.as_bytes(),
            OpenHow {
                flags: 0,
                mode: 0,
                umask: 0,
            },
        )?;
        let mut sink = VecSink::new(1 << 20);
        file.read(&mut sink)?;
        Ok(sink.into_vec())
    }

    fn sample() -> Vec<u8> {
        archive(&[
            entry("dir", S_IFDIR | 0o755, 1, 2, b""),
            entry("dir/file", S_IFREG | 0o644, 2, 1, b"hello"),
            entry("dir/link", S_IFLNK | 0o777, 3, 1, b"file"),
            entry("a", S_IFREG | 0o600, 4, 2, b""),
            entry("b", S_IFREG | 0o600, 4, 2, b"shared"),
            entry("console", S_IFCHR | 0o600, 5, 1, b""),
        ])
    }

    #[test]
    fn unpacks_in_pieces_of_any_size() {
        for piece in [1, 2, 3, 7, 109, 110, 4096] {
            let (root, result) = unpack(&sample(), piece);
            assert_eq!(result, Ok(6), "pieces of {piece}");
            assert_eq!(contents(&root, "dir/link"), Ok(b"hello".to_vec()));
            assert_eq!(contents(&root, "a"), Ok(b"shared".to_vec()));
        }
    }

    #[test]
    fn archives_may_follow_one_another_and_replace_files() {
        let mut both = sample();
        both.extend(archive(&[entry(
            "dir/file",
            S_IFREG | 0o644,
            2,
            1,
            b"newer",
        )]));
        let (root, result) = unpack(&both, 100);
        assert_eq!(result, Ok(7));
        assert_eq!(contents(&root, "dir/file"), Ok(b"newer".to_vec()));
    }

    #[test]
    fn a_cut_archive_is_told_apart() {
        let whole = sample();
        let (_, result) = unpack(&whole[..300], 4096);
        assert_eq!(result, Err(UnpackError::Truncated));
        let (_, result) = unpack(b"this is no archive at all, but long enough to hold a header of one hundred and ten bytes, as you can plainly see", 50);
        assert_eq!(result, Err(UnpackError::NoMagic));
    }

    #[test]
    fn names_do_not_leave_the_root() {
        let (root, result) = unpack(
            &archive(&[entry("../../x", S_IFREG | 0o644, 1, 1, b"in")]),
            4096,
        );
        assert_eq!(result, Ok(1));
        assert_eq!(contents(&root, "x"), Ok(b"in".to_vec()));
    }

    #[test]
    fn a_missing_directory_is_an_error_of_the_entry() {
        let (_, result) = unpack(&archive(&[entry("no/x", S_IFREG | 0o644, 1, 1, b"")]), 4096);
        assert_eq!(
            result,
            Err(UnpackError::Entry(b"no/x".to_vec(), Errno::ENOENT))
        );
    }

    proptest! {
        #[test]
        fn damage_never_panics(at in 0usize..700, byte in any::<u8>(), cut in 0usize..1100) {
            let mut bytes = sample();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(cut);
            let _ = unpack(&bytes, 97);
        }
    }
}
