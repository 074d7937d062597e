//! What a tracer is told: signals, children, programs, ends.

use super::{go, request, stop_of, traced};
use crate::cases::cases;
use crate::sys::*;

cases![
    signals_pass_the_tracer,
    children_are_followed,
    exec_and_exit_are_events,
];

fn signals_pass_the_tracer() {
    let pid = traced(|| {
        catch_signal(libc::SIGUSR2);
        ignore_signal(libc::SIGWINCH);
        // Suppressed, changed to one with a handler, and one that is ignored but seen.
        for signal in [libc::SIGTERM, libc::SIGUSR1, libc::SIGWINCH] {
            raise(signal);
        }
        raise(libc::SIGUSR1);
        0
    });
    go(pid);
    assert_eq!(stop_of(pid), libc::SIGTERM);
    go(pid);
    assert_eq!(stop_of(pid), libc::SIGUSR1);
    let mut info: libc::siginfo_t = zeroed();
    request(libc::PTRACE_GETSIGINFO, pid, &raw mut info as usize);
    assert_eq!((info.si_signo, info.pid()), (libc::SIGUSR1, pid));
    request(libc::PTRACE_CONT, pid, libc::SIGUSR2 as usize);
    assert_eq!(stop_of(pid), libc::SIGWINCH);
    request(libc::PTRACE_CONT, pid, libc::SIGWINCH as usize);
    assert_eq!(stop_of(pid), libc::SIGUSR1);
    request(libc::PTRACE_CONT, pid, libc::SIGUSR1 as usize);
    assert_eq!(wait(pid), Ended::Signal(libc::SIGUSR1));
}

fn message(pid: i32) -> u64 {
    let mut message = 0u64;
    request(libc::PTRACE_GETEVENTMSG, pid, &raw mut message as usize);
    message
}

fn children_are_followed() {
    let pid = traced(|| match wait(child(|| 9)) {
        Ended::Exit(code) => code + 1,
        Ended::Signal(_) => 0,
    });
    let options = libc::PTRACE_O_TRACEFORK | libc::PTRACE_O_TRACECLONE;
    request(libc::PTRACE_SETOPTIONS, pid, options as usize);
    go(pid);
    assert_eq!(stop_of(pid), libc::SIGTRAP | libc::PTRACE_EVENT_FORK << 8);
    let grandchild = message(pid) as i32;
    assert_eq!(stop_of(grandchild), libc::SIGSTOP);
    let tracer = proc_field(&format!("/proc/{grandchild}/status"), "TracerPid");
    assert_eq!(tracer, Some(std::process::id().to_string()));
    let state = proc_field(&format!("/proc/{grandchild}/status"), "State");
    assert_eq!(state.as_deref(), Some("t (tracing stop)"));
    go(pid);
    go(grandchild);
    // It is our tracee, and we are told of its end before its parent is.
    assert_eq!(wait(grandchild), Ended::Exit(9));
    assert_eq!(stop_of(pid), libc::SIGCHLD);
    request(libc::PTRACE_CONT, pid, libc::SIGCHLD as usize);
    assert_eq!(wait(pid), Ended::Exit(10));
}

fn exec_and_exit_are_events() {
    let pid = traced(|| {
        ignore(execve("/bin/busybox", &["busybox", "true"]));
        1
    });
    let options = libc::PTRACE_O_TRACEEXEC | libc::PTRACE_O_TRACEEXIT;
    request(libc::PTRACE_SETOPTIONS, pid, options as usize);
    go(pid);
    assert_eq!(stop_of(pid), libc::SIGTRAP | libc::PTRACE_EVENT_EXEC << 8);
    assert_eq!(message(pid), pid as u64);
    go(pid);
    assert_eq!(stop_of(pid), libc::SIGTRAP | libc::PTRACE_EVENT_EXIT << 8);
    assert_eq!(message(pid), 0);
    go(pid);
    assert_eq!(wait(pid), Ended::Exit(0));
    // Without the option, a SIGTRAP tells of a new program.
    let pid = traced(|| {
        ignore(execve("/bin/busybox", &["busybox", "false"]));
        7
    });
    go(pid);
    assert_eq!(stop_of(pid), libc::SIGTRAP);
    go(pid);
    assert_eq!(wait(pid), Ended::Exit(1));
}
