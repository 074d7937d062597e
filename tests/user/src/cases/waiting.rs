//! Waiting for events in the less common ways: signal masks, times that run out, signals as files, many messages at a time.

use super::cases;
use crate::sys::*;
use std::mem::zeroed;
use std::ptr::{null, null_mut};
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

extern "C" fn nothing(_: i32) {}

fn handle(signal: i32, flags: i32) {
    unsafe {
        let mut action: libc::sigaction = zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        action.sa_flags = flags;
        ok(libc::sigaction(signal, &action, null_mut()));
    }
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    unsafe {
        let mut set = zeroed();
        libc::sigemptyset(&mut set);
        for signal in signals {
            libc::sigaddset(&mut set, *signal);
        }
        set
    }
}

fn block(signals: &[i32]) {
    ok(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set_of(signals), null_mut()) });
}

/// Sends `signal` to this process a little later.
fn signal_soon(signal: i32) -> i32 {
    let me = unsafe { libc::getpid() };
    child(|| {
        sleep_ms(100);
        ok(unsafe { libc::kill(me, signal) });
        0
    })
}

fn pair(kind: i32) -> (i32, i32) {
    let mut ends = [0; 2];
    ok(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) });
    (ends[0], ends[1])
}

fn poll_in(fd: i32, ms: i32) -> i32 {
    let mut fds = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    unsafe { libc::poll(&mut fds, 1, ms) }
}

fn read_signal(fd: i32) -> libc::signalfd_siginfo {
    unsafe {
        let mut info: libc::signalfd_siginfo = zeroed();
        let got = libc::read(fd, (&raw mut info).cast(), 128);
        assert_eq!(ok(got), 128);
        info
    }
}

fn signalfd_tells() {
    block(&[libc::SIGUSR1, libc::SIGCHLD]);
    let set = set_of(&[libc::SIGUSR1, libc::SIGCHLD]);
    let fd = ok(unsafe { libc::signalfd(-1, &set, libc::SFD_NONBLOCK) });
    let mut byte = [0_u8; 128];
    fails(
        unsafe { libc::read(fd, byte.as_mut_ptr().cast(), 128) },
        libc::EAGAIN,
    );
    fails(
        unsafe { libc::read(fd, byte.as_mut_ptr().cast(), 127) },
        libc::EINVAL,
    );
    ok(unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) });
    assert_eq!(poll_in(fd, 0), 1);
    let info = read_signal(fd);
    assert_eq!(info.ssi_signo, libc::SIGUSR1 as u32);
    assert_eq!(info.ssi_pid, unsafe { libc::getpid() } as u32);
    assert_eq!(poll_in(fd, 0), 0);
    let pid = child(|| 7);
    assert_eq!(poll_in(fd, 10 * SECOND), 1);
    let info = read_signal(fd);
    assert_eq!(
        (info.ssi_signo, info.ssi_pid, info.ssi_status),
        (libc::SIGCHLD as u32, pid as u32, 7)
    );
    wait(pid);
    let other = set_of(&[libc::SIGUSR2]);
    assert_eq!(ok(unsafe { libc::signalfd(fd, &other, 0) }), fd);
    ok(unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) });
    assert_eq!(poll_in(fd, 0), 0);
}

fn signalfd_in_epoll() {
    block(&[libc::SIGUSR1]);
    let fd = ok(unsafe { libc::signalfd(-1, &set_of(&[libc::SIGUSR1]), 0) });
    let epoll = ok(unsafe { libc::epoll_create1(0) });
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN as u32,
        u64: 3,
    };
    ok(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event) });
    let pid = signal_soon(libc::SIGUSR1);
    assert_eq!(
        ok(unsafe { libc::epoll_wait(epoll, &mut event, 1, 10 * SECOND) }),
        1
    );
    assert_eq!(read_signal(fd).ssi_signo, libc::SIGUSR1 as u32);
    wait(pid);
}

fn poll_goes_on_after_a_stop() {
    let (reader, writer) = pipe();
    let pid = child(|| i32::from(poll_in(reader, 10 * SECOND) != 1));
    sleep_ms(100);
    ok(unsafe { libc::kill(pid, libc::SIGSTOP) });
    sleep_ms(50);
    ok(unsafe { libc::kill(pid, libc::SIGCONT) });
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
    unsafe {
        let mut set: libc::fd_set = zeroed();
        libc::FD_SET(reader, &mut set);
        // The C library may keep the time to itself.
        let mut time = [30_u64, 0];
        let args = [
            reader as usize + 1,
            (&raw mut set).addr(),
            0,
            0,
            (&raw mut time).addr(),
        ];
        assert_eq!(call(libc::SYS_select, &args), Ok(1));
        assert!(time[0] < 30, "{} s are left", time[0]);
        assert!(libc::FD_ISSET(reader, &set));
    }
    wait(pid);
}

fn pselect_takes_a_mask() {
    block(&[libc::SIGUSR1]);
    handle(libc::SIGUSR1, 0);
    ok(unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) });
    let time = libc::timespec {
        tv_sec: 30,
        tv_nsec: 0,
    };
    let none = set_of(&[]);
    let waited = unsafe { libc::pselect(0, null_mut(), null_mut(), null_mut(), &time, &none) };
    fails(waited, libc::EINTR);
    let mut now = set_of(&[]);
    ok(unsafe { libc::sigprocmask(libc::SIG_BLOCK, null(), &mut now) });
    assert_eq!(unsafe { libc::sigismember(&now, libc::SIGUSR1) }, 1);
}

fn epoll_pwait_takes_a_mask() {
    block(&[libc::SIGUSR1]);
    handle(libc::SIGUSR1, 0);
    let epoll = ok(unsafe { libc::epoll_create1(0) });
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    ok(unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) });
    let none = set_of(&[]);
    let waited = unsafe { libc::epoll_pwait(epoll, &mut event, 1, 30 * SECOND, &none) };
    fails(waited, libc::EINTR);
    let mut now = set_of(&[]);
    ok(unsafe { libc::sigprocmask(libc::SIG_BLOCK, null(), &mut now) });
    assert_eq!(unsafe { libc::sigismember(&now, libc::SIGUSR1) }, 1);
}

fn epoll_wakes_one_of_many() {
    let (reader, writer) = pipe();
    let (tell, told) = pipe();
    let epoll = ok(unsafe { libc::epoll_create1(0) });
    let mut event = libc::epoll_event {
        events: (libc::EPOLLIN | libc::EPOLLET) as u32,
        u64: 0,
    };
    ok(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, reader, &mut event) });
    let waiters: Vec<i32> = (0..4)
        .map(|_| {
            child(|| {
                let found = unsafe { libc::epoll_wait(epoll, &mut event, 1, 30 * SECOND) };
                put(told, b"w");
                found
            })
        })
        .collect();
    sleep_ms(200);
    for woken in 1..=4 {
        put(writer, b"x");
        assert_eq!(get(tell, 1), b"w");
        sleep_ms(50);
        assert_eq!(poll_in(tell, 0), 0, "{woken} events woke more");
    }
    for pid in waiters {
        assert_eq!(wait(pid), Ended::Exit(1));
    }
}

fn epoll_edge_needs_a_new_event() {
    let (a, b) = pair(libc::SOCK_STREAM);
    let epoll = ok(unsafe { libc::epoll_create1(0) });
    let mut event = libc::epoll_event {
        events: (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32,
        u64: 0,
    };
    ok(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, a, &mut event) });
    let mut next = || {
        let found = ok(unsafe { libc::epoll_wait(epoll, &mut event, 1, 0) });
        if found == 0 { 0 } else { event.events as i32 }
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
        ok(unsafe { libc::setsockopt(a, libc::SOL_SOCKET, option, (&raw const time).cast(), 16) });
    }
    let mut buf = vec![0_u8; 1 << 20];
    let started = Instant::now();
    fails(
        unsafe { libc::read(a, buf.as_mut_ptr().cast(), 1) },
        libc::EAGAIN,
    );
    fails(
        unsafe { libc::recv(a, buf.as_mut_ptr().cast(), 1, 0) },
        libc::EAGAIN,
    );
    assert!(started.elapsed() >= Duration::from_millis(200));
    let sent = ok(unsafe { libc::send(a, buf.as_ptr().cast(), buf.len(), 0) });
    assert!(sent > 0 && (sent as usize) < buf.len(), "{sent}");
    fails(
        unsafe { libc::send(a, buf.as_ptr().cast(), buf.len(), 0) },
        libc::EAGAIN,
    );
}

fn datagrams_to_missing_pages() {
    const LEN: usize = 20_000;
    let (a, b) = pair(libc::SOCK_DGRAM);
    for read in [false, true] {
        // Neither the sender's nor the receiver's pages but the first are there yet.
        let from = map(LEN);
        unsafe { from.write_bytes(7, 100) };
        assert_eq!(
            ok(unsafe { libc::send(a, from.cast(), LEN, 0) }),
            LEN as isize
        );
        let to = map(LEN);
        unsafe { to.add(8192).write(1) };
        let got = if read {
            unsafe { libc::read(b, to.cast(), LEN) }
        } else {
            unsafe { libc::recv(b, to.cast(), LEN, 0) }
        };
        assert_eq!(ok(got), LEN as isize);
        let data = unsafe { std::slice::from_raw_parts(to, LEN) };
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
    let got = unsafe { libc::recv(b, buf.as_mut_ptr().cast(), 11, libc::MSG_WAITALL) };
    assert_eq!(ok(got), 11);
    assert_eq!(&buf, b"onetwothree");
    wait(pid);
    put(a, b"rest");
    close(a);
    let got = unsafe { libc::recv(b, buf.as_mut_ptr().cast(), 11, libc::MSG_WAITALL) };
    assert_eq!(ok(got), 4);
}

fn many_messages_at_a_time() {
    let (a, b) = pair(libc::SOCK_DGRAM);
    let mut data = [*b"one  ", *b"two  ", *b"three"];
    let mut parts: Vec<libc::iovec> = data
        .iter_mut()
        .map(|d| libc::iovec {
            iov_base: d.as_mut_ptr().cast(),
            iov_len: 5,
        })
        .collect();
    let mut messages: Vec<libc::mmsghdr> = parts
        .iter_mut()
        .map(|part| unsafe {
            let mut message: libc::mmsghdr = zeroed();
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message
        })
        .collect();
    let sent = unsafe { libc::sendmmsg(a, messages.as_mut_ptr(), 3, 0) };
    assert_eq!(ok(sent), 3);
    assert!(messages.iter().all(|m| m.msg_len == 5));
    let got = unsafe { libc::recvmmsg(b, messages.as_mut_ptr(), 2, 0, null_mut()) };
    assert_eq!(ok(got), 2);
    let flags = libc::MSG_WAITFORONE as _;
    let got = unsafe { libc::recvmmsg(b, messages.as_mut_ptr(), 3, flags, null_mut()) };
    assert_eq!(ok(got), 1);
    assert_eq!(data, [*b"three", *b"two  ", *b"three"]);
}

/// Sends a byte along with a control message.
fn send_control(fd: i32, kind: i32, data: &[u8]) -> isize {
    let mut byte = *b"x";
    let mut part = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    };
    let mut control = [0_u64; 64];
    unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(data.len() as u32) as _;
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = kind;
        (*header).cmsg_len = libc::CMSG_LEN(data.len() as u32) as _;
        libc::CMSG_DATA(header).copy_from_nonoverlapping(data.as_ptr(), data.len());
        libc::sendmsg(fd, &message, libc::MSG_NOSIGNAL)
    }
}

fn claimed_credentials() {
    let (a, _b) = pair(libc::SOCK_STREAM);
    let claim = |pid: u32, uid: u32, gid: u32| {
        let bytes = [pid, uid, gid].map(u32::to_ne_bytes).concat();
        send_control(a, libc::SCM_CREDENTIALS, &bytes)
    };
    in_child(|| {
        become_user();
        let (pid, uid, gid) = unsafe { (libc::getpid() as u32, libc::getuid(), libc::getgid()) };
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
        if poll_in(reader, 0) == 1 {
            assert_eq!(get(reader, 1), b"");
            return;
        }
    }
    panic!("the pipe still has a writer");
}

fn timerfd_in_poll() {
    let fd = ok(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK) });
    assert_eq!(poll_in(fd, 0), 0);
    let after = |ms: i64| libc::timespec {
        tv_sec: 0,
        tv_nsec: ms * 1_000_000,
    };
    let spec = libc::itimerspec {
        it_value: after(50),
        it_interval: after(20),
    };
    ok(unsafe { libc::timerfd_settime(fd, 0, &spec, null_mut()) });
    for _ in 0..3 {
        assert_eq!(poll_in(fd, 10 * SECOND), 1);
        let count = u64::from_ne_bytes(get(fd, 8).try_into().expect("eight bytes"));
        assert!(count >= 1);
    }
    let mut left: libc::itimerspec = unsafe { zeroed() };
    ok(unsafe { libc::timerfd_gettime(fd, &mut left) });
    assert_eq!(left.it_interval.tv_nsec, 20_000_000);
    assert!((1..=20_000_000).contains(&left.it_value.tv_nsec));
    fails(
        unsafe { libc::timerfd_settime(fd, 8, &spec, null_mut()) },
        libc::EINVAL,
    );
    let bad = libc::itimerspec {
        it_value: libc::timespec {
            tv_sec: 0,
            tv_nsec: 1_000_000_000,
        },
        it_interval: after(0),
    };
    fails(
        unsafe { libc::timerfd_settime(fd, 0, &bad, null_mut()) },
        libc::EINVAL,
    );
    fails(unsafe { libc::timerfd_create(2, 0) }, libc::EINVAL);
}

fn eventfd_blocks() {
    let fd = ok(unsafe { libc::eventfd(0, 0) });
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
    let epoll = ok(unsafe { libc::epoll_create1(0) }) as usize;
    let (reader, writer) = pipe();
    put(writer, b"x");
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN as u32,
        u64: 0,
    };
    ok(unsafe { libc::epoll_ctl(epoll as i32, libc::EPOLL_CTL_ADD, reader, &mut event) });
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
