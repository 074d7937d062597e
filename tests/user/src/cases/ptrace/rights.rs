//! Who may trace whom, and requests that are refused.

use super::{GETREGSET, SEIZE, WORDS, go, ptrace, request, sleeper, stop_of, traced};
use crate::cases::cases;
use crate::sys::*;

cases![
    who_may_trace,
    set_user_id_is_for_those_who_are_not_watched,
    bad_requests,
];

fn who_may_trace() {
    let me = std::process::id() as i32;
    assert_eq!(
        ptrace(libc::PTRACE_ATTACH as usize, me, 0, 0),
        Err(libc::EPERM)
    );
    let gone = ptrace(libc::PTRACE_ATTACH as usize, 4_000_000, 0, 0);
    assert_eq!(gone, Err(libc::ESRCH));
    let pid = sleeper();
    in_child(|| {
        become_user();
        for target in [1, pid] {
            assert_eq!(ptrace(SEIZE, target, 0, 0), Err(libc::EPERM));
        }
    });
    // Only the tracer itself may ask, and not another thread of it.
    request(libc::PTRACE_ATTACH, pid, 0);
    stop_of(pid);
    let other = std::thread::spawn(move || ptrace(libc::PTRACE_CONT as usize, pid, 0, 0));
    assert_eq!(other.join().expect("it ends"), Err(libc::ESRCH));
    ok(kill(pid, libc::SIGKILL));
    assert_eq!(wait(pid), Ended::Signal(libc::SIGKILL));
}

fn bad_requests() {
    let pid = traced(|| 0);
    let at = |request: usize, addr: usize, data: usize| ptrace(request, pid, addr, data);
    assert_eq!(at(999, 0, 0), Err(libc::EIO));
    assert_eq!(at(libc::PTRACE_CONT as usize, 0, 65), Err(libc::EIO));
    assert_eq!(at(libc::PTRACE_GETREGS as usize, 0, 8), Err(libc::EFAULT));
    assert_eq!(at(libc::PTRACE_SETREGS as usize, 0, 8), Err(libc::EFAULT));
    assert_eq!(at(libc::PTRACE_PEEKUSER as usize, 4, 0), Err(libc::EIO));
    assert_eq!(at(libc::PTRACE_PEEKUSER as usize, 4096, 0), Err(libc::EIO));
    assert_eq!(
        at(libc::PTRACE_POKEUSER as usize, 17 * 8, 0),
        Err(libc::EIO)
    );
    assert_eq!(
        at(libc::PTRACE_SETOPTIONS as usize, 0, 1 << 30),
        Err(libc::EINVAL)
    );
    assert_eq!(at(SEIZE, 4, 0), Err(libc::EIO));
    let mut iov = libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 4,
    };
    let iov = &raw mut iov as usize;
    assert_eq!(at(GETREGSET, 1, iov), Err(libc::EINVAL));
    assert_eq!(at(GETREGSET, 77, iov), Err(libc::EINVAL));
    // Every register as bad as can be: it may crash, the system may not.
    let words = [0x8000_0000_0000_0000u64; WORDS];
    let _ = at(libc::PTRACE_SETREGS as usize, 0, words.as_ptr() as usize);
    for word in 0..WORDS {
        let _ = at(libc::PTRACE_POKEUSER as usize, word * 8, 0x7fff_ffff_f000);
        let _ = at(libc::PTRACE_POKEUSER as usize, word * 8, u64::MAX as usize);
    }
    let _ = at(libc::PTRACE_SINGLESTEP as usize, 0, 0);
    ok(kill(pid, libc::SIGKILL));
    while !matches!(wait_any(pid), Some(Ended::Signal(_))) {}
}

/// Waits for a stop (`None`) or the end.
fn wait_any(pid: i32) -> Option<Ended> {
    let mut status = 0;
    ok(waitpid(pid, &mut status, libc::__WALL));
    if libc::WIFSTOPPED(status) {
        None
    } else if libc::WIFEXITED(status) {
        Some(Ended::Exit(libc::WEXITSTATUS(status)))
    } else {
        Some(Ended::Signal(libc::WTERMSIG(status)))
    }
}

/// The real and the effective user of a set-user-id program that an ordinary user executes, traced.
fn traced_ids() -> String {
    use std::io::Read;
    use std::os::unix::process::CommandExt;
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let pid = child(|| {
        ptrace(0, 0, 0, 0).expect("our parent traces us");
        if call(libc::SYS_geteuid, &[]) == Ok(0) {
            become_user();
        }
        let mut program = std::process::Command::new("./p");
        let error = program.args(["helper", "ids"]).stdout(writer).exec();
        panic!("{error}");
    });
    assert_eq!(stop_of(pid), libc::SIGTRAP);
    go(pid);
    assert_eq!(wait(pid), Ended::Exit(0));
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("its output");
    text.trim().to_string()
}

fn set_user_id_is_for_those_who_are_not_watched() {
    use std::os::unix::fs::PermissionsExt;
    std::fs::copy("/proc/self/exe", "p").expect("there is room");
    std::fs::set_permissions("p", std::fs::Permissions::from_mode(0o4755)).expect("it is ours");
    // Root could do everything anyway.
    assert_eq!(traced_ids(), "1000 0");
    in_child(|| {
        become_user();
        assert_eq!(traced_ids(), "1000 1000");
    });
}
