//! Locks on files: of a process, of an open file, of the whole file.

use crate::cases::cases;
use crate::sys::*;
use libc::{O_RDONLY, O_RDWR};

cases![
    record_locks,
    record_locks_wait,
    open_file_locks,
    flock_locks,
];

fn lock(fd: i32, command: i32, kind: i32, start: i64, len: i64) -> (Result, libc::flock) {
    let mut lock: libc::flock = zeroed();
    lock.l_type = kind as i16;
    lock.l_start = start;
    lock.l_len = len;
    let result = fcntl_lock(fd, command, &mut lock);
    (result, lock)
}

fn record_locks() {
    let fd = file("f", &[0; 100]);
    ok(lock(fd, libc::F_SETLK, libc::F_WRLCK, 10, 10).0);
    let me = getpid();
    in_child(|| {
        fails(
            lock(fd, libc::F_SETLK, libc::F_RDLCK, 15, 1).0,
            libc::EAGAIN,
        );
        ok(lock(fd, libc::F_SETLK, libc::F_WRLCK, 20, 10).0);
        let (result, found) = lock(fd, libc::F_GETLK, libc::F_RDLCK, 0, 0);
        ok(result);
        assert_eq!(
            (found.l_pid, found.l_start, found.l_len, found.l_type as i32),
            (me, 10, 10, libc::F_WRLCK)
        );
    });
    let (_, found) = lock(fd, libc::F_GETLK, libc::F_WRLCK, 20, 10);
    assert_eq!(
        found.l_type as i32,
        libc::F_UNLCK,
        "the child's lock went with it"
    );
    // Unlocking the middle splits; closing any descriptor of the file drops all.
    ok(lock(fd, libc::F_SETLK, libc::F_UNLCK, 12, 2).0);
    in_child(|| {
        ok(lock(fd, libc::F_SETLK, libc::F_WRLCK, 12, 2).0);
        fails(
            lock(fd, libc::F_SETLK, libc::F_WRLCK, 14, 1).0,
            libc::EAGAIN,
        );
    });
    close(ok(open("f", O_RDONLY)));
    in_child(|| {
        ok(lock(fd, libc::F_SETLK, libc::F_WRLCK, 0, 0).0);
    });
    fails(
        lock(ok(open("f", O_RDONLY)), libc::F_SETLK, libc::F_WRLCK, 0, 0).0,
        libc::EBADF,
    );
    fails(lock(fd, libc::F_SETLK, 99, 0, 0).0, libc::EINVAL);
}

fn record_locks_wait() {
    let fd = file("f", &[0; 100]);
    let (reader, writer) = pipe();
    let pid = child(|| {
        ok(lock(fd, libc::F_SETLK, libc::F_WRLCK, 0, 0).0);
        put(writer, b"x");
        sleep_ms(60);
        put(writer, b"y");
        0
    });
    get(reader, 1);
    ok(lock(fd, libc::F_SETLKW, libc::F_WRLCK, 0, 0).0);
    // Nobody waited less: the lock went with the child, whose word was there by then.
    ok(fcntl(reader, libc::F_SETFL, libc::O_NONBLOCK));
    assert_eq!(get(reader, 1), b"y");
    ok(fcntl(reader, libc::F_SETFL, 0));
    assert_eq!(wait(pid), Ended::Exit(0));
    // Two that wait for each other: the second one is told.
    ok(lock(fd, libc::F_SETLK, libc::F_UNLCK, 0, 0).0);
    ok(lock(fd, libc::F_SETLK, libc::F_WRLCK, 0, 1).0);
    let pid = child(|| {
        ok(lock(fd, libc::F_SETLK, libc::F_WRLCK, 1, 1).0);
        put(writer, b"x");
        ok(lock(fd, libc::F_SETLKW, libc::F_WRLCK, 0, 1).0);
        0
    });
    get(reader, 1);
    until_asleep(pid);
    fails(
        lock(fd, libc::F_SETLKW, libc::F_WRLCK, 1, 1).0,
        libc::EDEADLK,
    );
    ok(lock(fd, libc::F_SETLK, libc::F_UNLCK, 0, 0).0);
    assert_eq!(wait(pid), Ended::Exit(0));
}

fn open_file_locks() {
    let a = file("f", b"");
    let b = ok(open("f", O_RDWR));
    ok(lock(a, libc::F_OFD_SETLK, libc::F_WRLCK, 0, 0).0);
    fails(
        lock(b, libc::F_OFD_SETLK, libc::F_RDLCK, 0, 0).0,
        libc::EAGAIN,
    );
    let copy = ok(dup(a));
    close(copy);
    fails(
        lock(b, libc::F_OFD_SETLK, libc::F_RDLCK, 0, 0).0,
        libc::EAGAIN,
    );
    close(a);
    ok(lock(b, libc::F_OFD_SETLK, libc::F_RDLCK, 0, 0).0);
}

fn flock_locks() {
    let a = file("f", b"");
    let b = ok(open("f", O_RDWR));
    let now = libc::LOCK_NB;
    ok(flock(a, libc::LOCK_SH));
    ok(flock(b, libc::LOCK_SH | now));
    fails(flock(b, libc::LOCK_EX | now), libc::EWOULDBLOCK);
    ok(flock(a, libc::LOCK_UN));
    ok(flock(b, libc::LOCK_EX | now));
    fails(flock(a, libc::LOCK_SH | now), libc::EWOULDBLOCK);
    // A forked child has the same open file, and with it the lock.
    in_child(|| {
        ok(flock(b, libc::LOCK_UN));
    });
    ok(flock(a, libc::LOCK_EX | now));
    fails(flock(a, 0), libc::EINVAL);
    fails(flock(999, libc::LOCK_SH), libc::EBADF);
}
