//! Who may look into a process.

use fs::{Cap, Credentials, Errno, Result};

use crate::process::{Process, Thread};

/// `PR_SET_DUMPABLE`: anybody with the same identity may look.
const DUMPABLE: u32 = 1;

/// Whether `caller` may look into what belongs to `process` alone: memory, descriptors, environment.
///
/// Source: ptrace(2), "Ptrace access mode checking", `PTRACE_MODE_READ_FSCREDS`.
///
/// # Errors
/// `EACCES`.
pub fn check(caller: &Thread, process: &Process, target: &Credentials) -> Result<()> {
    if core::ptr::eq(&**caller.process(), process) {
        return Ok(());
    }
    let cred = caller.cred();
    let same_user = [target.uid, target.euid, target.suid] == [cred.fsuid; 3];
    let same_group = [target.gid, target.egid, target.sgid] == [cred.fsgid; 3];
    let dumpable = process.image.lock().dumpable == DUMPABLE;
    if cred.capable(Cap::SysPtrace) || (same_user && same_group && dumpable) {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

/// Who owns the files of a process: its effective user, or root where the process must not be looked into.
pub fn owner(process: &Process, cred: &Credentials) -> (u32, u32) {
    if process.image.lock().dumpable == DUMPABLE {
        (cred.euid, cred.egid)
    } else {
        (0, 0)
    }
}
