//! Seizing, attaching, letting go.

use super::{ORIG_RAX, SEIZE, go, ptrace, regs, request, sleeper, stop_of};
use crate::cases::cases;
use crate::sys::*;

cases![
    seized_and_interrupted,
    group_stops_of_a_seized_process,
    attach_and_detach,
    tracer_waits_before_the_parent,
    tracee_outlives_its_tracer,
    tracee_dies_with_its_tracer,
];

const INTERRUPT: usize = 0x4207;
const LISTEN: usize = 0x4208;
const EVENT_STOP: i32 = 128;

fn seized_and_interrupted() {
    let pid = sleeper();
    assert_eq!(ptrace(SEIZE, pid, 0, 0), Ok(0));
    assert_eq!(ptrace(SEIZE, pid, 0, 0), Err(libc::EPERM));
    // It runs on: nothing that wants a stop works.
    let mut word = 0u64;
    let peek = ptrace(
        libc::PTRACE_PEEKUSER as usize,
        pid,
        0,
        &raw mut word as usize,
    );
    assert_eq!(peek, Err(libc::ESRCH));
    assert_eq!(ptrace(INTERRUPT, pid, 0, 0), Ok(0));
    assert_eq!(stop_of(pid), libc::SIGTRAP | EVENT_STOP << 8);
    // It was in pause(2), which it goes back to.
    assert_eq!(regs(pid)[ORIG_RAX], libc::SYS_pause as u64);
    go(pid);
    assert_eq!(ptrace(INTERRUPT, pid, 0, 0), Ok(0));
    assert_eq!(stop_of(pid), libc::SIGTRAP | EVENT_STOP << 8);
    ok(kill(pid, libc::SIGKILL));
    assert_eq!(wait(pid), Ended::Signal(libc::SIGKILL));
}

fn group_stops_of_a_seized_process() {
    let pid = sleeper();
    assert_eq!(ptrace(SEIZE, pid, 0, 0), Ok(0));
    ok(kill(pid, libc::SIGSTOP));
    assert_eq!(stop_of(pid), libc::SIGSTOP);
    request(libc::PTRACE_CONT, pid, libc::SIGSTOP as usize);
    assert_eq!(stop_of(pid), libc::SIGSTOP | EVENT_STOP << 8);
    assert_eq!(ptrace(LISTEN, pid, 0, 0), Ok(0));
    let cont = ptrace(libc::PTRACE_CONT as usize, pid, 0, 0);
    assert_eq!(cont, Err(libc::ESRCH), "it listens");
    ok(kill(pid, libc::SIGCONT));
    assert_eq!(stop_of(pid), libc::SIGTRAP | EVENT_STOP << 8);
    go(pid);
    assert_eq!(stop_of(pid), libc::SIGCONT);
    go(pid);
    ok(kill(pid, libc::SIGKILL));
    assert_eq!(wait(pid), Ended::Signal(libc::SIGKILL));
}

fn attach_and_detach() {
    let pid = sleeper();
    request(libc::PTRACE_ATTACH, pid, 0);
    assert_eq!(stop_of(pid), libc::SIGSTOP);
    assert_eq!(ptrace(LISTEN, pid, 0, 0), Err(libc::EIO));
    assert_eq!(ptrace(INTERRUPT, pid, 0, 0), Err(libc::EIO));
    assert_eq!(
        ptrace(libc::PTRACE_DETACH as usize, pid, 0, 65),
        Err(libc::EIO)
    );
    request(libc::PTRACE_DETACH, pid, 0);
    let tracer = proc_field(&format!("/proc/{pid}/status"), "TracerPid");
    assert_eq!(tracer.as_deref(), Some("0"));
    // Detached with a signal, it gets that.
    request(libc::PTRACE_ATTACH, pid, 0);
    assert_eq!(stop_of(pid), libc::SIGSTOP);
    request(libc::PTRACE_DETACH, pid, libc::SIGTERM as usize);
    assert_eq!(wait(pid), Ended::Signal(libc::SIGTERM));
}

fn tracer_waits_before_the_parent() {
    let pid = sleeper();
    let (read, write) = pipe();
    let (done, told) = pipe();
    let tracer = child(|| {
        request(libc::PTRACE_ATTACH, pid, 0);
        assert_eq!(stop_of(pid), libc::SIGSTOP);
        go(pid);
        put(write, b"x");
        get(done, 1);
        i32::from(wait(pid) != Ended::Signal(libc::SIGKILL))
    });
    get(read, 1);
    ok(kill(pid, libc::SIGKILL));
    sleep_ms(100);
    let mut status = 0;
    let got = waitpid(pid, &mut status, libc::WNOHANG);
    assert_eq!(got, Ok(0), "its tracer has not waited yet");
    put(told, b"x");
    assert_eq!(wait(tracer), Ended::Exit(0));
    assert_eq!(wait(pid), Ended::Signal(libc::SIGKILL));
}

fn tracee_outlives_its_tracer() {
    let pid = sleeper();
    in_child(|| {
        request(libc::PTRACE_ATTACH, pid, 0);
        assert_eq!(stop_of(pid), libc::SIGSTOP);
    });
    let tracer = proc_field(&format!("/proc/{pid}/status"), "TracerPid");
    assert_eq!(tracer.as_deref(), Some("0"));
    ok(kill(pid, libc::SIGCONT));
    ok(kill(pid, libc::SIGTERM));
    assert_eq!(wait(pid), Ended::Signal(libc::SIGTERM));
}

fn tracee_dies_with_its_tracer() {
    let pid = sleeper();
    in_child(|| {
        let exitkill = 1 << 20;
        assert_eq!(ptrace(SEIZE, pid, 0, exitkill), Ok(0));
    });
    assert_eq!(wait(pid), Ended::Signal(libc::SIGKILL));
}
