use super::*;
use crate::file::{DirSink, Whence};
use crate::iobuf::{SliceSink, SliceSource};
use crate::page::PAGE_SIZE;
use crate::pagefile::falloc;
use crate::seal;
use crate::{Credentials, attr, dirops, namei, open, rename, xattr};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

fn put(file: &File, bytes: &[u8]) -> Result<usize> {
    file.write(&mut SliceSource::new(bytes))
}

#[test]
fn a_memory_file_has_no_name_but_shows_one() {
    let file = memfd(b"cache", 0, 0, 7, 8).unwrap();
    let root = rootfs().unwrap().root_path();
    assert_eq!(
        file.path().display(&root).unwrap(),
        b"/memfd:cache (deleted)"
    );
    let stat = attr::stat(file.path()).unwrap();
    assert_eq!((stat.uid, stat.nlink, stat.mode), (7, 0, S_IFREG | 0o777));
    assert_eq!(memfd(&[b'x'; 250], 0, 0, 0, 0).err(), Some(Errno::EINVAL));
}

#[test]
fn seals_are_kept() {
    let file = memfd(b"s", 0, 0, 0, 0).unwrap();
    put(&file, &[1; 100]).unwrap();
    let mapping = file.inode().mapping().unwrap();
    mapping.add_seals(seal::SHRINK | seal::GROW).unwrap();
    assert_eq!(attr::ftruncate(&file, 99, u64::MAX), Err(Errno::EPERM));
    assert_eq!(attr::ftruncate(&file, 101, u64::MAX), Err(Errno::EPERM));
    assert_eq!(attr::ftruncate(&file, 100, u64::MAX), Ok(()));
    assert_eq!(put(&file, b"x"), Err(Errno::EPERM));
    file.seek(90, Whence::Set).unwrap();
    assert_eq!(put(&file, &[2; 20]), Ok(10));
    assert_eq!(
        attr::fallocate(&file, 0, 0, 200, u64::MAX),
        Err(Errno::EPERM)
    );
    mapping.add_seals(seal::WRITE).unwrap();
    file.seek(0, Whence::Set).unwrap();
    assert_eq!(put(&file, b"x"), Err(Errno::EPERM));
    let punch = falloc::PUNCH_HOLE | falloc::KEEP_SIZE;
    assert_eq!(
        attr::fallocate(&file, punch, 0, 10, u64::MAX),
        Err(Errno::EPERM)
    );
}

#[test]
fn holes_are_found_and_made() {
    let file = memfd(b"h", 0, 0, 0, 0).unwrap();
    put(&file, &[1; 3 * PAGE_SIZE]).unwrap();
    let punch = falloc::PUNCH_HOLE | falloc::KEEP_SIZE;
    attr::fallocate(&file, punch, PAGE_SIZE as i64, PAGE_SIZE as i64, u64::MAX).unwrap();
    assert_eq!(attr::stat(file.path()).unwrap().blocks, 16);
    assert_eq!(file.seek(0, Whence::Hole), Ok(4096));
    assert_eq!(file.seek(4096, Whence::Data), Ok(8192));
    assert_eq!(file.seek(9000, Whence::Hole), Ok(12_288));
    assert_eq!(file.seek(12_288, Whence::Data), Err(Errno::ENXIO));
    attr::fallocate(&file, falloc::KEEP_SIZE, 0, 20_000, u64::MAX).unwrap();
    let stat = attr::stat(file.path()).unwrap();
    assert_eq!((stat.size, stat.blocks), (12_288, 40));
    for (mode, offset, len, error) in [
        (0, -1, 1, Errno::EINVAL),
        (0, 0, 0, Errno::EINVAL),
        (0, i64::MAX, 1, Errno::EFBIG),
        (falloc::PUNCH_HOLE, 0, 1, Errno::EOPNOTSUPP),
        (falloc::COLLAPSE_RANGE, 0, 4096, Errno::EOPNOTSUPP),
        (0x100, 0, 1, Errno::EOPNOTSUPP),
    ] {
        assert_eq!(
            attr::fallocate(&file, mode, offset, len, u64::MAX),
            Err(error),
            "{mode} {offset} {len}"
        );
    }
}

#[test]
fn offsets_have_an_end() {
    let file = memfd(b"o", 0, 0, 0, 0).unwrap();
    let end = i64::MAX as u64;
    assert_eq!(file.seek(i64::MAX, Whence::Set), Ok(end));
    assert_eq!(put(&file, b"x"), Err(Errno::EFBIG));
    assert_eq!(file.seek(1, Whence::Current), Err(Errno::EOVERFLOW));
    assert_eq!(file.pwrite(end - 2, &mut SliceSource::new(b"abc")), Ok(2));
    assert_eq!(file.inode().size(), end);
    assert_eq!(file.pread(end - 1, &mut SliceSink::new(&mut [0; 4])), Ok(1));
    assert_eq!(
        attr::ftruncate(&file, end + 1, u64::MAX),
        Err(Errno::EINVAL)
    );
    assert_eq!(file.limit_write(Some(10), 100, 50), Ok(40));
    assert_eq!(file.limit_write(Some(50), 1, 50), Err(Errno::EFBIG));
    assert_eq!(file.limit_write(Some(50), 0, 50), Ok(0));
}

#[test]
fn extended_attributes() {
    let file = memfd(b"x", 0, 0, 1000, 1000).unwrap();
    let path = file.path();
    let (root, user, other) = (
        Credentials::root(),
        Credentials::user(1000, 1000),
        Credentials::user(1001, 1001),
    );
    attr::chmod(path, &user, 0o644).unwrap();
    xattr::set(path, &user, b"user.a", b"1", xattr::XATTR_CREATE).unwrap();
    assert_eq!(
        xattr::set(path, &user, b"user.a", b"2", xattr::XATTR_CREATE),
        Err(Errno::EEXIST)
    );
    assert_eq!(
        xattr::set(path, &user, b"user.b", b"2", xattr::XATTR_REPLACE),
        Err(Errno::ENODATA)
    );
    assert_eq!(
        xattr::set(path, &other, b"user.b", b"2", 0),
        Err(Errno::EACCES)
    );
    assert_eq!(xattr::get(path, &other, b"user.a").unwrap(), b"1");
    assert_eq!(
        xattr::set(path, &user, b"trusted.t", b"", 0),
        Err(Errno::EPERM)
    );
    assert_eq!(
        xattr::set(path, &user, b"bad.t", b"", 0),
        Err(Errno::EOPNOTSUPP)
    );
    assert_eq!(xattr::set(path, &user, b"", b"", 0), Err(Errno::ERANGE));
    assert_eq!(
        xattr::set(path, &user, b"user.a", &[0; 65_537], 0),
        Err(Errno::E2BIG)
    );
    xattr::set(path, &root, b"trusted.t", b"", 0).unwrap();
    assert_eq!(xattr::get(path, &user, b"trusted.t"), Err(Errno::ENODATA));
    assert_eq!(xattr::list(path, &user).unwrap(), b"user.a\0");
    assert_eq!(xattr::list(path, &root).unwrap(), b"trusted.t\0user.a\0");
    xattr::remove(path, &user, b"user.a").unwrap();
    assert_eq!(xattr::remove(path, &user, b"user.a"), Err(Errno::ENODATA));
}

/// Names, types and contents of a tree, the simple way.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Model {
    Dir(BTreeMap<u8, Model>),
    File(Vec<u8>),
}

impl Model {
    fn at(&mut self, path: &[u8]) -> Result<&mut Model> {
        let mut at = self;
        for name in path {
            at = match at {
                Model::Dir(entries) => entries.get_mut(name).ok_or(Errno::ENOENT)?,
                Model::File(_) => return Err(Errno::ENOTDIR),
            };
        }
        Ok(at)
    }

    fn dir(&mut self, path: &[u8]) -> Result<&mut BTreeMap<u8, Model>> {
        match self.at(path)? {
            Model::Dir(entries) => Ok(entries),
            Model::File(_) => Err(Errno::ENOTDIR),
        }
    }

    fn is_dir(&self) -> bool {
        matches!(self, Model::Dir(_))
    }

    fn is_empty(&self) -> bool {
        matches!(self, Model::Dir(entries) if entries.is_empty())
    }

    fn mkdir(&mut self, path: &[u8]) -> Result<()> {
        let (name, dir) = path.split_last().unwrap();
        let dir = self.dir(dir)?;
        if dir.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        dir.insert(*name, Model::Dir(BTreeMap::new()));
        Ok(())
    }

    fn write(&mut self, path: &[u8], bytes: &[u8]) -> Result<()> {
        let (name, dir) = path.split_last().unwrap();
        match self
            .dir(dir)?
            .entry(*name)
            .or_insert_with(|| Model::File(Vec::new()))
        {
            Model::Dir(_) => Err(Errno::EISDIR),
            Model::File(content) => {
                content.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    fn unlink(&mut self, path: &[u8]) -> Result<()> {
        let (name, dir) = path.split_last().unwrap();
        let dir = self.dir(dir)?;
        match dir.get(name) {
            None => Err(Errno::ENOENT),
            Some(Model::Dir(_)) => Err(Errno::EISDIR),
            Some(Model::File(_)) => {
                dir.remove(name);
                Ok(())
            }
        }
    }

    fn rmdir(&mut self, path: &[u8]) -> Result<()> {
        let (name, dir) = path.split_last().unwrap();
        let dir = self.dir(dir)?;
        match dir.get(name) {
            None => Err(Errno::ENOENT),
            Some(Model::File(_)) => Err(Errno::ENOTDIR),
            Some(victim) if !victim.is_empty() => Err(Errno::ENOTEMPTY),
            Some(_) => {
                dir.remove(name);
                Ok(())
            }
        }
    }

    fn rename(&mut self, old: &[u8], new: &[u8]) -> Result<()> {
        let (old_name, old_dir) = old.split_last().unwrap();
        let (new_name, new_dir) = new.split_last().unwrap();
        self.dir(old_dir)?;
        self.dir(new_dir)?;
        let source = self
            .dir(old_dir)?
            .get(old_name)
            .ok_or(Errno::ENOENT)?
            .clone();
        if old_dir != new_dir && new_dir.starts_with(old) {
            return Err(Errno::EINVAL);
        }
        if old_dir != new_dir && old_dir.starts_with(new) {
            return Err(Errno::ENOTEMPTY);
        }
        if old == new {
            return Ok(());
        }
        match self.dir(new_dir)?.get(new_name) {
            Some(target) if source.is_dir() && !target.is_dir() => return Err(Errno::ENOTDIR),
            Some(target) if !source.is_dir() && target.is_dir() => return Err(Errno::EISDIR),
            Some(target) if target.is_dir() && !target.is_empty() => {
                return Err(Errno::ENOTEMPTY);
            }
            _ => {}
        }
        self.dir(old_dir)?.remove(old_name);
        self.dir(new_dir)?.insert(*new_name, source);
        Ok(())
    }
}

struct Names(Vec<u8>);

impl DirSink for Names {
    fn emit(&mut self, _: u64, _: u64, _: u8, name: &[u8]) -> bool {
        if name != b"." && name != b".." {
            self.0.push(name[0]);
        }
        true
    }
}

/// Reads the whole tree at `path` back.
fn observe(walk: &namei::Walk<'_>, path: &str) -> Model {
    let how = open::OpenHow {
        flags: oflag::O_RDONLY,
        mode: 0,
        umask: 0,
    };
    let file = open::open(walk, path.as_bytes(), how).unwrap();
    if file.inode().is_dir() {
        let mut names = Names(Vec::new());
        file.readdir(&mut names).unwrap();
        let children = names
            .0
            .into_iter()
            .map(|name| (name, observe(walk, &format!("{path}/{}", name as char))));
        let entries: BTreeMap<u8, Model> = children.collect();
        let dirs = entries.values().filter(|e| e.is_dir()).count() as u32;
        assert_eq!(file.inode().nlink(), 2 + dirs);
        return Model::Dir(entries);
    }
    let mut bytes = vec![0; file.inode().size() as usize];
    assert_eq!(file.read(&mut SliceSink::new(&mut bytes)), Ok(bytes.len()));
    Model::File(bytes)
}

#[derive(Clone, Debug)]
enum Op {
    Mkdir(Vec<u8>),
    Write(Vec<u8>, usize),
    Unlink(Vec<u8>),
    Rmdir(Vec<u8>),
    Rename(Vec<u8>, Vec<u8>),
    Stat(Vec<u8>),
    Shrink,
}

fn op() -> impl Strategy<Value = Op> {
    let path = || prop::collection::vec(b'a'..b'd', 1..4);
    prop_oneof![
        4 => path().prop_map(Op::Mkdir),
        3 => (path(), 0usize..6000).prop_map(|(p, n)| Op::Write(p, n)),
        1 => path().prop_map(Op::Unlink),
        1 => path().prop_map(Op::Rmdir),
        4 => (path(), path()).prop_map(|(a, b)| Op::Rename(a, b)),
        2 => path().prop_map(Op::Stat),
        1 => Just(Op::Shrink),
    ]
}

fn text(path: &[u8]) -> alloc::string::String {
    path.iter()
        .map(|b| format!("/{}", *b as char))
        .collect::<Vec<_>>()
        .join("")
        .to_string()
}

proptest! {
    /// Any sequence of calls leaves the tree that a simple model has, with the same errors.
    #[test]
    fn behaves_as_a_tree_of_maps(ops in prop::collection::vec(op(), 1..80)) {
        let root = rootfs().unwrap().root_path();
        let cred = Credentials::root();
        let walk = namei::Walk { root: &root, start: &root, cred: &cred };
        let mut model = Model::Dir(BTreeMap::new());
        for op in ops {
            let (got, want) = match &op {
                Op::Mkdir(path) => {
                    (dirops::mkdir(&walk, text(path).as_bytes(), 0o755, 0).map(drop), model.mkdir(path))
                }
                Op::Write(path, len) => {
                    let bytes = vec![*len as u8; *len];
                    let flags = oflag::O_WRONLY | oflag::O_CREAT | oflag::O_APPEND;
                    let how = open::OpenHow { flags, mode: 0o644, umask: 0 };
                    let wrote = open::open(&walk, text(path).as_bytes(), how).map(|file| {
                        assert_eq!(put(&file, &bytes), Ok(bytes.len()));
                    });
                    (wrote, model.write(path, &bytes))
                }
                Op::Unlink(path) => (dirops::unlink(&walk, text(path).as_bytes()), model.unlink(path)),
                Op::Rmdir(path) => (dirops::rmdir(&walk, text(path).as_bytes()), model.rmdir(path)),
                Op::Rename(old, new) => {
                    let (from, to) = (text(old), text(new));
                    let got = rename::rename(&walk, from.as_bytes(), &walk, to.as_bytes(), 0);
                    (got, model.rename(old, new))
                }
                Op::Stat(path) => {
                    let flags = namei::LookupFlags::NOFOLLOW;
                    let got = walk.lookup(text(path).as_bytes(), flags).map(drop);
                    (got, model.at(path).map(drop))
                }
                Op::Shrink => {
                    crate::dentry::shrink(1000);
                    (Ok(()), Ok(()))
                }
            };
            prop_assert_eq!(got, want, "{:?}", op);
        }
        prop_assert_eq!(observe(&walk, "/"), model);
    }
}
