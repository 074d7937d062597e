//! Tracing other processes.

use super::cases;
use crate::sys::*;

cases![
    registers_are_read_and_written,
    memory_is_read_and_written,
    calls_are_seen_and_changed,
    call_info,
    one_instruction_at_a_time,
    breakpoints,
    signals_pass_the_tracer,
    children_are_followed,
    exec_and_exit_are_events,
    seized_and_interrupted,
    group_stops_of_a_seized_process,
    attach_and_detach,
    tracer_waits_before_the_parent,
    tracee_outlives_its_tracer,
    tracee_dies_with_its_tracer,
    who_may_trace,
    set_user_id_is_for_those_who_are_not_watched,
    bad_requests,
];

const GETREGSET: usize = 0x4204;
const SETREGSET: usize = 0x4205;
const SEIZE: usize = 0x4206;
const INTERRUPT: usize = 0x4207;
const LISTEN: usize = 0x4208;
const GET_SYSCALL_INFO: usize = 0x420e;
const EVENT_STOP: i32 = 128;
const WORDS: usize = 27;
const ORIG_RAX: usize = 15;
const RIP: usize = 16;
const RAX: usize = 10;
const RDI: usize = 14;

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

fn set_regs(pid: i32, words: &[u64; WORDS]) {
    request(libc::PTRACE_SETREGS, pid, words.as_ptr() as usize);
}

fn peek(pid: i32, at: usize) -> u64 {
    let mut word = 0u64;
    ptrace(
        libc::PTRACE_PEEKDATA as usize,
        pid,
        at,
        &raw mut word as usize,
    )
    .expect("it is there");
    word
}

fn registers_are_read_and_written() {
    let pid = traced(|| {
        let result: i32;
        // SAFETY: stops with 41 in rbx, and goes on with what the tracer makes of it; rbx is then as before.
        unsafe {
            std::arch::asm!(
                "push rbx", "mov ebx, 41", "int3", "mov {0:e}, ebx", "pop rbx",
                out(reg) result
            );
        }
        result
    });
    go(pid);
    assert_eq!(stop_of(pid), libc::SIGTRAP);
    const RBX: usize = 5;
    let mut words = regs(pid);
    assert_eq!(words[RBX], 41);
    assert_eq!(words[ORIG_RAX] as i64, -1);
    let mut word = 0u64;
    let at = &raw mut word as usize;
    ptrace(libc::PTRACE_PEEKUSER as usize, pid, RBX * 8, at).expect("a register");
    assert_eq!(word, 41);
    words[RBX] = 77;
    set_regs(pid, &words);
    let mut set = [0u64; WORDS];
    let mut iov = libc::iovec {
        iov_base: set.as_mut_ptr().cast(),
        iov_len: 4096,
    };
    ptrace(GETREGSET, pid, 1, &raw mut iov as usize).expect("a set");
    assert_eq!(iov.iov_len, WORDS * 8);
    assert_eq!(set[RBX], 77);
    set[RBX] = 78;
    std::hint::black_box(&mut set);
    ptrace(SETREGSET, pid, 1, &raw mut iov as usize).expect("a set");
    let mut fpu = [0u8; 512];
    request(libc::PTRACE_GETFPREGS, pid, fpu.as_mut_ptr() as usize);
    assert_eq!(&fpu[24..26], &[0x80, 0x1f], "MXCSR");
    request(libc::PTRACE_SETFPREGS, pid, fpu.as_ptr() as usize);
    go(pid);
    assert_eq!(wait(pid), Ended::Exit(78));
}

fn memory_is_read_and_written() {
    let page = map(8192) as usize;
    let at = page + 4092;
    poke_all(at, &0x1122_3344_5566_7788_u64.to_ne_bytes());
    ok(mprotect(page, 4096, libc::PROT_NONE));
    let pid = traced(|| i32::from(crate::sys::peek(page + 4098)));
    // A debugger gets past protections.
    assert_eq!(peek(pid, at), 0x1122_3344_5566_7788);
    let poke = ptrace(
        libc::PTRACE_POKEDATA as usize,
        pid,
        at,
        0x5a5a_5a5a_5a5a_5a5a,
    );
    assert_eq!(poke, Ok(0));
    let mut word = 0u64;
    let into = &raw mut word as usize;
    for bad in [0, 0xffff_8880_0000_0000, usize::MAX - 2] {
        let peek = ptrace(libc::PTRACE_PEEKDATA as usize, pid, bad, into);
        assert_eq!(peek, Err(libc::EIO));
        let poke = ptrace(libc::PTRACE_POKEDATA as usize, pid, bad, 0);
        assert_eq!(poke, Err(libc::EIO));
    }
    go(pid);
    assert_eq!(wait(pid), Ended::Exit(0x5a));
}

fn calls_are_seen_and_changed() {
    let pid = traced(|| {
        let skipped = call(libc::SYS_getppid, &[]);
        let other = call(libc::SYS_getppid, &[]).expect("it works");
        let changed = call(libc::SYS_getppid, &[]).expect("it works");
        i32::from(skipped == Err(libc::ENOSYS))
            + 2 * i32::from(other == std::process::id() as usize)
            + 4 * i32::from(changed == 1234)
    });
    request(
        libc::PTRACE_SETOPTIONS,
        pid,
        libc::PTRACE_O_TRACESYSGOOD as usize,
    );
    let mut seen = 0;
    // Up to each of three calls of getppid.
    while seen < 3 {
        request(libc::PTRACE_SYSCALL, pid, 0);
        assert_eq!(stop_of(pid), libc::SIGTRAP | 0x80);
        let mut words = regs(pid);
        assert_eq!(words[RAX] as i64, -i64::from(libc::ENOSYS));
        let hit = words[ORIG_RAX] == libc::SYS_getppid as u64;
        if hit && seen == 0 {
            words[ORIG_RAX] = u64::MAX;
        } else if hit && seen == 1 {
            words[ORIG_RAX] = libc::SYS_getpid as u64;
        }
        set_regs(pid, &words);
        request(libc::PTRACE_SYSCALL, pid, 0);
        assert_eq!(stop_of(pid), libc::SIGTRAP | 0x80);
        let mut words = regs(pid);
        if hit && seen == 2 {
            words[RAX] = 1234;
            set_regs(pid, &words);
        }
        seen += i32::from(hit);
    }
    go(pid);
    assert_eq!(wait(pid), Ended::Exit(7));
}

fn call_info() {
    let pid = traced(|| {
        let _ = call(libc::SYS_close, &[12345, 6, 7]);
        0
    });
    request(
        libc::PTRACE_SETOPTIONS,
        pid,
        libc::PTRACE_O_TRACESYSGOOD as usize,
    );
    let info = |pid| {
        let mut bytes = [0u8; 88];
        let len = ptrace(GET_SYSCALL_INFO, pid, 88, bytes.as_mut_ptr() as usize);
        (bytes, len.expect("it is stopped"))
    };
    let word = |bytes: &[u8; 88], at: usize| {
        u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
    };
    assert_eq!(info(pid).1, 24);
    loop {
        request(libc::PTRACE_SYSCALL, pid, 0);
        stop_of(pid);
        let (bytes, len) = info(pid);
        assert_eq!((bytes[0], len), (1, 80));
        let found = word(&bytes, 24) == libc::SYS_close as u64 && word(&bytes, 32) == 12345;
        if found {
            assert_eq!((word(&bytes, 40), word(&bytes, 48)), (6, 7));
        }
        request(libc::PTRACE_SYSCALL, pid, 0);
        stop_of(pid);
        let (bytes, len) = info(pid);
        assert_eq!((bytes[0], len), (2, 33));
        if found {
            assert_eq!(word(&bytes, 24) as i64, -i64::from(libc::EBADF));
            assert_eq!(bytes[32], 1);
            break;
        }
    }
    go(pid);
    assert_eq!(wait(pid), Ended::Exit(0));
}

fn one_instruction_at_a_time() {
    let pid = traced(|| {
        // SAFETY: does nothing but stop.
        unsafe { std::arch::asm!("int3", "nop", "nop", "nop", "int3") };
        0
    });
    go(pid);
    assert_eq!(stop_of(pid), libc::SIGTRAP);
    let start = regs(pid)[RIP];
    for n in 1..=3 {
        request(libc::PTRACE_SINGLESTEP, pid, 0);
        assert_eq!(stop_of(pid), libc::SIGTRAP);
        let now = regs(pid);
        assert_eq!(now[RIP], start + n);
        assert_eq!(now[18] & 0x100, 0, "the trap flag is the tracer's");
    }
    let mut info: libc::siginfo_t = zeroed();
    request(libc::PTRACE_GETSIGINFO, pid, &raw mut info as usize);
    assert_eq!((info.si_signo, info.si_code), (libc::SIGTRAP, 2));
    go(pid);
    assert_eq!(stop_of(pid), libc::SIGTRAP);
    go(pid);
    assert_eq!(wait(pid), Ended::Exit(0));
}

#[inline(never)]
extern "C" fn target(value: i32) -> i32 {
    std::hint::black_box(value) + 1
}

fn breakpoints() {
    let pid = traced(|| std::hint::black_box(target as extern "C" fn(i32) -> i32)(4));
    let at = target as *const () as usize;
    let code = peek(pid, at);
    let poke = |word: u64| {
        ptrace(libc::PTRACE_POKETEXT as usize, pid, at, word as usize).expect("code is written")
    };
    poke(code & !0xff | 0xcc);
    go(pid);
    assert_eq!(stop_of(pid), libc::SIGTRAP);
    let mut words = regs(pid);
    assert_eq!(words[RIP], at as u64 + 1);
    assert_eq!(words[RDI], 4);
    poke(code);
    words[RIP] = at as u64;
    words[RDI] = 30;
    set_regs(pid, &words);
    go(pid);
    assert_eq!(wait(pid), Ended::Exit(31));
    // Our own copy of the page never changed.
    assert_eq!(target(1), 2);
}

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
    pid
}

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
