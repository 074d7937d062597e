//! Many threads: what one that waits costs, and that they all end.

use super::cases;
use crate::sys::*;
use std::sync::atomic::{AtomicU32, Ordering};

cases![waiting_threads_are_small, an_end_is_told_by_a_shared_page];

/// How many threads wait: what Linux allows in 512M is less than 4,000.
const THREADS: u32 = 2000;
/// A stack for a thread that makes two system calls.
const STACK: usize = 1024;

/// How many threads have begun.
static BEGUN: AtomicU32 = AtomicU32::new(0);

/// What each thread does: it says that it is there, and waits.
extern "C" fn wait_for_ever() -> ! {
    BEGUN.fetch_add(1, Ordering::Relaxed);
    loop {
        ignore(call(libc::SYS_pause, &[]));
    }
}

/// Starts a thread on the stack below `top`, with nothing of its own but that: the C library refuses to.
///
/// # Safety
/// The stack is the thread's alone for as long as the process lives, and what `run` does fits on it.
unsafe fn start(top: *mut u8, run: extern "C" fn() -> !) -> Result<usize, i32> {
    let flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM;
    let result: isize;
    // SAFETY: the new thread, which finds zero in rax, has the caller's stack and goes on in `run`, which never returns; the
    // old one goes on behind.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "call {run}",
            "2:",
            run = in(reg) run,
            inlateout("rax") libc::SYS_clone as isize => result,
            in("rdi") flags as usize, in("rsi") top, in("rdx") 0, in("r10") 0, in("r8") 0,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    if result < 0 {
        Err(-result as i32)
    } else {
        Ok(result as usize)
    }
}

/// Memory that nobody uses, in bytes.
fn free_bytes() -> u64 {
    let field = proc_field("/proc/meminfo", "MemFree").expect("it is there");
    let kib = field.split_whitespace().next().expect("a number");
    kib.parse::<u64>().expect("a number") * 1024
}

/// A thread that waits has no kernel stack on Wake, only its state machine; on Linux it has 16 KiB and more.
fn waiting_threads_are_small() {
    let limit = if std::fs::read_to_string("/proc/version").is_ok_and(|text| text.contains("Wake"))
    {
        4096
    } else {
        65536
    };
    let stacks = map(THREADS as usize * STACK);
    // Touched beforehand, so that the stacks are no part of what is measured.
    poke_all(stacks as usize, &vec![1; THREADS as usize * STACK]);
    let before = free_bytes();
    for n in 1..=THREADS as usize {
        // SAFETY: each thread has a part of the mapping as its stack, which lives as long as the process.
        let started = unsafe { start(stacks.add(n * STACK), wait_for_ever) };
        started.expect("the limit is higher");
    }
    while BEGUN.load(Ordering::Relaxed) < THREADS {
        sleep_ms(5);
    }
    let each = before.saturating_sub(free_bytes()) / u64::from(THREADS);
    println!("{each} bytes a thread");
    assert!(each > 0 && each <= limit, "{each} bytes a thread");
    // The end of the process is the end of them all; the agent waits for it.
}

/// The word that the kernel clears when a thread ends may lie in a page that a fork has made read-only.
fn an_end_is_told_by_a_shared_page() {
    in_child(|| {
        let word = map(4096) as usize;
        // SAFETY: the mapping is as large as the word and aligned for it, and stays.
        let told = unsafe { AtomicU32::from_ptr(word as *mut u32) };
        told.store(1, Ordering::Relaxed);
        let (go, start) = pipe();
        let (ready, say) = pipe();
        std::thread::spawn(move || {
            assert!(call(libc::SYS_set_tid_address, &[word]).is_ok());
            put(say, b"r");
            get(go, 1);
            ignore(call(libc::SYS_exit, &[0]));
        });
        get(ready, 1);
        let sharer = child(|| {
            loop {
                ignore(call(libc::SYS_pause, &[]));
            }
        });
        put(start, b"g");
        let patience = [5_i64, 0];
        while told.load(Ordering::Relaxed) == 1 {
            let args = [word, 0, 1, patience.as_ptr() as usize];
            let waited = call(libc::SYS_futex, &args);
            assert_ne!(waited, Err(libc::ETIMEDOUT), "nobody was told");
        }
        assert_eq!(told.load(Ordering::Relaxed), 0);
        let args = [sharer as usize, libc::SIGKILL as usize];
        assert_eq!(call(libc::SYS_kill, &args), Ok(0));
        wait(sharer);
    });
}
