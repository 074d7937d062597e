//! Handlers: what they are told, their masks and stacks, what survives them.

use super::{COUNT, handle};
use crate::cases::cases;
use crate::sys::*;
use libc::{c_int, c_void, siginfo_t, ucontext_t};
use std::arch::asm;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

cases![
    handler_gets_information,
    reset_and_nodefer,
    handler_blocks_its_mask,
    alternate_stack,
    floating_point_survives_handlers,
    many_nested_handlers,
    broken_alternate_stack_kills,
];

fn handler_gets_information() {
    fn check(signal: c_int, info: &siginfo_t, context: &mut ucontext_t) {
        assert_eq!(
            (signal, info.si_signo, info.si_code),
            (libc::SIGUSR1, libc::SIGUSR1, libc::SI_USER)
        );
        assert_eq!((info.pid(), info.uid()), (getpid(), getuid()));
        assert_ne!(context.uc_mcontext.gregs[libc::REG_RIP as usize], 0);
        // Behind the 23 registers lies the pointer to the floating-point state.
        assert_ne!(context_words(context)[23], 0);
        COUNT.fetch_add(1, SeqCst);
    }
    handle_with(libc::SIGUSR1, check, 0, &[]);
    raise(libc::SIGUSR1);
    assert_eq!(COUNT.load(SeqCst), 1);
}

fn reset_and_nodefer() {
    handle(libc::SIGUSR1, libc::SA_RESETHAND);
    raise(libc::SIGUSR1);
    let now: libc::sigaction = ok(filled(|now| sigaction(libc::SIGUSR1, None, Some(now))));
    assert_eq!(now.sa_sigaction, libc::SIG_DFL);
    fn again(signal: c_int, _: &siginfo_t, _: &mut ucontext_t) {
        let depth = COUNT.fetch_add(1, SeqCst);
        if depth < 3 {
            raise(signal);
            assert_eq!(COUNT.load(SeqCst), 4, "the inner one runs at once");
        }
    }
    COUNT.store(0, SeqCst);
    handle_with(libc::SIGUSR2, again, libc::SA_NODEFER, &[]);
    raise(libc::SIGUSR2);
    assert_eq!(COUNT.load(SeqCst), 4);
}

fn handler_blocks_its_mask() {
    fn first(signal: c_int, _: &siginfo_t, _: &mut ucontext_t) {
        raise(libc::SIGUSR2);
        raise(signal);
        assert_eq!(COUNT.load(SeqCst), 0, "both are blocked here");
        assert!(pending(libc::SIGUSR2) && pending(signal));
        handle(signal, 0);
    }
    handle(libc::SIGUSR2, 0);
    handle_with(libc::SIGUSR1, first, 0, &[libc::SIGUSR2]);
    raise(libc::SIGUSR1);
    assert_eq!(COUNT.load(SeqCst), 2);
}

fn alternate_stack() {
    let memory = map(65536) as usize;
    static BASE: AtomicUsize = AtomicUsize::new(0);
    BASE.store(memory, SeqCst);
    fn check(_: c_int, _: &siginfo_t, _: &mut ucontext_t) {
        let local = 0_u8;
        let at = (&raw const local) as usize;
        let base = BASE.load(SeqCst);
        assert!((base..base + 65536).contains(&at));
        let mut now = alternate_stack_now();
        assert_eq!(now.ss_flags & libc::SS_ONSTACK, libc::SS_ONSTACK);
        now.ss_flags = 0;
        fails(sigaltstack(&now), libc::EPERM);
        COUNT.fetch_add(1, SeqCst);
    }
    let stack = libc::stack_t {
        ss_sp: memory as *mut c_void,
        ss_flags: 0,
        ss_size: 65536,
    };
    ok(sigaltstack(&stack));
    handle_with(libc::SIGUSR1, check, libc::SA_ONSTACK, &[]);
    raise(libc::SIGUSR1);
    assert_eq!(COUNT.load(SeqCst), 1);
    let small = libc::stack_t {
        ss_size: 100,
        ..stack
    };
    fails(sigaltstack(&small), libc::ENOMEM);
    // A stack overflow has nowhere to put its frame but here.
    fn overflow(_: c_int, _: &siginfo_t, _: &mut ucontext_t) {
        exit(33);
    }
    let end = end_of(|| {
        handle_with(libc::SIGSEGV, overflow, libc::SA_ONSTACK, &[]);
        std::hint::black_box(endless(std::hint::black_box(1)));
    });
    assert_eq!(end, Ended::Exit(33));
}

#[allow(unconditional_recursion, reason = "the stack has to overflow")]
fn endless(n: u64) -> u64 {
    let block = std::hint::black_box([n; 64]);
    endless(block[3] + 1) + block[7]
}

fn floating_point_survives_handlers() {
    fn spoil(_: c_int, _: &siginfo_t, _: &mut ucontext_t) {
        // SAFETY: a handler's floating-point state is its own.
        unsafe {
            asm!("pcmpeqd xmm5, xmm5", "pcmpeqd xmm15, xmm15", "fninit", "fldpi", out("xmm5") _, out("xmm15") _)
        };
        COUNT.fetch_add(1, SeqCst);
    }
    handle_with(libc::SIGUSR1, spoil, 0, &[]);
    let (mut low, mut high) = (0x1122_3344_5566_7788_u64, 0x99aa_bbcc_ddee_ff00_u64);
    let pid = getpid();
    // SAFETY: kill, between whose two sides the handler runs; the registers are named.
    unsafe {
        asm!(
            "movq xmm5, {low}", "movq xmm15, {high}",
            "mov eax, 62", "syscall",
            "movq {low}, xmm5", "movq {high}, xmm15",
            low = inout(reg) low, high = inout(reg) high,
            in("rdi") pid as u64, in("rsi") libc::SIGUSR1 as u64,
            out("rax") _, out("rcx") _, out("r11") _, out("xmm5") _, out("xmm15") _,
        );
    }
    assert_eq!(
        (COUNT.load(SeqCst), low, high),
        (1, 0x1122_3344_5566_7788, 0x99aa_bbcc_ddee_ff00)
    );
}

fn many_nested_handlers() {
    fn next(signal: c_int, _: &siginfo_t, _: &mut ucontext_t) {
        COUNT.fetch_add(1, SeqCst);
        if signal < 64 {
            raise(signal + 1);
        }
    }
    for signal in 35..=64 {
        handle_with(signal, next, 0, &[]);
    }
    raise(35);
    assert_eq!(COUNT.load(SeqCst), 30);
}

fn broken_alternate_stack_kills() {
    let end = end_of(|| {
        let stack = libc::stack_t {
            ss_sp: 0x1000 as *mut c_void,
            ss_flags: 0,
            ss_size: 65536,
        };
        ok(sigaltstack(&stack));
        handle(libc::SIGUSR1, libc::SA_ONSTACK);
        raise(libc::SIGUSR1);
    });
    assert_eq!(end, Ended::Signal(libc::SIGSEGV));
}
