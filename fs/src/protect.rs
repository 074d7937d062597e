//! Protection against tricks in directories that everybody may write to, such as `/tmp`.
//!
//! Source: Linux's Documentation/admin-guide/sysctl/fs.rst, `protected_*`.

use crate::cred::{Cap, Credentials, MAY_READ, MAY_WRITE};
use crate::inode::{Inode, S_IFIFO, S_IFREG, S_ISGID, S_ISUID, S_ISVTX};
use crate::{Errno, Result, Tunable};

/// Whether only who could read and write a file, or owns it, may make further links to it (`fs.protected_hardlinks`).
pub static HARDLINKS: Tunable = Tunable::switch(true);
/// Whether symbolic links in sticky directories are followed for their owner only (`fs.protected_symlinks`).
pub static SYMLINKS: Tunable = Tunable::switch(true);
/// Whether `O_CREAT` opens a FIFO of another in a sticky directory: 1 guards world-writable ones, 2 group-writable too.
pub static FIFOS: Tunable = Tunable::new(0, 0, 2);
/// The same for regular files.
pub static REGULAR: Tunable = Tunable::new(0, 0, 2);

const OTHERS_WRITE: u32 = 0o002;
const GROUP_WRITE: u32 = 0o020;

/// Checks that `cred` may make another name for `inode`.
///
/// # Errors
/// `EPERM`.
pub(crate) fn may_link(cred: &Credentials, inode: &Inode) -> Result<()> {
    if !HARDLINKS.is_on() || cred.fsuid == inode.uid() || cred.capable(Cap::Fowner) {
        return Ok(());
    }
    let mode = inode.mode();
    let runs_as_another = mode & S_ISUID != 0 || mode & (S_ISGID | 0o010) == S_ISGID | 0o010;
    let harmless = inode.kind() == S_IFREG
        && !runs_as_another
        && cred.permission(inode, MAY_READ | MAY_WRITE).is_ok();
    if harmless { Ok(()) } else { Err(Errno::EPERM) }
}

/// Checks that `cred` may follow the symbolic link `link`, an entry of `dir`, at the end of a path.
///
/// # Errors
/// `EACCES`.
pub(crate) fn may_follow(cred: &Credentials, dir: &Inode, link: &Inode) -> Result<()> {
    let open_to_all = S_ISVTX | OTHERS_WRITE;
    let allowed = !SYMLINKS.is_on()
        || cred.fsuid == link.uid()
        || dir.mode() & open_to_all != open_to_all
        || dir.uid() == link.uid();
    if allowed { Ok(()) } else { Err(Errno::EACCES) }
}

/// Checks that `O_CREAT` may open `inode`, which is in `dir` already.
///
/// # Errors
/// `EACCES`.
pub(crate) fn may_open_created(cred: &Credentials, dir: &Inode, inode: &Inode) -> Result<()> {
    let level = match inode.kind() {
        S_IFIFO => FIFOS.get(),
        S_IFREG => REGULAR.get(),
        _ => 0,
    };
    let mode = dir.mode();
    let guarded = mode & S_ISVTX != 0
        && inode.uid() != dir.uid()
        && inode.uid() != cred.fsuid
        && (level >= 1 && mode & OTHERS_WRITE != 0 || level >= 2 && mode & GROUP_WRITE != 0);
    if guarded { Err(Errno::EACCES) } else { Ok(()) }
}
