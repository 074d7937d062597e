//! Making processes, and waiting for them.

use crate::cases::cases;
use crate::sys::*;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

cases![
    fork_gives_exit_code,
    fork_copies_memory,
    fork_shares_file_offset,
    many_forks,
    wait_without_children,
    wait_nohang,
    waitid_leaves_the_zombie,
    wait_for_a_group,
    orphans_go_to_the_reaper,
    parent_death_signal,
    usage_is_counted,
    clone3_makes_a_process,
    clone3_errors,
    vfork_waits_for_exec,
];

fn fork_gives_exit_code() {
    for code in [0, 1, 77, 255] {
        assert_eq!(wait(child(|| code)), Ended::Exit(code));
    }
    assert_eq!(wait(child(|| 256 + 3)), Ended::Exit(3));
}

fn fork_copies_memory() {
    let mut value = Box::new(1);
    let page = map(8192) as usize;
    poke(page, 7);
    in_child(|| {
        *value = 2;
        poke(page, 8);
        assert_eq!(peek(page), 8);
    });
    assert_eq!((*value, peek(page)), (1, 7));
    let both = shared::<AtomicU32>();
    in_child(|| both.store(9, Ordering::Relaxed));
    assert_eq!(both.load(Ordering::Relaxed), 9);
}

fn fork_shares_file_offset() {
    let fd = file("f", b"abcdef");
    in_child(|| assert_eq!(get(fd, 2), b"ab"));
    assert_eq!(get(fd, 2), b"cd");
}

fn many_forks() {
    let children: Vec<i32> = (0..50).map(|i| child(move || i)).collect();
    for (i, pid) in children.into_iter().enumerate().rev() {
        assert_eq!(wait(pid), Ended::Exit(i as i32));
    }
}

fn wait_without_children() {
    fails(waitpid(-1, &mut 0, 0), libc::ECHILD);
    fails(waitpid(1, &mut 0, 0), libc::ECHILD);
    fails(waitpid(-1, &mut 0, 0x2000), libc::EINVAL);
}

fn wait_nohang() {
    let (reader, writer) = pipe();
    let pid = child(|| {
        close(writer);
        get(reader, 1);
        5
    });
    assert_eq!(ok(waitpid(pid, &mut 0, libc::WNOHANG)), 0);
    close(writer);
    assert_eq!(wait(pid), Ended::Exit(5));
}

fn waitid_leaves_the_zombie() {
    let pid = child(|| 42);
    for flags in [libc::WEXITED | libc::WNOWAIT, libc::WEXITED] {
        let info = ok(waitid(libc::P_PID, pid as u32, flags));
        assert_eq!(
            (info.si_signo, info.si_code),
            (libc::SIGCHLD, libc::CLD_EXITED)
        );
        assert_eq!((info.pid(), info.status()), (pid, 42));
    }
    fails(waitpid(pid, &mut 0, 0), libc::ECHILD);
    fails(waitid(libc::P_ALL, 0, 0), libc::EINVAL);
}

fn wait_for_a_group() {
    let other = child(|| {
        sleep_ms(300);
        1
    });
    let pid = child(|| 2);
    ok(setpgid(other, other));
    // Group 0 is our own: only `pid` is in it.
    let mut status = 0;
    assert_eq!(ok(waitpid(0, &mut status, 0)), pid);
    fails(waitpid(0, &mut status, 0), libc::ECHILD);
    assert_eq!(ok(waitpid(-other, &mut status, 0)), other);
}

fn orphans_go_to_the_reaper() {
    ok(prctl(libc::PR_SET_CHILD_SUBREAPER, 1));
    let (reader, writer) = pipe();
    let me = getpid();
    in_child(|| {
        let middle = getpid();
        child(move || {
            while getppid() == middle {
                sleep_ms(5);
            }
            put(writer, &getppid().to_ne_bytes());
            9
        });
    });
    assert_eq!(get(reader, 4), me.to_ne_bytes());
    assert_eq!(wait(ended_child()), Ended::Exit(9));
}

/// The process id of a child that has ended, without reaping it.
fn ended_child() -> i32 {
    ok(waitid(libc::P_ALL, 0, libc::WEXITED | libc::WNOWAIT)).pid()
}

fn parent_death_signal() {
    let (reader, writer) = pipe();
    in_child(|| {
        let (ready, set) = pipe();
        child(|| {
            ok(prctl(libc::PR_SET_PDEATHSIG, libc::SIGUSR1 as usize));
            let signals = block(&[libc::SIGUSR1]);
            put(set, b"x");
            let got = sigwait(signals);
            put(writer, &got.to_ne_bytes());
            0
        });
        get(ready, 1);
    });
    assert_eq!(get(reader, 4), libc::SIGUSR1.to_ne_bytes());
}

fn usage_is_counted() {
    let pid = child(|| {
        spin(Duration::from_millis(150));
        0
    });
    let mut usage: libc::rusage = zeroed();
    let mut status = 0;
    assert_eq!(ok(wait4(pid, &mut status, 0, Some(&mut usage))), pid);
    let micros = |time: libc::timeval| time.tv_sec * 1_000_000 + time.tv_usec;
    assert!(
        micros(usage.ru_utime) + micros(usage.ru_stime) >= 20_000,
        "a busy child used no time"
    );
    let children = ok(getrusage(libc::RUSAGE_CHILDREN));
    assert_eq!(micros(children.ru_utime), micros(usage.ru_utime));
    fails(getrusage(7), libc::EINVAL);
    let times = ok(times());
    assert!(times.tms_cutime + times.tms_cstime > 0);
}

#[repr(C)]
#[derive(Default)]
struct CloneArgs([u64; 11]);

fn clone3_makes_a_process() {
    let mut args = CloneArgs::default();
    args.0[4] = libc::SIGCHLD as u64;
    let pid = call(libc::SYS_clone3, &[&raw const args as usize, 88]).expect("clone3 works");
    if pid == 0 {
        exit(21);
    }
    assert_eq!(wait(pid as i32), Ended::Exit(21));
}

fn clone3_errors() {
    let args = CloneArgs::default();
    let at = &raw const args as usize;
    assert_eq!(call(libc::SYS_clone3, &[at, 8]), Err(libc::EINVAL));
    assert_eq!(call(libc::SYS_clone3, &[8, 88]), Err(libc::EFAULT));
    // A thread without shared signal handlers, and one without shared memory.
    for flags in [
        libc::CLONE_THREAD,
        libc::CLONE_THREAD | libc::CLONE_SIGHAND,
        libc::CLONE_SIGHAND,
    ] {
        assert_eq!(
            call(libc::SYS_clone, &[flags as usize, 0]),
            Err(libc::EINVAL),
            "{flags:#x}"
        );
    }
}

fn vfork_waits_for_exec() {
    // The standard library starts programs by CLONE_VFORK and a shared address space.
    for _ in 0..10 {
        let status = std::process::Command::new("/proc/self/exe")
            .args(["helper", "exit", "3"])
            .status();
        assert_eq!(status.expect("it starts").code(), Some(3));
    }
    let missing = std::process::Command::new("/no/such/program").status();
    assert_eq!(
        missing.expect_err("it does not start").raw_os_error(),
        Some(libc::ENOENT)
    );
}
