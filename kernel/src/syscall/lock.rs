//! Locks on files: `flock(2)` and the record locks of `fcntl(2)`.

use alloc::sync::Arc;
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;

use fs::locks::{self, Lock, LockKind, Owner, Waiting};
use fs::poll::{PollTable, Waiters};
use fs::{Errno, File, PollEvents, Result};

use super::{Call, Plain, Stop, SysResult};
use crate::usermem;

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[(73, flock)];

const F_GETLK: i32 = 5;
const F_SETLK: i32 = 6;
const F_SETLKW: i32 = 7;
const F_OFD_GETLK: i32 = 36;
const F_OFD_SETLK: i32 = 37;
const F_OFD_SETLKW: i32 = 38;

const F_RDLCK: i16 = 0;
const F_WRLCK: i16 = 1;
const F_UNLCK: i16 = 2;

/// `struct flock`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct UserFlock {
    kind: i16,
    whence: i16,
    pad: i32,
    start: i64,
    len: i64,
    pid: i32,
    pad2: i32,
}

// SAFETY: integers without padding between them; any bits are a value.
#[allow(unsafe_code, reason = "promises what `Plain` asks")]
unsafe impl usermem::Plain for UserFlock {}

/// Tells whether `command` of `fcntl` is one of record locks.
pub fn is_lock_command(command: i32) -> bool {
    matches!(
        command,
        F_GETLK | F_SETLK | F_SETLKW | F_OFD_GETLK | F_OFD_SETLK | F_OFD_SETLKW
    )
}

/// What the caller asks for: the lock, or `None` as its kind to give it up.
fn request(call: &Call<'_>, file: &File) -> Result<(Lock, Option<LockKind>, UserFlock)> {
    let command = call.int(1);
    let user = usermem::read::<UserFlock>(call.arg(2))?;
    let by_file = command >= F_OFD_GETLK;
    if by_file && user.pid != 0 {
        return Err(Errno::EINVAL);
    }
    let range = locks::from_flock(
        user.whence,
        user.start,
        user.len,
        file.pos(),
        file.inode().size(),
    )?;
    let kind = match user.kind {
        F_RDLCK => Some(LockKind::Read),
        F_WRLCK => Some(LockKind::Write),
        F_UNLCK => None,
        _ => return Err(Errno::EINVAL),
    };
    let (owner, pid) = if by_file {
        (Owner::File(locks::file_id(file)), -1)
    } else {
        let pid = call.thread.process().pid;
        (Owner::Process(call.thread.files().id()), pid)
    };
    let lock = Lock {
        owner,
        pid,
        kind: kind.unwrap_or(LockKind::Read),
        range,
    };
    Ok((lock, kind, user))
}

/// Does a record-lock command of `fcntl` on `file`.
pub fn fcntl(call: &Call<'_>, file: &Arc<File>) -> SysResult {
    let (lock, kind, user) = request(call, file)?;
    let inode = file.inode();
    if matches!(call.int(1), F_GETLK | F_OFD_GETLK) {
        if kind.is_none() {
            return Err(Errno::EINVAL.into());
        }
        let answer = match locks::get(inode, &lock) {
            None => UserFlock {
                kind: F_UNLCK,
                ..user
            },
            Some(other) => UserFlock {
                kind: match other.kind {
                    LockKind::Read => F_RDLCK,
                    LockKind::Write => F_WRLCK,
                },
                start: other.range.start as i64,
                len: other.range.flock_len(),
                pid: other.pid,
                ..UserFlock::default()
            },
        };
        usermem::write(call.arg(2), &answer)?;
        return Ok(0);
    }
    match kind {
        None => locks::unset(inode, lock.owner, lock.range)?,
        Some(LockKind::Read) if !file.readable() => return Err(Errno::EBADF.into()),
        Some(LockKind::Write) if !file.writable() => return Err(Errno::EBADF.into()),
        Some(_) => match locks::set(inode, &lock) {
            Err(Errno::EAGAIN) if matches!(call.int(1), F_SETLKW | F_OFD_SETLKW) => {
                return Err(Stop::Wait);
            }
            result => result?,
        },
    }
    Ok(0)
}

const LOCK_SH: i32 = 1;
const LOCK_EX: i32 = 2;
const LOCK_NB: i32 = 4;
const LOCK_UN: i32 = 8;

fn flock_kind(call: &Call<'_>) -> Result<Option<LockKind>> {
    Ok(match call.int(1) & !LOCK_NB {
        LOCK_SH => Some(LockKind::Read),
        LOCK_EX => Some(LockKind::Write),
        LOCK_UN => None,
        _ => return Err(Errno::EINVAL),
    })
}

fn flock(call: &mut Call<'_>) -> SysResult {
    let kind = flock_kind(call)?;
    let file = call.thread.file(call.int(0))?;
    if file.is_path() {
        return Err(Errno::EBADF.into());
    }
    match locks::flock(&file, kind) {
        Err(Errno::EAGAIN) if call.int(1) & LOCK_NB == 0 => Err(Stop::Wait),
        result => Ok(result.map(|()| 0)?),
    }
}

/// The waiting part of `fcntl` and `flock`.
pub async fn wait(call: &mut Call<'_>) -> Result<u64> {
    let file = call.thread.file(call.int(0))?;
    let queue = locks::wait_queue(file.inode());
    let (wanted, kind) = if call.number() == 73 {
        (None, flock_kind(call)?)
    } else {
        (Some(request(call, &file)?.0), None)
    };
    let mut waiting = Waiting::new();
    let mut waiters = pin!(Waiters::new());
    let mut registered = false;
    let locked = poll_fn(|cx| {
        // Registered first, so that a lock given up between the attempt and the sleep wakes us.
        if !registered {
            let mut table = PollTable::new(waiters.as_mut(), cx.waker(), PollEvents::empty());
            table.register(&queue);
            if table.failed() {
                return Poll::Ready(Err(Errno::ENOLCK));
            }
            registered = true;
        }
        let attempt = match &wanted {
            Some(lock) => locks::set_blocking(file.inode(), lock, &mut waiting),
            None => locks::flock(&file, kind),
        };
        match attempt {
            Err(Errno::EAGAIN) => Poll::Pending,
            result => Poll::Ready(result),
        }
    });
    call.thread.interruptible(locked).await??;
    Ok(0)
}
