//! Signals: delivery, queues, masks, stacks, restart, faults, stop and continue.

use super::cases;
use crate::sys::*;
use libc::{c_int, c_void, siginfo_t, ucontext_t};
use std::arch::asm;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

cases![
    handler_gets_information,
    default_actions,
    kill_and_stop_cannot_be_caught,
    blocked_signals_wait,
    ordinary_signals_do_not_queue,
    real_time_signals_queue_in_order,
    sigtimedwait_times_out,
    sigsuspend_waits,
    masks_are_inherited,
    reset_and_nodefer,
    handler_blocks_its_mask,
    alternate_stack,
    interrupted_read,
    restarted_read,
    nanosleep_tells_the_rest,
    ignored_children_leave_no_zombies,
    no_child_wait_flag,
    stop_and_continue,
    stopped_children_are_quiet_with_nocldstop,
    fault_address_and_code,
    arithmetic_and_illegal,
    bus_error_behind_the_end,
    fault_handler_can_repair,
    broken_pipe,
    signal_to_a_thread,
    group_signal,
    floating_point_survives_handlers,
    many_nested_handlers,
    signalfd_reads,
    exec_resets_handlers,
    sigaction_errors,
    sigqueue_from_user_only_to_self,
    blocked_fault_kills,
    pause_returns_eintr,
    broken_alternate_stack_kills,
];

/// Codes of SIGSEGV: nothing is mapped there, or not for this access.
const SEGV_MAPERR: c_int = 1;
const SEGV_ACCERR: c_int = 2;

static COUNT: AtomicU32 = AtomicU32::new(0);
static LAST: AtomicI32 = AtomicI32::new(0);
static CODE: AtomicI32 = AtomicI32::new(0);
static ADDRESS: AtomicUsize = AtomicUsize::new(0);

fn note(signal: c_int, info: &siginfo_t, _: &mut ucontext_t) {
    COUNT.fetch_add(1, SeqCst);
    LAST.store(signal, SeqCst);
    CODE.store(info.si_code, SeqCst);
    ADDRESS.store(info.address(), SeqCst);
}

fn handle(signal: c_int, flags: c_int) {
    handle_with(signal, note, flags, &[]);
}

fn take(signals: &[c_int], wait_ms: u64) -> Result<siginfo_t> {
    sigtimedwait(SigSet::of(signals), Duration::from_millis(wait_ms))
}

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

fn default_actions() {
    for signal in [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGTERM,
        libc::SIGUSR1,
        libc::SIGALRM,
        libc::SIGPIPE,
        40,
        64,
    ] {
        assert_eq!(end_of(|| raise(signal)), Ended::Signal(signal));
    }
    for signal in [libc::SIGCHLD, libc::SIGURG, libc::SIGWINCH, libc::SIGCONT] {
        assert_eq!(end_of(|| raise(signal)), Ended::Exit(0));
    }
    assert_eq!(
        end_of(|| raise(libc::SIGKILL)),
        Ended::Signal(libc::SIGKILL)
    );
}

fn kill_and_stop_cannot_be_caught() {
    let action: libc::sigaction = zeroed();
    for signal in [libc::SIGKILL, libc::SIGSTOP] {
        fails(sigaction(signal, Some(&action), None), libc::EINVAL);
    }
    block(&[libc::SIGKILL, libc::SIGSTOP]);
    assert!(!blocked().has(libc::SIGKILL));
}

fn blocked_signals_wait() {
    handle(libc::SIGUSR1, 0);
    block(&[libc::SIGUSR1]);
    raise(libc::SIGUSR1);
    assert_eq!(COUNT.load(SeqCst), 0);
    assert!(pending(libc::SIGUSR1));
    unblock(&[libc::SIGUSR1]);
    assert_eq!(COUNT.load(SeqCst), 1);
    assert!(!pending(libc::SIGUSR1));
    // Ignoring a signal drops what is pending.
    block(&[libc::SIGUSR1]);
    raise(libc::SIGUSR1);
    ignore_signal(libc::SIGUSR1);
    assert!(!pending(libc::SIGUSR1));
}

fn ordinary_signals_do_not_queue() {
    handle(libc::SIGUSR2, 0);
    block(&[libc::SIGUSR2]);
    for _ in 0..5 {
        raise(libc::SIGUSR2);
    }
    unblock(&[libc::SIGUSR2]);
    assert_eq!(COUNT.load(SeqCst), 1);
}

fn real_time_signals_queue_in_order() {
    block(&[40, 41]);
    let me = getpid();
    for value in 0..3 {
        ok(sigqueue(me, 41, 10 + value));
        ok(sigqueue(me, 40, value));
    }
    // The lower number first, and each number in the order of sending.
    for expected in [(40, 0), (40, 1), (40, 2), (41, 10), (41, 11), (41, 12)] {
        let info = take(&[40, 41], 0).expect("it is pending");
        assert_eq!(info.si_code, libc::SI_QUEUE);
        assert_eq!((info.si_signo, info.value()), expected);
    }
    assert_eq!(take(&[40, 41], 0).err(), Some(libc::EAGAIN));
}

fn sigtimedwait_times_out() {
    block(&[libc::SIGUSR1]);
    let start = std::time::Instant::now();
    assert_eq!(take(&[libc::SIGUSR1], 50).err(), Some(libc::EAGAIN));
    assert!(start.elapsed().as_millis() >= 50);
    let parent = getpid();
    let pid = child(|| {
        sleep_ms(50);
        ok(kill(parent, libc::SIGUSR1));
        0
    });
    let info = take(&[libc::SIGUSR1], 900).expect("the child sends it");
    assert_eq!(info.pid(), pid);
}

fn sigsuspend_waits() {
    handle(libc::SIGUSR1, 0);
    block(&[libc::SIGUSR1]);
    raise(libc::SIGUSR1);
    assert_eq!(COUNT.load(SeqCst), 0);
    fails(sigsuspend(SigSet::default()), libc::EINTR);
    assert_eq!(COUNT.load(SeqCst), 1);
    raise(libc::SIGUSR1);
    assert!(pending(libc::SIGUSR1));
}

fn masks_are_inherited() {
    block(&[libc::SIGUSR1]);
    raise(libc::SIGUSR1);
    in_child(|| {
        assert!(blocked().has(libc::SIGUSR1));
        // What is pending is not.
        assert!(!pending(libc::SIGUSR1));
    });
    assert!(pending(libc::SIGUSR1));
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

/// Reads from an empty pipe, with a signal after 50 ms and a byte after 150 ms.
fn read_with_signal(flags: c_int) -> Result<usize> {
    handle(libc::SIGUSR1, flags);
    let (reader, writer) = pipe();
    let parent = getpid();
    let pid = child(|| {
        sleep_ms(50);
        ok(kill(parent, libc::SIGUSR1));
        sleep_ms(100);
        put(writer, b"x");
        0
    });
    let got = read(reader, &mut [0]);
    assert_eq!(COUNT.load(SeqCst), 1);
    assert_eq!(wait(pid), Ended::Exit(0));
    got
}

fn interrupted_read() {
    assert_eq!(read_with_signal(0), Err(libc::EINTR));
}

fn restarted_read() {
    assert_eq!(read_with_signal(libc::SA_RESTART), Ok(1));
}

fn nanosleep_tells_the_rest() {
    handle(libc::SIGALRM, libc::SA_RESTART);
    ok(setitimer(libc::ITIMER_REAL, &itimerval(50_000, 0), None));
    let long = timespec(Duration::from_secs(5));
    let mut rest = zeroed();
    // Never restarted, whatever the flags say.
    fails(nanosleep(&long, Some(&mut rest)), libc::EINTR);
    assert_eq!(rest.tv_sec, 4);
}

fn ignored_children_leave_no_zombies() {
    ignore_signal(libc::SIGCHLD);
    child(|| 1);
    child(|| 2);
    fails(waitpid(-1, &mut 0, 0), libc::ECHILD);
}

fn no_child_wait_flag() {
    handle(libc::SIGCHLD, libc::SA_NOCLDWAIT);
    let pid = child(|| 1);
    loop {
        match waitpid(pid, &mut 0, 0) {
            Err(libc::ECHILD) => break,
            got => fails(got, libc::EINTR),
        }
    }
    assert_eq!(COUNT.load(SeqCst), 1);
}

fn stop_and_continue() {
    let (reader, writer) = pipe();
    let pid = child(|| {
        // In a group of its own: SIGTSTP does nothing to a group that nobody outside of it could continue.
        ok(setpgid(0, 0));
        put(writer, b"x");
        loop {
            sleep_ms(10);
        }
    });
    get(reader, 1);

    for signal in [libc::SIGSTOP, libc::SIGTSTP] {
        ok(kill(pid, signal));
        assert_eq!(wait_stopped(pid), signal);
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("procfs");
        assert!(state.contains(") T "), "{state}");
        ok(kill(pid, libc::SIGCONT));
        let mut status = 0;
        assert_eq!(ok(waitpid(pid, &mut status, libc::WCONTINUED)), pid);
        assert!(libc::WIFCONTINUED(status));
    }
    // A stopped process dies by SIGKILL, and by SIGTERM only once it goes on.
    ok(kill(pid, libc::SIGSTOP));
    wait_stopped(pid);
    ok(kill(pid, libc::SIGTERM));
    sleep_ms(30);
    assert_eq!(ok(waitpid(pid, &mut 0, libc::WNOHANG)), 0);
    ok(kill(pid, libc::SIGKILL));
    assert_eq!(wait(pid), Ended::Signal(libc::SIGKILL));
}

fn stopped_children_are_quiet_with_nocldstop() {
    handle(libc::SIGCHLD, libc::SA_NOCLDSTOP | libc::SA_RESTART);
    let pid = child(|| {
        raise(libc::SIGSTOP);
        0
    });
    wait_stopped(pid);
    assert_eq!(COUNT.load(SeqCst), 0);
    ok(kill(pid, libc::SIGCONT));
    assert_eq!(wait(pid), Ended::Exit(0));
    assert_eq!(
        (COUNT.load(SeqCst), CODE.load(SeqCst)),
        (1, libc::CLD_EXITED)
    );
}

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

fn broken_pipe() {
    let (reader, writer) = pipe();
    close(reader);
    ignore_signal(libc::SIGPIPE);
    fails(write(writer, b"x"), libc::EPIPE);
    let end = end_of(|| {
        default_signal(libc::SIGPIPE);
        ignore(write(writer, b"x"));
    });
    assert_eq!(end, Ended::Signal(libc::SIGPIPE));
}

fn signal_to_a_thread() {
    static RAN_ON: AtomicI32 = AtomicI32::new(0);
    fn whoami(_: c_int, info: &siginfo_t, _: &mut ucontext_t) {
        assert_eq!(info.si_code, libc::SI_TKILL);
        RAN_ON.store(gettid(), SeqCst);
    }
    handle_with(libc::SIGUSR1, whoami, libc::SA_RESTART, &[]);
    let tid = std::sync::Arc::new(AtomicI32::new(0));
    let theirs = std::sync::Arc::clone(&tid);
    let thread = std::thread::spawn(move || {
        theirs.store(gettid(), SeqCst);
        while RAN_ON.load(SeqCst) == 0 {
            sleep_ms(2);
        }
    });
    while tid.load(SeqCst) == 0 {
        sleep_ms(1);
    }
    let target = tid.load(SeqCst);
    ok(tgkill(getpid(), target, libc::SIGUSR1));
    thread.join().expect("it does not panic");
    assert_eq!(RAN_ON.load(SeqCst), target);
}

fn group_signal() {
    let leader = child(|| {
        ok(setpgid(0, 0));
        loop {
            sleep_ms(100);
        }
    });
    while ok(getpgid(leader)) != leader {
        sleep_ms(1);
    }
    let member = child(|| {
        loop {
            sleep_ms(100);
        }
    });
    ok(setpgid(member, leader));
    ok(kill(-leader, libc::SIGTERM));
    assert_eq!(
        (wait(leader), wait(member)),
        (Ended::Signal(libc::SIGTERM), Ended::Signal(libc::SIGTERM))
    );
    fails(kill(-leader, libc::SIGTERM), libc::ESRCH);
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

fn signalfd_reads() {
    block(&[libc::SIGUSR1, 40]);
    let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
    let fd = ok(signalfd(-1, SigSet::of(&[libc::SIGUSR1, 40]), flags));
    fails(read_signal(fd), libc::EAGAIN);
    ok(sigqueue(getpid(), 40, 77));
    let info = ok(read_signal(fd));
    assert_eq!(
        (info.ssi_signo, info.ssi_ptr, info.ssi_code),
        (40, 77, libc::SI_QUEUE)
    );
    fails(read(fd, &mut []), libc::EINVAL);
}

fn exec_resets_handlers() {
    handle(libc::SIGUSR1, 0);
    ignore_signal(libc::SIGUSR2);
    block(&[libc::SIGTERM]);
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    assert!(status.contains("SigCgt"));
    let shown = std::process::Command::new("/bin/grep")
        .args(["^Sig[BIC]", "/proc/self/status"])
        .output();
    let text = String::from_utf8(shown.expect("grep runs").stdout).expect("text");
    let field = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .expect("the field is there");
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).expect("a mask")
    };
    let bit = |signal: c_int| 1_u64 << (signal - 1);
    assert_eq!(field("SigCgt") & bit(libc::SIGUSR1), 0);
    assert_ne!(field("SigIgn") & bit(libc::SIGUSR2), 0);
}

fn sigaction_errors() {
    let action: libc::sigaction = zeroed();
    for signal in [0, 65, -1] {
        assert_eq!(
            call(
                libc::SYS_rt_sigaction,
                &[signal as usize, &raw const action as usize, 0, 8]
            ),
            Err(libc::EINVAL),
            "{signal}"
        );
    }
    assert_eq!(
        call(libc::SYS_rt_sigaction, &[10, 0, 0, 16]),
        Err(libc::EINVAL)
    );
    assert_eq!(
        call(libc::SYS_rt_sigaction, &[10, 16, 0, 8]),
        Err(libc::EFAULT)
    );
    assert_eq!(
        call(
            libc::SYS_rt_sigprocmask,
            &[7, &raw const action as usize, 0, 8]
        ),
        Err(libc::EINVAL)
    );
    assert_eq!(
        call(libc::SYS_rt_sigprocmask, &[0, 0, 0, 4]),
        Err(libc::EINVAL)
    );
}

fn sigqueue_from_user_only_to_self() {
    let mut info: siginfo_t = zeroed();
    info.si_code = libc::SI_USER;
    let parent = getpid();
    in_child(|| {
        let args = [
            parent as usize,
            libc::SIGURG as usize,
            &raw const info as usize,
        ];
        assert_eq!(call(libc::SYS_rt_sigqueueinfo, &args), Err(libc::EPERM));
        fails(sigqueue(999_999, 40, 0), libc::ESRCH);
        fails(sigqueue(parent, 65, 0), libc::EINVAL);
    });
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

fn pause_returns_eintr() {
    handle(libc::SIGALRM, libc::SA_RESTART);
    alarm(1);
    fails(pause(), libc::EINTR);
    assert_eq!(COUNT.load(SeqCst), 1);
    assert_eq!(alarm(100), 0);
    assert!(alarm(0) >= 99);
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
