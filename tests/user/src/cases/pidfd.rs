//! Descriptors of processes, and looking into other processes.

use super::cases;
use crate::sys::*;

cases![
    pidfd_becomes_readable_at_the_end,
    pidfd_of_nobody,
    pidfd_outlives_the_number,
    pidfd_sends_signals,
    pidfd_signals_with_information,
    pidfd_takes_a_descriptor,
    pidfd_of_another_user,
    clone_gives_a_pidfd,
    waitid_by_pidfd,
    other_memory_is_read_and_written,
    other_memory_in_part,
    other_memory_hostile,
    kcmp_orders,
];

const SYS_PROCESS_VM_READV: i64 = 310;
const SYS_PROCESS_VM_WRITEV: i64 = 311;
const P_PIDFD: usize = 3;

fn pidfd_open(pid: i32) -> Result<i32, i32> {
    call(libc::SYS_pidfd_open, &[pid as usize, 0]).map(|fd| fd as i32)
}

fn is_readable(fd: i32, timeout: i32) -> bool {
    poll_one(fd, libc::POLLIN, timeout) == libc::POLLIN
}

/// A child that waits until `go` is closed, and then exits with `code`.
fn waiting_child(code: i32) -> (i32, i32) {
    let (read, write) = pipe();
    let pid = child(|| {
        close(write);
        get(read, 1);
        code
    });
    close(read);
    (pid, write)
}

fn pidfd_becomes_readable_at_the_end() {
    let (pid, go) = waiting_child(3);
    let fd = pidfd_open(pid).expect("it is there");
    assert!(!is_readable(fd, 0));
    let cloexec = ok(fcntl(fd, libc::F_GETFD, 0));
    assert_eq!(cloexec, libc::FD_CLOEXEC);
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).expect("fdinfo");
    assert!(info.contains(&format!("Pid:\t{pid}\n")), "{info}");
    close(go);
    assert!(is_readable(fd, 10_000));
    assert_eq!(
        call(libc::SYS_read, &[fd as usize, 0, 0]),
        Err(libc::EINVAL)
    );
    assert_eq!(wait(pid), Ended::Exit(3));
    assert!(is_readable(fd, 0));
}

fn pidfd_of_nobody() {
    assert_eq!(pidfd_open(0), Err(libc::EINVAL));
    assert_eq!(pidfd_open(-7), Err(libc::EINVAL));
    assert_eq!(pidfd_open(4_000_000), Err(libc::ESRCH));
    assert_eq!(call(libc::SYS_pidfd_open, &[1, 1]), Err(libc::EINVAL));
    let thread = std::thread::spawn(|| {
        let tid = gettid();
        assert_eq!(pidfd_open(tid), Err(libc::EINVAL));
    });
    thread.join().expect("the thread passes");
}

fn pidfd_outlives_the_number() {
    let (pid, go) = waiting_child(0);
    let fd = pidfd_open(pid).expect("it is there");
    close(go);
    wait(pid);
    let sent = call(libc::SYS_pidfd_send_signal, &[fd as usize, 0, 0, 0]);
    assert_eq!(sent, Err(libc::ESRCH));
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).expect("fdinfo");
    assert!(info.contains("Pid:\t-1\n"), "{info}");
}

fn pidfd_sends_signals() {
    let (pid, _go) = waiting_child(0);
    let fd = pidfd_open(pid).expect("it is there") as usize;
    let send = |fd: usize, signal: usize, flags| {
        call(libc::SYS_pidfd_send_signal, &[fd, signal, 0, flags])
    };
    assert_eq!(send(fd, 0, 0), Ok(0));
    assert_eq!(send(fd, 65, 0), Err(libc::EINVAL));
    assert_eq!(send(fd, 0, 1), Err(libc::EINVAL));
    assert_eq!(send(999, 0, 0), Err(libc::EBADF));
    let (read, _write) = pipe();
    assert_eq!(send(read as usize, 0, 0), Err(libc::EBADF));
    assert_eq!(send(fd, libc::SIGTERM as usize, 0), Ok(0));
    assert_eq!(wait(pid), Ended::Signal(libc::SIGTERM));
}

fn pidfd_signals_with_information() {
    let fd = pidfd_open(std::process::id() as i32).expect("it is there") as usize;
    let set = block(&[libc::SIGUSR1]);
    let mut info: libc::siginfo_t = zeroed();
    info.si_signo = libc::SIGUSR1;
    info.si_code = libc::SI_QUEUE;
    let at = &raw const info as usize;
    let send = |signal: i32| call(libc::SYS_pidfd_send_signal, &[fd, signal as usize, at, 0]);
    assert_eq!(send(libc::SIGUSR2), Err(libc::EINVAL));
    assert_eq!(send(libc::SIGUSR1), Ok(0));
    let got = ok(sigwaitinfo(set));
    assert_eq!(got.si_signo, libc::SIGUSR1);
    assert_eq!(got.si_code, libc::SI_QUEUE);
}

fn pidfd_takes_a_descriptor() {
    let (read, write) = pipe();
    let (mine, theirs) = pipe();
    let pid = child(|| {
        close(write);
        put(theirs, &read.to_ne_bytes());
        sleep_ms(10_000);
        0
    });
    get(mine, 4);
    close(read);
    let fd = pidfd_open(pid).expect("it is there") as usize;
    let take = |target: usize, flags| call(libc::SYS_pidfd_getfd, &[fd, target, flags]);
    assert_eq!(take(read as usize, 1), Err(libc::EINVAL));
    assert_eq!(take(77, 0), Err(libc::EBADF));
    let taken = take(read as usize, 0).expect("we may look into our child") as i32;
    put(write, b"x");
    assert_eq!(get(taken, 1), b"x");
    ok(kill(pid, libc::SIGKILL));
    wait(pid);
    assert_eq!(take(read as usize, 0), Err(libc::ESRCH));
}

fn pidfd_of_another_user() {
    let (pid, go) = waiting_child(0);
    let fd = pidfd_open(pid).expect("it is there") as usize;
    in_child(|| {
        become_user();
        assert_eq!(call(libc::SYS_pidfd_getfd, &[fd, 0, 0]), Err(libc::EPERM));
        let sent = call(libc::SYS_pidfd_send_signal, &[fd, 9, 0, 0]);
        assert_eq!(sent, Err(libc::EPERM));
    });
    close(go);
    assert_eq!(wait(pid), Ended::Exit(0));
}

fn clone_gives_a_pidfd() {
    let mut fd: i32 = -1;
    let flags = libc::CLONE_PIDFD as usize | libc::SIGCHLD as usize;
    let pid = call(libc::SYS_clone, &[flags, 0, &raw mut fd as usize]).expect("clone works");
    if pid == 0 {
        // The child does not get it.
        let there = is_open(fd);
        exit(if there { 1 } else { 5 });
    }
    assert!(fd >= 0);
    assert!(is_readable(fd, 10_000));
    assert_eq!(wait(pid as i32), Ended::Exit(5));
    // A bad address leaves neither child nor descriptor.
    assert_eq!(call(libc::SYS_clone, &[flags, 0, 8]), Err(libc::EFAULT));
    let next = ok(dup(0));
    assert_eq!(next, fd + 1);
    fails(waitpid(-1, &mut 0, libc::WNOHANG), libc::ECHILD);
    let both = flags | libc::CLONE_PARENT_SETTID as usize;
    let refused = call(libc::SYS_clone, &[both, 0, &raw mut fd as usize]);
    assert_eq!(refused, Err(libc::EINVAL));
}

fn waitid_by_pidfd() {
    let (pid, go) = waiting_child(9);
    let fd = pidfd_open(pid).expect("it is there") as usize;
    let mut info: libc::siginfo_t = zeroed();
    let at = &raw mut info as usize;
    let waitid =
        |fd: usize, options: i32| call(libc::SYS_waitid, &[P_PIDFD, fd, at, options as usize, 0]);
    assert_eq!(waitid(fd, libc::WEXITED | libc::WNOHANG), Ok(0));
    let (read, _write) = pipe();
    assert_eq!(waitid(read as usize, libc::WEXITED), Err(libc::EBADF));
    assert_eq!(waitid(999, libc::WEXITED), Err(libc::EBADF));
    let nonblocking = call(
        libc::SYS_pidfd_open,
        &[pid as usize, libc::O_NONBLOCK as usize],
    )
    .expect("it is there");
    assert_eq!(waitid(nonblocking, libc::WEXITED), Err(libc::EAGAIN));
    close(go);
    assert_eq!(waitid(fd, libc::WEXITED), Ok(0));
    assert_eq!(info.pid(), pid);
    assert_eq!(info.status(), 9);
    assert_eq!(waitid(fd, libc::WEXITED), Err(libc::ECHILD));
}

fn vm(number: i64, pid: i32, local: &[libc::iovec], remote: &[libc::iovec]) -> Result<usize, i32> {
    call(
        number,
        &[
            pid as usize,
            local.as_ptr() as usize,
            local.len(),
            remote.as_ptr() as usize,
            remote.len(),
            0,
        ],
    )
}

fn part(at: usize, len: usize) -> libc::iovec {
    libc::iovec {
        iov_base: at as *mut libc::c_void,
        iov_len: len,
    }
}

fn other_memory_is_read_and_written() {
    let page = map(16384) as usize;
    for i in 0..16384 {
        poke(page + i, i as u8);
    }
    let (read, write) = pipe();
    let pid = child(|| {
        close(write);
        get(read, 1);
        i32::from(peek(page + 5000))
    });
    close(read);
    let mut buf = vec![0u8; 10_000];
    let (first, second) = buf.split_at_mut(7);
    let local = [piece_into(first), piece_into(second)];
    let remote = [part(page + 100, 6000), part(page + 8192, 4000)];
    assert_eq!(vm(SYS_PROCESS_VM_READV, pid, &local, &remote), Ok(10_000));
    let expected = (100..6100).chain(8192..12192).map(|i: usize| i as u8);
    assert!(buf.iter().copied().take(10_000).eq(expected));
    let mut value = [77u8];
    let written = vm(
        SYS_PROCESS_VM_WRITEV,
        pid,
        &[piece_into(&mut value)],
        &[part(page + 5000, 1)],
    );
    assert_eq!(written, Ok(1));
    // The memory is the child's alone.
    assert_eq!(peek(page + 5000), 5000usize as u8);
    close(write);
    assert_eq!(wait(pid), Ended::Exit(77));
}

fn other_memory_in_part() {
    let page = map(8192) as usize;
    ok(munmap(page + 4096, 4096));
    let (pid, go) = waiting_child(0);
    let mut buf = vec![0u8; 8192];
    let local = [piece_into(&mut buf)];
    let read = |remote: &[libc::iovec]| vm(SYS_PROCESS_VM_READV, pid, &local, remote);
    assert_eq!(read(&[part(page, 8192)]), Ok(4096));
    assert_eq!(read(&[part(page + 4096, 10)]), Err(libc::EFAULT));
    assert_eq!(read(&[]), Ok(0));
    ok(mprotect(page, 4096, libc::PROT_READ));
    close(go);
    wait(pid);
    assert_eq!(read(&[part(page, 1)]), Err(libc::ESRCH));
}

fn other_memory_hostile() {
    let me = std::process::id() as i32;
    let mut byte = [0u8];
    let good = [piece_into(&mut byte)];
    let flags = call(
        SYS_PROCESS_VM_READV,
        &[
            me as usize,
            good.as_ptr() as usize,
            1,
            good.as_ptr() as usize,
            1,
            1,
        ],
    );
    assert_eq!(flags, Err(libc::EINVAL));
    let many = vec![part(0, 0); 1025];
    assert_eq!(
        vm(SYS_PROCESS_VM_READV, me, &good, &many),
        Err(libc::EINVAL)
    );
    let negative = [part(byte.as_ptr() as usize, usize::MAX)];
    assert_eq!(
        vm(SYS_PROCESS_VM_READV, me, &negative, &good),
        Err(libc::EINVAL)
    );
    let kernel = [part(0xffff_8880_0000_0000, 64)];
    assert_eq!(
        vm(SYS_PROCESS_VM_READV, me, &good, &kernel),
        Err(libc::EFAULT)
    );
    assert_eq!(
        vm(SYS_PROCESS_VM_WRITEV, me, &good, &kernel),
        Err(libc::EFAULT)
    );
    in_child(|| {
        become_user();
        assert_eq!(vm(SYS_PROCESS_VM_READV, 1, &good, &good), Err(libc::EPERM));
    });
}

fn kcmp_orders() {
    let me = std::process::id() as usize;
    let kcmp = |a: usize, b: usize, kind: usize, x: usize, y: usize| {
        call(libc::SYS_kcmp, &[a, b, kind, x, y])
    };
    let (read, write) = pipe();
    let (read, write) = (read as usize, write as usize);
    let same = ok(dup(read as i32)) as usize;
    assert_eq!(kcmp(me, me, 0, read, same), Ok(0));
    let forth = kcmp(me, me, 0, read, write).expect("both are open");
    let back = kcmp(me, me, 0, write, read).expect("both are open");
    assert!((forth == 1 && back == 2) || (forth == 2 && back == 1));
    assert_eq!(kcmp(me, me, 0, read, 99), Err(libc::EBADF));
    assert_eq!(kcmp(me, me, 99, 0, 0), Err(libc::EINVAL));
    assert_eq!(kcmp(me, 4_000_000, 1, 0, 0), Err(libc::ESRCH));
    let (pid, go) = waiting_child(0);
    let pid = pid as usize;
    for kind in 1..=4 {
        assert_eq!(kcmp(me, me, kind, 0, 0), Ok(0));
        assert_ne!(kcmp(me, pid, kind, 0, 0), Ok(0), "kind {kind}");
    }
    assert_eq!(kcmp(me, pid, 0, same, same), Ok(0));
    close(go);
    wait(pid as i32);
}
