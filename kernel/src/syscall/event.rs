//! Files that tell of events: `eventfd(2)`, `timerfd_create(2)`, `inotify(7)`.

use alloc::sync::Arc;

use fs::cred::MAY_READ;
use fs::eventfd::{EFD_SEMAPHORE, EventFd};
use fs::file::{Positioning, oflag};
use fs::inotify::{Inotify, flag};
use fs::namei::{LookupFlags, Walk};
use fs::timerfd::{Setting, TimerClock, TimerFd};
use fs::{Cap, Errno, File, FileOps, Result, anon};

use super::time::read_timespec;
use super::{Call, Plain, SysResult, fd};
use crate::timekeeping;
use crate::usermem::{self, PathBuf};

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[
    (253, inotify_init),
    (254, inotify_add_watch),
    (255, inotify_rm_watch),
    (283, timerfd_create),
    (284, eventfd),
    (286, timerfd_settime),
    (287, timerfd_gettime),
    (290, eventfd2),
    (294, inotify_init1),
];

/// The flags that all of these files can be made with.
const FILE_FLAGS: u32 = oflag::O_CLOEXEC | oflag::O_NONBLOCK;

/// Gives an object a file and a descriptor.
fn install(
    call: &Call<'_>,
    name: &str,
    ops: Arc<dyn FileOps>,
    access: u32,
    flags: u32,
) -> SysResult {
    let file = anon::file(
        name,
        ops,
        access | flags & oflag::O_NONBLOCK,
        Positioning::Stream,
    )?;
    fd::install(call, file, flags & oflag::O_CLOEXEC != 0)
}

fn make_eventfd(call: &Call<'_>, flags: u32) -> SysResult {
    if flags & !(EFD_SEMAPHORE | FILE_FLAGS) != 0 {
        return Err(Errno::EINVAL.into());
    }
    call.admit_file()?;
    let ops = EventFd::new(call.arg(0) as u32, flags & EFD_SEMAPHORE != 0);
    install(call, "[eventfd]", Arc::new(ops), oflag::O_RDWR, flags)
}

fn eventfd(call: &mut Call<'_>) -> SysResult {
    make_eventfd(call, 0)
}

fn eventfd2(call: &mut Call<'_>) -> SysResult {
    make_eventfd(call, call.arg(1) as u32)
}

fn timerfd_create(call: &mut Call<'_>) -> SysResult {
    let (clock, flags) = (call.int(0), call.arg(1) as u32);
    if flags & !FILE_FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (clock, alarm) = match clock {
        0 => (TimerClock::Realtime, false),
        1 | 7 => (TimerClock::Monotonic, false),
        8 => (TimerClock::Realtime, true),
        9 => (TimerClock::Monotonic, true),
        _ => return Err(Errno::EINVAL.into()),
    };
    if alarm && !call.thread.cred().capable(Cap::WakeAlarm) {
        return Err(Errno::EPERM.into());
    }
    call.admit_file()?;
    install(
        call,
        "[timerfd]",
        TimerFd::new(clock)?,
        oflag::O_RDWR,
        flags,
    )
}

fn timer(file: &File) -> Result<&TimerFd> {
    file.ops_as::<TimerFd>().ok_or(Errno::EINVAL)
}

/// Writes a `struct itimerspec`.
fn write_setting(at: u64, (left, interval): (u64, u64)) -> Result<()> {
    const NS: u64 = 1_000_000_000;
    usermem::write(at, &[interval / NS, interval % NS, left / NS, left % NS])
}

fn timerfd_settime(call: &mut Call<'_>) -> SysResult {
    const ABSTIME: u32 = 1;
    const CANCEL_ON_SET: u32 = 2;
    /// Where `it_value` is in `struct itimerspec`.
    const VALUE: u64 = 16;
    let flags = call.arg(1) as u32;
    let interval = read_timespec(call.arg(2))?;
    let value = read_timespec(call.arg(2).wrapping_add(VALUE))?;
    if flags & !(ABSTIME | CANCEL_ON_SET) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = call.thread.file(call.int(0))?;
    let setting = Setting {
        value,
        interval,
        absolute: flags & ABSTIME != 0,
        cancel_on_set: flags & CANCEL_ON_SET != 0,
    };
    let old = timer(&file)?.set(setting, timekeeping::offset_ns());
    if call.arg(3) != 0 {
        write_setting(call.arg(3), old)?;
    }
    Ok(0)
}

fn timerfd_gettime(call: &mut Call<'_>) -> SysResult {
    let file = call.thread.file(call.int(0))?;
    write_setting(call.arg(1), timer(&file)?.get())?;
    Ok(0)
}

fn make_inotify(call: &Call<'_>, flags: u32) -> SysResult {
    if flags & !FILE_FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    call.admit_file()?;
    let ops = Inotify::new(call.thread.cred().uid)?;
    install(call, "inotify", ops, oflag::O_RDONLY, flags)
}

fn inotify_init(call: &mut Call<'_>) -> SysResult {
    make_inotify(call, 0)
}

fn inotify_init1(call: &mut Call<'_>) -> SysResult {
    make_inotify(call, call.arg(0) as u32)
}

fn inotify(file: &File) -> Result<&Inotify> {
    file.ops_as::<Inotify>().ok_or(Errno::EINVAL)
}

fn inotify_add_watch(call: &mut Call<'_>) -> SysResult {
    let mask = call.arg(2) as u32;
    Inotify::check_mask(mask)?;
    let file = call.thread.file(call.int(0))?;
    let inotify = inotify(&file)?;
    let path = PathBuf::read(call.arg(1))?;
    crate::mm::admit()?;
    let context = call.thread.fs().lock().clone();
    let cred = call.thread.cred();
    let walk = Walk {
        root: &context.root,
        start: &context.cwd,
        cred: &cred,
    };
    let how = LookupFlags {
        follow: mask & flag::DONT_FOLLOW == 0,
        directory: mask & flag::ONLYDIR != 0,
        empty: false,
    };
    let found = walk.lookup(path.as_bytes(), how)?;
    let inode = found.dentry.existing()?;
    cred.permission(inode, MAY_READ)?;
    Ok(inotify.add_watch(inode, mask)? as u64)
}

fn inotify_rm_watch(call: &mut Call<'_>) -> SysResult {
    let file = call.thread.file(call.int(0))?;
    inotify(&file)?.remove_watch(call.int(1))?;
    Ok(0)
}
