//! Paths as calls give them: from the working directory, or from a directory's descriptor.

use alloc::sync::Arc;

use fs::namei::{LookupFlags, Walk};
use fs::{Credentials, FsContext, Path, Result};

use super::Call;
use crate::usermem::PathBuf;

/// `AT_FDCWD`.
pub const FDCWD: i32 = -100;

/// How a call that takes a path gives the directory it starts from. Most such calls exist in both forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Not at all: from the working directory, as `mkdir(2)`.
    Cwd,
    /// By a descriptor before all other arguments, as `mkdirat(2)`.
    At,
}

impl Form {
    /// The descriptor to start from, and the `N` arguments that both forms have.
    #[inline(always)]
    pub fn args<const N: usize>(self, call: &Call<'_>) -> (i32, [u64; N]) {
        match self {
            Form::Cwd => (FDCWD, core::array::from_fn(|n| call.arg(n))),
            Form::At => (call.int(0), core::array::from_fn(|n| call.arg(n + 1))),
        }
    }
}

/// The caller's place in the tree, taken apart for a walk.
pub struct Place {
    /// Who walks.
    pub cred: Arc<Credentials>,
    /// The root directory.
    pub root: Path,
    start: Path,
    /// What new files are not allowed.
    pub umask: u32,
}

impl Place {
    /// Where a walk along `path` from descriptor `dirfd` starts.
    ///
    /// # Errors
    /// `EBADF` where the descriptor is needed and not open.
    pub fn at(call: &Call<'_>, dirfd: i32, path: &[u8]) -> Result<Self> {
        let context = call.thread.fs();
        let (root, cwd, umask) = {
            let FsContext { root, cwd, umask } = &*context.lock();
            (root.clone(), cwd.clone(), *umask)
        };
        let start = match dirfd {
            FDCWD => cwd,
            _ if path.first() == Some(&b'/') => cwd,
            fd => call.thread.file(fd)?.path().clone(),
        };
        Ok(Self {
            cred: call.thread.cred(),
            root,
            start,
            umask,
        })
    }

    /// A walk with the caller's credentials.
    #[inline]
    pub fn walk(&self) -> Walk<'_> {
        Walk {
            root: &self.root,
            start: &self.start,
            cred: &self.cred,
        }
    }
}

/// Finds what the path at user address `ptr` leads to.
#[inline]
pub fn lookup(call: &Call<'_>, dirfd: i32, ptr: u64, flags: LookupFlags) -> Result<(Place, Path)> {
    let path = PathBuf::read(ptr)?;
    let place = Place::at(call, dirfd, path.as_bytes())?;
    let found = place.walk().lookup(path.as_bytes(), flags)?;
    Ok((place, found))
}
