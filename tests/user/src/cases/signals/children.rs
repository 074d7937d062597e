//! Signals about children: ends, stops and continuing.

use super::{CODE, COUNT, handle};
use crate::cases::cases;
use crate::sys::*;
use std::sync::atomic::Ordering::SeqCst;

cases![
    ignored_children_leave_no_zombies,
    no_child_wait_flag,
    stop_and_continue,
    stopped_children_are_quiet_with_nocldstop,
];

fn ignored_children_leave_no_zombies() {
    ignore_signal(libc::SIGCHLD);
    child(|| 1);
    child(|| 2);
    fails(waitpid(-1, &mut 0, 0), libc::ECHILD);
}

fn no_child_wait_flag() {
    handle(libc::SIGCHLD, libc::SA_NOCLDWAIT);
    let pid = child(|| 1);
    loop {
        match waitpid(pid, &mut 0, 0) {
            Err(libc::ECHILD) => break,
            got => fails(got, libc::EINTR),
        }
    }
    assert_eq!(COUNT.load(SeqCst), 1);
}

fn stop_and_continue() {
    let (reader, writer) = pipe();
    let pid = child(|| {
        // In a group of its own: SIGTSTP does nothing to a group that nobody outside of it could continue.
        ok(setpgid(0, 0));
        put(writer, b"x");
        sleep_for_ever()
    });
    get(reader, 1);

    for signal in [libc::SIGSTOP, libc::SIGTSTP] {
        ok(kill(pid, signal));
        assert_eq!(wait_stopped(pid), signal);
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("procfs");
        assert!(state.contains(") T "), "{state}");
        ok(kill(pid, libc::SIGCONT));
        let mut status = 0;
        assert_eq!(ok(waitpid(pid, &mut status, libc::WCONTINUED)), pid);
        assert!(libc::WIFCONTINUED(status));
    }
    // A stopped process dies by SIGKILL, and by SIGTERM only once it goes on.
    ok(kill(pid, libc::SIGSTOP));
    wait_stopped(pid);
    ok(kill(pid, libc::SIGTERM));
    sleep_ms(30);
    assert_eq!(ok(waitpid(pid, &mut 0, libc::WNOHANG)), 0);
    ok(kill(pid, libc::SIGKILL));
    assert_eq!(wait(pid), Ended::Signal(libc::SIGKILL));
}

fn stopped_children_are_quiet_with_nocldstop() {
    handle(libc::SIGCHLD, libc::SA_NOCLDSTOP | libc::SA_RESTART);
    let pid = child(|| {
        raise(libc::SIGSTOP);
        0
    });
    wait_stopped(pid);
    assert_eq!(COUNT.load(SeqCst), 0);
    ok(kill(pid, libc::SIGCONT));
    assert_eq!(wait(pid), Ended::Exit(0));
    assert_eq!(
        (COUNT.load(SeqCst), CODE.load(SeqCst)),
        (1, libc::CLD_EXITED)
    );
}
