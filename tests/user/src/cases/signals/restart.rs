//! Which calls go on after a handler that asked for it, and which never do; signal(7).

use crate::cases::cases;
use crate::sys::*;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

cases![
    waits_for_files_go_on,
    waits_for_processes_and_locks_go_on,
    waits_for_signals_and_readiness_end,
    waits_for_messages_and_time_end,
];

/// How many handlers have run, in all processes.
fn handled() -> &'static AtomicU32 {
    static HANDLED: OnceLock<&AtomicU32> = OnceLock::new();
    HANDLED.get_or_init(shared::<AtomicU32>)
}

fn note(_: i32, _: &libc::siginfo_t, _: &mut libc::ucontext_t) {
    handled().fetch_add(1, SeqCst);
}

/// What becomes of a wait.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    /// It goes on where it was, if the handler was set with `SA_RESTART`.
    GoesOn,
    /// It ends with `EINTR` in any case.
    Ends,
}

/// Has a child wait by `wait_by`, which would wait for ever, and sends it a signal.
#[track_caller]
fn check(then: Then, name: &str, wait_by: impl Fn() -> Result<usize>) {
    for flags in [0, libc::SA_RESTART] {
        handled().store(0, SeqCst);
        let pid = child(|| {
            ok(prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as usize));
            handle_with(libc::SIGUSR1, note, flags, &[]);
            match wait_by() {
                Err(libc::EINTR) => 0,
                Err(error) => error,
                Ok(_) => 255,
            }
        });
        let rests = || ["S", "Z"].contains(&&*stat_field(pid, 3));
        let caught = || proc_field(&format!("/proc/{pid}/status"), "SigCgt").expect("it is there");
        let usr1 = SigSet::of(&[libc::SIGUSR1]).0;
        soon(|| u64::from_str_radix(&caught(), 16).expect("a set") & usr1 != 0);
        soon(rests);
        ok(kill(pid, libc::SIGUSR1));
        let goes_on = then == Then::GoesOn && flags != 0;
        if goes_on {
            // Its handler has run; what makes it sleep after that is the call again.
            soon(|| handled().load(SeqCst) == 1);
            soon(rests);
            ok(kill(pid, libc::SIGKILL));
        }
        let expected = if goes_on {
            Ended::Signal(libc::SIGKILL)
        } else {
            Ended::Exit(0)
        };
        assert_eq!(wait(pid), expected, "{name} with flags {flags:#x}");
        assert_eq!(handled().load(SeqCst), 1, "{name}");
    }
}

/// The address of a place to read to, to write from, or of zeros that stand for a structure.
fn room() -> usize {
    static ROOM: OnceLock<usize> = OnceLock::new();
    *ROOM.get_or_init(|| map(1 << 16) as usize)
}

/// Writes to `fd` until there is no room left.
fn fill(fd: i32) {
    let flags = file_flags(fd);
    ok(fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK));
    while write(fd, &[0; 4096]).is_ok() {}
    while write(fd, &[0]).is_ok() {}
    ok(fcntl(fd, libc::F_SETFL, flags));
}

fn waits_for_files_go_on() {
    use Then::GoesOn;
    let read_from = |fd: i32| move || call(libc::SYS_read, &[fd as usize, room(), 128]);
    let (reader, writer) = pipe();
    check(GoesOn, "read", read_from(reader));
    let piece = [room(), 1];
    let pieces = [reader as usize, piece.as_ptr() as usize, 1];
    check(GoesOn, "readv", || call(libc::SYS_readv, &pieces));
    fill(writer);
    let one_byte = [writer as usize, room(), 1];
    check(GoesOn, "write", || call(libc::SYS_write, &one_byte));
    ok(mkfifo("waited-for", 0o600));
    check(GoesOn, "open", || {
        open("waited-for", libc::O_RDONLY).map(|_| 0)
    });
    let counter = ok(call(libc::SYS_eventfd2, &[0, 0])) as i32;
    check(GoesOn, "read of an eventfd", read_from(counter));
    let watcher = ok(call(libc::SYS_inotify_init1, &[0])) as i32;
    check(GoesOn, "read of an inotify", read_from(watcher));
    let timer = ok(call(
        libc::SYS_timerfd_create,
        &[libc::CLOCK_MONOTONIC as usize, 0],
    )) as i32;
    check(GoesOn, "read of a timer", read_from(timer));

    let (one, other) = pair(libc::SOCK_STREAM);
    let receive = [one as usize, room(), 1, 0, 0, 0];
    check(GoesOn, "recvfrom", || call(libc::SYS_recvfrom, &receive));
    fill(other);
    let send = [other as usize, room(), 1, 0, 0, 0];
    check(GoesOn, "sendto", || call(libc::SYS_sendto, &send));
    // Once there is a limit of time, a wait does not go on.
    let limit = libc::timeval {
        tv_sec: 1000,
        tv_usec: 0,
    };
    let receive = [other as usize, room(), 1, 0, 0, 0];
    ok(setsockopt(
        other,
        libc::SOL_SOCKET,
        libc::SO_RCVTIMEO,
        &limit,
    ));
    check(Then::Ends, "recvfrom with a limit", || {
        call(libc::SYS_recvfrom, &receive)
    });
}

fn waits_for_processes_and_locks_go_on() {
    use Then::GoesOn;
    let sleeper = || {
        child(|| {
            ok(prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as usize));
            sleep_for_ever()
        })
    };
    check(GoesOn, "wait4", || {
        call(libc::SYS_wait4, &[sleeper() as usize, 0, 0, 0])
    });
    check(GoesOn, "waitid", || {
        let who = [
            libc::P_PID as usize,
            sleeper() as usize,
            0,
            libc::WEXITED as usize,
            0,
        ];
        call(libc::SYS_waitid, &who)
    });
    let held = file("held", b"x");
    ok(call(
        libc::SYS_flock,
        &[held as usize, libc::LOCK_EX as usize],
    ));
    check(GoesOn, "flock", || {
        let again = ok(open("held", libc::O_RDWR));
        call(libc::SYS_flock, &[again as usize, libc::LOCK_EX as usize])
    });
    let mut lock: libc::flock = zeroed();
    (lock.l_type, lock.l_len) = (libc::F_WRLCK as i16, 1);
    let wait_for_it = [
        held as usize,
        libc::F_SETLKW as usize,
        &raw const lock as usize,
    ];
    ok(call(libc::SYS_fcntl, &wait_for_it));
    check(GoesOn, "fcntl", || call(libc::SYS_fcntl, &wait_for_it));
    let word = shared::<AtomicU32>().as_ptr() as usize;
    let futex = |time| [word, libc::FUTEX_WAIT as usize, 0, time, 0, 0];
    check(GoesOn, "futex", || call(libc::SYS_futex, &futex(0)));
    let long = [1000_u64, 0];
    let limited = futex(long.as_ptr() as usize);
    check(Then::Ends, "futex with a limit", || {
        call(libc::SYS_futex, &limited)
    });
}

fn waits_for_signals_and_readiness_end() {
    use Then::Ends;
    let (reader, _writer) = pipe();
    let long = [1000_u64, 0];
    let time = || long.as_ptr() as usize;
    check(Ends, "pause", || call(libc::SYS_pause, &[]));
    let none = SigSet(0);
    let mask = [&raw const none as usize, size_of::<SigSet>()];
    check(Ends, "sigsuspend", || call(libc::SYS_rt_sigsuspend, &mask));
    let other = SigSet::of(&[libc::SIGUSR2]);
    let wanted = [&raw const other as usize, 0, 0, size_of::<SigSet>()];
    check(Ends, "sigwaitinfo", || {
        call(libc::SYS_rt_sigtimedwait, &wanted)
    });
    let set = [reader as u32, libc::POLLIN as u32];
    let files = set.as_ptr() as usize;
    check(Ends, "poll", || {
        call(libc::SYS_poll, &[files, 1, usize::MAX])
    });
    check(Ends, "poll with a limit", || {
        call(libc::SYS_poll, &[files, 1, 1_000_000])
    });
    check(Ends, "ppoll", || {
        call(libc::SYS_ppoll, &[files, 1, time(), 0, 0])
    });
    let bits: &'static [u64; 16] = shared();
    let none = bits.as_ptr() as usize;
    check(Ends, "select", || {
        call(libc::SYS_select, &[8, none, 0, 0, time()])
    });
    check(Ends, "pselect", || {
        call(libc::SYS_pselect6, &[8, none, 0, 0, time(), 0])
    });
    let epoll = ok(call(libc::SYS_epoll_create1, &[0]));
    let wait = [epoll, room(), 1, usize::MAX, 0, 0];
    check(Ends, "epoll_wait", || call(libc::SYS_epoll_wait, &wait));
    check(Ends, "epoll_pwait", || call(libc::SYS_epoll_pwait, &wait));
}

fn waits_for_messages_and_time_end() {
    use Then::Ends;
    let long = [1000_u64, 0];
    let time = || long.as_ptr() as usize;
    check(Ends, "nanosleep", || {
        call(libc::SYS_nanosleep, &[time(), 0])
    });
    for clock in [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC] {
        let sleep = [clock as usize, 0, time(), 0];
        check(Ends, "clock_nanosleep", || {
            call(libc::SYS_clock_nanosleep, &sleep)
        });
    }
    let private = libc::IPC_PRIVATE as usize;
    let queue = ok(call(libc::SYS_msgget, &[private, 0o600]));
    let receive = [queue, room(), 8, 0, 0];
    check(Ends, "msgrcv", || call(libc::SYS_msgrcv, &receive));
    ok(call(libc::SYS_msgctl, &[queue, libc::IPC_RMID as usize, 0]));
    let semaphore = ok(call(libc::SYS_semget, &[private, 1, 0o600]));
    // Number 0, one less, no flags.
    let down = [0_u16, u16::MAX, 0];
    let take = [semaphore, down.as_ptr() as usize, 1, time()];
    check(Ends, "semop", || call(libc::SYS_semop, &take[..3]));
    check(Ends, "semtimedop", || call(libc::SYS_semtimedop, &take));
    ok(call(
        libc::SYS_semctl,
        &[semaphore, 0, libc::IPC_RMID as usize, 0],
    ));
}
