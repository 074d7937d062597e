//! Who may look into a process.

use fs::{Credentials, Errno, Result};

use crate::process::access::{self, By, DUMPABLE};
use crate::process::{Process, Thread};

/// Whether `caller` may look into what belongs to the process of `target` alone: memory, descriptors, environment.
///
/// # Errors
/// `EACCES`.
pub fn check(caller: &Thread, target: &Thread) -> Result<()> {
    access::check(caller, target, By::FileIds).map_err(|_| Errno::EACCES)
}

/// Who owns the files of a process: its effective user, or root where the process must not be looked into.
pub fn owner(process: &Process, cred: &Credentials) -> (u32, u32) {
    if process.image.lock().dumpable == DUMPABLE {
        (cred.euid, cred.egid)
    } else {
        (0, 0)
    }
}
