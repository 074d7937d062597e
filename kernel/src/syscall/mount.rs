//! Calls that change the tree of mounts.

use fs::cred::Cap;
use fs::mounting::{self, MountRequest};
use fs::namei::LookupFlags;
use fs::{Errno, Result};

use super::path::{FDCWD, Place, lookup};
use super::{Call, Plain, SysResult};
use crate::mounts;
use crate::process::table;
use crate::usermem::{self, PathBuf};

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[
    (155, pivot_root),
    (165, mount),
    (166, umount2),
    (168, swapoff),
];

/// Longest string of options: one page, less its zero.
const OPTIONS_MAX: usize = 4095;

/// A string argument that may be missing.
fn string(ptr: u64, max: usize) -> Result<alloc::vec::Vec<u8>> {
    match ptr {
        0 => Ok(alloc::vec::Vec::new()),
        _ => match usermem::read_cstr(ptr, max) {
            Err(Errno::ENAMETOOLONG) => Err(Errno::EINVAL),
            other => other,
        },
    }
}

fn mount(call: &mut Call<'_>) -> SysResult {
    use fs::mount::ms;
    crate::mm::admit()?;
    let kind = string(call.arg(2), OPTIONS_MAX)?;
    let source = string(call.arg(0), OPTIONS_MAX)?;
    let options = string(call.arg(4), OPTIONS_MAX)?;
    let (place, target) = lookup(call, FDCWD, call.arg(1), LookupFlags::FOLLOW)?;
    let flags = call.arg(3) as u32;
    let source_path = match flags & (ms::BIND | ms::MOVE) != 0 && flags & ms::REMOUNT == 0 {
        true => Some(place.walk().lookup(&source, LookupFlags::FOLLOW)?),
        false => None,
    };
    let request = MountRequest {
        source: &source,
        source_path: source_path.as_ref(),
        kind: &kind,
        flags,
        options: &options,
    };
    mounting::mount(mounts::namespace(), &call.thread.cred(), &target, &request)?;
    Ok(0)
}

fn umount2(call: &mut Call<'_>) -> SysResult {
    const UMOUNT_NOFOLLOW: u32 = 8;
    let flags = call.arg(1) as u32;
    let look = if flags & UMOUNT_NOFOLLOW == 0 {
        LookupFlags::FOLLOW
    } else {
        LookupFlags::NOFOLLOW
    };
    let (place, target) = lookup(call, FDCWD, call.arg(0), look)?;
    drop(place);
    mounting::umount(mounts::namespace(), &call.thread.cred(), target, flags)?;
    Ok(0)
}

/// Nothing is a swap area yet, so there is none to give up: what the path leads to is looked up, and is not one.
fn swapoff(call: &mut Call<'_>) -> SysResult {
    if !call.thread.cred().capable(Cap::SysAdmin) {
        return Err(Errno::EPERM.into());
    }
    lookup(call, FDCWD, call.arg(0), LookupFlags::FOLLOW)?;
    Err(Errno::EINVAL.into())
}

fn pivot_root(call: &mut Call<'_>) -> SysResult {
    let (new, put_old) = (PathBuf::read(call.arg(0))?, PathBuf::read(call.arg(1))?);
    let place = Place::at(call, FDCWD, b"")?;
    let walk = place.walk();
    let new = walk.lookup(new.as_bytes(), LookupFlags::DIRECTORY)?;
    let put_old = walk.lookup(put_old.as_bytes(), LookupFlags::DIRECTORY)?;
    let (before, after) =
        mounting::pivot_root(mounts::namespace(), walk.cred, walk.root, &new, &put_old)?;
    // Whoever stood at the old root stands at the new one now.
    let mut contexts = alloc::vec::Vec::new();
    for process in table::lock().processes() {
        let state = process.signals.lock();
        contexts
            .try_reserve(state.threads.len())
            .map_err(|_| Errno::ENOMEM)?;
        contexts.extend(state.threads.iter().filter_map(|thread| thread.try_fs()));
    }
    for context in contexts {
        let mut context = context.lock();
        if context.root == before {
            context.root = after.clone();
        }
        if context.cwd == before {
            context.cwd = after.clone();
        }
    }
    Ok(0)
}
