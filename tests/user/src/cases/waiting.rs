//! Waiting for events in the less common ways: signal masks, times that run out, signals as files, many messages at a time.

use super::cases;
use crate::sys::*;

use std::time::{Duration, Instant};

cases![
    signalfd_tells,
    signalfd_in_epoll,
    poll_goes_on_after_a_stop,
    poll_ends_for_a_handler,
    select_tells_the_time_left,
    pselect_takes_a_mask,
    epoll_pwait_takes_a_mask,
    epoll_wakes_one_of_many,
    epoll_edge_needs_a_new_event,
    socket_timeouts,
    datagrams_to_missing_pages,
    whole_reads_wait_for_all,
    many_messages_at_a_time,
    claimed_credentials,
    cycles_of_passed_sockets_end,
    timerfd_in_poll,
    eventfd_blocks,
    polled_pages_must_be_there,
];

const SECOND: i32 = 1000;

fn handle(signal: i32, flags: i32) {
    handle_with(signal, |_, _, _| (), flags, &[]);
}

/// Sends `signal` to this process a little later.
fn signal_soon(signal: i32) -> i32 {
    let me = getpid();
    child(|| {
        sleep_ms(100);
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

fn socket_timeouts() {
    let (a, _b) = pair(libc::SOCK_STREAM);
    let time = libc::timeval {
        tv_sec: 0,
        tv_usec: 100_000,
    };
    for option in [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO] {
        ok(setsockopt(a, libc::SOL_SOCKET, option, &time));
    }
    let mut buf = vec![0_u8; 1 << 20];
    let started = Instant::now();
    fails(read(a, &mut buf[..1]), libc::EAGAIN);
    fails(recv(a, &mut buf[..1], 0), libc::EAGAIN);
    assert!(started.elapsed() >= Duration::from_millis(200));
    let sent = ok(send(a, &buf, 0));
    assert!(sent > 0 && sent < buf.len(), "{sent}");
    fails(send(a, &buf, 0), libc::EAGAIN);
}

fn datagrams_to_missing_pages() {
    const LEN: usize = 20_000;
    let (a, b) = pair(libc::SOCK_DGRAM);
    for read in [false, true] {
        // Neither the sender's nor the receiver's pages but the first are there yet.
        let from = map(LEN) as usize;
        poke_all(from, &[7; 100]);
        let args = [a as usize, from, LEN, 0, 0, 0];
        assert_eq!(call(libc::SYS_sendto, &args), Ok(LEN));
        let to = map(LEN) as usize;
        poke(to + 8192, 1);
        let number = if read {
            libc::SYS_read
        } else {
            libc::SYS_recvfrom
        };
        let args = [b as usize, to, LEN, 0, 0, 0];
        assert_eq!(call(number, &args), Ok(LEN));
        let data = peek_all(to, LEN);
        assert!(data[..100].iter().all(|&x| x == 7) && data[100..].iter().all(|&x| x == 0));
    }
}

fn whole_reads_wait_for_all() {
    let (a, b) = pair(libc::SOCK_STREAM);
    let pid = child(|| {
        for part in [&b"one"[..], b"two", b"three"] {
            sleep_ms(50);
            put(a, part);
        }
        0
    });
    let mut buf = [0_u8; 11];
    let got = recv(b, &mut buf, libc::MSG_WAITALL);
    assert_eq!(ok(got), 11);
    assert_eq!(&buf, b"onetwothree");
    wait(pid);
    put(a, b"rest");
    close(a);
    let got = recv(b, &mut buf, libc::MSG_WAITALL);
    assert_eq!(ok(got), 4);
}

fn many_messages_at_a_time() {
    let (a, b) = pair(libc::SOCK_DGRAM);
    let mut data = [*b"one  ", *b"two  ", *b"three"];
    let mut parts = data.each_mut().map(|text| piece_into(text));
    let mut messages = parts.each_mut().map(|part| {
        let mut message: libc::mmsghdr = zeroed();
        message.msg_hdr.msg_iov = part;
        message.msg_hdr.msg_iovlen = 1;
        message
    });
    assert_eq!(sendmmsg(a, &mut messages, 0), Ok(3));
    assert!(messages.iter().all(|m| m.msg_len == 5));
    let mut receive = |most: usize, flags| recvmmsg(b, &mut messages[..most], flags);
    assert_eq!(receive(2, 0), Ok(2));
    assert_eq!(receive(3, libc::MSG_WAITFORONE), Ok(1));
    assert_eq!(data, [*b"three", *b"two  ", *b"three"]);
}

/// Sends a byte along with a control message.
fn send_control(fd: i32, kind: i32, data: &[u8]) -> Result<usize> {
    let data = data.to_vec();
    crate::sys::send_control(fd, &Control { kind, data })
}

fn claimed_credentials() {
    let (a, _b) = pair(libc::SOCK_STREAM);
    let claim = |pid: u32, uid: u32, gid: u32| {
        let bytes = [pid, uid, gid].map(u32::to_ne_bytes).concat();
        send_control(a, libc::SCM_CREDENTIALS, &bytes)
    };
    in_child(|| {
        become_user();
        let (pid, uid, gid) = (getpid() as u32, getuid(), getgid());
        assert_eq!(ok(claim(pid, uid, gid)), 1);
        fails(claim(1, uid, gid), libc::EPERM);
        fails(claim(pid, uid + 1, gid), libc::EPERM);
        fails(claim(pid, uid, gid + 1), libc::EPERM);
        fails(
            send_control(a, libc::SCM_CREDENTIALS, &[0; 4]),
            libc::EINVAL,
        );
        fails(
            send_control(a, libc::SCM_RIGHTS, &99_i32.to_ne_bytes()),
            libc::EBADF,
        );
    });
}

fn cycles_of_passed_sockets_end() {
    // Each of these would stay for ever, and its pipe with it, if nobody looked for cycles.
    let (reader, writer) = pipe();
    for _ in 0..50 {
        let (a, b) = pair(libc::SOCK_STREAM);
        let fds = [a, b, writer].map(i32::to_ne_bytes).concat();
        ok(send_control(a, libc::SCM_RIGHTS, &fds));
        ok(send_control(b, libc::SCM_RIGHTS, &fds));
        close(a);
        close(b);
    }
    close(writer);
    // Closing any socket is when the kernel looks.
    for _ in 0..100 {
        let (a, b) = pair(libc::SOCK_STREAM);
        close(a);
        close(b);
        sleep_ms(10);
        if poll_in(reader, 0) == Ok(1) {
            assert_eq!(get(reader, 1), b"");
            return;
        }
    }
    panic!("the pipe still has a writer");
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
