//! Who may look into a thread, or take hold of it.
//!
//! Source: ptrace(2), "Ptrace access mode checking".

use fs::{Cap, Errno};

use super::Thread;

/// Which of the caller's ids count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// Those for files, as for `/proc` (`PTRACE_MODE_FSCREDS`).
    FileIds,
    /// The real ones, as for ptrace itself (`PTRACE_MODE_REALCREDS`).
    RealIds,
}

/// `PR_SET_DUMPABLE`: anybody with the same identity may look.
pub const DUMPABLE: u32 = 1;

/// Whether `caller` may look into `target`, or trace it.
///
/// # Errors
/// `EPERM`.
pub fn check(caller: &Thread, target: &Thread, by: By) -> Result<(), Errno> {
    if core::ptr::eq(&**caller.process(), &**target.process()) {
        return Ok(());
    }
    let (mine, theirs) = (caller.cred(), target.cred());
    let privileged = mine.capable(Cap::SysPtrace);
    let (uid, gid, caps) = match by {
        By::FileIds => (mine.fsuid, mine.fsgid, mine.cap_effective),
        By::RealIds => (mine.uid, mine.gid, mine.cap_permitted),
    };
    let same = [theirs.euid, theirs.suid, theirs.uid] == [uid; 3]
        && [theirs.egid, theirs.sgid, theirs.gid] == [gid; 3];
    let open = target.process().image.lock().dumpable == DUMPABLE;
    let no_more_powerful = theirs.cap_permitted & !caps == 0;
    if privileged || same && open && no_more_powerful {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}
