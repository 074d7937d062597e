//! What no honest program does: the kernel answers and goes on.

use super::cases;
use crate::sys::*;
use std::arch::asm;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

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
        limit(libc::RLIMIT_NPROC, 30);
        let mut children = Vec::new();
        let error = loop {
            match try_fork() {
                Ok(0) => sleep_for_ever(),
                Ok(pid) => children.push(pid),
                Err(error) => break error,
            }
            assert!(children.len() < 100, "the limit does not hold");
        };
        assert_eq!(error, libc::EAGAIN);
        for pid in children {
            ok(kill(pid, libc::SIGKILL));
            wait(pid);
        }
    });
}

/// How a child ends that executes these instructions.
macro_rules! end_by {
    ($($asm:tt)*) => {
        end_of(|| {
            // SAFETY: what the instructions spoil is the child's, which they or its exit end.
            unsafe { asm!($($asm)*) }
        })
    };
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
        let end = end_by!("jmp {}", in(reg) target);
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
        let end = end_by!(
            "mov rsp, {}", "mov eax, 39", "syscall", "push rax", in(reg) target, options(noreturn)
        );
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
        let end =
            end_by!("mov rsp, {}", "mov eax, 15", "syscall", in(reg) target, options(noreturn));
        assert_eq!(end, Ended::Signal(libc::SIGSEGV));
    }
}

fn signal_frame_forged_everywhere() {
    // A handler that spoils its own frame: whatever it puts there, only the process may suffer.
    fn spoil(_: i32, _: &libc::siginfo_t, context: &mut libc::ucontext_t) {
        let which = WHICH.load(Relaxed);
        let wild = [
            u64::MAX,
            1 << 63,
            0,
            0x7fff_ffff_ffff_f000,
            0xffff_8880_0000_0000,
        ][which % 5];
        let words = context_words(context);
        match which / 5 {
            word @ 0..24 => words[word] = wild,
            // Behind the 23 registers lies the pointer to the floating-point state.
            _ => poke_all(words[23] as usize, &[0xff; 512]),
        }
    }
    static WHICH: AtomicUsize = AtomicUsize::new(0);
    for which in 0..5 * 25 {
        WHICH.store(which, Relaxed);
        let end = end_of(|| {
            handle_with(libc::SIGUSR1, spoil, 0, &[]);
            alarm(2);
            raise(libc::SIGUSR1);
            exit(0);
        });
        ignore(end);
    }
    in_child(|| ());
}

fn segment_registers() {
    for selector in [0x08_u16, 0x10, 0x18, 0x40, 0xfff8] {
        let end = end_by!("mov ds, {0:x}", in(reg) selector);
        assert_eq!(end, Ended::Signal(libc::SIGSEGV), "{selector:#x}");
    }
    // A null selector is allowed in ds and es, and survives system calls.
    in_child(|| {
        // SAFETY: 64-bit code does not use what these registers hold.
        unsafe { asm!("mov ds, {0:x}", "mov es, {0:x}", in(reg) 0_u16) };
        ignore(getpid());
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
    // Direction, alignment check and nested task set: system calls and faults still work.
    in_child(|| {
        // SAFETY: sets the flag around a call of getpid, and leaves it as it was.
        unsafe {
            asm!("std", "mov eax, 39", "syscall", "cld", out("rax") _, out("rcx") _, out("r11") _);
        }
        // SAFETY: as above.
        unsafe {
            asm!("pushfq", "or qword ptr [rsp], 0x40000", "popfq", "mov eax, 39", "syscall",
                 "pushfq", "and qword ptr [rsp], ~0x40000", "popfq", out("rax") _, out("rcx") _, out("r11") _);
        }
        // SAFETY: as above.
        unsafe {
            asm!("pushfq", "or qword ptr [rsp], 0x4000", "popfq", "mov eax, 39", "syscall",
                 "pushfq", "and qword ptr [rsp], ~0x4000", "popfq", out("rax") _, out("rcx") _, out("r11") _);
        }
    });
    // The trap flag traps.
    let end = end_by!("pushfq", "or qword ptr [rsp], 0x100", "popfq", "nop", "nop");
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
    let (_, most) = ok(getrlimit(libc::RLIMIT_NOFILE));
    limit(libc::RLIMIT_NOFILE, most);
    let last = (0..3000).map(|_| dup(0)).take_while(|fd| fd.is_ok());
    let count = last.count();
    assert!(
        count == 3000 || (dup(0) == Err(libc::EMFILE) && count > 200),
        "{count}"
    );
    in_child(|| ());
}

fn privileged_instructions() {
    let kill = |name: &str, end: Ended| assert_eq!(end, Ended::Signal(libc::SIGSEGV), "{name}");
    kill("hlt", end_by!("hlt"));
    kill("cli", end_by!("cli"));
    kill(
        "out",
        end_by!("out dx, al", in("dx") 0x3f8_u16, in("al") 0_u8),
    );
    kill("in", end_by!("in al, dx", in("dx") 0x3f8_u16, out("al") _));
    kill("mov cr0", end_by!("mov {}, cr0", out(reg) _));
    kill(
        "rdmsr",
        end_by!("rdmsr", in("ecx") 0x10, out("eax") _, out("edx") _),
    );
    kill(
        "wrmsr",
        end_by!("wrmsr", in("ecx") 0x10, in("eax") 0, in("edx") 0),
    );
    kill("swapgs", end_by!("swapgs"));
    kill("invlpg", end_by!("invlpg [{}]", in(reg) 0_usize));
    kill("int 0x20", end_by!("int 0x20"));
}

fn kernel_memory_is_closed() {
    for at in [
        0xffff_8880_0000_0000_usize,
        0xffff_8880_0010_0000,
        0xffff_c900_0000_0000,
        0xffff_ffff_8010_0000,
        0xffff_ffff_ffff_f000,
    ] {
        let end = end_of(|| ignore(peek(at)));
        assert_eq!(end, Ended::Signal(libc::SIGSEGV), "read {at:#x}");
        let end = end_of(|| poke(at, 0));
        assert_eq!(end, Ended::Signal(libc::SIGSEGV), "write {at:#x}");
    }
}

fn pipes_without_end() {
    in_child(|| {
        become_user();
        let data = [0_u8; 65536];
        for _ in 0..400 {
            let mut ends = [0; 2];
            if pipe2(&mut ends, libc::O_NONBLOCK).is_err() {
                break;
            }
            ok(write(ends[1], &data));
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
            ok(kill(*pid, signal));
        }
    }
    for pid in &pids {
        ok(kill(*pid, libc::SIGKILL));
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
