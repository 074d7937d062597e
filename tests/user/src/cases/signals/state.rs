//! What is kept for each thread and for the process, who wakes and who does not, and what init is spared.

use super::{COUNT, LAST, handle};
use crate::cases::cases;
use crate::sys::*;
use std::sync::Barrier;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicI32, AtomicU32};
use std::time::{Duration, Instant};

cases![
    every_number_is_delivered,
    masks_and_queues_of_threads,
    a_thread_that_does_not_block_takes_it,
    senders_are_named,
    no_queue_entry_is_needed,
    computing_threads_are_interrupted,
    sleeps_go_on_after_a_stop,
    reads_go_on_after_a_stop,
    ignored_signals_wake_nobody,
    init_is_spared,
];

/// The signals that the C library keeps for itself.
const LIBRARY: std::ops::RangeInclusive<i32> = 32..=34;

fn every_number_is_delivered() {
    for signal in (1..=64).filter(|signal| !LIBRARY.contains(signal)) {
        if [libc::SIGKILL, libc::SIGSTOP].contains(&signal) {
            continue;
        }
        handle(signal, 0);
        raise(signal);
        assert_eq!(LAST.load(SeqCst), signal);
    }
    assert_eq!(COUNT.load(SeqCst), 64 - 3 - 2);
    for signal in LIBRARY {
        let end = end_of(|| ok(tgkill(getpid(), gettid(), signal)));
        assert_eq!(end, Ended::Signal(signal));
    }
    fails(kill(getpid(), 65), libc::EINVAL);
}

fn set_of(tid: i32, name: &str) -> SigSet {
    let field = proc_field(&format!("/proc/self/task/{tid}/status"), name).expect("it is there");
    SigSet(u64::from_str_radix(&field, 16).expect("a set"))
}

fn masks_and_queues_of_threads() {
    let (first, second) = (SigSet::of(&[libc::SIGUSR1]), SigSet::of(&[libc::SIGUSR2]));
    let both = SigSet(first.0 | second.0);
    block(&[libc::SIGUSR1]);
    let barrier = Barrier::new(2);
    let tid = AtomicI32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            block(&[libc::SIGUSR2]);
            tid.store(gettid(), SeqCst);
            barrier.wait();
            barrier.wait();
        });
        barrier.wait();
        let (main, other) = (gettid(), tid.load(SeqCst));
        let blocked = |tid| set_of(tid, "SigBlk").0 & both.0;
        assert_eq!((blocked(main), blocked(other)), (first.0, both.0));
        ok(tgkill(getpid(), other, libc::SIGUSR1));
        // Nobody's in particular: where all threads block it, it waits for any.
        ok(kill(getpid(), libc::SIGUSR1));
        let own = |tid| set_of(tid, "SigPnd");
        assert_eq!((own(main), own(other)), (SigSet(0), first));
        for tid in [main, other] {
            assert_eq!(set_of(tid, "ShdPnd"), first);
        }
        barrier.wait();
    });
}

fn a_thread_that_does_not_block_takes_it() {
    static TAKER: AtomicI32 = AtomicI32::new(0);
    fn note(_: i32, _: &libc::siginfo_t, _: &mut libc::ucontext_t) {
        TAKER.store(gettid(), SeqCst);
    }
    handle_with(libc::SIGUSR1, note, 0, &[]);
    let tid = AtomicI32::new(0);
    let (ready, done) = (Barrier::new(2), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            tid.store(gettid(), SeqCst);
            ready.wait();
            while done.load(SeqCst) == 0 {
                std::thread::yield_now();
            }
        });
        ready.wait();
        block(&[libc::SIGUSR1]);
        ok(kill(getpid(), libc::SIGUSR1));
        soon(|| TAKER.load(SeqCst) != 0);
        assert_eq!(TAKER.load(SeqCst), tid.load(SeqCst));
        done.store(1, SeqCst);
    });
}

fn senders_are_named() {
    let set = block(&[libc::SIGUSR1, libc::SIGINT]);
    let pid = child(|| {
        ok(setresuid(1234, 0, 0));
        ok(kill(getppid(), libc::SIGUSR1));
        0
    });
    let info = ok(sigwaitinfo(set));
    let sender = (info.si_code, info.pid(), info.uid());
    assert_eq!(sender, (libc::SI_USER, pid, 1234));
    wait(pid);
    ok(tgkill(getpid(), gettid(), libc::SIGUSR1));
    let info = ok(sigwaitinfo(set));
    let sender = (info.si_code, info.pid(), info.uid());
    assert_eq!(sender, (libc::SI_TKILL, getpid(), 0));

    // A key is the kernel's own doing.
    let master = ok(open("/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY));
    let mut number = 0_i32;
    ok(ioctl_at(master, libc::TIOCGPTN, &mut number));
    ok(ioctl_at(master, libc::TIOCSPTLCK, &mut 0_i32));
    let (read, write) = pipe();
    let pid = child(|| {
        ok(setsid());
        ok(open(&format!("/dev/pts/{number}"), libc::O_RDWR));
        put(write, b"x");
        let info = ok(sigwaitinfo(set));
        let sender = (info.si_signo, info.si_code, info.pid(), info.uid());
        assert_eq!(sender, (libc::SIGINT, libc::SI_KERNEL, 0, 0));
        0
    });
    get(read, 1);
    put(master, b"\x03");
    assert_eq!(wait(pid), Ended::Exit(0));
}

fn no_queue_entry_is_needed() {
    in_child(|| {
        limit(libc::RLIMIT_SIGPENDING, 0);
        become_user();
        let set = block(&[libc::SIGUSR1, 40]);
        fails(sigqueue(getpid(), 40, 7), libc::EAGAIN);
        // With information it is refused, without it comes.
        ok(kill(getpid(), 40));
        ok(kill(getpid(), libc::SIGUSR1));
        assert_eq!(ok(sigwaitinfo(set)).si_signo, libc::SIGUSR1);
        assert_eq!(ok(sigwaitinfo(set)).si_signo, 40);
        // A fault's address is the kernel's to tell.
        fn leave(_: i32, info: &libc::siginfo_t, _: &mut libc::ucontext_t) {
            exit(if info.address() == 64 { 7 } else { 1 });
        }
        assert_eq!(
            end_of(|| {
                handle_with(libc::SIGSEGV, leave, 0, &[]);
                ignore(peek(64));
            }),
            Ended::Exit(7)
        );
        let pid = child(|| sleep_for_ever());
        ok(kill(pid, libc::SIGKILL));
        assert_eq!(wait(pid), Ended::Signal(libc::SIGKILL));
    });
}

fn computing_threads_are_interrupted() {
    let ready = shared::<AtomicU32>();
    let pid = child(|| {
        handle(libc::SIGUSR1, 0);
        ready.store(1, SeqCst);
        // No system call is made here.
        while COUNT.load(SeqCst) == 0 {
            std::hint::spin_loop();
        }
        0
    });
    soon(|| ready.load(SeqCst) == 1);
    ok(kill(pid, libc::SIGUSR1));
    assert_eq!(wait(pid), Ended::Exit(0));
}

/// Stops `pid`, which sleeps in a call, and lets it go on.
fn stop_and_continue(pid: i32) {
    until_asleep(pid);
    ok(kill(pid, libc::SIGSTOP));
    assert_eq!(wait_stopped(pid), libc::SIGSTOP);
    ok(kill(pid, libc::SIGCONT));
}

fn sleeps_go_on_after_a_stop() {
    const LONG: Duration = Duration::from_millis(400);
    let pid = child(|| {
        let start = Instant::now();
        ok(nanosleep(&timespec(LONG), None));
        assert!(start.elapsed() >= LONG);
        0
    });
    stop_and_continue(pid);
    assert_eq!(wait(pid), Ended::Exit(0));
}

fn reads_go_on_after_a_stop() {
    let (read_end, write_end) = pipe();
    let pid = child(|| {
        assert_eq!(read(read_end, &mut [0]), Ok(1));
        0
    });
    stop_and_continue(pid);
    until_asleep(pid);
    put(write_end, b"x");
    assert_eq!(wait(pid), Ended::Exit(0));
}

fn ignored_signals_wake_nobody() {
    ignore_signal(libc::SIGUSR1);
    let pid = child(|| sleep_for_ever());
    until_asleep(pid);
    let turns = || proc_field(&format!("/proc/{pid}/status"), "voluntary_ctxt_switches");
    let before = turns();
    for signal in [libc::SIGUSR1, libc::SIGCHLD, libc::SIGWINCH, libc::SIGURG] {
        (0..100).for_each(|_| ok(kill(pid, signal)));
    }
    assert_eq!((turns(), stat_field(pid, 3)), (before, "S".into()));
    ok(kill(pid, libc::SIGTERM));
    assert_eq!(wait(pid), Ended::Signal(libc::SIGTERM));
}

fn init_is_spared() {
    for signal in [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, 40] {
        ok(kill(1, signal));
    }
    let pending = |name| proc_field("/proc/1/status", name).expect("it is there");
    let stopped = SigSet::of(&[libc::SIGKILL, libc::SIGSTOP]).0;
    for name in ["SigPnd", "ShdPnd"] {
        let set = u64::from_str_radix(&pending(name), 16).expect("a set");
        assert_eq!(set & stopped, 0);
    }
    assert!(["S", "R"].contains(&&*stat_field(1, 3)));
}
