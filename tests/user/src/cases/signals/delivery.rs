//! Sending and masks: what waits, what queues, who gets it.

use super::{COUNT, handle};
use crate::cases::cases;
use crate::sys::*;
use libc::{c_int, siginfo_t, ucontext_t};
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

cases![
    default_actions,
    kill_and_stop_cannot_be_caught,
    blocked_signals_wait,
    ordinary_signals_do_not_queue,
    real_time_signals_queue_in_order,
    sigtimedwait_times_out,
    sigsuspend_waits,
    masks_are_inherited,
    broken_pipe,
    signal_to_a_thread,
    group_signal,
    signalfd_reads,
    exec_resets_handlers,
    sigaction_errors,
    sigqueue_from_user_only_to_self,
];

fn take(signals: &[c_int], wait_ms: u64) -> Result<siginfo_t> {
    sigtimedwait(SigSet::of(signals), Duration::from_millis(wait_ms))
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
    let info = take(&[libc::SIGUSR1], 20_000).expect("the child sends it");
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
        sleep_for_ever()
    });
    while ok(getpgid(leader)) != leader {
        sleep_ms(1);
    }
    let member = child(|| sleep_for_ever());
    ok(setpgid(member, leader));
    ok(kill(-leader, libc::SIGTERM));
    assert_eq!(
        (wait(leader), wait(member)),
        (Ended::Signal(libc::SIGTERM), Ended::Signal(libc::SIGTERM))
    );
    fails(kill(-leader, libc::SIGTERM), libc::ESRCH);
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
