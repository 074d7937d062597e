//! Streams and datagrams between two that are connected.

use super::{recv, send};
use crate::cases::cases;
use crate::sys::*;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};

cases![
    pairs_talk_both_ways,
    shutdown_ends_one_way,
    closed_peer,
    datagrams_keep_their_borders,
    sequenced_packets,
    poll_on_sockets,
    big_transfers,
    message_flags,
    broken_pipes_signal_streams_only,
];

fn pairs_talk_both_ways() {
    let (a, b) = pair(libc::SOCK_STREAM);
    put(a, b"ping");
    assert_eq!(get(b, 100), b"ping");
    put(b, b"pong");
    assert_eq!(get(a, 2), b"po");
    assert_eq!(get(a, 2), b"ng");
}

fn shutdown_ends_one_way() {
    let (a, b) = pair(libc::SOCK_STREAM);
    put(a, b"x");
    ok(shutdown(a, libc::SHUT_WR));
    assert_eq!((get(b, 10), get(b, 10)), (b"x".to_vec(), vec![]));
    fails(send(a, b"y", 0), libc::EPIPE);
    put(b, b"back");
    assert_eq!(get(a, 10), b"back");
    fails(shutdown(a, 9), libc::EINVAL);
}

fn closed_peer() {
    let (a, b) = pair(libc::SOCK_STREAM);
    put(b, b"last");
    close(b);
    assert_eq!(get(a, 10), b"last");
    assert_eq!(get(a, 10), b"");
    fails(send(a, b"x", 0), libc::EPIPE);
    // With unread data on the other side the connection is reset.
    let (a, b) = pair(libc::SOCK_STREAM);
    put(a, b"unread");
    close(b);
    assert_eq!(recv(a, 1, 0), Err(libc::ECONNRESET));
}

fn datagrams_keep_their_borders() {
    let (a, b) = pair(libc::SOCK_DGRAM);
    put(a, b"first");
    put(a, b"");
    put(a, b"third");
    assert_eq!(get(b, 3), b"fir");
    assert_eq!(get(b, 10), b"");
    assert_eq!(recv(b, 2, libc::MSG_TRUNC).map(|_| ()), Ok(()));
    assert_eq!(recv(b, 2, libc::MSG_DONTWAIT), Err(libc::EAGAIN));
    let big = vec![0_u8; 1 << 20];
    fails(send(a, &big, 0), libc::EMSGSIZE);
}

fn sequenced_packets() {
    let (a, b) = pair(libc::SOCK_SEQPACKET);
    put(a, b"one");
    put(a, b"two");
    assert_eq!((get(b, 10), get(b, 10)), (b"one".to_vec(), b"two".to_vec()));
    close(a);
    assert_eq!(get(b, 10), b"");
}

fn poll_on_sockets() {
    let poll = |fd, events| poll_one(fd, events, 0);
    let (a, b) = pair(libc::SOCK_STREAM);
    let both = libc::POLLIN | libc::POLLOUT;
    assert_eq!(poll(a, both), libc::POLLOUT);
    put(b, b"x");
    assert_eq!(poll(a, both), both);
    ok(shutdown(b, libc::SHUT_WR));
    assert_eq!(poll(a, both | libc::POLLRDHUP), both | libc::POLLRDHUP);
    close(b);
    assert_eq!(poll(a, both) & libc::POLLHUP, libc::POLLHUP);
    let listener = UnixListener::bind("s").expect("the directory is writable");
    assert_eq!(poll(listener.as_raw_fd(), libc::POLLIN), 0);
    let _client = UnixStream::connect("s").expect("somebody listens");
    assert_eq!(poll(listener.as_raw_fd(), libc::POLLIN), libc::POLLIN);
}

fn big_transfers() {
    let (a, b) = pair(libc::SOCK_STREAM);
    let pid = child(|| {
        close(b);
        let block: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
        let mut sent = 0;
        while sent < block.len() {
            sent += ok(send(a, &block[sent..], 0)) as usize;
        }
        0
    });
    close(a);
    let mut at = 0_u32;
    loop {
        let chunk = get(b, 9999);
        if chunk.is_empty() {
            break;
        }
        for byte in chunk {
            assert_eq!(byte, (at % 251) as u8);
            at += 1;
        }
    }
    assert_eq!(at, 1_000_000);
    assert_eq!(wait(pid), Ended::Exit(0));
}

fn message_flags() {
    let (a, b) = pair(libc::SOCK_STREAM);
    assert_eq!(recv(b, 1, libc::MSG_DONTWAIT), Err(libc::EAGAIN));
    put(a, b"abc");
    assert_eq!(recv(b, 2, libc::MSG_PEEK), Ok(b"ab".to_vec()));
    let pid = child(|| {
        sleep_ms(30);
        put(a, b"def");
        0
    });
    assert_eq!(recv(b, 6, libc::MSG_WAITALL), Ok(b"abcdef".to_vec()));
    assert_eq!(wait(pid), Ended::Exit(0));
    assert_eq!(recv(0, 1, 0), Err(libc::ENOTSOCK));
}

/// A write that nobody can read any more is `EPIPE` for every kind of socket, and `SIGPIPE` for streams.
fn broken_pipes_signal_streams_only() {
    for (kind, signals) in [
        (libc::SOCK_STREAM, true),
        (libc::SOCK_DGRAM, false),
        (libc::SOCK_SEQPACKET, false),
    ] {
        let end = end_of(|| {
            let (near, _far) = pair(kind);
            ok(shutdown(near, libc::SHUT_WR));
            fails(write(near, b"x"), libc::EPIPE);
        });
        let expected = if signals {
            Ended::Signal(libc::SIGPIPE)
        } else {
            Ended::Exit(0)
        };
        assert_eq!(end, expected, "kind {kind}");
    }
}
