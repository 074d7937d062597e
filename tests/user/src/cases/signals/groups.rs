//! Groups whose last tie to their session is cut, and stops that cross with continuations.

use crate::cases::cases;
use crate::sys::*;

cases![
    stopped_orphans_are_hung_up,
    orphans_do_not_stop_for_the_terminal,
    a_continuation_takes_stops_back,
];

fn stopped_orphans_are_hung_up() {
    ok(prctl(libc::PR_SET_CHILD_SUBREAPER, 1));
    let (read, write) = pipe();
    let leader = child(|| {
        ok(setsid());
        // A job of two processes, of which the first ends while the second is stopped.
        let first = child(|| {
            ok(setpgid(0, 0));
            let second = child(|| {
                ok(kill(getpid(), libc::SIGSTOP));
                0
            });
            assert_eq!(wait_stopped(second), libc::SIGSTOP);
            put(write, &second.to_ne_bytes());
            0
        });
        assert_eq!(wait(first), Ended::Exit(0));
        0
    });
    let second = get(read, 4).try_into().expect("a number");
    // Once the first has been waited for, the second is ours.
    assert_eq!(wait(leader), Ended::Exit(0));
    // It was continued as well, or it could not have ended.
    let second = wait(i32::from_ne_bytes(second));
    assert_eq!(second, Ended::Signal(libc::SIGHUP));
}

const TERMINAL_STOPS: [i32; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

fn orphans_do_not_stop_for_the_terminal() {
    for signal in TERMINAL_STOPS {
        // Its parent is in the session and not in the group: it has somebody to continue it.
        let pid = child(|| {
            ok(setpgid(0, 0));
            raise(signal);
            5
        });
        assert_eq!(wait_stopped(pid), signal);
        ok(kill(pid, libc::SIGCONT));
        assert_eq!(wait(pid), Ended::Exit(5));
    }
    let pid = child(|| {
        ok(setsid());
        TERMINAL_STOPS.into_iter().for_each(raise);
        raise(libc::SIGSTOP);
        6
    });
    assert_eq!(wait_stopped(pid), libc::SIGSTOP);
    ok(kill(pid, libc::SIGCONT));
    assert_eq!(wait(pid), Ended::Exit(6));
}

fn a_continuation_takes_stops_back() {
    let set = block(&TERMINAL_STOPS);
    block(&[libc::SIGCONT]);
    TERMINAL_STOPS.into_iter().for_each(raise);
    assert!(TERMINAL_STOPS.into_iter().all(pending));
    raise(libc::SIGCONT);
    assert!(pending(libc::SIGCONT) && !TERMINAL_STOPS.into_iter().any(pending));
    raise(libc::SIGTSTP);
    assert!(pending(libc::SIGTSTP) && !pending(libc::SIGCONT));
    assert_eq!(sigwait(set), libc::SIGTSTP);
    // However they cross, the last one counts.
    let pid = child(|| {
        loop {
            std::hint::spin_loop();
        }
    });
    for _ in 0..500 {
        ok(kill(pid, libc::SIGSTOP));
        ok(kill(pid, libc::SIGCONT));
    }
    soon(|| stat_field(pid, 3) == "R");
    ok(kill(pid, libc::SIGSTOP));
    soon(|| stat_field(pid, 3) == "T");
    ok(kill(pid, libc::SIGKILL));
    assert_eq!(wait(pid), Ended::Signal(libc::SIGKILL));
}
