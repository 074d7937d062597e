//! Descriptors: duplicates, a full table, ranges, flags.

use crate::cases::cases;
use crate::sys::*;
use libc::{O_CREAT, O_RDONLY};

cases![
    descriptors_are_duplicated,
    full_descriptor_table,
    close_range_closes,
    fcntl_errors,
];

fn descriptors_are_duplicated() {
    let fd = file("f", b"abcdef");
    let copy = ok(dup(fd));
    assert_eq!(get(copy, 2), b"ab");
    assert_eq!(get(fd, 2), b"cd");
    assert_eq!(ok(dup2(fd, 50)), 50);
    assert_eq!(ok(dup2(fd, fd)), fd);
    fails(dup3(fd, fd, 0), libc::EINVAL);
    fails(dup2(999, 5), libc::EBADF);
    fails(dup3(fd, 60, 0x1), libc::EINVAL);
    let high = ok(fcntl(fd, libc::F_DUPFD_CLOEXEC, 100));
    assert_eq!(high, 100);
    assert_eq!(ok(fcntl(high, libc::F_GETFD, 0)), libc::FD_CLOEXEC);
    assert_eq!(ok(fcntl(ok(dup(high)), libc::F_GETFD, 0)), 0);
    fails(fcntl(fd, libc::F_DUPFD, -1), libc::EINVAL);
    fails(fcntl(fd, libc::F_DUPFD, 1 << 30), libc::EINVAL);
}

fn full_descriptor_table() {
    limit(libc::RLIMIT_NOFILE, 64);
    while dup(0).is_ok() {}
    fails(open("/dev/null", O_RDONLY), libc::EMFILE);
    let mut ends = [0; 2];
    fails(pipe2(&mut ends, 0), libc::EMFILE);
    fails(socket(libc::AF_UNIX, libc::SOCK_STREAM, 0), libc::EMFILE);
    fails(eventfd(0, 0), libc::EMFILE);
    close(40);
    assert_eq!(ok(open("/dev/null", O_RDONLY)), 40);
}

fn close_range_closes() {
    for fd in 20..30 {
        ok(dup2(0, fd));
    }
    assert_eq!(call(libc::SYS_close_range, &[22, 27, 0]), Ok(0));
    let open: Vec<i32> = (20..30).filter(|fd| is_open(*fd)).collect();
    assert_eq!(open, [20, 21, 28, 29]);
    assert_eq!(
        call(libc::SYS_close_range, &[28, usize::MAX >> 32, 4]),
        Ok(0)
    );
    assert_eq!(ok(fcntl(28, libc::F_GETFD, 0)), libc::FD_CLOEXEC);
    assert_eq!(call(libc::SYS_close_range, &[5, 4, 0]), Err(libc::EINVAL));
}

fn fcntl_errors() {
    let fd = file("f", b"");
    fails(fcntl(fd, 9999, 0), libc::EINVAL);
    fails(fcntl(999, libc::F_GETFL, 0), libc::EBADF);
    let flags = ok(fcntl(fd, libc::F_GETFL, 0));
    // The access mode and the flags of creation cannot be changed.
    ok(fcntl(
        fd,
        libc::F_SETFL,
        libc::O_WRONLY | libc::O_APPEND | O_CREAT,
    ));
    assert_eq!(ok(fcntl(fd, libc::F_GETFL, 0)), flags | libc::O_APPEND);
}
