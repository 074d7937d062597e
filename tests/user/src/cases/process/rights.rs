//! Groups, sessions, users, limits: what a process may do.

use crate::cases::cases;
use crate::sys::*;

cases![
    groups_and_sessions,
    setsid_of_a_leader,
    credentials_drop,
    user_cannot_gain,
    kill_needs_permission,
    limits,
    file_size_limit,
    nice_values,
    dumpable_and_no_new_privs,
];

fn groups_and_sessions() {
    let pid = getpid();
    // The agent starts each program as the leader of a session.
    assert_eq!((getpgrp(), ok(getsid(0))), (pid, pid));
    in_child(|| {
        let me = getpid();
        assert_eq!((getpgrp(), ok(getsid(0))), (pid, pid));
        ok(setpgid(0, 0));
        assert_eq!(getpgrp(), me);
        ok(setpgid(0, pid));
        assert_eq!(ok(setsid()), me);
        assert_eq!((ok(getpgid(0)), ok(getsid(0))), (me, me));
        fails(setpgid(0, pid), libc::EPERM);
    });
    fails(setpgid(999_999, 0), libc::ESRCH);
    fails(setpgid(0, -1), libc::EINVAL);
    fails(getsid(999_999), libc::ESRCH);
    fails(getpgid(999_999), libc::ESRCH);
}

fn setsid_of_a_leader() {
    fails(setsid(), libc::EPERM);
}

fn credentials_drop() {
    let mut ids = [0; 3];
    let [real, effective, saved] = &mut ids;
    ok(setgroups(&[5, 6]));
    let mut groups = [0; 4];
    assert_eq!(ok(getgroups(&mut groups)), 2);
    assert_eq!(groups[..2], [5, 6]);
    fails(getgroups(&mut groups[..1]), libc::EINVAL);
    ok(setresuid(1000, 1001, 1002));
    ok(getresuid(real, effective, saved));
    assert_eq!(ids, [1000, 1001, 1002]);
    ok(setresuid(u32::MAX, 1002, u32::MAX));
    assert_eq!((getuid(), geteuid()), (1000, 1002));
    fails(setresuid(u32::MAX, 0, u32::MAX), libc::EPERM);
    fails(setuid(0), libc::EPERM);
}

fn user_cannot_gain() {
    become_user();
    fails(setuid(0), libc::EPERM);
    fails(setgroups(&[]), libc::EPERM);
    fails(sethostname("x", 1), libc::EPERM);
    fails(chroot("/"), libc::EPERM);
    fails(mount("t", "/tmp", "tmpfs", 0, ""), libc::EPERM);
    fails(
        reboot(0xfee1_dead, 0x2812_1969, libc::RB_AUTOBOOT),
        libc::EPERM,
    );
    limit(libc::RLIMIT_CORE, 0);
    fails(
        setrlimit(libc::RLIMIT_CORE, 1 << 30, libc::RLIM_INFINITY),
        libc::EPERM,
    );
    let now = libc::timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    fails(clock_settime(libc::CLOCK_REALTIME, &now), libc::EPERM);
}

fn kill_needs_permission() {
    in_child(|| {
        become_user();
        fails(kill(1, 0), libc::EPERM);
        fails(kill(getppid(), libc::SIGTERM), libc::EPERM);
        fails(kill(999_999, 0), libc::ESRCH);
        fails(kill(0, 65), libc::EINVAL);
        ok(kill(getpid(), 0));
    });
}

fn limits() {
    let (now, most) = ok(getrlimit(libc::RLIMIT_NOFILE));
    assert!(now >= 256 && now <= most);
    ok(setrlimit(libc::RLIMIT_NOFILE, 20, 30));
    in_child(|| {
        assert_eq!(getrlimit(libc::RLIMIT_NOFILE), Ok((20, 30)));
        let mut last = 0;
        let error = loop {
            match dup(0) {
                Ok(fd) => last = fd,
                Err(error) => break error,
            }
        };
        assert_eq!((last, error), (19, libc::EMFILE));
        fails(dup2(0, 20), libc::EBADF);
    });
    fails(setrlimit(libc::RLIMIT_CORE, 2, 1), libc::EINVAL);
    let mut limit: libc::rlimit = zeroed();
    assert_eq!(
        call(libc::SYS_getrlimit, &[99, &raw mut limit as usize]),
        Err(libc::EINVAL)
    );
}

fn file_size_limit() {
    let fd = file("f", b"");
    let end = end_of(|| {
        limit(libc::RLIMIT_FSIZE, 1000);
        let data = [1_u8; 1500];
        assert_eq!(ok(write(fd, &data)), 1000);
        let _ = write(fd, &data[..1]);
    });
    assert_eq!(end, Ended::Signal(libc::SIGXFSZ));
    in_child(|| {
        limit(libc::RLIMIT_FSIZE, 1000);
        ignore_signal(libc::SIGXFSZ);
        fails(write(fd, &[0]), libc::EFBIG);
        fails(ftruncate(fd, 2000), libc::EFBIG);
        fails(fallocate(fd, 0, 990, 11), libc::EFBIG);
        fails(
            fallocate(fd, libc::FALLOC_FL_KEEP_SIZE, 990, 11),
            libc::EFBIG,
        );
        ok(fallocate(fd, 0, 0, 1000));
        // What is longer already may be cut, and filled.
        limit(libc::RLIMIT_FSIZE, 500);
        ok(fallocate(fd, 0, 0, 900));
        ok(ftruncate(fd, 600));
        fails(ftruncate(fd, 601), libc::EFBIG);
    });
    let end = end_of(|| {
        limit(libc::RLIMIT_FSIZE, 1000);
        let _ = fallocate(fd, 0, 0, 1001);
    });
    assert_eq!(end, Ended::Signal(libc::SIGXFSZ));
}

fn nice_values() {
    let nice = || ok(nice_of(0));
    assert_eq!(nice(), 0);
    ok(set_nice(0, 50));
    assert_eq!(nice(), 19);
    ok(set_nice(0, 3));
    in_child(|| {
        assert_eq!(nice(), 3);
        become_user();
        fails(set_nice(0, 2), libc::EACCES);
    });
    fails(set_nice(999_999, 2), libc::ESRCH);
    assert_eq!(call(libc::SYS_setpriority, &[9, 0, 2]), Err(libc::EINVAL));
}

fn dumpable_and_no_new_privs() {
    assert_eq!(ok(prctl(libc::PR_GET_DUMPABLE, 0)), 1);
    ok(prctl(libc::PR_SET_DUMPABLE, 0));
    assert_eq!(ok(prctl(libc::PR_GET_DUMPABLE, 0)), 0);
    ok(prctl(libc::PR_SET_NO_NEW_PRIVS, 1));
    assert_eq!(ok(prctl(libc::PR_GET_NO_NEW_PRIVS, 0)), 1);
    fails(prctl(libc::PR_SET_NO_NEW_PRIVS, 0), libc::EINVAL);
    fails(prctl(123_456, 0), libc::EINVAL);
}
