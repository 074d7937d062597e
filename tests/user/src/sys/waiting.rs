//! Waiting for files: `poll`, `select`, epoll, and files made to be waited for.

use super::{Result, SigSet, calls, zeroed};

calls! {
    /// Waits for files, not longer than so many milliseconds.
    poll(files: &mut [libc::pollfd], timeout: i32) -> usize = SYS_poll;
    /// A file that holds a number.
    eventfd(value: u32, flags: i32) -> i32 = SYS_eventfd2;
    /// A set of files to wait for.
    epoll_create1(flags: i32) -> i32 = SYS_epoll_create1;
    /// A file that tells what happens to files.
    inotify_init1(flags: i32) -> i32 = SYS_inotify_init1;
    /// Watches a file.
    inotify_add_watch(fd: i32, path: &str, mask: u32) -> i32 = SYS_inotify_add_watch;
    /// Watches it no longer.
    inotify_rm_watch(fd: i32, watch: i32) = SYS_inotify_rm_watch;
}

mod raw {
    use super::{SigSet, calls};

    calls! {
        /// Waits for files, with other signals blocked.
        ppoll(
            files: &mut [libc::pollfd], timeout: Option<&mut libc::timespec>, mask: Option<&SigSet>, size: usize,
        ) -> usize = SYS_ppoll;
        /// Changes what an epoll file waits for.
        epoll_ctl(epoll: i32, operation: i32, fd: i32, event: &mut libc::epoll_event) = SYS_epoll_ctl;
        /// Waits.
        epoll_pwait(
            epoll: i32, events: &mut [libc::epoll_event], timeout: i32, mask: Option<&SigSet>, size: usize,
        ) -> usize = SYS_epoll_pwait;
        /// Waits for files of three sets.
        select(
            count: i32, read: Option<&mut [u64; 16]>, write: Option<&mut [u64; 16]>, other: Option<&mut [u64; 16]>,
            timeout: Option<&mut libc::timeval>,
        ) -> usize = SYS_select;
    }
}

/// A question to [`poll`]: which of these events have come to a file.
pub fn pollfd(fd: i32, events: i16) -> libc::pollfd {
    libc::pollfd {
        fd,
        events,
        revents: 0,
    }
}

/// The events out of `events` that come to a file in so many milliseconds, with `POLLHUP` and `POLLERR`.
#[track_caller]
pub fn poll_one(fd: i32, events: i16, timeout: i32) -> i16 {
    let mut files = [pollfd(fd, events)];
    super::ok(poll(&mut files, timeout));
    files[0].revents
}

/// Waits for files with other signals blocked.
pub fn ppoll(
    files: &mut [libc::pollfd],
    timeout: Option<&mut libc::timespec>,
    mask: Option<SigSet>,
) -> Result<usize> {
    raw::ppoll(files, timeout, mask.as_ref(), 8)
}

/// Changes what an epoll file waits for: `data` comes back with the events.
pub fn epoll_ctl(epoll: i32, operation: i32, fd: i32, events: u32, data: u64) -> Result {
    let mut event = libc::epoll_event { events, u64: data };
    raw::epoll_ctl(epoll, operation, fd, &mut event)
}

/// Waits for events, at most `most` of them, and gives them with their data.
pub fn epoll_wait(epoll: i32, most: usize, timeout: i32) -> Result<Vec<(u32, u64)>> {
    epoll_pwait(epoll, most, timeout, None)
}

/// The same with other signals blocked.
pub fn epoll_pwait(
    epoll: i32,
    most: usize,
    timeout: i32,
    mask: Option<SigSet>,
) -> Result<Vec<(u32, u64)>> {
    let mut events = vec![zeroed::<libc::epoll_event>(); most];
    let count = raw::epoll_pwait(epoll, &mut events, timeout, mask.as_ref(), 8)?;
    Ok(events[..count]
        .iter()
        .map(|event| (event.events, event.u64))
        .collect())
}

/// A set of files as `select` takes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FdSet([u64; 16]);

impl FdSet {
    /// The set of these.
    pub fn of(files: &[i32]) -> FdSet {
        let mut set = FdSet::default();
        for fd in files {
            set.0[*fd as usize / 64] |= 1 << (fd % 64);
        }
        set
    }

    /// Whether a file is in it.
    pub fn has(&self, fd: i32) -> bool {
        self.0[fd as usize / 64] >> (fd % 64) & 1 == 1
    }

    /// Where its words lie.
    pub fn address(&mut self) -> usize {
        self.0.as_mut_ptr() as usize
    }
}

/// Waits for files of two sets, and leaves those that are ready.
pub fn select(
    count: i32,
    read: Option<&mut FdSet>,
    write: Option<&mut FdSet>,
    timeout: &mut libc::timeval,
) -> Result<usize> {
    let read = read.map(|set| &mut set.0);
    let write = write.map(|set| &mut set.0);
    raw::select(count, read, write, None, Some(timeout))
}

/// Waits for a signal, with others blocked, as long as `pselect` without files does.
pub fn pselect(count: i32, timeout: &mut libc::timespec, mask: SigSet) -> Result<usize> {
    let mask_at = [std::ptr::from_ref(&mask) as usize, size_of::<SigSet>()];
    let timeout = std::ptr::from_mut(timeout) as usize;
    let args = [count as usize, 0, 0, 0, timeout, mask_at.as_ptr() as usize];
    super::call(libc::SYS_pselect6, &args)
}
