//! Tracing other processes.

mod attaching;
mod events;
mod rights;
mod state;

use crate::cases::parts;
use crate::sys::*;

parts![state, events, attaching, rights];

const GETREGSET: usize = 0x4204;
const SEIZE: usize = 0x4206;
const WORDS: usize = 27;
const ORIG_RAX: usize = 15;

fn ptrace(request: usize, pid: i32, addr: usize, data: usize) -> Result<usize, i32> {
    call(libc::SYS_ptrace, &[request, pid as usize, addr, data])
}

// The C libraries differ in the type of their constants.
fn request(request: impl Into<i64>, pid: i32, data: usize) {
    ptrace(request.into() as usize, pid, 0, data).expect("the request is good");
}

/// Waits for a stop and gives the signal with the event above it.
#[track_caller]
fn stop_of(pid: i32) -> i32 {
    let mut status = 0;
    let got = ok(waitpid(pid, &mut status, libc::__WALL));
    assert_eq!(got, pid);
    assert!(libc::WIFSTOPPED(status), "status {status:x}");
    status >> 8
}

/// A child that is traced and has stopped itself by `SIGSTOP`.
#[track_caller]
fn traced(body: impl FnOnce() -> i32) -> i32 {
    let pid = child(|| {
        ptrace(0, 0, 0, 0).expect("our parent traces us");
        raise(libc::SIGSTOP);
        body()
    });
    assert_eq!(stop_of(pid), libc::SIGSTOP);
    pid
}

fn go(pid: i32) {
    request(libc::PTRACE_CONT, pid, 0);
}

fn regs(pid: i32) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    request(libc::PTRACE_GETREGS, pid, words.as_mut_ptr() as usize);
    words
}

/// A child that sleeps until it is killed.
fn sleeper() -> i32 {
    let (read, write) = pipe();
    let pid = child(|| {
        put(write, b"x");
        loop {
            ignore(pause());
        }
    });
    get(read, 1);
    close(read);
    close(write);
    // It may still be in the call that has told us.
    let status = format!("/proc/{pid}/status");
    soon(|| proc_field(&status, "State").is_some_and(|state| state.starts_with('S')));
    pid
}
