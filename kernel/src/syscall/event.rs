//! Files that tell of events: `eventfd(2)`, `timerfd_create(2)`, `inotify(7)`.

use alloc::sync::Arc;

use fs::eventfd::{EFD_SEMAPHORE, EventFd};
use fs::file::{Positioning, oflag};
use fs::{Errno, anon};

use super::{Call, Plain, SysResult, fd};

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[(284, eventfd), (290, eventfd2)];

fn make_eventfd(call: &Call<'_>, flags: u32) -> SysResult {
    if flags & !(EFD_SEMAPHORE | oflag::O_CLOEXEC | oflag::O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    crate::mm::admit()?;
    let ops = EventFd::new(call.arg(0) as u32, flags & EFD_SEMAPHORE != 0);
    let file = anon::file(
        "[eventfd]",
        Arc::new(ops),
        oflag::O_RDWR | flags & oflag::O_NONBLOCK,
        Positioning::Stream,
    )?;
    fd::install(call, file, flags & oflag::O_CLOEXEC != 0)
}

fn eventfd(call: &mut Call<'_>) -> SysResult {
    make_eventfd(call, 0)
}

fn eventfd2(call: &mut Call<'_>) -> SysResult {
    make_eventfd(call, call.arg(1) as u32)
}
