//! Sockets: times that run out, many messages at a time, what comes along.

use super::poll_in;
use crate::cases::cases;
use crate::sys::*;
use std::time::{Duration, Instant};

cases![
    socket_timeouts,
    datagrams_to_missing_pages,
    whole_reads_wait_for_all,
    many_messages_at_a_time,
    claimed_credentials,
    cycles_of_passed_sockets_end,
];

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
