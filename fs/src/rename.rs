//! `rename`, the one call that changes two directories.
//!
//! Renames across directories of a file system exclude each other, so that the tree above both stays as it is while
//! they look whether one side lies beneath the other.

use alloc::sync::Arc;

use crate::cred::{Cap, MAY_WRITE};
use crate::dentry::{self, Dentry, Name};
use crate::dirops::{gone, may_delete};
use crate::inode::{RenameSide, rename_flag};
use crate::mount::Path;
use crate::namei::{Last, LastName, Walk, may_create};
use crate::notify::{self, NotifyEvents};
use crate::sync::SpinLockGuard;
use crate::{Errno, Result};

/// Locks two directories, or one if they are the same: what lies above first, as every other path locks, and else by address.
///
/// The caller keeps the tree as it is if they differ.
fn lock_both<'a>(
    a: &'a Arc<Dentry>,
    b: &'a Arc<Dentry>,
) -> Result<(SpinLockGuard<'a, ()>, Option<SpinLockGuard<'a, ()>>)> {
    let (inode_a, inode_b) = (a.existing()?, b.existing()?);
    if Arc::ptr_eq(inode_a, inode_b) {
        return Ok((inode_a.lock_dir(), None));
    }
    let a_first = b.is_below(a) || !a.is_below(b) && Arc::as_ptr(a) < Arc::as_ptr(b);
    let (first, second) = if a_first {
        (inode_a, inode_b)
    } else {
        (inode_b, inode_a)
    };
    let guard = first.lock_dir();
    Ok((guard, Some(second.lock_dir())))
}

/// Renames `old` (walked by `from`) to `new` (walked by `to`).
///
/// # Errors
/// Those of `renameat2(2)`.
pub fn rename(from: &Walk<'_>, old: &[u8], to: &Walk<'_>, new: &[u8], flags: u32) -> Result<()> {
    use rename_flag::{EXCHANGE, NOREPLACE, WHITEOUT};
    if flags & !(NOREPLACE | EXCHANGE | WHITEOUT) != 0
        || flags & EXCHANGE != 0 && flags & (NOREPLACE | WHITEOUT) != 0
    {
        return Err(Errno::EINVAL);
    }
    if flags & WHITEOUT != 0 && !from.cred.capable(Cap::Mknod) {
        return Err(Errno::EPERM);
    }
    let (old_dir, old_last) = from.parent(old)?;
    let (new_dir, new_last) = to.parent(new)?;
    if !Arc::ptr_eq(&old_dir.mount, &new_dir.mount) {
        return Err(Errno::EXDEV);
    }
    let Last::Name(old_last) = old_last else {
        return Err(Errno::EBUSY);
    };
    let Last::Name(new_last) = new_last else {
        return Err(if flags & NOREPLACE != 0 {
            Errno::EEXIST
        } else {
            Errno::EBUSY
        });
    };
    old_dir.want_write()?;
    let sides = Sides {
        old_name: old_last.name(old),
        new_name: new_last.name(new),
        old_dir,
        new_dir,
        flags,
    };
    let (moved, other) = sides.rename(from, &old_last, &new_last)?;
    sides.tell(&moved, other.as_ref());
    if let Some(other) = other {
        drop(moved);
        gone(&other);
    }
    Ok(())
}

struct Sides<'a> {
    old_dir: Path,
    new_dir: Path,
    old_name: Name<'a>,
    new_name: Name<'a>,
    flags: u32,
}

impl Sides<'_> {
    fn exchange(&self) -> bool {
        self.flags & rename_flag::EXCHANGE != 0
    }

    /// Does it, and returns what was moved and what was at the new name.
    fn rename(
        &self,
        walk: &Walk<'_>,
        old_last: &LastName,
        new_last: &LastName,
    ) -> Result<(Arc<Dentry>, Option<Arc<Dentry>>)> {
        let (old_dir, new_dir) = (&self.old_dir.dentry, &self.new_dir.dentry);
        let (old_inode, new_inode) = (old_dir.existing()?, new_dir.existing()?);
        let same_dir = Arc::ptr_eq(old_dir, new_dir);
        let _tree = (!same_dir).then(|| old_inode.sb().lock_renames());
        let _dirs = lock_both(old_dir, new_dir)?;

        let source = dentry::lookup_locked(old_dir, self.old_name)?;
        let inode = source.existing()?;
        let target = dentry::lookup_locked(new_dir, self.new_name)?;
        if self.flags & rename_flag::NOREPLACE != 0 && target.inode().is_some() {
            return Err(Errno::EEXIST);
        }
        if self.exchange() && !target.existing()?.is_dir() && new_last.slashes {
            return Err(Errno::ENOTDIR);
        }
        if !inode.is_dir() && (old_last.slashes || !self.exchange() && new_last.slashes) {
            return Err(Errno::ENOTDIR);
        }
        if !same_dir {
            // Neither may a directory move beneath itself, nor may what lies above be replaced.
            if new_dir.is_below(&source) {
                return Err(Errno::EINVAL);
            }
            if old_dir.is_below(&target) {
                return Err(if self.exchange() {
                    Errno::EINVAL
                } else {
                    Errno::ENOTEMPTY
                });
            }
        }
        if target.inode().is_some_and(|t| Arc::ptr_eq(t, inode)) {
            return Ok((source, None));
        }
        self.check(walk, &source, &target)?;

        let to = RenameSide {
            dir: new_inode,
            name: self.new_name.bytes,
            inode: target.inode(),
        };
        let from = RenameSide {
            dir: old_inode,
            name: self.old_name.bytes,
            inode: Some(inode),
        };
        {
            // Nobody creates anything in a directory that is about to be replaced.
            let replaced = target.inode().filter(|t| t.is_dir() && !self.exchange());
            let _target_guard = replaced.map(|t| t.lock_dir());
            old_inode.ops().rename(from, to, self.flags)?;
        }
        if self.exchange() {
            dentry::exchanged(
                (&source, old_dir, self.old_name),
                (&target, new_dir, self.new_name),
            );
        } else {
            dentry::renamed(&source, (old_dir, self.old_name), (new_dir, self.new_name));
        }
        let other = target.inode().is_some().then_some(target);
        Ok((source, other))
    }

    /// Checks permissions and types.
    fn check(&self, walk: &Walk<'_>, source: &Dentry, target: &Dentry) -> Result<()> {
        let (old_dir, new_dir) = (
            self.old_dir.dentry.existing()?,
            self.new_dir.dentry.existing()?,
        );
        let inode = source.existing()?;
        may_delete(walk.cred, old_dir, inode, inode.is_dir())?;
        match target.inode() {
            None => may_create(walk.cred, new_dir)?,
            Some(replaced) => {
                let want_dir = if self.exchange() { replaced } else { inode }.is_dir();
                may_delete(walk.cred, new_dir, replaced, want_dir)?;
            }
        }
        if !core::ptr::eq(&raw const **old_dir, &raw const **new_dir) {
            // A directory that gets another parent is written to: its `..` changes.
            if inode.is_dir() {
                walk.cred.permission(inode, MAY_WRITE)?;
            }
            if self.exchange() && target.existing()?.is_dir() {
                walk.cred.permission(target.existing()?, MAY_WRITE)?;
            }
        }
        if source.is_mountpoint() || target.is_mountpoint() {
            return Err(Errno::EBUSY);
        }
        Ok(())
    }

    fn tell(&self, moved: &Dentry, other: Option<&Arc<Dentry>>) {
        if !notify::any() {
            return;
        }
        let dirs = (self.old_dir.dentry.inode(), self.new_dir.dentry.inode());
        let ((Some(old_dir), Some(new_dir)), Some(inode)) = (dirs, moved.inode()) else {
            return;
        };
        let (old_name, new_name) = (self.old_name.bytes, self.new_name.bytes);
        notify::on_rename(old_dir, old_name, new_dir, new_name, inode);
        match other.and_then(|o| o.inode()) {
            Some(swapped) if self.exchange() => {
                notify::on_rename(new_dir, new_name, old_dir, old_name, swapped);
            }
            Some(replaced) => notify::on_inode(replaced, NotifyEvents::ATTRIB),
            None => {}
        }
    }
}
