//! Calls that change the mount tree: `mount`, `umount2`, `pivot_root`.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::cred::{Cap, Credentials};
use crate::mount::{Mount, MountNamespace, Path, TREE, ms};
use crate::superblock::filesystem;
use crate::{Errno, Result};

/// `umount2` flags.
#[allow(missing_docs, reason = "the names are those of umount(2)")]
pub mod umount_flag {
    pub const FORCE: u32 = 1;
    pub const DETACH: u32 = 2;
    pub const EXPIRE: u32 = 4;
    pub const NOFOLLOW: u32 = 8;
}

/// What `mount(2)` was given, strings copied.
#[derive(Clone, Copy, Debug)]
pub struct MountRequest<'a> {
    /// The first argument: a device, or whatever is to be shown as such.
    pub source: &'a [u8],
    /// The first argument as a path that was looked up, for `MS_BIND` and `MS_MOVE`.
    pub source_path: Option<&'a Path>,
    /// The file system type, for a new mount.
    pub kind: &'a [u8],
    /// `MS_*`.
    pub flags: u32,
    /// Options of the file system.
    pub options: &'a [u8],
}

/// Does what `mount(2)` asks at `target`.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`; those of `mount(2)`.
pub fn mount(
    ns: &MountNamespace,
    cred: &Credentials,
    target: &Path,
    request: &MountRequest<'_>,
) -> Result<()> {
    if !cred.capable(Cap::SysAdmin) {
        return Err(Errno::EPERM);
    }
    // What programs wrote before there were flags for it.
    const MAGIC: u32 = 0xc0ed_0000;
    let mut flags = request.flags;
    if flags & 0xffff_0000 == MAGIC {
        flags &= 0xffff;
    }
    let mut per_mount = flags & ms::PER_MOUNT;
    if flags & (ms::NOATIME | ms::STRICTATIME) == 0 {
        per_mount |= ms::RELATIME;
    }
    if flags & (ms::STRICTATIME | ms::NOATIME) != 0 {
        per_mount &= !ms::RELATIME;
    }
    let propagation = flags & (ms::SHARED | ms::PRIVATE | ms::SLAVE | ms::UNBINDABLE);
    if flags & (ms::REMOUNT | ms::BIND) == ms::REMOUNT | ms::BIND {
        remount_mount(target, flags, per_mount)
    } else if flags & ms::REMOUNT != 0 {
        remount(target, flags, per_mount, request.options)
    } else if flags & ms::BIND != 0 {
        bind(
            ns,
            request.source_path.ok_or(Errno::EINVAL)?,
            target,
            flags & ms::REC != 0,
        )
    } else if propagation != 0 {
        set_propagation(target, flags, propagation)
    } else if flags & ms::MOVE != 0 {
        move_mount(ns, request.source_path.ok_or(Errno::EINVAL)?, target)
    } else {
        new_mount(ns, target, request, per_mount)
    }
}

/// Mounts a file system.
fn new_mount(
    ns: &MountNamespace,
    target: &Path,
    request: &MountRequest<'_>,
    per_mount: u32,
) -> Result<()> {
    let kind = filesystem(request.kind).ok_or(Errno::ENODEV)?;
    let root = kind.mount(request.source, request.options)?;
    let source = if request.source.is_empty() {
        b"none"
    } else {
        request.source
    };
    let mount = Mount::new(root, source, per_mount & !ms::RDONLY)?;
    if request.flags & ms::RDONLY != 0 {
        // Read-only from the first is so for the whole file system, as on Linux.
        mount.set_flags(per_mount);
        mount.sb().set_read_only(true);
    }
    let _tree = TREE.lock();
    graft(ns, &mount, target, true)
}

/// Hangs a mount over `target`, on top of what is there. `TREE` is held.
fn graft(ns: &MountNamespace, mount: &Arc<Mount>, target: &Path, check_same: bool) -> Result<()> {
    let mut target = target.clone();
    target.enter_mounts();
    if !ns.contains(&target.mount) {
        return Err(Errno::EINVAL);
    }
    if target.dentry.existing()?.is_dir() != mount.root().existing()?.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    if target.dentry.is_deleted() {
        return Err(Errno::ENOENT);
    }
    if check_same && target.is_mount_root() && Arc::ptr_eq(mount.root(), target.mount.root()) {
        // The same file system a second time at the same place.
        return Err(Errno::EBUSY);
    }
    mount.attach(&target);
    Ok(())
}

/// Shows `source` at `target` as well; with `recursive`, what is mounted beneath it too.
fn bind(ns: &MountNamespace, source: &Path, target: &Path, recursive: bool) -> Result<()> {
    let _tree = TREE.lock();
    if !ns.contains(&source.mount) || source.mount.is_unbindable() {
        return Err(Errno::EINVAL);
    }
    let top = copy(&source.mount, source.dentry.clone())?;
    graft(ns, &top, target, false)?;
    if recursive {
        let mut copies: Vec<(Arc<Mount>, Arc<Mount>)> =
            Vec::from([(source.mount.clone(), top.clone())]);
        let mut at = 0;
        while at < copies.len() {
            let (old, new) = copies[at].clone();
            at += 1;
            for child in old.children() {
                let Some((_, dentry)) = child.place() else {
                    continue;
                };
                let inside = !Arc::ptr_eq(&old, &source.mount) || dentry.is_below(&source.dentry);
                if !inside || child.is_unbindable() || Arc::ptr_eq(&child, &top) {
                    continue;
                }
                let copied = copy(&child, child.root().clone())?;
                copied.attach(&Path {
                    mount: new.clone(),
                    dentry,
                });
                copies.push((child, copied));
            }
        }
    }
    Ok(())
}

fn copy(mount: &Arc<Mount>, root: Arc<crate::Dentry>) -> Result<Arc<Mount>> {
    Mount::new(root, mount.source(), mount.flags())
}

/// Changes the flags of one mount.
fn remount_mount(target: &Path, flags: u32, per_mount: u32) -> Result<()> {
    if !target.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    let _tree = TREE.lock();
    let mount = &target.mount;
    if flags & ms::RDONLY != 0 && mount.flags() & ms::RDONLY == 0 && mount.writers() > 0 {
        return Err(Errno::EBUSY);
    }
    mount.set_flags(keep_atime(mount, flags, per_mount));
    Ok(())
}

/// A remount that says nothing of access times leaves them as they are.
fn keep_atime(mount: &Mount, flags: u32, per_mount: u32) -> u32 {
    const ATIME: u32 = ms::NOATIME | ms::NODIRATIME | ms::RELATIME;
    let kept = mount.flags() & !ms::PER_MOUNT;
    if flags & (ATIME | ms::STRICTATIME) == 0 {
        kept | per_mount & !ATIME | mount.flags() & ATIME
    } else {
        kept | per_mount
    }
}

/// Changes the options of a file system and the flags of the mount.
fn remount(target: &Path, flags: u32, per_mount: u32, options: &[u8]) -> Result<()> {
    if !target.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    let _tree = TREE.lock();
    let mount = &target.mount;
    let sb = mount.sb();
    let read_only = flags & ms::RDONLY != 0;
    if read_only && !sb.read_only() && sb.writers() > 0 {
        return Err(Errno::EBUSY);
    }
    sb.ops().remount(options)?;
    sb.set_read_only(read_only);
    mount.set_flags(keep_atime(mount, flags, per_mount));
    Ok(())
}

/// Sets whether a mount may be bound, and whether mounts beneath it spread. Only private mounts exist so far: they neither send
/// nor receive, so to be made private or a slave changes nothing.
fn set_propagation(target: &Path, flags: u32, propagation: u32) -> Result<()> {
    let allowed = propagation | ms::REC | ms::SILENT;
    if !propagation.is_power_of_two() || flags & !allowed != 0 || !target.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    if propagation == ms::SHARED {
        return Err(Errno::EINVAL);
    }
    let _tree = TREE.lock();
    let all = if flags & ms::REC != 0 {
        target.mount.subtree()
    } else {
        [target.mount.clone()].into()
    };
    for mount in all {
        mount.set_unbindable(propagation == ms::UNBINDABLE);
    }
    Ok(())
}

/// Takes a mount, and what is on it, elsewhere.
fn move_mount(ns: &MountNamespace, source: &Path, target: &Path) -> Result<()> {
    let _tree = TREE.lock();
    let mount = &source.mount;
    if !source.is_mount_root() || !ns.contains(mount) {
        return Err(Errno::EINVAL);
    }
    let Some((parent, dentry)) = mount.place() else {
        return Err(Errno::EINVAL);
    };
    let mut to = target.clone();
    to.enter_mounts();
    if mount.root().existing()?.is_dir() != to.dentry.existing()?.is_dir() {
        return Err(Errno::EINVAL);
    }
    // Not beneath itself.
    if to.is_below(&mount.root_path()) {
        return Err(Errno::ELOOP);
    }
    mount.detach();
    graft(ns, mount, target, false).inspect_err(|_| {
        mount.attach(&Path {
            mount: parent,
            dentry,
        })
    })
}

/// Unmounts the mount whose root `target` is; it is consumed, since a place in a mount is what keeps it busy.
///
/// # Errors
/// `EPERM`, `EINVAL` if it is no root of a mount or an unknown flag is set, `EBUSY`, `EAGAIN` for `MNT_EXPIRE`.
pub fn umount(ns: &MountNamespace, cred: &Credentials, target: Path, flags: u32) -> Result<()> {
    use umount_flag::*;
    if flags & !(FORCE | DETACH | EXPIRE | NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    if !cred.capable(Cap::SysAdmin) {
        return Err(Errno::EPERM);
    }
    if flags & EXPIRE != 0 && flags & (FORCE | DETACH) != 0 {
        return Err(Errno::EINVAL);
    }
    if !target.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    let mount = target.mount.clone();
    drop(target);
    let gone = {
        let _tree = TREE.lock();
        if !ns.contains(&mount) || mount.place().is_none() {
            return Err(Errno::EINVAL);
        }
        if flags & DETACH == 0 {
            // Its place in the tree, and we.
            let busy = !mount.children().is_empty() || Arc::strong_count(&mount) > 2;
            if busy {
                return Err(Errno::EBUSY);
            }
            if flags & EXPIRE != 0 && !mount.mark_expiring() {
                return Err(Errno::EAGAIN);
            }
        }
        let mounts = mount.subtree();
        // Leaves first; who is inside keeps the mount he is in, no longer the tree around it.
        mounts.iter().rev().for_each(|m| drop(m.detach()));
        mounts
    };
    drop(mount);
    drop(gone);
    Ok(())
}

/// Makes the mount at `new_root` the top of the tree, and hangs the old one at `put_old` beneath it.
///
/// Returns the paths that were and are the root now: the caller moves the roots and working directories of processes from the one to the
/// other.
///
/// # Errors
/// Those of `pivot_root(2)`.
pub fn pivot_root(
    ns: &MountNamespace,
    cred: &Credentials,
    root: &Path,
    new_root: &Path,
    put_old: &Path,
) -> Result<(Path, Path)> {
    if !cred.capable(Cap::SysAdmin) {
        return Err(Errno::EPERM);
    }
    for path in [new_root, put_old] {
        if !path.dentry.existing()?.is_dir() {
            return Err(Errno::ENOTDIR);
        }
    }
    let _tree = TREE.lock();
    let (new_mount, old_mount) = (&new_root.mount, &root.mount);
    if !ns.contains(new_mount) || !ns.contains(old_mount) || !ns.contains(&put_old.mount) {
        return Err(Errno::EINVAL);
    }
    // The very first mount is locked in its place.
    if new_mount.place().is_none() {
        return Err(Errno::EINVAL);
    }
    if new_root.dentry.is_deleted() {
        return Err(Errno::ENOENT);
    }
    if Arc::ptr_eq(new_mount, old_mount) || Arc::ptr_eq(&put_old.mount, old_mount) {
        return Err(Errno::EBUSY);
    }
    if !root.is_mount_root() || !new_root.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    let Some(old_place) = old_mount.place() else {
        return Err(Errno::EINVAL);
    };
    if !put_old.is_below(new_root) || !new_root.is_below(root) {
        return Err(Errno::EINVAL);
    }
    new_mount.detach();
    old_mount.detach();
    old_mount.attach(put_old);
    let (mount, dentry) = old_place;
    new_mount.attach(&Path { mount, dentry });
    Ok((root.clone(), new_root.clone()))
}
