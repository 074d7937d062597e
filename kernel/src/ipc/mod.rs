//! What processes share by name: System V IPC, and POSIX message queues ([`mqueue`]).
//!
//! System V IPC is semaphores, message queues and shared memory that processes find by a key.
//!
//! Each kind has a [`table::Table`] of its objects, which numbers them; [`perm::Perm`] says who may do what. A call finds its
//! object, lets go of the table, and works under the object's own lock; an object that was removed meanwhile says so (`EIDRM`).
//! [`limits`] are the settings of `/proc/sys/kernel`, [`show`] the files of `/proc/sysvipc`.
//!
//! Lock order: table, then object, then its permissions. None is held while user memory is touched.
//!
//! Source: sysvipc(7), and Linux 6.1 `ipc/` where that is not exact. There is one namespace.

pub mod choice;
pub mod limits;
pub mod operation;
pub mod perm;
pub mod table;

#[cfg(target_os = "none")]
pub mod mqueue;
#[cfg(target_os = "none")]
pub mod msg;
#[cfg(target_os = "none")]
pub mod sem;
#[cfg(target_os = "none")]
pub mod shm;
#[cfg(target_os = "none")]
pub mod show;

#[cfg(target_os = "none")]
use fs::{Cap, Errno, Result};

#[cfg(target_os = "none")]
use crate::mm::{PAGE_SIZE, page_alloc};
#[cfg(target_os = "none")]
use crate::process::{Thread, user::Charge};

/// Commands that the `ctl` calls have in common.
#[expect(missing_docs, reason = "the names are those of sys/ipc.h")]
pub mod cmd {
    pub const RMID: i32 = 0;
    pub const SET: i32 = 1;
    pub const STAT: i32 = 2;
    pub const INFO: i32 = 3;
}

/// Flags that the `get` calls have in common.
#[expect(missing_docs, reason = "the names are those of sys/ipc.h")]
pub mod flag {
    pub const CREAT: u32 = 0o1000;
    pub const EXCL: u32 = 0o2000;
    pub const NOWAIT: u32 = 0o4000;
}

/// The key of objects that no key finds.
pub const PRIVATE: i32 = 0;

/// Has the user of `thread` pay for kernel memory that stays when its processes are gone. Linux bounds only how many
/// objects there are, for all users together; here nobody but the privileged takes more than a sixteenth of the memory.
///
/// # Errors
/// `ENOMEM`.
#[cfg(target_os = "none")]
fn charge(thread: &Thread, bytes: usize) -> Result<Charge> {
    let limit = match thread.cred().capable(Cap::SysResource) {
        true => u64::MAX,
        false => (page_alloc::total() * PAGE_SIZE / 16) as u64,
    };
    let user = thread.with_shared(|shared| shared.user.clone());
    Charge::new(user, |user| &user.ipc_bytes, bytes as u64, limit).ok_or(Errno::ENOMEM)
}

#[cfg(target_os = "none")]
/// Wall time in seconds, as the objects note it.
pub(crate) fn now() -> i64 {
    crate::timekeeping::realtime_ns() / 1_000_000_000
}
