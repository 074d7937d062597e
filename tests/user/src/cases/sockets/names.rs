//! Sockets by name: binding, listening, connecting.

use super::{recv, send};
use crate::cases::cases;
use crate::sys::*;
use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

cases![
    streams_connect,
    connect_errors,
    abstract_names,
    bind_errors,
    backlog_and_nonblocking,
    names_of_sockets,
    socket_errors,
    socket_files_are_not_opened,
    many_connections,
    datagrams_by_name,
];

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

fn raw<T: std::fmt::Debug>(result: std::io::Result<T>) -> i32 {
    result
        .expect_err("it fails")
        .raw_os_error()
        .expect("from the system")
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
