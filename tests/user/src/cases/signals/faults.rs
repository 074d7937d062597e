//! Signals for what a program does wrong.

use super::{COUNT, handle};
use crate::cases::cases;
use crate::sys::*;
use libc::{c_int, siginfo_t, ucontext_t};
use std::arch::asm;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

cases![
    fault_address_and_code,
    arithmetic_and_illegal,
    bus_error_behind_the_end,
    fault_handler_can_repair,
    blocked_fault_kills,
];

/// Codes of SIGSEGV: nothing is mapped there, or not for this access.
const SEGV_MAPERR: c_int = 1;
const SEGV_ACCERR: c_int = 2;

/// Runs `body` in a child whose handler for `signal` gives the code as exit code if the address is right.
fn fault(signal: c_int, address: usize, body: impl FnOnce()) -> Ended {
    static EXPECTED: AtomicUsize = AtomicUsize::new(0);
    fn tell(_: c_int, info: &siginfo_t, _: &mut ucontext_t) {
        let expected = EXPECTED.load(SeqCst);
        let right = expected == usize::MAX || info.address() == expected;
        exit(if right { info.si_code } else { 99 });
    }
    EXPECTED.store(address, SeqCst);
    end_of(|| {
        handle_with(signal, tell, 0, &[]);
        body();
    })
}

fn fault_address_and_code() {
    let page = map(4096) as usize;
    let write = |at: usize| poke(at, 1);

    assert_eq!(
        fault(libc::SIGSEGV, 0x10, || write(0x10)),
        Ended::Exit(SEGV_MAPERR)
    );
    ok(mprotect(page, 4096, libc::PROT_READ));
    assert_eq!(
        fault(libc::SIGSEGV, page + 5, || write(page + 5)),
        Ended::Exit(SEGV_ACCERR)
    );
    ok(mprotect(page, 4096, libc::PROT_NONE));
    assert_eq!(
        fault(libc::SIGSEGV, page + 7, || ignore(peek(page + 7))),
        Ended::Exit(SEGV_ACCERR)
    );
    ok(munmap(page, 4096));
    assert_eq!(
        fault(libc::SIGSEGV, page + 9, || ignore(peek(page + 9))),
        Ended::Exit(SEGV_MAPERR)
    );
    let kernel = 0xffff_ffff_8010_0000;
    assert_eq!(
        fault(libc::SIGSEGV, kernel, || ignore(peek(kernel))),
        Ended::Exit(SEGV_MAPERR)
    );
    // A non-canonical address is a general protection fault: no address, code SI_KERNEL.
    let wild = 0x8000_0000_0000_0000;
    assert_eq!(
        fault(libc::SIGSEGV, 0, || ignore(peek(wild))),
        Ended::Exit(libc::SI_KERNEL & 0xff)
    );
    // Data is not executable.
    let code = map(4096) as usize;
    const RET: u8 = 0xc3;
    poke(code, RET);
    // SAFETY: the instruction there returns at once, if it comes to it.
    let run = || unsafe { asm!("call {}", in(reg) code, clobber_abi("C")) };
    assert_eq!(fault(libc::SIGSEGV, code, run), Ended::Exit(SEGV_ACCERR));
    // Without a handler it kills.
    assert_eq!(end_of(|| write(0x10)), Ended::Signal(libc::SIGSEGV));
}

fn arithmetic_and_illegal() {
    /// What executes an instruction that faults.
    macro_rules! doing {
        ($($asm:tt)*) => {
            || {
                // SAFETY: runs in a child that the fault ends.
                unsafe { asm!($($asm)*) }
            }
        };
    }
    let divide = doing!("xor edx, edx", "xor ecx, ecx", "div ecx", out("ecx") _, out("edx") _, inout("eax") 1 => _);
    const FPE_INTDIV: i32 = 1;
    const ILL_ILLOPN: i32 = 2;
    let by_kernel = Ended::Exit(libc::SI_KERNEL & 0xff);
    let anywhere = usize::MAX;
    assert_eq!(
        fault(libc::SIGFPE, anywhere, divide),
        Ended::Exit(FPE_INTDIV)
    );
    assert_eq!(
        fault(libc::SIGILL, anywhere, doing!("ud2")),
        Ended::Exit(ILL_ILLOPN)
    );
    assert_eq!(fault(libc::SIGTRAP, anywhere, doing!("int3")), by_kernel);
    assert_eq!(fault(libc::SIGSEGV, 0, doing!("hlt")), by_kernel);
    assert_eq!(fault(libc::SIGSEGV, 0, doing!("cli")), by_kernel);
    assert_eq!(end_of(doing!("ud2")), Ended::Signal(libc::SIGILL));
}

fn bus_error_behind_the_end() {
    let fd = file("f", &[7; 100]);
    let at = ok(mmap(0, 8192, libc::PROT_READ, libc::MAP_PRIVATE, fd, 0));
    assert_eq!(peek(at + 200), 0);
    let read = || ignore(peek(at + 4096));
    assert_eq!(
        fault(libc::SIGBUS, at + 4096, read),
        Ended::Exit(libc::BUS_ADRERR)
    );
}

fn fault_handler_can_repair() {
    let page = map_with(
        4096,
        libc::PROT_NONE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    ) as usize;
    fn repair(_: c_int, info: &siginfo_t, _: &mut ucontext_t) {
        let at = info.address() & !4095;
        ok(mprotect(at, 4096, libc::PROT_READ | libc::PROT_WRITE));
        COUNT.fetch_add(1, SeqCst);
    }
    handle_with(libc::SIGSEGV, repair, 0, &[]);
    poke(page + 100, 42);
    assert_eq!(peek(page + 100), 42);
    assert_eq!(COUNT.load(SeqCst), 1);
}

fn blocked_fault_kills() {
    let end = end_of(|| {
        handle(libc::SIGSEGV, 0);
        block(&[libc::SIGSEGV]);
        poke(16, 1);
    });
    assert_eq!(end, Ended::Signal(libc::SIGSEGV));
    // Sent by somebody, it can wait.
    block(&[libc::SIGSEGV]);
    raise(libc::SIGSEGV);
    assert!(pending(libc::SIGSEGV));
}
