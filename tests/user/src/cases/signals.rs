//! Signals: delivery, queues, masks, stacks, restart, faults, stop and continue.

use super::cases;
use crate::sys::*;
use libc::{c_int, c_void, siginfo_t};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering::SeqCst};

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

extern "C" fn note(signal: c_int, info: *mut siginfo_t, _: *mut c_void) {
    COUNT.fetch_add(1, SeqCst);
    LAST.store(signal, SeqCst);
    unsafe {
        CODE.store((*info).si_code, SeqCst);
        ADDRESS.store((*info).si_addr() as usize, SeqCst);
    }
}

type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

fn handle_with(signal: c_int, handler: Handler, flags: c_int, mask: &[c_int]) {
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = flags | libc::SA_SIGINFO;
    action.sa_mask = set(mask);
    ok(unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) });
}

fn handle(signal: c_int, flags: c_int) {
    handle_with(signal, note, flags, &[]);
}

fn set(signals: &[c_int]) -> libc::sigset_t {
    let mut set = unsafe { std::mem::zeroed() };
    for signal in signals {
        unsafe { libc::sigaddset(&raw mut set, *signal) };
    }
    set
}

fn block(signals: &[c_int]) {
    ok(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set(signals), std::ptr::null_mut()) });
}

fn unblock(signals: &[c_int]) {
    ok(unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, &set(signals), std::ptr::null_mut()) });
}

fn pending(signal: c_int) -> bool {
    let mut set = set(&[]);
    ok(unsafe { libc::sigpending(&raw mut set) });
    unsafe { libc::sigismember(&raw const set, signal) == 1 }
}

fn raise(signal: c_int) {
    ok(unsafe { libc::kill(libc::getpid(), signal) });
}

fn take(signals: &[c_int], wait_ms: i64) -> Result<siginfo_t, i32> {
    let mut info: siginfo_t = unsafe { std::mem::zeroed() };
    let timeout = libc::timespec {
        tv_sec: 0,
        tv_nsec: wait_ms * 1_000_000,
    };
    match unsafe { libc::sigtimedwait(&set(signals), &raw mut info, &raw const timeout) } {
        -1 => Err(errno()),
        _ => Ok(info),
    }
}

fn queue(pid: i32, signal: c_int, value: usize) -> c_int {
    unsafe {
        libc::sigqueue(
            pid,
            signal,
            libc::sigval {
                sival_ptr: value as *mut c_void,
            },
        )
    }
}

fn handler_gets_information() {
    extern "C" fn check(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
        let info = unsafe { &*info };
        assert_eq!(
            (signal, info.si_signo, info.si_code),
            (libc::SIGUSR1, libc::SIGUSR1, libc::SI_USER)
        );
        assert_eq!(unsafe { (info.si_pid(), info.si_uid()) }, unsafe {
            (libc::getpid(), libc::getuid())
        });
        let context = unsafe { &*context.cast::<libc::ucontext_t>() };
        assert_ne!(context.uc_mcontext.gregs[libc::REG_RIP as usize], 0);
        // Behind the 23 registers lies the pointer to the floating-point state.
        let words = (&raw const context.uc_mcontext).cast::<[usize; 24]>();
        assert_ne!(unsafe { (*words)[23] }, 0);
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
    let action: libc::sigaction = unsafe { std::mem::zeroed() };
    for signal in [libc::SIGKILL, libc::SIGSTOP] {
        fails(
            unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) },
            libc::EINVAL,
        );
    }
    block(&[libc::SIGKILL, libc::SIGSTOP]);
    let mut now = set(&[]);
    ok(unsafe { libc::sigprocmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut now) });
    assert_eq!(
        unsafe { libc::sigismember(&raw const now, libc::SIGKILL) },
        0
    );
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
    unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
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
    let me = unsafe { libc::getpid() };
    for value in 0..3 {
        ok(queue(me, 41, 10 + value));
        ok(queue(me, 40, value));
    }
    // The lower number first, and each number in the order of sending.
    for expected in [(40, 0), (40, 1), (40, 2), (41, 10), (41, 11), (41, 12)] {
        let info = take(&[40, 41], 0).expect("it is pending");
        assert_eq!(info.si_code, libc::SI_QUEUE);
        assert_eq!(
            (info.si_signo, unsafe { info.si_value().sival_ptr } as usize),
            expected
        );
    }
    assert_eq!(take(&[40, 41], 0).err(), Some(libc::EAGAIN));
}

fn sigtimedwait_times_out() {
    block(&[libc::SIGUSR1]);
    let start = std::time::Instant::now();
    assert_eq!(take(&[libc::SIGUSR1], 50).err(), Some(libc::EAGAIN));
    assert!(start.elapsed().as_millis() >= 50);
    let parent = unsafe { libc::getpid() };
    let pid = child(|| {
        sleep_ms(50);
        ok(unsafe { libc::kill(parent, libc::SIGUSR1) })
    });
    let info = take(&[libc::SIGUSR1], 900).expect("the child sends it");
    assert_eq!(unsafe { info.si_pid() }, pid);
}

fn sigsuspend_waits() {
    handle(libc::SIGUSR1, 0);
    block(&[libc::SIGUSR1]);
    raise(libc::SIGUSR1);
    assert_eq!(COUNT.load(SeqCst), 0);
    fails(unsafe { libc::sigsuspend(&set(&[])) }, libc::EINTR);
    assert_eq!(COUNT.load(SeqCst), 1);
    raise(libc::SIGUSR1);
    assert!(pending(libc::SIGUSR1));
}

fn masks_are_inherited() {
    block(&[libc::SIGUSR1]);
    raise(libc::SIGUSR1);
    in_child(|| {
        let mut now = set(&[]);
        ok(unsafe { libc::sigprocmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut now) });
        assert_eq!(
            unsafe { libc::sigismember(&raw const now, libc::SIGUSR1) },
            1
        );
        // What is pending is not.
        assert!(!pending(libc::SIGUSR1));
    });
    assert!(pending(libc::SIGUSR1));
}

fn reset_and_nodefer() {
    handle(libc::SIGUSR1, libc::SA_RESETHAND);
    raise(libc::SIGUSR1);
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    ok(unsafe { libc::sigaction(libc::SIGUSR1, std::ptr::null(), &raw mut now) });
    assert_eq!(now.sa_sigaction, libc::SIG_DFL);
    extern "C" fn again(signal: c_int, _: *mut siginfo_t, _: *mut c_void) {
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
    extern "C" fn first(signal: c_int, _: *mut siginfo_t, _: *mut c_void) {
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
    extern "C" fn check(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
        let local = 0_u8;
        let at = (&raw const local) as usize;
        let base = BASE.load(SeqCst);
        assert!((base..base + 65536).contains(&at));
        let mut now: libc::stack_t = unsafe { std::mem::zeroed() };
        ok(unsafe { libc::sigaltstack(std::ptr::null(), &raw mut now) });
        assert_eq!(now.ss_flags & libc::SS_ONSTACK, libc::SS_ONSTACK);
        now.ss_flags = 0;
        fails(
            unsafe { libc::sigaltstack(&raw const now, std::ptr::null_mut()) },
            libc::EPERM,
        );
        COUNT.fetch_add(1, SeqCst);
    }
    let stack = libc::stack_t {
        ss_sp: memory as *mut c_void,
        ss_flags: 0,
        ss_size: 65536,
    };
    ok(unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) });
    handle_with(libc::SIGUSR1, check, libc::SA_ONSTACK, &[]);
    raise(libc::SIGUSR1);
    assert_eq!(COUNT.load(SeqCst), 1);
    let small = libc::stack_t {
        ss_size: 100,
        ..stack
    };
    fails(
        unsafe { libc::sigaltstack(&raw const small, std::ptr::null_mut()) },
        libc::ENOMEM,
    );
    // A stack overflow has nowhere to put its frame but here.
    extern "C" fn overflow(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
        unsafe { libc::_exit(33) };
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
fn read_with_signal(flags: c_int) -> (isize, i32) {
    handle(libc::SIGUSR1, flags);
    let (reader, writer) = pipe();
    let parent = unsafe { libc::getpid() };
    let pid = child(|| {
        sleep_ms(50);
        ok(unsafe { libc::kill(parent, libc::SIGUSR1) });
        sleep_ms(100);
        put(writer, b"x");
        0
    });
    let mut byte = 0_u8;
    let got = unsafe { libc::read(reader, (&raw mut byte).cast(), 1) };
    let error = errno();
    assert_eq!(COUNT.load(SeqCst), 1);
    assert_eq!(wait(pid), Ended::Exit(0));
    (got, error)
}

fn interrupted_read() {
    assert_eq!(read_with_signal(0), (-1, libc::EINTR));
}

fn restarted_read() {
    assert_eq!(read_with_signal(libc::SA_RESTART).0, 1);
}

fn nanosleep_tells_the_rest() {
    handle(libc::SIGALRM, libc::SA_RESTART);
    let timer = libc::itimerval {
        it_interval: libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        },
        it_value: libc::timeval {
            tv_sec: 0,
            tv_usec: 50_000,
        },
    };
    assert_eq!(
        call(libc::SYS_setitimer, &[0, &raw const timer as usize, 0]),
        Ok(0)
    );
    let long = libc::timespec {
        tv_sec: 5,
        tv_nsec: 0,
    };
    let mut rest = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // Never restarted, whatever the flags say.
    fails(
        unsafe { libc::nanosleep(&raw const long, &raw mut rest) },
        libc::EINTR,
    );
    assert_eq!(rest.tv_sec, 4);
}

fn ignored_children_leave_no_zombies() {
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    child(|| 1);
    child(|| 2);
    fails(
        unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) },
        libc::ECHILD,
    );
}

fn no_child_wait_flag() {
    handle(libc::SIGCHLD, libc::SA_NOCLDWAIT);
    let pid = child(|| 1);
    loop {
        let got = unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
        if got == -1 && errno() == libc::ECHILD {
            break;
        }
        assert_eq!((got, errno()), (-1, libc::EINTR));
    }
    assert_eq!(COUNT.load(SeqCst), 1);
}

fn stop_and_continue() {
    let (reader, writer) = pipe();
    let pid = child(|| {
        // In a group of its own: SIGTSTP does nothing to a group that nobody outside of it could continue.
        ok(unsafe { libc::setpgid(0, 0) });
        put(writer, b"x");
        loop {
            sleep_ms(10);
        }
    });
    get(reader, 1);
    let wait_for = |flags: c_int| {
        let mut status = 0;
        assert_eq!(
            ok(unsafe { libc::waitpid(pid, &raw mut status, flags) }),
            pid
        );
        status
    };
    for signal in [libc::SIGSTOP, libc::SIGTSTP] {
        ok(unsafe { libc::kill(pid, signal) });
        let status = wait_for(libc::WUNTRACED);
        assert!(libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == signal);
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("procfs");
        assert!(state.contains(") T "), "{state}");
        ok(unsafe { libc::kill(pid, libc::SIGCONT) });
        assert!(libc::WIFCONTINUED(wait_for(libc::WCONTINUED)));
    }
    // A stopped process dies by SIGKILL, and by SIGTERM only once it goes on.
    ok(unsafe { libc::kill(pid, libc::SIGSTOP) });
    wait_for(libc::WUNTRACED);
    ok(unsafe { libc::kill(pid, libc::SIGTERM) });
    sleep_ms(30);
    let mut status = 0;
    assert_eq!(
        ok(unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) }),
        0
    );
    ok(unsafe { libc::kill(pid, libc::SIGKILL) });
    assert_eq!(wait(pid), Ended::Signal(libc::SIGKILL));
}

fn stopped_children_are_quiet_with_nocldstop() {
    handle(libc::SIGCHLD, libc::SA_NOCLDSTOP | libc::SA_RESTART);
    let pid = child(|| {
        raise(libc::SIGSTOP);
        0
    });
    let mut status = 0;
    assert_eq!(
        ok(unsafe { libc::waitpid(pid, &raw mut status, libc::WUNTRACED) }),
        pid
    );
    assert_eq!(COUNT.load(SeqCst), 0);
    ok(unsafe { libc::kill(pid, libc::SIGCONT) });
    assert_eq!(wait(pid), Ended::Exit(0));
    assert_eq!(
        (COUNT.load(SeqCst), CODE.load(SeqCst)),
        (1, libc::CLD_EXITED)
    );
}

/// Runs `body` in a child whose handler for `signal` gives the code as exit code if the address is right.
fn fault(signal: c_int, address: usize, body: impl FnOnce()) -> Ended {
    static EXPECTED: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn tell(_: c_int, info: *mut siginfo_t, _: *mut c_void) {
        let info = unsafe { &*info };
        let right = unsafe { info.si_addr() } as usize == EXPECTED.load(SeqCst)
            || EXPECTED.load(SeqCst) == usize::MAX;
        unsafe { libc::_exit(if right { info.si_code } else { 99 }) };
    }
    EXPECTED.store(address, SeqCst);
    end_of(|| {
        handle_with(signal, tell, 0, &[]);
        body();
    })
}

fn fault_address_and_code() {
    let page = map(4096) as usize;
    let read = |at: usize| unsafe { (at as *const u8).read_volatile() };
    let write = |at: usize| unsafe { (at as *mut u8).write_volatile(1) };
    assert_eq!(
        fault(libc::SIGSEGV, 0x10, || write(0x10)),
        Ended::Exit(SEGV_MAPERR)
    );
    ok(unsafe { libc::mprotect(page as *mut c_void, 4096, libc::PROT_READ) });
    assert_eq!(
        fault(libc::SIGSEGV, page + 5, || write(page + 5)),
        Ended::Exit(SEGV_ACCERR)
    );
    ok(unsafe { libc::mprotect(page as *mut c_void, 4096, libc::PROT_NONE) });
    assert_eq!(
        fault(libc::SIGSEGV, page + 7, || ignore(read(page + 7))),
        Ended::Exit(SEGV_ACCERR)
    );
    ok(unsafe { libc::munmap(page as *mut c_void, 4096) });
    assert_eq!(
        fault(libc::SIGSEGV, page + 9, || ignore(read(page + 9))),
        Ended::Exit(SEGV_MAPERR)
    );
    let kernel = 0xffff_ffff_8010_0000;
    assert_eq!(
        fault(libc::SIGSEGV, kernel, || ignore(read(kernel))),
        Ended::Exit(SEGV_MAPERR)
    );
    // A non-canonical address is a general protection fault: no address, code SI_KERNEL.
    let wild = 0x8000_0000_0000_0000;
    assert_eq!(
        fault(libc::SIGSEGV, 0, || ignore(read(wild))),
        Ended::Exit(libc::SI_KERNEL & 0xff)
    );
    // Data is not executable.
    let code = map(4096);
    unsafe { *code = 0xc3 };
    let run = || unsafe { std::mem::transmute::<*mut u8, extern "C" fn()>(code)() };
    assert_eq!(
        fault(libc::SIGSEGV, code as usize, run),
        Ended::Exit(SEGV_ACCERR)
    );
    // Without a handler it kills.
    assert_eq!(end_of(|| write(0x10)), Ended::Signal(libc::SIGSEGV));
}

fn arithmetic_and_illegal() {
    use std::arch::asm;
    let divide = || unsafe {
        asm!("xor edx, edx", "xor ecx, ecx", "div ecx", out("ecx") _, out("edx") _, inout("eax") 1 => _)
    };
    assert_eq!(fault(libc::SIGFPE, usize::MAX, divide), Ended::Exit(1)); // FPE_INTDIV
    assert_eq!(
        fault(libc::SIGILL, usize::MAX, || unsafe { asm!("ud2") }),
        Ended::Exit(2)
    ); // ILL_ILLOPN
    assert_eq!(
        fault(libc::SIGTRAP, usize::MAX, || unsafe { asm!("int3") }),
        Ended::Exit(libc::SI_KERNEL & 0xff)
    );
    assert_eq!(
        fault(libc::SIGSEGV, 0, || unsafe { asm!("hlt") }),
        Ended::Exit(libc::SI_KERNEL & 0xff)
    );
    assert_eq!(
        fault(libc::SIGSEGV, 0, || unsafe { asm!("cli") }),
        Ended::Exit(libc::SI_KERNEL & 0xff)
    );
    assert_eq!(
        end_of(|| unsafe { asm!("ud2") }),
        Ended::Signal(libc::SIGILL)
    );
}

fn bus_error_behind_the_end() {
    let fd = file("f", &[7; 100]);
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            8192,
            libc::PROT_READ,
            libc::MAP_PRIVATE,
            fd,
            0,
        )
    } as usize;
    assert_eq!(unsafe { (at as *const u8).add(200).read_volatile() }, 0);
    let read = || ignore(unsafe { ((at + 4096) as *const u8).read_volatile() });
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
    );
    extern "C" fn repair(_: c_int, info: *mut siginfo_t, _: *mut c_void) {
        let at = unsafe { (*info).si_addr() } as usize & !4095;
        ok(unsafe { libc::mprotect(at as *mut c_void, 4096, libc::PROT_READ | libc::PROT_WRITE) });
        COUNT.fetch_add(1, SeqCst);
    }
    handle_with(libc::SIGSEGV, repair, 0, &[]);
    unsafe { page.add(100).write_volatile(42) };
    assert_eq!(unsafe { page.add(100).read_volatile() }, 42);
    assert_eq!(COUNT.load(SeqCst), 1);
}

fn broken_pipe() {
    let (reader, writer) = pipe();
    close(reader);
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    fails(
        unsafe { libc::write(writer, c"x".as_ptr().cast(), 1) },
        libc::EPIPE,
    );
    let end = end_of(|| {
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        unsafe { libc::write(writer, c"x".as_ptr().cast(), 1) };
    });
    assert_eq!(end, Ended::Signal(libc::SIGPIPE));
}

fn signal_to_a_thread() {
    static RAN_ON: AtomicI32 = AtomicI32::new(0);
    extern "C" fn whoami(_: c_int, info: *mut siginfo_t, _: *mut c_void) {
        assert_eq!(unsafe { (*info).si_code }, libc::SI_TKILL);
        RAN_ON.store(unsafe { libc::gettid() }, SeqCst);
    }
    handle_with(libc::SIGUSR1, whoami, libc::SA_RESTART, &[]);
    let tid = std::sync::Arc::new(AtomicI32::new(0));
    let theirs = std::sync::Arc::clone(&tid);
    let thread = std::thread::spawn(move || {
        theirs.store(unsafe { libc::gettid() }, SeqCst);
        while RAN_ON.load(SeqCst) == 0 {
            sleep_ms(2);
        }
    });
    while tid.load(SeqCst) == 0 {
        sleep_ms(1);
    }
    let target = tid.load(SeqCst);
    ok(unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), target, libc::SIGUSR1) });
    thread.join().expect("it does not panic");
    assert_eq!(RAN_ON.load(SeqCst), target);
}

fn group_signal() {
    let leader = child(|| {
        ok(unsafe { libc::setpgid(0, 0) });
        loop {
            sleep_ms(100);
        }
    });
    while unsafe { libc::getpgid(leader) } != leader {
        sleep_ms(1);
    }
    let member = child(|| {
        loop {
            sleep_ms(100);
        }
    });
    ok(unsafe { libc::setpgid(member, leader) });
    ok(unsafe { libc::kill(-leader, libc::SIGTERM) });
    assert_eq!(
        (wait(leader), wait(member)),
        (Ended::Signal(libc::SIGTERM), Ended::Signal(libc::SIGTERM))
    );
    fails(unsafe { libc::kill(-leader, libc::SIGTERM) }, libc::ESRCH);
}

fn floating_point_survives_handlers() {
    use std::arch::asm;
    extern "C" fn spoil(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
        unsafe {
            asm!("pcmpeqd xmm5, xmm5", "pcmpeqd xmm15, xmm15", "fninit", "fldpi", out("xmm5") _, out("xmm15") _)
        };
        COUNT.fetch_add(1, SeqCst);
    }
    handle_with(libc::SIGUSR1, spoil, 0, &[]);
    let (mut low, mut high) = (0x1122_3344_5566_7788_u64, 0x99aa_bbcc_ddee_ff00_u64);
    let pid = unsafe { libc::getpid() };
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
    extern "C" fn next(signal: c_int, _: *mut siginfo_t, _: *mut c_void) {
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
    let fd = ok(unsafe {
        libc::signalfd(
            -1,
            &set(&[libc::SIGUSR1, 40]),
            libc::SFD_NONBLOCK | libc::SFD_CLOEXEC,
        )
    });
    let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
    let read =
        |info: &mut libc::signalfd_siginfo| unsafe { libc::read(fd, (&raw mut *info).cast(), 128) };
    fails(read(&mut info), libc::EAGAIN);
    ok(queue(unsafe { libc::getpid() }, 40, 77));
    assert_eq!(ok(read(&mut info)), 128);
    assert_eq!(
        (info.ssi_signo, info.ssi_ptr, info.ssi_code),
        (40, 77, libc::SI_QUEUE)
    );
    fails(
        unsafe { libc::read(fd, (&raw mut info).cast(), 100) },
        libc::EINVAL,
    );
}

fn exec_resets_handlers() {
    handle(libc::SIGUSR1, 0);
    unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
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
    let action: libc::sigaction = unsafe { std::mem::zeroed() };
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
    let mut info: siginfo_t = unsafe { std::mem::zeroed() };
    info.si_code = libc::SI_USER;
    let parent = unsafe { libc::getpid() };
    in_child(|| {
        let args = [
            parent as usize,
            libc::SIGURG as usize,
            &raw const info as usize,
        ];
        assert_eq!(call(libc::SYS_rt_sigqueueinfo, &args), Err(libc::EPERM));
        fails(queue(999_999, 40, 0), libc::ESRCH);
        fails(queue(parent, 65, 0), libc::EINVAL);
    });
}

fn blocked_fault_kills() {
    let end = end_of(|| {
        handle(libc::SIGSEGV, 0);
        block(&[libc::SIGSEGV]);
        unsafe { (16 as *mut u8).write_volatile(1) };
    });
    assert_eq!(end, Ended::Signal(libc::SIGSEGV));
    // Sent by somebody, it can wait.
    block(&[libc::SIGSEGV]);
    raise(libc::SIGSEGV);
    assert!(pending(libc::SIGSEGV));
}

fn pause_returns_eintr() {
    handle(libc::SIGALRM, libc::SA_RESTART);
    unsafe { libc::alarm(1) };
    fails(unsafe { libc::pause() }, libc::EINTR);
    assert_eq!(COUNT.load(SeqCst), 1);
    assert_eq!(unsafe { libc::alarm(100) }, 0);
    assert!(unsafe { libc::alarm(0) } >= 99);
}

fn broken_alternate_stack_kills() {
    let end = end_of(|| {
        let stack = libc::stack_t {
            ss_sp: 0x1000 as *mut c_void,
            ss_flags: 0,
            ss_size: 65536,
        };
        ok(unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) });
        handle(libc::SIGUSR1, libc::SA_ONSTACK);
        raise(libc::SIGUSR1);
    });
    assert_eq!(end, Ended::Signal(libc::SIGSEGV));
}
