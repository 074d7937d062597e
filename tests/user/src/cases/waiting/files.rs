//! Signals, timers and counters as files to wait for.

use super::{SECOND, add, poll_in, signal_soon};
use crate::cases::cases;
use crate::sys::*;
use std::time::Duration;

cases![
    signalfd_tells,
    signalfd_in_epoll,
    timerfd_in_poll,
    eventfd_blocks,
];

fn signalfd_tells() {
    let set = block(&[libc::SIGUSR1, libc::SIGCHLD]);
    let fd = ok(signalfd(-1, set, libc::SFD_NONBLOCK));
    let mut byte = [0_u8; 128];
    fails(read(fd, &mut byte), libc::EAGAIN);
    fails(read(fd, &mut byte[..127]), libc::EINVAL);
    raise(libc::SIGUSR1);
    assert_eq!(poll_in(fd, 0), Ok(1));
    let info = ok(read_signal(fd));
    assert_eq!(info.ssi_signo, libc::SIGUSR1 as u32);
    assert_eq!(info.ssi_pid, getpid() as u32);
    assert_eq!(poll_in(fd, 0), Ok(0));
    let pid = child(|| 7);
    assert_eq!(poll_in(fd, 10 * SECOND), Ok(1));
    let info = ok(read_signal(fd));
    assert_eq!(
        (info.ssi_signo, info.ssi_pid, info.ssi_status),
        (libc::SIGCHLD as u32, pid as u32, 7)
    );
    wait(pid);
    assert_eq!(signalfd(fd, SigSet::of(&[libc::SIGUSR2]), 0), Ok(fd));
    raise(libc::SIGUSR1);
    assert_eq!(poll_in(fd, 0), Ok(0));
}

fn signalfd_in_epoll() {
    let fd = ok(signalfd(-1, block(&[libc::SIGUSR1]), 0));
    let epoll = ok(epoll_create1(0));
    add(epoll, fd, libc::EPOLLIN);
    let pid = signal_soon(libc::SIGUSR1);
    assert_eq!(
        ok(epoll_wait(epoll, 1, 10 * SECOND)),
        [(libc::EPOLLIN as u32, 0)]
    );
    assert_eq!(ok(read_signal(fd)).ssi_signo, libc::SIGUSR1 as u32);
    wait(pid);
}

fn timerfd_in_poll() {
    let fd = ok(timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK));
    assert_eq!(poll_in(fd, 0), Ok(0));
    let spec = itimerspec(Duration::from_millis(50), Duration::from_millis(20));
    ok(timerfd_settime(fd, 0, &spec, None));
    for _ in 0..3 {
        assert_eq!(poll_in(fd, 10 * SECOND), Ok(1));
        let count = u64::from_ne_bytes(get(fd, 8).try_into().expect("eight bytes"));
        assert!(count >= 1);
    }
    let left = ok(timerfd_gettime(fd));
    assert_eq!(left.it_interval.tv_nsec, 20_000_000);
    assert!((1..=20_000_000).contains(&left.it_value.tv_nsec));
    fails(timerfd_settime(fd, 8, &spec, None), libc::EINVAL);
    let mut bad = spec;
    bad.it_value.tv_nsec = 1_000_000_000;
    fails(timerfd_settime(fd, 0, &bad, None), libc::EINVAL);
    fails(timerfd_create(2, 0), libc::EINVAL);
}

fn eventfd_blocks() {
    let fd = ok(eventfd(0, 0));
    let pid = child(|| {
        sleep_ms(50);
        put(fd, &5_u64.to_ne_bytes());
        0
    });
    assert_eq!(get(fd, 8), 5_u64.to_ne_bytes());
    wait(pid);
    put(fd, &(u64::MAX - 1).to_ne_bytes());
    let pid = child(|| {
        put(fd, &1_u64.to_ne_bytes());
        0
    });
    sleep_ms(50);
    assert_eq!(get(fd, 8), (u64::MAX - 1).to_ne_bytes());
    assert_eq!(wait(pid), Ended::Exit(0));
    assert_eq!(get(fd, 8), 1_u64.to_ne_bytes());
}
