//! What comes along with data: descriptors, credentials.

use crate::cases::cases;
use crate::sys::*;

cases![descriptors_are_passed, credentials_are_known,];

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
