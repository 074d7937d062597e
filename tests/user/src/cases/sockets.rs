//! Sockets of the machine itself: pairs, streams, datagrams, passed descriptors.

use super::cases;
use crate::sys::*;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

cases![
    pairs_talk_both_ways,
    shutdown_ends_one_way,
    closed_peer,
    datagrams_keep_their_borders,
    sequenced_packets,
    streams_connect,
    connect_errors,
    abstract_names,
    bind_errors,
    backlog_and_nonblocking,
    descriptors_are_passed,
    credentials_are_known,
    poll_on_sockets,
    big_transfers,
    names_of_sockets,
    message_flags,
    socket_errors,
    socket_files_are_not_opened,
    many_connections,
    datagrams_by_name,
    broken_pipes_signal_streams_only,
];

fn raw<T: std::fmt::Debug>(result: std::io::Result<T>) -> i32 {
    result
        .expect_err("it fails")
        .raw_os_error()
        .expect("from the system")
}

/// Sends without a signal where nobody reads any more.
fn send(fd: i32, data: &[u8], flags: i32) -> Result<usize> {
    crate::sys::send(fd, data, flags | libc::MSG_NOSIGNAL)
}

fn recv(fd: i32, len: usize, flags: i32) -> Result<Vec<u8>> {
    let mut data = vec![0; len];
    let got = crate::sys::recv(fd, &mut data, flags)?;
    data.truncate(got);
    Ok(data)
}

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

fn streams_connect() {
    let listener = UnixListener::bind("s").expect("the directory is writable");
    let pid = child(|| {
        let mut stream = UnixStream::connect("s").expect("somebody listens");
        stream.write_all(b"question").expect("it is connected");
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).expect("an answer comes");
        i32::from(&answer != b"answer")
    });
    let (mut stream, _) = listener.accept().expect("somebody connects");
    let mut question = [0; 8];
    stream.read_exact(&mut question).expect("a question comes");
    assert_eq!(&question, b"question");
    stream.write_all(b"answer").expect("it is connected");
    assert_eq!(wait(pid), Ended::Exit(0));
    assert_eq!(stream.read(&mut question).expect("the end comes"), 0);
}

fn connect_errors() {
    assert_eq!(raw(UnixStream::connect("none")), libc::ENOENT);
    std::fs::write("plain", "").expect("the directory is writable");
    assert_eq!(raw(UnixStream::connect("plain")), libc::ECONNREFUSED);
    drop(UnixListener::bind("gone").expect("the directory is writable"));
    assert_eq!(raw(UnixStream::connect("gone")), libc::ECONNREFUSED);
    let _datagram = UnixDatagram::bind("d").expect("the directory is writable");
    assert_eq!(raw(UnixStream::connect("d")), libc::EPROTOTYPE);
    let listener = UnixListener::bind("s").expect("the directory is writable");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions("s", std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    in_child(|| {
        become_user();
        assert_eq!(raw(UnixStream::connect("s")), libc::EACCES);
    });
    drop(listener);
}

fn address(name: &[u8]) -> (libc::sockaddr_un, u32) {
    let mut address: libc::sockaddr_un = zeroed();
    address.sun_family = libc::AF_UNIX as u16;
    for (to, from) in address.sun_path.iter_mut().zip(name) {
        *to = *from as libc::c_char;
    }
    (address, 2 + name.len() as u32)
}

fn bind(fd: i32, name: &[u8]) -> Result {
    let (address, len) = address(name);
    crate::sys::bind(fd, &address, len)
}

fn connect(fd: i32, name: &[u8]) -> Result {
    let (address, len) = address(name);
    crate::sys::connect(fd, &address, len)
}

#[track_caller]
fn socket(kind: i32) -> i32 {
    ok(crate::sys::socket(libc::AF_UNIX, kind, 0))
}

fn abstract_names() {
    let listener = socket(libc::SOCK_STREAM);
    ok(bind(listener, b"\0wake-test"));
    ok(listen(listener, 1));
    assert_eq!(std::fs::read_dir(".").expect("it can be read").count(), 0);
    fails(
        bind(socket(libc::SOCK_STREAM), b"\0wake-test"),
        libc::EADDRINUSE,
    );
    let client = socket(libc::SOCK_STREAM);
    ok(connect(client, b"\0wake-test"));
    close(listener);
    fails(
        connect(socket(libc::SOCK_STREAM), b"\0wake-test"),
        libc::ECONNREFUSED,
    );
    // With an empty name the system chooses one.
    let auto = socket(libc::SOCK_STREAM);
    ok(bind(auto, b""));
}

fn bind_errors() {
    let fd = socket(libc::SOCK_STREAM);
    ok(bind(fd, b"s"));
    fails(bind(fd, b"t"), libc::EINVAL);
    fails(bind(socket(libc::SOCK_STREAM), b"s"), libc::EADDRINUSE);
    fails(bind(socket(libc::SOCK_STREAM), b"no/s"), libc::ENOENT);
    let (mut wrong, len) = address(b"x");
    wrong.sun_family = 99;
    fails(
        crate::sys::bind(socket(libc::SOCK_STREAM), &wrong, len),
        libc::EINVAL,
    );
    fails(listen(socket(libc::SOCK_DGRAM), 1), libc::EOPNOTSUPP);
    fails(listen(socket(libc::SOCK_STREAM), 1), libc::EINVAL);
    fails(accept(fd), libc::EINVAL);
}

fn backlog_and_nonblocking() {
    let listener = socket(libc::SOCK_STREAM | libc::SOCK_NONBLOCK);
    ok(bind(listener, b"s"));
    ok(listen(listener, 1));
    fails(accept(listener), libc::EAGAIN);
    let mut clients = Vec::new();
    loop {
        let client = socket(libc::SOCK_STREAM | libc::SOCK_NONBLOCK);
        match connect(client, b"s") {
            Ok(()) => clients.push(client),
            Err(error) => break assert_eq!(error, libc::EAGAIN),
        }
    }
    assert_eq!(clients.len(), 2);
    let fd = ok(accept4(listener, libc::SOCK_CLOEXEC));
    assert_eq!(ok(fcntl(fd, libc::F_GETFD, 0)), libc::FD_CLOEXEC);
    fails(connect(clients[0], b"s"), libc::EISCONN);
}

fn descriptors_are_passed() {
    let (a, b) = pair(libc::SOCK_STREAM);
    let passed = file("f", b"passed on");
    let rights = Control {
        kind: libc::SCM_RIGHTS,
        data: passed.to_ne_bytes().to_vec(),
    };
    assert_eq!(ok(send_control(a, &rights)), 1);
    close(passed);
    std::fs::remove_file("f").expect("it is there");
    in_child(|| {
        let got = ok(recv_control(b, libc::MSG_CMSG_CLOEXEC)).expect("it comes with the byte");
        assert_eq!(got.kind, libc::SCM_RIGHTS);
        let fd = i32::from_ne_bytes(got.data.try_into().expect("one descriptor"));
        assert_eq!(get(fd, 100), b"passed on");
        assert_eq!(ok(fcntl(fd, libc::F_GETFD, 0)), libc::FD_CLOEXEC);
    });
}

fn credentials_are_known() {
    let (a, _b) = pair(libc::SOCK_STREAM);
    let option = |name| getsockopt::<i32>(a, libc::SOL_SOCKET, name);
    let who: libc::ucred = ok(getsockopt(a, libc::SOL_SOCKET, libc::SO_PEERCRED));
    assert_eq!((who.pid, who.uid, who.gid), (getpid(), 0, 0));
    assert_eq!(option(libc::SO_TYPE), Ok(libc::SOCK_STREAM));
    fails(option(9999), libc::ENOPROTOOPT);
    fails(
        getsockopt::<i32>(0, libc::SOL_SOCKET, libc::SO_TYPE),
        libc::ENOTSOCK,
    );
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

fn names_of_sockets() {
    let listener = UnixListener::bind("name").expect("the directory is writable");
    let client = UnixStream::connect("name").expect("somebody listens");
    let path = |address: std::io::Result<std::os::unix::net::SocketAddr>| {
        address
            .expect("there is one")
            .as_pathname()
            .map(std::path::Path::to_path_buf)
    };
    assert_eq!(path(listener.local_addr()), Some("name".into()));
    assert_eq!(
        (path(client.peer_addr()), path(client.local_addr())),
        (Some("name".into()), None)
    );
    let alone = socket(libc::SOCK_STREAM);
    fails(getpeername(alone), libc::ENOTCONN);
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

fn socket_errors() {
    fails(
        crate::sys::socket(99, libc::SOCK_STREAM, 0),
        libc::EAFNOSUPPORT,
    );
    fails(crate::sys::socket(libc::AF_UNIX, 77, 0), libc::EINVAL);
    fails(
        crate::sys::socket(libc::AF_UNIX, libc::SOCK_STREAM, 99),
        libc::EPROTONOSUPPORT,
    );
    let mut ends = [0; 2];
    fails(socketpair(libc::AF_UNIX, 77, 0, &mut ends), libc::EINVAL);
    let alone = socket(libc::SOCK_STREAM);
    fails(send(alone, b"x", 0), libc::ENOTCONN);
    assert_eq!(recv(alone, 1, 0), Err(libc::EINVAL));
    fails(lseek(alone, 0, libc::SEEK_SET), libc::ESPIPE);
}

fn socket_files_are_not_opened() {
    let _listener = UnixListener::bind("s").expect("the directory is writable");
    fails(open("s", libc::O_RDWR), libc::ENXIO);
    use std::os::unix::fs::FileTypeExt;
    assert!(
        std::fs::metadata("s")
            .expect("it is there")
            .file_type()
            .is_socket()
    );
}

fn many_connections() {
    let listener = UnixListener::bind("s").expect("the directory is writable");
    let children: Vec<i32> = (0..20_u8)
        .map(|i| {
            child(move || {
                let mut stream = UnixStream::connect("s").expect("somebody listens");
                stream.write_all(&[i]).expect("it is connected");
                let mut back = [0];
                stream.read_exact(&mut back).expect("an answer comes");
                i32::from(back[0] != i + 100)
            })
        })
        .collect();
    for _ in 0..20 {
        let (mut stream, _) = listener.accept().expect("somebody connects");
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a byte comes");
        stream.write_all(&[byte[0] + 100]).expect("it is connected");
    }
    for pid in children {
        assert_eq!(wait(pid), Ended::Exit(0));
    }
}

fn datagrams_by_name() {
    let server = UnixDatagram::bind("server").expect("the directory is writable");
    let client = UnixDatagram::bind("client").expect("the directory is writable");
    client.send_to(b"question", "server").expect("it is bound");
    let mut data = [0; 100];
    let (len, from) = server.recv_from(&mut data).expect("it comes");
    assert_eq!(
        (&data[..len], from.as_pathname()),
        (&b"question"[..], Some(std::path::Path::new("client")))
    );
    server.connect("client").expect("it is bound");
    server.send(b"answer").expect("it is connected");
    assert_eq!(client.recv(&mut data).expect("it comes"), 6);
    drop(client);
    assert_eq!(raw(server.send(b"x")), libc::ECONNREFUSED);
    assert_eq!(
        raw(UnixDatagram::unbound().expect("a socket").send(b"x")),
        libc::ENOTCONN
    );
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
