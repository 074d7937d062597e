//! What no honest program does: the kernel answers and goes on.

use super::cases;
use crate::sys::*;

cases![
    fork_bomb_under_a_limit,
    wild_registers,
    wild_stack_pointer,
    signal_frame_forged,
    signal_frame_forged_everywhere,
    segment_registers,
    flags_register,
    huge_lengths_everywhere,
    many_open_files,
    privileged_instructions,
    kernel_memory_is_closed,
    pipes_without_end,
    deep_fork_chain,
    kill_storm,
    bad_futexes,
    exec_storm,
];

fn fork_bomb_under_a_limit() {
    in_child(|| {
        become_user();
        let limit = libc::rlimit {
            rlim_cur: 30,
            rlim_max: 30,
        };
        ok(unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &raw const limit) });
        let mut children = Vec::new();
        loop {
            match unsafe { libc::fork() } {
                -1 => break,
                0 => loop {
                    sleep_ms(1000);
                },
                pid => children.push(pid),
            }
            assert!(children.len() < 100, "the limit does not hold");
        }
        assert_eq!(errno(), libc::EAGAIN);
        for pid in children {
            ok(unsafe { libc::kill(pid, libc::SIGKILL) });
            wait(pid);
        }
    });
}

fn wild_registers() {
    for target in [
        0_usize,
        1,
        0x7fff_ffff_ffff,
        0x8000_0000_0000,
        0xffff_ffff_8010_0000,
        usize::MAX,
    ] {
        let end = end_of(|| unsafe { std::arch::asm!("jmp {}", in(reg) target) });
        assert_eq!(end, Ended::Signal(libc::SIGSEGV), "{target:#x}");
    }
}

fn wild_stack_pointer() {
    for target in [
        0_usize,
        8,
        0x8000_0000_0000_0000,
        0xffff_8880_0000_1000,
        usize::MAX - 7,
    ] {
        // A push dies; a system call does not need the stack.
        let end = end_of(|| unsafe {
            std::arch::asm!("mov rsp, {}", "mov eax, 39", "syscall", "push rax", in(reg) target, options(noreturn));
        });
        assert!(
            matches!(end, Ended::Signal(libc::SIGSEGV | libc::SIGBUS)),
            "{target:#x}: {end:?}"
        );
    }
}

fn signal_frame_forged() {
    // No handler was called, so there is no frame where rt_sigreturn looks for one.
    let end = end_of(|| {
        let _ = call(libc::SYS_rt_sigreturn, &[]);
    });
    assert!(matches!(end, Ended::Signal(_)), "{end:?}");
    for target in [0_usize, 0x1000, 0xffff_8880_0000_1000] {
        let end = end_of(|| unsafe {
            std::arch::asm!("mov rsp, {}", "mov eax, 15", "syscall", in(reg) target, options(noreturn));
        });
        assert_eq!(end, Ended::Signal(libc::SIGSEGV));
    }
}

fn signal_frame_forged_everywhere() {
    // A handler that spoils its own frame: whatever it puts there, only the process may suffer.
    extern "C" fn spoil(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
        let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
        let which = WHICH.load(std::sync::atomic::Ordering::Relaxed);
        let wild = [
            i64::MIN,
            -1,
            0,
            0x7fff_ffff_ffff_f000,
            0xffff_8880_0000_0000_u64 as i64,
        ][which % 5];
        // Behind the 23 registers lies the pointer to the floating-point state.
        let words = (&raw mut context.uc_mcontext).cast::<[i64; 24]>();
        match which / 5 {
            word @ 0..24 => unsafe { (*words)[word] = wild },
            _ => unsafe { ((*words)[23] as *mut u8).write_bytes(0xff, 512) },
        }
    }
    static WHICH: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    for which in 0..5 * 25 {
        WHICH.store(which, std::sync::atomic::Ordering::Relaxed);
        let end = end_of(|| {
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            action.sa_sigaction = spoil as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            ok(unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) });
            unsafe { libc::alarm(2) };
            ok(unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) });
            unsafe { libc::_exit(0) };
        });
        ignore(end);
    }
    in_child(|| ());
}

fn segment_registers() {
    use std::arch::asm;
    for selector in [0x08_u16, 0x10, 0x18, 0x40, 0xfff8] {
        let end = end_of(|| unsafe { asm!("mov ds, {0:x}", in(reg) selector) });
        assert_eq!(end, Ended::Signal(libc::SIGSEGV), "{selector:#x}");
    }
    // A null selector is allowed in ds and es, and survives system calls.
    in_child(|| {
        unsafe { asm!("mov ds, {0:x}", "mov es, {0:x}", in(reg) 0_u16) };
        let _ = unsafe { libc::getpid() };
    });
    assert_eq!(
        call(libc::SYS_arch_prctl, &[0x1002, 0xffff_8880_0000_0000]),
        Err(libc::EPERM)
    );
    assert_eq!(
        call(libc::SYS_arch_prctl, &[0x1001, 1 << 63]),
        Err(libc::EPERM)
    );
    assert_eq!(call(libc::SYS_arch_prctl, &[0x9999, 0]), Err(libc::EINVAL));
}

fn flags_register() {
    use std::arch::asm;
    // Direction, alignment check and nested task set: system calls and faults still work.
    in_child(|| unsafe {
        asm!("std", "mov eax, 39", "syscall", "cld", out("rax") _, out("rcx") _, out("r11") _);
        asm!("pushfq", "or qword ptr [rsp], 0x40000", "popfq", "mov eax, 39", "syscall",
             "pushfq", "and qword ptr [rsp], ~0x40000", "popfq", out("rax") _, out("rcx") _, out("r11") _);
        asm!("pushfq", "or qword ptr [rsp], 0x4000", "popfq", "mov eax, 39", "syscall",
             "pushfq", "and qword ptr [rsp], ~0x4000", "popfq", out("rax") _, out("rcx") _, out("r11") _);
    });
    // The trap flag traps.
    let end =
        end_of(|| unsafe { asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq", "nop", "nop") });
    assert_eq!(end, Ended::Signal(libc::SIGTRAP));
}

fn huge_lengths_everywhere() {
    // Behind the page nothing is mapped, so that what is written stays in it.
    let page = map(8192) as usize;
    assert_eq!(call(libc::SYS_munmap, &[page + 4096, 4096]), Ok(0));
    let fd = file("f", b"x") as usize;
    for len in [usize::MAX, usize::MAX - 4095, 1 << 63, 1 << 47] {
        for number in [
            libc::SYS_read,
            libc::SYS_write,
            libc::SYS_getdents64,
            libc::SYS_mincore,
            libc::SYS_getrandom,
            libc::SYS_readlink,
            libc::SYS_setgroups,
            libc::SYS_getgroups,
            libc::SYS_sethostname,
            libc::SYS_poll,
            libc::SYS_epoll_wait,
            libc::SYS_readv,
            libc::SYS_sendto,
            libc::SYS_madvise,
            libc::SYS_mlock,
        ] {
            let _ = call(number, &[fd, page, len, 0, 0, 0]);
            let _ = call(number, &[page, len, fd, 0, 0, 0]);
            let _ = call(number, &[len, page, fd, 0, 0, 0]);
        }
    }
    // What was written is the part of the page that could be read, at most once for each call.
    assert!(std::fs::metadata("f").expect("it is there").len() <= 1 + 4096 * 4);
}

fn many_open_files() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    ok(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) });
    limit.rlim_cur = limit.rlim_max;
    ok(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) });
    let mut count = 0;
    while count < 3000 && unsafe { libc::dup(0) } >= 0 {
        count += 1;
    }
    assert!(
        count == 3000 || (errno() == libc::EMFILE && count > 200),
        "{count}"
    );
    in_child(|| ());
}

fn privileged_instructions() {
    use std::arch::asm;
    let kill = |name: &str, end: Ended| assert_eq!(end, Ended::Signal(libc::SIGSEGV), "{name}");
    kill("hlt", end_of(|| unsafe { asm!("hlt") }));
    kill("cli", end_of(|| unsafe { asm!("cli") }));
    kill(
        "out",
        end_of(|| unsafe { asm!("out dx, al", in("dx") 0x3f8_u16, in("al") 0_u8) }),
    );
    kill(
        "in",
        end_of(|| unsafe { asm!("in al, dx", in("dx") 0x3f8_u16, out("al") _) }),
    );
    kill(
        "mov cr0",
        end_of(|| unsafe { asm!("mov {}, cr0", out(reg) _) }),
    );
    kill(
        "rdmsr",
        end_of(|| unsafe { asm!("rdmsr", in("ecx") 0x10, out("eax") _, out("edx") _) }),
    );
    kill(
        "wrmsr",
        end_of(|| unsafe { asm!("wrmsr", in("ecx") 0x10, in("eax") 0, in("edx") 0) }),
    );
    kill("swapgs", end_of(|| unsafe { asm!("swapgs") }));
    kill(
        "invlpg",
        end_of(|| unsafe { asm!("invlpg [{}]", in(reg) 0_usize) }),
    );
    kill("int 0x20", end_of(|| unsafe { asm!("int 0x20") }));
}

fn kernel_memory_is_closed() {
    for at in [
        0xffff_8880_0000_0000_usize,
        0xffff_8880_0010_0000,
        0xffff_c900_0000_0000,
        0xffff_ffff_8010_0000,
        0xffff_ffff_ffff_f000,
    ] {
        let end = end_of(|| ignore(unsafe { (at as *const u8).read_volatile() }));
        assert_eq!(end, Ended::Signal(libc::SIGSEGV), "read {at:#x}");
        let end = end_of(|| unsafe { (at as *mut u8).write_volatile(0) });
        assert_eq!(end, Ended::Signal(libc::SIGSEGV), "write {at:#x}");
    }
}

fn pipes_without_end() {
    in_child(|| {
        become_user();
        let data = [0_u8; 65536];
        for _ in 0..400 {
            let mut ends = [0; 2];
            if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK) } == -1 {
                break;
            }
            unsafe { libc::write(ends[1], data.as_ptr().cast(), 65536) };
        }
    });
    let (reader, writer) = pipe();
    put(writer, b"well");
    assert_eq!(get(reader, 10), b"well");
}

fn deep_fork_chain() {
    fn deeper(left: u32) -> i32 {
        if left == 0 {
            return 7;
        }
        match wait(child(|| deeper(left - 1))) {
            Ended::Exit(code) => code,
            Ended::Signal(_) => 1,
        }
    }
    assert_eq!(deeper(100), 7);
}

fn kill_storm() {
    let pids: Vec<i32> = (0..10)
        .map(|_| {
            child(|| {
                loop {
                    wait(child(|| 0));
                }
            })
        })
        .collect();
    for round in 0..200 {
        for pid in &pids {
            let signal = [libc::SIGSTOP, libc::SIGCONT, libc::SIGCHLD, libc::SIGURG][round % 4];
            ok(unsafe { libc::kill(*pid, signal) });
        }
    }
    for pid in &pids {
        ok(unsafe { libc::kill(*pid, libc::SIGKILL) });
    }
    for pid in pids {
        assert_eq!(wait(pid), Ended::Signal(libc::SIGKILL));
    }
}

fn bad_futexes() {
    for at in [0_usize, 1, 4096, 0xffff_8880_0000_0000, usize::MAX - 3] {
        for op in 0..13_usize {
            let timeout = libc::timespec {
                tv_sec: 0,
                tv_nsec: 1000,
            };
            let result = call(
                libc::SYS_futex,
                &[at, op, 0, &raw const timeout as usize, at, 0],
            );
            assert!(
                result.is_err() || result == Ok(0),
                "{at:#x} {op}: {result:?}"
            );
        }
    }
}

fn exec_storm() {
    let pids: Vec<i32> = (0..20)
        .map(|_| {
            child(|| {
                use std::os::unix::process::CommandExt;
                let error = std::process::Command::new("/proc/self/exe")
                    .args(["helper", "chain", "10"])
                    .exec();
                panic!("{error}");
            })
        })
        .collect();
    for pid in pids {
        assert_eq!(wait(pid), Ended::Exit(9));
    }
}
