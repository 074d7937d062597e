//! Registers, memory and calls of a tracee, instruction by instruction.

use super::{GETREGSET, ORIG_RAX, WORDS, go, ptrace, regs, request, stop_of, traced};
use crate::cases::cases;
use crate::sys::*;

cases![
    registers_are_read_and_written,
    memory_is_read_and_written,
    calls_are_seen_and_changed,
    call_info,
    one_instruction_at_a_time,
    breakpoints,
];

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

#[inline(never)]
extern "C" fn target(value: i32) -> i32 {
    std::hint::black_box(value) + 1
}

const SETREGSET: usize = 0x4205;
const GET_SYSCALL_INFO: usize = 0x420e;
const RIP: usize = 16;
const RAX: usize = 10;
const RDI: usize = 14;

fn set_regs(pid: i32, words: &[u64; WORDS]) {
    request(libc::PTRACE_SETREGS, pid, words.as_ptr() as usize);
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
