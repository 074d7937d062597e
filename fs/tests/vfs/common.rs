//! What the suites share: a root file system and short names for calls on it.

use std::sync::Arc;

use fs::attr;
use fs::file::{DirSink, oflag::*};
use fs::mount::MountNamespace;
use fs::namei::{LookupFlags, Walk};
use fs::open::{OpenHow, open};
use fs::stat::Stat;
use fs::{Credentials, File, Path, Result, SliceSink, SliceSource, dirops, rename, tmpfs};

/// A process without a process: a tree, a root, a working directory and an identity.
#[derive(Clone)]
pub struct World {
    pub ns: Arc<MountNamespace>,
    pub root: Path,
    pub cwd: Path,
    pub cred: Credentials,
    pub umask: u32,
}

impl World {
    pub fn new() -> World {
        let ns = MountNamespace::new(tmpfs::rootfs().unwrap());
        let root = ns.root_path();
        attr::chmod(&root, &Credentials::root(), 0o755).unwrap();
        World {
            ns,
            cwd: root.clone(),
            root,
            cred: Credentials::root(),
            umask: 0o022,
        }
    }

    pub fn as_user(&self, uid: u32) -> World {
        World {
            cred: Credentials::user(uid, uid),
            ..self.clone()
        }
    }

    pub fn walk(&self) -> Walk<'_> {
        Walk {
            root: &self.root,
            start: &self.cwd,
            cred: &self.cred,
        }
    }

    pub fn lookup(&self, path: &str) -> Result<Path> {
        self.walk().lookup(path.as_bytes(), LookupFlags::FOLLOW)
    }

    pub fn lookup_link(&self, path: &str) -> Result<Path> {
        self.walk().lookup(path.as_bytes(), LookupFlags::NOFOLLOW)
    }

    pub fn chdir(&mut self, path: &str) {
        self.cwd = self
            .walk()
            .lookup(path.as_bytes(), LookupFlags::DIRECTORY)
            .unwrap();
    }

    pub fn open(&self, path: &str, flags: u32) -> Result<Arc<File>> {
        self.open_mode(path, flags, 0o666)
    }

    pub fn open_mode(&self, path: &str, flags: u32, mode: u32) -> Result<Arc<File>> {
        open(
            &self.walk(),
            path.as_bytes(),
            OpenHow {
                flags,
                mode,
                umask: self.umask,
            },
        )
    }

    pub fn write(&self, path: &str, bytes: &[u8]) {
        let file = self.open(path, O_WRONLY | O_CREAT | O_TRUNC).unwrap();
        assert_eq!(file.write(&mut SliceSource::new(bytes)), Ok(bytes.len()));
    }

    pub fn read(&self, path: &str) -> Vec<u8> {
        read_all(&self.open(path, O_RDONLY).unwrap())
    }

    pub fn mkdir(&self, path: &str) -> Result<()> {
        dirops::mkdir(&self.walk(), path.as_bytes(), 0o777, self.umask).map(drop)
    }

    pub fn rmdir(&self, path: &str) -> Result<()> {
        dirops::rmdir(&self.walk(), path.as_bytes())
    }

    pub fn unlink(&self, path: &str) -> Result<()> {
        dirops::unlink(&self.walk(), path.as_bytes())
    }

    pub fn symlink(&self, target: &str, path: &str) -> Result<()> {
        dirops::symlink(&self.walk(), target.as_bytes(), path.as_bytes()).map(drop)
    }

    pub fn mknod(&self, path: &str, mode: u32, rdev: u64) -> Result<()> {
        dirops::mknod(&self.walk(), path.as_bytes(), mode, rdev, self.umask).map(drop)
    }

    pub fn link(&self, old: &str, new: &str) -> Result<()> {
        let old = self.lookup_link(old)?;
        dirops::link(&old, &self.walk(), new.as_bytes())
    }

    pub fn rename(&self, old: &str, new: &str) -> Result<()> {
        self.rename_flags(old, new, 0)
    }

    pub fn rename_flags(&self, old: &str, new: &str, flags: u32) -> Result<()> {
        let walk = self.walk();
        rename::rename(&walk, old.as_bytes(), &walk, new.as_bytes(), flags)
    }

    pub fn stat(&self, path: &str) -> Result<Stat> {
        attr::stat(&self.lookup(path)?)
    }

    pub fn lstat(&self, path: &str) -> Result<Stat> {
        attr::stat(&self.lookup_link(path)?)
    }

    pub fn chmod(&self, path: &str, mode: u32) -> Result<()> {
        attr::chmod(&self.lookup(path)?, &self.cred, mode)
    }

    pub fn chown(&self, path: &str, uid: u32, gid: u32) -> Result<()> {
        attr::chown(&self.lookup(path)?, &self.cred, Some(uid), Some(gid))
    }

    /// Names in a directory, sorted, without the dots.
    pub fn names(&self, path: &str) -> Vec<String> {
        let file = self.open(path, O_RDONLY | O_DIRECTORY).unwrap();
        let mut names = Names(Vec::new(), usize::MAX);
        file.readdir(&mut names).unwrap();
        names.0.retain(|n| n != "." && n != "..");
        names.0.sort();
        names.0
    }

    pub fn display(&self, path: &Path) -> String {
        String::from_utf8(path.display(&self.root).unwrap()).unwrap()
    }
}

/// Collects names, up to so many at a time.
pub struct Names(pub Vec<String>, pub usize);

impl DirSink for Names {
    fn emit(&mut self, _: u64, _: u64, _: u8, name: &[u8]) -> bool {
        if self.1 == 0 {
            return false;
        }
        self.1 -= 1;
        self.0.push(String::from_utf8_lossy(name).into_owned());
        true
    }
}

pub fn read_all(file: &File) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buf = [0; 5000];
    loop {
        match file.read(&mut SliceSink::new(&mut buf)).unwrap() {
            0 => return all,
            n => all.extend_from_slice(&buf[..n]),
        }
    }
}

pub fn read_some(file: &File, len: usize) -> Result<Vec<u8>> {
    let mut buf = vec![0; len];
    let n = file.read(&mut SliceSink::new(&mut buf))?;
    buf.truncate(n);
    Ok(buf)
}

pub fn write_all(file: &File, bytes: &[u8]) -> Result<usize> {
    file.write(&mut SliceSource::new(bytes))
}
