//! What each signal does where nobody has said anything else.

use crate::cases::cases;
use crate::sys::*;

cases![every_number_has_its_default, signalfd_flags_and_batches];

/// What becomes of a process.
#[derive(Debug, PartialEq)]
enum Fate {
    Ends { core: bool },
    Stops,
    GoesOn,
}

fn fate_of(signal: i32) -> Fate {
    let pid = child(|| {
        forget_the_runtime();
        // None that the test's own start has set.
        for other in [libc::SIGPIPE, libc::SIGCHLD] {
            default_signal(other);
        }
        ok(tgkill(getpid(), gettid(), signal));
        7
    });
    let mut status = 0;
    assert_eq!(ok(waitpid(pid, &mut status, libc::WUNTRACED)), pid);
    if libc::WIFSTOPPED(status) {
        assert_eq!(libc::WSTOPSIG(status), signal);
        ok(kill(pid, libc::SIGKILL));
        wait(pid);
        return Fate::Stops;
    }
    if libc::WIFEXITED(status) {
        assert_eq!(libc::WEXITSTATUS(status), 7);
        return Fate::GoesOn;
    }
    assert_eq!(libc::WTERMSIG(status), signal);
    let core = libc::WCOREDUMP(status);
    Fate::Ends { core }
}

fn every_number_has_its_default() {
    const CORE: [i32; 10] = [
        libc::SIGQUIT,
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGABRT,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGSEGV,
        libc::SIGXCPU,
        libc::SIGXFSZ,
        libc::SIGSYS,
    ];
    const STOP: [i32; 4] = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    const IGNORED: [i32; 4] = [libc::SIGCHLD, libc::SIGCONT, libc::SIGURG, libc::SIGWINCH];
    ok(mkdir("/tmp/defaults", 0o755));
    ok(chdir("/tmp/defaults"));
    ok(setrlimit(
        libc::RLIMIT_CORE,
        libc::RLIM_INFINITY,
        libc::RLIM_INFINITY,
    ));
    for signal in 1..=64 {
        let expected = match signal {
            _ if CORE.contains(&signal) => Fate::Ends { core: true },
            _ if STOP.contains(&signal) => Fate::Stops,
            _ if IGNORED.contains(&signal) => Fate::GoesOn,
            _ => Fate::Ends { core: false },
        };
        in_child(|| {
            // The terminal's stops want somebody in the session, and not in the group, who can continue it.
            ok(setpgid(0, 0));
            assert_eq!(fate_of(signal), expected, "{signal}");
        });
    }
}

fn signalfd_flags_and_batches() {
    let set = block(&[libc::SIGUSR1, libc::SIGUSR2, 40]);
    let fd = ok(signalfd(-1, set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC));
    assert_eq!(ok(fcntl(fd, libc::F_GETFD, 0)), libc::FD_CLOEXEC);
    assert_ne!(file_flags(fd) & libc::O_NONBLOCK, 0);
    fails(read_signal(fd), libc::EAGAIN);
    fails(signalfd(-1, set, 1), libc::EINVAL);
    fails(signalfd(0, set, 0), libc::EINVAL);
    let short = call(libc::SYS_read, &[fd as usize, map(4096) as usize, 127]);
    assert_eq!(short, Err(libc::EINVAL));

    let epoll = ok(call(libc::SYS_epoll_create1, &[0])) as i32;
    ok(epoll_ctl(
        epoll,
        libc::EPOLL_CTL_ADD,
        fd,
        libc::EPOLLIN as u32,
        9,
    ));
    assert_eq!(epoll_wait(epoll, 4, 0), Ok(vec![]));
    raise(libc::SIGUSR2);
    for value in [1, 2] {
        ok(sigqueue(getpid(), 40, value));
    }
    raise(libc::SIGUSR1);
    assert_eq!(epoll_wait(epoll, 4, 0), Ok(vec![(libc::EPOLLIN as u32, 9)]));
    // As many as there is room for, the lowest numbers first.
    const LEN: usize = size_of::<libc::signalfd_siginfo>();
    let to = map(4096) as usize;
    let got = call(libc::SYS_read, &[fd as usize, to, 3 * LEN + 5]);
    assert_eq!(got, Ok(3 * LEN));
    let number = |n: usize| u32::from_ne_bytes(peek_all(to + n * LEN, 4).try_into().expect("four"));
    let expected = [libc::SIGUSR1, libc::SIGUSR2, 40].map(|signal| signal as u32);
    assert_eq!([number(0), number(1), number(2)], expected);
    let last = ok(read_signal(fd));
    assert_eq!(
        (last.ssi_signo, last.ssi_int, last.ssi_code),
        (40, 2, libc::SI_QUEUE)
    );
    assert_eq!((last.ssi_pid, last.ssi_uid), (getpid() as u32, getuid()));
    // Another set, by the same descriptor.
    assert_eq!(signalfd(fd, SigSet::of(&[libc::SIGUSR2]), 0), Ok(fd));
    raise(libc::SIGUSR1);
    fails(read_signal(fd), libc::EAGAIN);
    raise(libc::SIGUSR2);
    assert_eq!(ok(read_signal(fd)).ssi_signo, libc::SIGUSR2 as u32);
}
