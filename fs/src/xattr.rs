//! Extended attributes: who may touch which, and a store for file systems in memory.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::cred::{Cap, Credentials, MAY_READ, MAY_WRITE};
use crate::filecaps::{self, FileCaps};
use crate::inode::{Inode, S_IFDIR, S_IFREG, S_ISVTX};
use crate::mount::Path;
use crate::sync::SpinLock;
use crate::{Errno, Result};

/// Fail if the attribute exists.
pub const XATTR_CREATE: u32 = 1;
/// Fail if the attribute does not exist.
pub const XATTR_REPLACE: u32 = 2;
/// The longest name.
pub const XATTR_NAME_MAX: usize = 255;
/// The longest value.
pub const XATTR_SIZE_MAX: usize = 65536;
/// The longest list of names.
pub const XATTR_LIST_MAX: usize = 65536;

type Map = BTreeMap<Box<[u8]>, Vec<u8>>;

/// The attributes of one inode in memory.
#[derive(Debug, Default)]
pub struct Xattrs(SpinLock<Map>);

impl Xattrs {
    /// Makes an empty set.
    pub const fn new() -> Xattrs {
        Xattrs(SpinLock::new(BTreeMap::new()))
    }

    /// Returns a value.
    ///
    /// # Errors
    /// `ENODATA`.
    pub fn get(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.0.lock().get(name).cloned().ok_or(Errno::ENODATA)
    }

    /// Sets a value.
    ///
    /// # Errors
    /// `EEXIST`, `ENODATA`, `ENOSPC` past 64 KiB in all, `ENOMEM`.
    pub fn set(&self, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        let mut copy = Vec::new();
        copy.try_reserve_exact(value.len())
            .map_err(|_| Errno::ENOMEM)?;
        copy.extend_from_slice(value);
        let mut map = self.0.lock();
        let exists = map.contains_key(name);
        if exists && flags & XATTR_CREATE != 0 {
            return Err(Errno::EEXIST);
        }
        if !exists && flags & XATTR_REPLACE != 0 {
            return Err(Errno::ENODATA);
        }
        let others: usize = map
            .iter()
            .filter(|(k, _)| ***k != *name)
            .map(|(k, v)| k.len() + v.len())
            .sum();
        if others + name.len() + value.len() > XATTR_SIZE_MAX + XATTR_NAME_MAX {
            return Err(Errno::ENOSPC);
        }
        map.insert(Box::from(name), copy);
        Ok(())
    }

    /// Removes an attribute.
    ///
    /// # Errors
    /// `ENODATA`.
    pub fn remove(&self, name: &[u8]) -> Result<()> {
        self.0.lock().remove(name).map(drop).ok_or(Errno::ENODATA)
    }

    /// Calls `each` with every name.
    pub fn list(&self, each: &mut dyn FnMut(&[u8])) {
        self.0.lock().keys().for_each(|name| each(name));
    }
}

/// Checks that `cred` may read (or write) the attribute `name` of `inode`.
fn permission(cred: &Credentials, inode: &Inode, name: &[u8], write: bool) -> Result<()> {
    if name.is_empty() || name.len() > XATTR_NAME_MAX {
        return Err(Errno::ERANGE);
    }
    let denied = if write { Errno::EPERM } else { Errno::ENODATA };
    if name.starts_with(b"trusted.") {
        return if cred.capable(Cap::SysAdmin) {
            Ok(())
        } else {
            Err(denied)
        };
    }
    if name.starts_with(b"security.") {
        let cap = if name == filecaps::ATTRIBUTE {
            Cap::Setfcap
        } else {
            Cap::SysAdmin
        };
        return if !write || cred.capable(cap) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        };
    }
    if !name.starts_with(b"user.") {
        return Err(Errno::EOPNOTSUPP);
    }
    if !matches!(inode.kind(), S_IFREG | S_IFDIR) {
        return Err(denied);
    }
    if write && inode.is_dir() && inode.mode() & S_ISVTX != 0 && !cred.owner_or_capable(inode) {
        return Err(Errno::EPERM);
    }
    cred.permission(inode, if write { MAY_WRITE } else { MAY_READ })
}

/// Returns the value of an attribute.
///
/// # Errors
/// `ENODATA`, `EOPNOTSUPP`, `ERANGE` for the name, `EACCES`.
pub fn get(path: &Path, cred: &Credentials, name: &[u8]) -> Result<Vec<u8>> {
    let inode = path.dentry.existing()?;
    permission(cred, inode, name, false)?;
    let value = inode.ops().get_xattr(inode, name)?;
    Ok(if name == filecaps::ATTRIBUTE {
        FileCaps::shown(value)
    } else {
        value
    })
}

/// Sets an attribute.
///
/// # Errors
/// `EEXIST`, `ENODATA`, `E2BIG`, `EINVAL` for the flags, `EPERM`, `EACCES`, `EROFS`, `EOPNOTSUPP`, `ERANGE`.
pub fn set(path: &Path, cred: &Credentials, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
    if flags & !(XATTR_CREATE | XATTR_REPLACE) != 0 {
        return Err(Errno::EINVAL);
    }
    if value.len() > XATTR_SIZE_MAX {
        return Err(Errno::E2BIG);
    }
    let gives = name == filecaps::ATTRIBUTE;
    if gives && !FileCaps::is_valid(value) {
        return Err(Errno::EINVAL);
    }
    path.want_write()?;
    let inode = path.dentry.existing()?;
    permission(cred, inode, name, true)?;
    let _guard = inode.lock_dir();
    if gives {
        inode.set_has_capabilities();
    }
    inode.ops().set_xattr(inode, name, value, flags)
}

/// Removes an attribute.
///
/// # Errors
/// `ENODATA`, `EPERM`, `EACCES`, `EROFS`, `EOPNOTSUPP`, `ERANGE`.
pub fn remove(path: &Path, cred: &Credentials, name: &[u8]) -> Result<()> {
    path.want_write()?;
    let inode = path.dentry.existing()?;
    permission(cred, inode, name, true)?;
    let _guard = inode.lock_dir();
    inode.ops().remove_xattr(inode, name)
}

/// Returns the names of all attributes that `cred` may see, each with a zero behind it.
///
/// # Errors
/// `E2BIG` past 64 KiB.
pub fn list(path: &Path, cred: &Credentials) -> Result<Vec<u8>> {
    let inode = path.dentry.existing()?;
    let mut names = Vec::new();
    let listed = inode.ops().list_xattr(inode, &mut |name| {
        if !name.starts_with(b"trusted.") || cred.capable(Cap::SysAdmin) {
            names.extend_from_slice(name);
            names.push(0);
        }
    });
    match listed {
        Err(Errno::EOPNOTSUPP) | Ok(()) if names.len() <= XATTR_LIST_MAX => Ok(names),
        Err(error) => Err(error),
        Ok(()) => Err(Errno::E2BIG),
    }
}
