//! Waiting for events in the less common ways: signal masks, times that run out, signals as files, many messages at a time.

mod files;
mod messages;
mod poll;

use crate::cases::parts;
use crate::sys::*;

parts![files, poll, messages];

const SECOND: i32 = 1000;

/// Sends `signal` to this process when it waits.
fn signal_soon(signal: i32) -> i32 {
    let me = getpid();
    child(|| {
        until_asleep(me);
        ok(kill(me, signal));
        0
    })
}

fn add(epoll: i32, fd: i32, events: i32) {
    ok(epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, events as u32, 0));
}

fn poll_in(fd: i32, ms: i32) -> Result<usize> {
    poll(&mut [pollfd(fd, libc::POLLIN)], ms)
}
