//! Numbers: of calls, of arguments, of errors.

use super::cases;
use crate::sys::*;
use libc::{
    MAP_ANONYMOUS, MAP_PRIVATE, O_CREAT, O_DIRECTORY, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY,
};

cases![
    six_arguments_arrive,
    results_and_errors_share_a_register,
    errors_of_names,
    errors_of_files,
    errors_of_processes,
    errors_of_arguments,
];

fn six_arguments_arrive() {
    let mut contents = vec![1_u8; 4096];
    contents.extend([2; 4096]);
    let fd = file("pages", &contents);
    let at = map(4 * 4096) as usize;
    let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
    let args = [
        at + 4096,
        4096,
        libc::PROT_READ as usize,
        flags as usize,
        fd as usize,
        4096,
    ];
    assert_eq!(call(libc::SYS_mmap, &args), Ok(at + 4096));
    assert_eq!((peek(at + 4096), peek(at)), (2, 0));
}

fn results_and_errors_share_a_register() {
    // Only the last page of numbers is errors: an offset just below is a result.
    let fd = file("sparse", b"");
    assert_eq!(lseek(fd, i64::MAX - 1, libc::SEEK_SET), Ok(i64::MAX - 1));
    for number in [1000, 9999, -1, i64::MAX] {
        assert_eq!(call(number, &[]), Err(libc::ENOSYS), "{number}");
    }
}

fn errors_of_names() {
    let open = |path: &str, flags| open(path, flags).map(drop);
    ok(mkdir("directory", 0o755));
    file("plain", b"x");
    fails(open("missing", O_RDONLY), libc::ENOENT);
    fails(open("plain/x", O_RDONLY), libc::ENOTDIR);
    fails(open("plain", O_RDONLY | O_DIRECTORY), libc::ENOTDIR);
    fails(open("directory", O_WRONLY), libc::EISDIR);
    fails(mkdir("plain", 0o755), libc::EEXIST);
    fails(rename("plain", "/proc/x"), libc::EXDEV);
    fails(mount("x", "directory", "no-such-kind", 0, ""), libc::ENODEV);
    ok(mount("x", "directory", "tmpfs", libc::MS_RDONLY, ""));
    fails(open("directory/new", O_CREAT | O_WRONLY), libc::EROFS);
    fails(rmdir("directory"), libc::EBUSY);
    ok(umount("directory"));
    in_child(|| {
        become_user();
        fails(chroot("/"), libc::EPERM);
        fails(open("/etc/no", O_CREAT | O_WRONLY), libc::EACCES);
    });
}

fn errors_of_files() {
    let fd = file("data", b"x");
    let (read_end, write_end) = pipe();
    let byte = &mut [0];
    fails(read(999, byte), libc::EBADF);
    fails(lseek(read_end, 0, libc::SEEK_SET), libc::ESPIPE);
    fails(ioctl_at(fd, libc::TIOCGPGRP, &mut 0_i32), libc::ENOTTY);
    ok(fcntl(read_end, libc::F_SETFL, O_NONBLOCK));
    fails(read(read_end, byte), libc::EAGAIN);
    ignore_signal(libc::SIGPIPE);
    close(read_end);
    fails(write(write_end, byte), libc::EPIPE);
    fails(write(ok(open("/dev/full", O_WRONLY)), byte), libc::ENOSPC);
    fails(read(ok(open("/proc/self/mem", O_RDONLY)), byte), libc::EIO);
    ok(mkfifo("fifo", 0o600));
    fails(open("fifo", O_WRONLY | O_NONBLOCK), libc::ENXIO);
    fails(getxattr("data", "trusted.none", &mut []), libc::ENODATA);
    ok(setxattr("data", "trusted.long", &[0; 100], 0));
    fails(getxattr("data", "trusted.long", &mut [0; 10]), libc::ERANGE);
    fails(open("/proc/self/exe", O_RDWR), libc::ETXTBSY);
    in_child(|| {
        ignore_signal(libc::SIGXFSZ);
        limit(libc::RLIMIT_FSIZE, 1);
        fails(pwrite(fd, byte, 1), libc::EFBIG);
        limit(libc::RLIMIT_NOFILE, 3);
        fails(dup(0), libc::EMFILE);
    });
}

fn errors_of_processes() {
    fails(kill(4_000_000, 0), libc::ESRCH);
    fails(waitpid(-1, &mut 0, 0), libc::ECHILD);
    close(file("text", b"\x7fNOT a program"));
    ok(chmod("text", 0o755));
    fails(execve("text", &["text"]), libc::ENOEXEC);
    let long = "x".repeat(200_000);
    fails(execve("/proc/self/exe", &["x", &long]), libc::E2BIG);
    handle_with(libc::SIGALRM, |_, _, _| (), 0, &[]);
    let soon = itimerval(1000, 1000);
    ok(setitimer(libc::ITIMER_REAL, &soon, None));
    fails(pause(), libc::EINTR);
}

fn errors_of_arguments() {
    fails(
        mmap(0, 1 << 47, 0, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
        libc::ENOMEM,
    );
    assert_eq!(call(libc::SYS_uname, &[8]), Err(libc::EFAULT));
    fails(kill(0, 65), libc::EINVAL);
    let (one, _) = pair(libc::SOCK_STREAM);
    let out_of_range = libc::timeval {
        tv_sec: 1,
        tv_usec: 1_000_000,
    };
    let set = setsockopt(one, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &out_of_range);
    fails(set, libc::EDOM);
}
