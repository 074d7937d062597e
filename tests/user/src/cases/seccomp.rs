//! What a process allows itself.

use super::cases;
use crate::sys::*;

cases![
    strict_mode_kills,
    filters_answer_errors,
    filters_see_the_call,
    filters_trap,
    filters_kill,
    the_strictest_filter_counts,
    filters_are_inherited,
    filters_for_all_threads,
    filters_ask_the_tracer,
    filters_want_no_new_privileges,
    bad_filters,
    available_actions,
];

const KILL_PROCESS: u32 = 0x8000_0000;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;
const TSYNC: usize = 1;

type Filter = Vec<libc::sock_filter>;

fn i(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// A filter that answers `answer` to call `number`, and allows all others.
fn answer(number: i64, answer: u32) -> Filter {
    vec![
        i(0x20, 0, 0, 0),
        i(0x15, 0, 1, number as u32),
        i(0x06, 0, 0, answer),
        i(0x06, 0, 0, ALLOW),
    ]
}

fn install_with(flags: usize, filter: &Filter) -> Result<usize, i32> {
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut(),
    };
    call(libc::SYS_seccomp, &[1, flags, &raw const program as usize])
}

#[track_caller]
fn install(filter: &Filter) {
    ok(prctl(libc::PR_SET_NO_NEW_PRIVS, 1));
    assert_eq!(install_with(0, filter), Ok(0));
}

fn strict_mode_kills() {
    let (read, write) = pipe();
    let end = end_of(|| {
        assert_eq!(call(libc::SYS_seccomp, &[0, 1, 0]), Err(libc::EINVAL));
        ok(prctl(libc::PR_SET_SECCOMP, 1));
        put(write, b"x");
        let _ = call(libc::SYS_getpid, &[]);
        put(write, b"y");
    });
    assert_eq!(end, Ended::Signal(libc::SIGKILL));
    close(write);
    assert_eq!(get(read, 9), b"x");
}

fn filters_answer_errors() {
    in_child(|| {
        assert_eq!(ok(prctl(libc::PR_GET_SECCOMP, 0)), 0);
        install(&answer(libc::SYS_getppid, ERRNO | libc::EXDEV as u32));
        assert_eq!(call(libc::SYS_getppid, &[]), Err(libc::EXDEV));
        assert!(call(libc::SYS_getpid, &[]).is_ok());
        assert_eq!(ok(prctl(libc::PR_GET_SECCOMP, 0)), 2);
        assert_eq!(
            proc_field("/proc/self/status", "Seccomp").as_deref(),
            Some("2")
        );
        let count = proc_field("/proc/self/status", "Seccomp_filters");
        assert_eq!(count.as_deref(), Some("1"));
        // An error of zero is success, and the largest is the largest there is.
        install(&answer(libc::SYS_getgid, ERRNO));
        assert_eq!(call(libc::SYS_getgid, &[]), Ok(0));
        install(&answer(libc::SYS_geteuid, ERRNO | 0xffff));
        assert_eq!(call(libc::SYS_geteuid, &[]), Err(4095));
        install(&answer(libc::SYS_getegid, LOG));
        assert!(call(libc::SYS_getegid, &[]).is_ok());
        // Asked for without a tracer.
        install(&answer(libc::SYS_getuid, TRACE));
        assert_eq!(call(libc::SYS_getuid, &[]), Err(libc::ENOSYS));
    });
}

fn filters_see_the_call() {
    in_child(|| {
        // close(0x5_0000_0007): both halves of the argument, and the architecture.
        install(&vec![
            i(0x20, 0, 0, 4),
            i(0x15, 0, 6, 0xc000_003e),
            i(0x20, 0, 0, 16),
            i(0x15, 0, 4, 7),
            i(0x20, 0, 0, 20),
            i(0x15, 0, 2, 5),
            i(0x06, 0, 0, ERRNO | 99),
            i(0x06, 0, 0, ERRNO | 98),
            i(0x06, 0, 0, ALLOW),
        ]);
        assert_eq!(call(libc::SYS_close, &[0x5_0000_0007]), Err(99));
        assert_eq!(call(libc::SYS_close, &[0x4_0000_0007]), Err(libc::EBADF));
    });
}

fn on_sigsys(_: i32, info: &libc::siginfo_t, context: &mut libc::ucontext_t) {
    // The address and value of other signals: where the call was made, its number and the architecture.
    let call = info.value();
    let good = info.si_errno == 1234
        && info.si_code == 1
        && (call & 0xffff_ffff) as i64 == libc::SYS_getppid
        && call >> 32 == 0xc000_003e;
    let rax = &mut context.uc_mcontext.gregs[libc::REG_RAX as usize];
    if good && *rax == libc::SYS_getppid {
        *rax = 4321;
    }
}

fn filters_trap() {
    in_child(|| {
        handle_with(libc::SIGSYS, on_sigsys, 0, &[]);
        install(&answer(libc::SYS_getppid, TRAP | 1234));
        assert_eq!(call(libc::SYS_getppid, &[]), Ok(4321));
    });
}

fn filters_kill() {
    for action in [KILL_PROCESS, 0, TRAP] {
        let end = end_of(|| {
            install(&answer(libc::SYS_getppid, action));
            let _ = call(libc::SYS_getppid, &[]);
        });
        assert_eq!(end, Ended::Signal(libc::SIGSYS), "{action:x}");
    }
    // One thread of several.
    in_child(|| {
        let thread = std::thread::Builder::new().spawn(|| {
            install(&answer(libc::SYS_getppid, 0));
            let _ = call(libc::SYS_getppid, &[]);
            exit(1);
        });
        std::mem::forget(thread);
        let tasks = || std::fs::read_dir("/proc/self/task").expect("proc").count();
        for _ in 0..500 {
            sleep_ms(10);
            if tasks() == 1 {
                return;
            }
        }
        panic!("the thread is still there");
    });
}

fn the_strictest_filter_counts() {
    in_child(|| {
        install(&answer(libc::SYS_getppid, ERRNO | 5));
        install(&answer(libc::SYS_getppid, LOG));
        assert_eq!(call(libc::SYS_getppid, &[]), Err(5));
        // Of equals, the newest.
        install(&answer(libc::SYS_getppid, ERRNO | 6));
        assert_eq!(call(libc::SYS_getppid, &[]), Err(6));
    });
}

fn filters_are_inherited() {
    in_child(|| {
        install(&answer(libc::SYS_getppid, ERRNO | 5));
        in_child(|| assert_eq!(call(libc::SYS_getppid, &[]), Err(5)));
        let thread = std::thread::spawn(|| call(libc::SYS_getppid, &[]));
        assert_eq!(thread.join().expect("it ends"), Err(5));
        // And by another program.
        install(&answer(libc::SYS_mkdir, ERRNO | 13));
        let out = std::process::Command::new("/bin/busybox")
            .args(["mkdir", "/tmp/seccomp-no"])
            .output()
            .expect("busybox runs");
        assert!(!out.status.success());
    });
}

fn filters_for_all_threads() {
    in_child(|| {
        let (read, write) = pipe();
        let other = std::thread::spawn(move || {
            get(read, 1);
            call(libc::SYS_getppid, &[])
        });
        ok(prctl(libc::PR_SET_NO_NEW_PRIVS, 1));
        assert_eq!(
            install_with(TSYNC, &answer(libc::SYS_getppid, ERRNO | 5)),
            Ok(0)
        );
        put(write, b"x");
        assert_eq!(other.join().expect("it ends"), Err(5));
        // A thread that went its own way cannot be brought back.
        let (read, write) = pipe();
        let (told, tell) = pipe();
        let stray = std::thread::spawn(move || {
            install(&answer(libc::SYS_getppid, ERRNO | 6));
            let tid = gettid();
            put(tell, &tid.to_ne_bytes());
            get(read, 1);
        });
        let tid = i32::from_ne_bytes(get(told, 4).try_into().expect("four bytes"));
        let filter = answer(libc::SYS_getppid, ERRNO | 7);
        assert_eq!(install_with(TSYNC, &filter), Ok(tid as usize));
        assert_eq!(install_with(TSYNC | 16, &filter), Err(libc::ESRCH));
        put(write, b"x");
        stray.join().expect("it ends");
    });
}

fn filters_ask_the_tracer() {
    let pid = child(|| {
        ok(call(libc::SYS_ptrace, &[libc::PTRACE_TRACEME as usize]));
        raise(libc::SIGSTOP);
        install(&answer(libc::SYS_getppid, TRACE | 77));
        let allowed = call(libc::SYS_getppid, &[]).is_ok();
        let skipped = call(libc::SYS_getppid, &[]) == Err(libc::ENOSYS);
        i32::from(allowed) + 2 * i32::from(skipped)
    });
    let ptrace = |request: usize, addr: usize, data: usize| {
        call(libc::SYS_ptrace, &[request, pid as usize, addr, data]).expect("it is stopped")
    };
    let mut status = 0;
    ok(waitpid(pid, &mut status, 0));
    ptrace(
        libc::PTRACE_SETOPTIONS as usize,
        0,
        libc::PTRACE_O_TRACESECCOMP as usize,
    );
    for round in 0..2 {
        ptrace(libc::PTRACE_CONT as usize, 0, 0);
        ok(waitpid(pid, &mut status, 0));
        assert_eq!(status >> 8, libc::SIGTRAP | libc::PTRACE_EVENT_SECCOMP << 8);
        let mut message = 0u64;
        ptrace(
            libc::PTRACE_GETEVENTMSG as usize,
            0,
            &raw mut message as usize,
        );
        assert_eq!(message, 77);
        if round == 1 {
            // orig_rax: no call at all.
            ptrace(libc::PTRACE_POKEUSER as usize, 15 * 8, usize::MAX);
        }
    }
    ptrace(libc::PTRACE_CONT as usize, 0, 0);
    assert_eq!(wait(pid), Ended::Exit(3));
}

fn filters_want_no_new_privileges() {
    in_child(|| {
        become_user();
        let filter = answer(libc::SYS_getppid, ERRNO | 5);
        assert_eq!(install_with(0, &filter), Err(libc::EACCES));
        install(&filter);
        assert_eq!(call(libc::SYS_getppid, &[]), Err(5));
    });
}

fn bad_filters() {
    let ret = i(6, 0, 0, ALLOW);
    for bad in [
        vec![],
        vec![i(0, 0, 0, 0)],
        vec![i(0x20, 0, 0, 64), ret],
        vec![i(0x20, 0, 0, 2), ret],
        vec![i(0x28, 0, 0, 0), ret],
        vec![i(0x05, 0, 0, u32::MAX), ret],
        vec![i(0x15, 0, 1, 0), ret],
        vec![i(0x34, 0, 0, 0), ret],
        vec![i(0x60, 0, 0, 3), ret],
        vec![i(0x02, 0, 0, 16), ret],
        vec![ret; 4097],
    ] {
        assert_eq!(
            install_with(0, &bad),
            Err(libc::EINVAL),
            "{} long",
            bad.len()
        );
    }
    assert_eq!(call(libc::SYS_seccomp, &[1, 0, 8]), Err(libc::EFAULT));
    let program = [1u64, 8];
    let at = program.as_ptr() as usize;
    assert_eq!(call(libc::SYS_seccomp, &[1, 0, at]), Err(libc::EFAULT));
    assert_eq!(
        call(libc::SYS_seccomp, &[1, 1 << 20, at]),
        Err(libc::EINVAL)
    );
    assert_eq!(call(libc::SYS_seccomp, &[99, 0, 0]), Err(libc::EINVAL));
    fails(prctl(libc::PR_SET_SECCOMP, 9), libc::EINVAL);
    // Too many of them.
    in_child(|| {
        let filter = vec![ret; 4000];
        let mut count = 0;
        let end = loop {
            match install_with(0, &filter) {
                Ok(_) => count += 1,
                Err(e) => break e,
            }
        };
        assert_eq!(end, libc::ENOMEM);
        assert!((4..100).contains(&count), "{count}");
    });
}

fn available_actions() {
    let ask = |action: u32| call(libc::SYS_seccomp, &[2, 0, &raw const action as usize]);
    for action in [KILL_PROCESS, 0, TRAP, ERRNO, TRACE, LOG, ALLOW] {
        assert_eq!(ask(action), Ok(0), "{action:x}");
    }
    assert_eq!(ask(0x1234_0000), Err(libc::EOPNOTSUPP));
}
