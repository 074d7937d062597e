//! poll, select and epoll: masks, times left, who is woken.

use super::{SECOND, add, poll_in, signal_soon};
use crate::cases::cases;
use crate::sys::*;
use std::time::Duration;

cases![
    poll_goes_on_after_a_stop,
    poll_ends_for_a_handler,
    select_tells_the_time_left,
    pselect_takes_a_mask,
    epoll_pwait_takes_a_mask,
    epoll_wakes_one_of_many,
    epoll_edge_needs_a_new_event,
    polled_pages_must_be_there,
];

fn handle(signal: i32, flags: i32) {
    handle_with(signal, |_, _, _| (), flags, &[]);
}

fn poll_goes_on_after_a_stop() {
    let (reader, writer) = pipe();
    let pid = child(|| i32::from(poll_in(reader, 10 * SECOND) != Ok(1)));
    sleep_ms(100);
    ok(kill(pid, libc::SIGSTOP));
    sleep_ms(50);
    ok(kill(pid, libc::SIGCONT));
    sleep_ms(50);
    put(writer, b"x");
    assert_eq!(wait(pid), Ended::Exit(0));
}

fn poll_ends_for_a_handler() {
    handle(libc::SIGUSR1, libc::SA_RESTART);
    let (reader, _writer) = pipe();
    let pid = signal_soon(libc::SIGUSR1);
    fails(poll_in(reader, 10 * SECOND), libc::EINTR);
    wait(pid);
}

fn select_tells_the_time_left() {
    let (reader, writer) = pipe();
    let pid = child(|| {
        sleep_ms(200);
        put(writer, b"x");
        0
    });
    let mut set = FdSet::of(&[reader]);
    let mut time: libc::timeval = zeroed();
    time.tv_sec = 30;
    assert_eq!(select(reader + 1, Some(&mut set), None, &mut time), Ok(1));
    assert!(time.tv_sec < 30, "{} s are left", time.tv_sec);
    assert!(set.has(reader));
    wait(pid);
}

fn pselect_takes_a_mask() {
    block(&[libc::SIGUSR1]);
    handle(libc::SIGUSR1, 0);
    raise(libc::SIGUSR1);
    let mut patience = timespec(Duration::from_secs(30));
    let waited = pselect(0, &mut patience, SigSet::default());
    fails(waited, libc::EINTR);
    assert!(blocked().has(libc::SIGUSR1));
}

fn epoll_pwait_takes_a_mask() {
    block(&[libc::SIGUSR1]);
    handle(libc::SIGUSR1, 0);
    let epoll = ok(epoll_create1(0));
    raise(libc::SIGUSR1);
    let waited = epoll_pwait(epoll, 1, 30 * SECOND, Some(SigSet::default()));
    fails(waited, libc::EINTR);
    assert!(blocked().has(libc::SIGUSR1));
}

fn epoll_wakes_one_of_many() {
    let (reader, writer) = pipe();
    let (tell, told) = pipe();
    let epoll = ok(epoll_create1(0));
    add(epoll, reader, libc::EPOLLIN | libc::EPOLLET);
    let waiters: Vec<i32> = (0..4)
        .map(|_| {
            child(|| {
                let found = ok(epoll_wait(epoll, 1, 30 * SECOND));
                put(told, b"w");
                found.len() as i32
            })
        })
        .collect();
    sleep_ms(200);
    for woken in 1..=4 {
        put(writer, b"x");
        assert_eq!(get(tell, 1), b"w");
        sleep_ms(50);
        assert_eq!(poll_in(tell, 0), Ok(0), "{woken} events woke more");
    }
    for pid in waiters {
        assert_eq!(wait(pid), Ended::Exit(1));
    }
}

fn epoll_edge_needs_a_new_event() {
    let (a, b) = pair(libc::SOCK_STREAM);
    let epoll = ok(epoll_create1(0));
    add(
        epoll,
        a,
        libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET,
    );
    let next = || {
        let found = ok(epoll_wait(epoll, 1, 0));
        found.first().map_or(0, |(events, _)| *events as i32)
    };
    assert_eq!(next(), libc::EPOLLOUT);
    assert_eq!(next(), 0);
    put(b, b"x");
    assert_eq!(next(), libc::EPOLLIN | libc::EPOLLOUT);
    assert_eq!(next(), 0);
    close(b);
    let end = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLHUP;
    assert_eq!(next(), end);
}

fn polled_pages_must_be_there() {
    const NOWHERE: usize = 0x1000;
    let fault = Err(libc::EFAULT);
    assert_eq!(call(libc::SYS_poll, &[NOWHERE, 1, 0]), fault);
    assert_eq!(call(libc::SYS_select, &[1, NOWHERE, 0, 0, 0]), fault);
    assert_eq!(
        call(libc::SYS_poll, &[0, usize::MAX >> 1, 0]),
        Err(libc::EINVAL)
    );
    let epoll = ok(epoll_create1(0)) as usize;
    let (reader, writer) = pipe();
    put(writer, b"x");
    add(epoll as i32, reader, libc::EPOLLIN);
    assert_eq!(call(libc::SYS_epoll_wait, &[epoll, NOWHERE, 1, 0]), fault);
    assert_eq!(
        call(libc::SYS_epoll_wait, &[epoll, NOWHERE, 0, 0]),
        Err(libc::EINVAL)
    );
    // A page that is only not there yet is no error.
    let fresh = map(4096) as usize;
    assert_eq!(call(libc::SYS_epoll_wait, &[epoll, fresh, 1, 0]), Ok(1));
    let (a, _b) = pair(libc::SOCK_STREAM);
    assert_eq!(
        call(libc::SYS_getsockname, &[a as usize, NOWHERE, NOWHERE]),
        fault
    );
    assert_eq!(call(libc::SYS_sendmsg, &[a as usize, NOWHERE, 0]), fault);
    assert_eq!(call(libc::SYS_socketpair, &[1, 1, 0, NOWHERE]), fault);
    assert_eq!(call(libc::SYS_socket, &[99, 1, 0]), Err(libc::EAFNOSUPPORT));
}
