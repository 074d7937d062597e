//! The state of a process as `/proc` tells it, its flags and its number.

use crate::cases::cases;
use crate::sys::*;
use std::sync::atomic::{AtomicU32, Ordering};

cases![
    letters_of_states,
    killable_waits_end_for_fatal_signals_only,
    interruptible_waits_end_for_handlers,
    flags_follow_the_life,
    numbers_wrap_below_their_limit,
    numbers_run_out,
];

fn letter(pid: i32) -> String {
    stat_field(pid, 3)
}

/// A child that waits for a child of its own as vfork(2) does, until `go` is closed.
fn waits_in_vfork(prepare: impl FnOnce()) -> (i32, i32) {
    let (read, go) = pipe();
    let pid = child(|| {
        close(go);
        prepare();
        let flags = (libc::CLONE_VFORK | libc::SIGCHLD) as usize;
        if ok(call(libc::SYS_clone, &[flags, 0, 0, 0, 0])) == 0 {
            get(read, 1);
            exit(0);
        }
        0
    });
    close(read);
    soon(|| letter(pid) == "D");
    (pid, go)
}

fn letters_of_states() {
    let (waits, go) = waits_in_vfork(|| ());
    close(go);
    assert_eq!(wait(waits), Ended::Exit(0));

    let spins = child(|| {
        loop {
            std::hint::spin_loop();
        }
    });
    soon(|| letter(spins) == "R");
    ok(kill(spins, libc::SIGSTOP));
    assert_eq!(wait_stopped(spins), libc::SIGSTOP);
    assert_eq!(letter(spins), "T");
    ok(kill(spins, libc::SIGKILL));
    let all = libc::WEXITED | libc::WNOWAIT;
    ok(waitid(libc::P_PID, spins as u32, all));
    assert_eq!(letter(spins), "Z");
    assert_eq!(wait(spins), Ended::Signal(libc::SIGKILL));

    let sleeps = child(|| sleep_for_ever());
    soon(|| letter(sleeps) == "S");
    ok(call(libc::SYS_ptrace, &[SEIZE, sleeps as usize, 0, 0]));
    ok(call(libc::SYS_ptrace, &[INTERRUPT, sleeps as usize, 0, 0]));
    wait_stopped(sleeps);
    assert_eq!(letter(sleeps), "t");
    ok(kill(sleeps, libc::SIGKILL));
    assert_eq!(wait(sleeps), Ended::Signal(libc::SIGKILL));
}

/// `PTRACE_SEIZE`.
const SEIZE: usize = 0x4206;
/// `PTRACE_INTERRUPT`.
const INTERRUPT: usize = 0x4207;

static HANDLED: AtomicU32 = AtomicU32::new(0);

fn count(_: i32, _: &libc::siginfo_t, _: &mut libc::ucontext_t) {
    HANDLED.fetch_add(1, Ordering::SeqCst);
}

fn killable_waits_end_for_fatal_signals_only() {
    let (pid, go) = waits_in_vfork(|| handle_with(libc::SIGUSR1, count, 0, &[]));
    ok(kill(pid, libc::SIGUSR1));
    let waiting = || proc_field(&format!("/proc/{pid}/status"), "ShdPnd").expect("it is there");
    let bit = format!("{:016x}", SigSet::of(&[libc::SIGUSR1]).0);
    assert_eq!(waiting(), bit);
    // It may look at what came, but sleeps on.
    soon(|| letter(pid) == "D");
    assert_eq!(waiting(), bit);
    close(go);
    assert_eq!(wait(pid), Ended::Exit(0));

    let (pid, go) = waits_in_vfork(|| ());
    ok(kill(pid, libc::SIGKILL));
    assert_eq!(wait(pid), Ended::Signal(libc::SIGKILL));
    close(go);
}

fn interruptible_waits_end_for_handlers() {
    let pid = child(|| {
        handle_with(libc::SIGUSR1, count, libc::SA_RESTART, &[]);
        fails(pause(), libc::EINTR);
        HANDLED.load(Ordering::SeqCst) as i32
    });
    // Before its handler is there, the signal would end it.
    let caught = || proc_field(&format!("/proc/{pid}/status"), "SigCgt").expect("it is there");
    soon(|| u64::from_str_radix(&caught(), 16).expect("a set") & 1 << (libc::SIGUSR1 - 1) != 0);
    until_asleep(pid);
    ok(kill(pid, libc::SIGUSR1));
    assert_eq!(wait(pid), Ended::Exit(1));
}

/// `PF_EXITING`.
const EXITING: u32 = 0x4;
/// `PF_FORKNOEXEC`.
const FORKED: u32 = 0x40;
/// `PF_SIGNALED`.
const SIGNALLED: u32 = 0x400;
/// `PF_KTHREAD`.
const KERNEL_THREAD: u32 = 0x20_0000;
/// `PF_RANDOMIZE`.
const RANDOMIZED: u32 = 0x40_0000;

fn flags_follow_the_life() {
    const KNOWN: u32 = EXITING | FORKED | SIGNALLED | KERNEL_THREAD | RANDOMIZED;
    let flags = |pid| stat_field(pid, 9).parse::<u32>().expect("a number") & KNOWN;
    assert_eq!(flags(getpid()), RANDOMIZED);
    let ended = |pid: i32| {
        ok(waitid(
            libc::P_PID,
            pid as u32,
            libc::WEXITED | libc::WNOWAIT,
        ));
        let flags = flags(pid);
        wait(pid);
        flags
    };
    let pid = child(|| {
        assert_eq!(flags(getpid()), RANDOMIZED | FORKED);
        0
    });
    assert_eq!(ended(pid), RANDOMIZED | FORKED | EXITING);
    let pid = child(|| sleep_for_ever());
    ok(kill(pid, libc::SIGTERM));
    assert_eq!(ended(pid), RANDOMIZED | FORKED | EXITING | SIGNALLED);
    let pid = child(|| {
        ignore(execve("/proc/self/exe", &["x", "helper", "exit", "0"]));
        1
    });
    assert_eq!(ended(pid), RANDOMIZED | EXITING);
}

const LIMIT: &str = "/proc/sys/kernel/pid_max";

/// The limit of process numbers, put back at the end.
struct Limit(String);

impl Limit {
    fn set(to: i32) -> Limit {
        let before = std::fs::read_to_string(LIMIT).expect("it is there");
        std::fs::write(LIMIT, to.to_string()).expect("it can be set");
        Limit(before)
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        std::fs::write(LIMIT, &self.0).expect("it was set before");
    }
}

/// After the first round, numbers below this are not given out.
const RESERVED: i32 = 300;

fn numbers_wrap_below_their_limit() {
    const MOST: i32 = 340;
    for bad in ["0", "300", "5000000", "x"] {
        let refused = std::fs::write(LIMIT, bad).expect_err("out of range");
        assert_eq!(refused.raw_os_error(), Some(libc::EINVAL), "{bad}");
    }
    let _limit = Limit::set(MOST);
    let mut last = 0;
    let mut rounds = 0;
    while rounds < 3 {
        let pid = child(|| 0);
        wait(pid);
        assert!((1..MOST).contains(&pid), "{pid}");
        if pid <= last {
            rounds += 1;
        }
        assert!(rounds == 0 || pid >= RESERVED, "{pid} in round {rounds}");
        last = pid;
    }
}

fn numbers_run_out() {
    let _limit = Limit::set(RESERVED + 20);
    let mut children = Vec::new();
    // Low numbers may be free before the first round ends.
    let error = loop {
        match try_fork() {
            Ok(0) => sleep_for_ever(),
            Ok(pid) => children.push(pid),
            Err(error) => break error,
        }
    };
    for pid in children {
        ok(kill(pid, libc::SIGKILL));
        wait(pid);
    }
    assert_eq!(error, libc::EAGAIN);
    in_child(|| ());
}
