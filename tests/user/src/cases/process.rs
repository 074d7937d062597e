//! Processes, threads, groups, sessions, credentials, limits.

use super::cases;
use crate::sys::*;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
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
    exit_group_ends_threads,
    threads_share_memory,
    thread_ids,
    thread_local_storage,
    mutex_and_condvar,
    futex_errors,
    futex_wakes_so_many,
    futex_requeue,
    thread_exit_leaves_the_process,
    groups_and_sessions,
    setsid_of_a_leader,
    credentials_drop,
    user_cannot_gain,
    kill_needs_permission,
    limits,
    file_size_limit,
    names,
    parent_death_signal,
    usage_is_counted,
    uname_and_sysinfo,
    random_bytes,
    unknown_calls,
    clone3_makes_a_process,
    clone3_errors,
    vfork_waits_for_exec,
    affinity_and_cpu,
    proc_self,
    nice_values,
    dumpable_and_no_new_privs,
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

fn exit_group_ends_threads() {
    let end = end_of(|| {
        for _ in 0..4 {
            std::thread::spawn(|| {
                loop {
                    std::hint::spin_loop();
                }
            });
        }
        std::thread::spawn(|| exit(11));
        loop {
            sleep_ms(1000);
        }
    });
    assert_eq!(end, Ended::Exit(11));
}

fn threads_share_memory() {
    let counter = Arc::new(AtomicU32::new(0));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let counter = Arc::clone(&counter);
            std::thread::spawn(move || {
                for _ in 0..1000 {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("it does not panic");
    }
    assert_eq!(counter.load(Ordering::Relaxed), 8000);
}

fn thread_ids() {
    let pid = getpid();
    assert_eq!(gettid(), pid);
    let (other_pid, tid) = std::thread::spawn(|| (getpid(), gettid()))
        .join()
        .expect("it does not panic");
    assert_eq!(other_pid, pid);
    assert_ne!(tid, pid);
    // Joining waits for the thread's word that it is done with its stack, which comes a little before its end.
    let gone = || tgkill(pid, tid, 0).is_err();
    while !gone() {
        std::thread::yield_now();
    }
    fails(tgkill(pid, tid, 0), libc::ESRCH);
}

fn thread_local_storage() {
    thread_local!(static VALUE: std::cell::Cell<u64> = const { std::cell::Cell::new(1) });
    VALUE.set(5);
    let threads: Vec<_> = (0..4_u64)
        .map(|i| {
            std::thread::spawn(move || {
                assert_eq!(VALUE.get(), 1);
                VALUE.set(i);
                for _ in 0..20 {
                    std::thread::yield_now();
                    assert_eq!(VALUE.get(), i);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("it does not panic");
    }
    assert_eq!(VALUE.get(), 5);
}

fn mutex_and_condvar() {
    let pair = Arc::new((Mutex::new(0), Condvar::new()));
    let other = Arc::clone(&pair);
    let thread = std::thread::spawn(move || {
        for turn in 0..200 {
            let mut value = other.0.lock().expect("nobody panics");
            while *value != 2 * turn + 1 {
                value = other.1.wait(value).expect("nobody panics");
            }
            *value += 1;
            other.1.notify_one();
        }
    });
    for turn in 0..200 {
        let mut value = pair.0.lock().expect("nobody panics");
        while *value != 2 * turn {
            value = pair.1.wait(value).expect("nobody panics");
        }
        *value += 1;
        pair.1.notify_one();
    }
    thread.join().expect("it does not panic");
}

fn futex(
    word: &AtomicU32,
    op: i32,
    value: u32,
    timeout: Option<&libc::timespec>,
) -> Result<usize, i32> {
    call(
        libc::SYS_futex,
        &[
            word.as_ptr() as usize,
            op as usize,
            value as usize,
            timeout.map_or(0, |time| std::ptr::from_ref(time) as usize),
        ],
    )
}

fn futex_errors() {
    let word = AtomicU32::new(1);
    let short = libc::timespec {
        tv_sec: 0,
        tv_nsec: 20_000_000,
    };
    assert_eq!(futex(&word, libc::FUTEX_WAIT, 2, None), Err(libc::EAGAIN));
    assert_eq!(
        futex(&word, libc::FUTEX_WAIT, 1, Some(&short)),
        Err(libc::ETIMEDOUT)
    );
    let bad = libc::timespec {
        tv_sec: 0,
        tv_nsec: 2_000_000_000,
    };
    assert_eq!(
        futex(&word, libc::FUTEX_WAIT, 1, Some(&bad)),
        Err(libc::EINVAL)
    );
    assert_eq!(futex(&word, libc::FUTEX_WAKE, 1, None), Ok(0));
    assert_eq!(futex(&word, 99, 1, None), Err(libc::ENOSYS));
    let at = word.as_ptr() as usize + 1;
    assert_eq!(
        call(libc::SYS_futex, &[at, libc::FUTEX_WAKE as usize, 1]),
        Err(libc::EINVAL)
    );
    assert_eq!(
        call(libc::SYS_futex, &[0, libc::FUTEX_WAIT as usize, 1, 0]),
        Err(libc::EFAULT)
    );
}

fn futex_wakes_so_many() {
    let word = Arc::new(AtomicU32::new(0));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let word = Arc::clone(&word);
            std::thread::spawn(move || {
                futex(&word, libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, 0, None)
            })
        })
        .collect();
    let mut woken = 0;
    while woken < 2 {
        woken += futex(&word, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1, None)
            .expect("waking works");
    }
    loop {
        woken += futex(
            &word,
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            i32::MAX as u32,
            None,
        )
        .expect("waking works");
        if woken >= 3 {
            break;
        }
    }
    assert_eq!(woken, 3);
    for thread in threads {
        assert_eq!(thread.join().expect("it does not panic"), Ok(0));
    }
}

fn futex_requeue() {
    let (first, second) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let word = Arc::clone(&first);
    let thread = std::thread::spawn(move || futex(&word, libc::FUTEX_WAIT, 0, None));
    loop {
        let args = [
            first.as_ptr() as usize,
            libc::FUTEX_CMP_REQUEUE as usize,
            0,
            1,
            second.as_ptr() as usize,
            0,
        ];
        if call(libc::SYS_futex, &args).expect("requeueing works") == 1 {
            break;
        }
        std::thread::yield_now();
    }
    assert_eq!(futex(&first, libc::FUTEX_WAKE, 1, None), Ok(0));
    assert_eq!(futex(&second, libc::FUTEX_WAKE, 1, None), Ok(1));
    assert_eq!(thread.join().expect("it does not panic"), Ok(0));
    let args = [
        first.as_ptr() as usize,
        libc::FUTEX_CMP_REQUEUE as usize,
        0,
        1,
        second.as_ptr() as usize,
        7,
    ];
    assert_eq!(call(libc::SYS_futex, &args), Err(libc::EAGAIN));
}

fn thread_exit_leaves_the_process() {
    let end = end_of(|| {
        std::thread::spawn(|| {
            sleep_ms(50);
            exit(4);
        });
        // The first thread ends alone; the process goes on.
        let _ = call(libc::SYS_exit, &[0]);
    });
    assert_eq!(end, Ended::Exit(4));
}

fn groups_and_sessions() {
    let pid = getpid();
    // The agent starts each program as the leader of a session.
    assert_eq!((getpgrp(), ok(getsid(0))), (pid, pid));
    in_child(|| {
        let me = getpid();
        assert_eq!((getpgrp(), ok(getsid(0))), (pid, pid));
        ok(setpgid(0, 0));
        assert_eq!(getpgrp(), me);
        ok(setpgid(0, pid));
        assert_eq!(ok(setsid()), me);
        assert_eq!((ok(getpgid(0)), ok(getsid(0))), (me, me));
        fails(setpgid(0, pid), libc::EPERM);
    });
    fails(setpgid(999_999, 0), libc::ESRCH);
    fails(setpgid(0, -1), libc::EINVAL);
    fails(getsid(999_999), libc::ESRCH);
    fails(getpgid(999_999), libc::ESRCH);
}

fn setsid_of_a_leader() {
    fails(setsid(), libc::EPERM);
}

fn credentials_drop() {
    let mut ids = [0; 3];
    let [real, effective, saved] = &mut ids;
    ok(setgroups(&[5, 6]));
    let mut groups = [0; 4];
    assert_eq!(ok(getgroups(&mut groups)), 2);
    assert_eq!(groups[..2], [5, 6]);
    fails(getgroups(&mut groups[..1]), libc::EINVAL);
    ok(setresuid(1000, 1001, 1002));
    ok(getresuid(real, effective, saved));
    assert_eq!(ids, [1000, 1001, 1002]);
    ok(setresuid(u32::MAX, 1002, u32::MAX));
    assert_eq!((getuid(), geteuid()), (1000, 1002));
    fails(setresuid(u32::MAX, 0, u32::MAX), libc::EPERM);
    fails(setuid(0), libc::EPERM);
}

fn user_cannot_gain() {
    become_user();
    fails(setuid(0), libc::EPERM);
    fails(setgroups(&[]), libc::EPERM);
    fails(sethostname("x", 1), libc::EPERM);
    fails(chroot("/"), libc::EPERM);
    fails(mount("t", "/tmp", "tmpfs", 0, ""), libc::EPERM);
    fails(
        reboot(0xfee1_dead, 0x2812_1969, libc::RB_AUTOBOOT),
        libc::EPERM,
    );
    limit(libc::RLIMIT_CORE, 0);
    fails(
        setrlimit(libc::RLIMIT_CORE, 1 << 30, libc::RLIM_INFINITY),
        libc::EPERM,
    );
    let now = libc::timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    fails(clock_settime(libc::CLOCK_REALTIME, &now), libc::EPERM);
}

fn kill_needs_permission() {
    in_child(|| {
        become_user();
        fails(kill(1, 0), libc::EPERM);
        fails(kill(getppid(), libc::SIGTERM), libc::EPERM);
        fails(kill(999_999, 0), libc::ESRCH);
        fails(kill(0, 65), libc::EINVAL);
        ok(kill(getpid(), 0));
    });
}

fn limits() {
    let (now, most) = ok(getrlimit(libc::RLIMIT_NOFILE));
    assert!(now >= 256 && now <= most);
    ok(setrlimit(libc::RLIMIT_NOFILE, 20, 30));
    in_child(|| {
        assert_eq!(getrlimit(libc::RLIMIT_NOFILE), Ok((20, 30)));
        let mut last = 0;
        let error = loop {
            match dup(0) {
                Ok(fd) => last = fd,
                Err(error) => break error,
            }
        };
        assert_eq!((last, error), (19, libc::EMFILE));
        fails(dup2(0, 20), libc::EBADF);
    });
    fails(setrlimit(libc::RLIMIT_CORE, 2, 1), libc::EINVAL);
    let mut limit: libc::rlimit = zeroed();
    assert_eq!(
        call(libc::SYS_getrlimit, &[99, &raw mut limit as usize]),
        Err(libc::EINVAL)
    );
}

fn file_size_limit() {
    let fd = file("f", b"");
    let end = end_of(|| {
        limit(libc::RLIMIT_FSIZE, 1000);
        let data = [1_u8; 1500];
        assert_eq!(ok(write(fd, &data)), 1000);
        let _ = write(fd, &data[..1]);
    });
    assert_eq!(end, Ended::Signal(libc::SIGXFSZ));
    in_child(|| {
        limit(libc::RLIMIT_FSIZE, 1000);
        ignore_signal(libc::SIGXFSZ);
        fails(write(fd, &[0]), libc::EFBIG);
        fails(ftruncate(fd, 2000), libc::EFBIG);
    });
}

fn names() {
    let mut name = *b"a-name-that-is-too-long";
    let long = name.first_chunk_mut().expect("it is longer");
    ok(prctl_name(libc::PR_SET_NAME, long));
    let mut name = [0_u8; 16];
    ok(prctl_name(libc::PR_GET_NAME, &mut name));
    assert_eq!(&name, b"a-name-that-is-\0");
    assert_eq!(
        std::fs::read_to_string("/proc/self/comm").expect("procfs"),
        "a-name-that-is-\n"
    );
    std::fs::write("/proc/self/comm", "other").expect("it is ours");
    ok(prctl_name(libc::PR_GET_NAME, &mut name));
    assert_eq!(&name[..6], b"other\0");
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

fn uname_and_sysinfo() {
    let name = ok(uname());
    let text = |field: &[libc::c_char]| -> String {
        field
            .iter()
            .take_while(|byte| **byte != 0)
            .map(|byte| *byte as u8 as char)
            .collect()
    };
    assert_eq!(
        (text(&name.sysname), text(&name.machine)),
        ("Linux".into(), "x86_64".into())
    );
    assert!(
        text(&name.release).starts_with("6.1"),
        "{}",
        text(&name.release)
    );
    let info = ok(sysinfo());
    assert!(
        info.totalram > 0 && info.freeram > 0 && info.freeram <= info.totalram && info.procs > 1
    );
    assert!(info.mem_unit >= 1);
    assert_eq!(call(libc::SYS_uname, &[8]), Err(libc::EFAULT));
}

fn random_bytes() {
    let (mut a, mut b) = ([0_u8; 64], [0_u8; 64]);
    assert_eq!(ok(getrandom(&mut a, 0)), 64);
    assert_eq!(ok(getrandom(&mut b, libc::GRND_NONBLOCK)), 64);
    assert_ne!(a, b);
    fails(getrandom(&mut a, 0x1000), libc::EINVAL);
    let fd = ok(open("/dev/urandom", libc::O_RDONLY));
    assert_ne!(get(fd, 64), b);
}

fn unknown_calls() {
    for number in [-1, 600, 9999, i64::from(i32::MAX), i64::MAX] {
        assert_eq!(call(number, &[]), Err(libc::ENOSYS), "{number}");
    }
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

fn affinity_and_cpu() {
    let all = ok(sched_getaffinity(0));
    assert!(!all.is_empty());
    for cpu in all {
        ok(sched_setaffinity(0, &[cpu]));
        assert_eq!(current_cpu(), cpu);
    }
    fails(sched_setaffinity(0, &[]), libc::EINVAL);
}

fn proc_self() {
    let pid = getpid();
    assert_eq!(
        std::fs::read_link("/proc/self").expect("procfs"),
        std::path::Path::new(&pid.to_string())
    );
    let stat = std::fs::read_to_string("/proc/self/stat").expect("procfs");
    assert!(stat.starts_with(&format!("{pid} (usertests) R ")), "{stat}");
    assert_eq!(stat.split_whitespace().count(), 52);
    assert_eq!(
        proc_field("/proc/self/status", "Pid"),
        Some(pid.to_string())
    );
    assert_eq!(
        proc_field("/proc/self/status", "Threads").as_deref(),
        Some("1")
    );
    let words = std::fs::read("/proc/self/cmdline").expect("procfs");
    assert!(words.ends_with(b"run\0process::proc_self\0"));
    let cwd = std::fs::read_link("/proc/self/cwd").expect("procfs");
    assert_eq!(cwd, std::env::current_dir().expect("there is one"));
    assert!(std::fs::read_link("/proc/self/fd/0").is_ok_and(|path| path.starts_with("/dev/null")));
    let missing = std::fs::read("/proc/999999/stat").expect_err("nobody has this number");
    assert_eq!(missing.raw_os_error(), Some(libc::ENOENT));
}

fn nice_values() {
    let nice = || ok(nice_of(0));
    assert_eq!(nice(), 0);
    ok(set_nice(0, 50));
    assert_eq!(nice(), 19);
    ok(set_nice(0, 3));
    in_child(|| {
        assert_eq!(nice(), 3);
        become_user();
        fails(set_nice(0, 2), libc::EACCES);
    });
    fails(set_nice(999_999, 2), libc::ESRCH);
    assert_eq!(call(libc::SYS_setpriority, &[9, 0, 2]), Err(libc::EINVAL));
}

fn dumpable_and_no_new_privs() {
    assert_eq!(ok(prctl(libc::PR_GET_DUMPABLE, 0)), 1);
    ok(prctl(libc::PR_SET_DUMPABLE, 0));
    assert_eq!(ok(prctl(libc::PR_GET_DUMPABLE, 0)), 0);
    ok(prctl(libc::PR_SET_NO_NEW_PRIVS, 1));
    assert_eq!(ok(prctl(libc::PR_GET_NO_NEW_PRIVS, 0)), 1);
    fails(prctl(libc::PR_SET_NO_NEW_PRIVS, 0), libc::EINVAL);
    fails(prctl(123_456, 0), libc::EINVAL);
}
