//! What threads share and processes do not, and what ends with a process.

use crate::cases::cases;
use crate::sys::*;
use std::sync::atomic::{AtomicU32, Ordering};

cases![
    threads_share_what_processes_copy,
    what_a_process_holds_ends_with_it,
    descriptors_of_processes_are_given_back,
];

/// What a process has that `clone` may share: working directory, umask, descriptor, mapping.
#[derive(Debug, PartialEq)]
struct State {
    directory: std::path::PathBuf,
    umask: u32,
    is_open: bool,
    is_mapped: bool,
}

impl State {
    fn of(fd: i32, at: usize) -> State {
        let mask = umask(0);
        umask(mask);
        State {
            directory: std::env::current_dir().expect("there is one"),
            umask: mask,
            is_open: is_open(fd),
            is_mapped: msync(at, 1, libc::MS_ASYNC).is_ok(),
        }
    }
}

fn threads_share_what_processes_copy() {
    ok(mkdir("elsewhere", 0o755));
    umask(0o22);
    // Where nothing is, and no thread's stack comes to be.
    let at = 64 << 30;
    let fd = ok(dup(0));
    close(fd);
    let before = State::of(fd, at);
    let change = move || {
        ok(chdir("elsewhere"));
        umask(0o77);
        ok(dup2(0, fd));
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        ok(mmap(at, 4096, libc::PROT_READ, flags, -1, 0));
        State::of(fd, at)
    };
    in_child(|| assert_ne!(change(), before));
    assert_eq!(State::of(fd, at), before);
    let changed = std::thread::spawn(change).join().expect("it passes");
    assert_eq!(State::of(fd, at), changed);
    let directory = before.directory.join("elsewhere");
    let all = State {
        directory,
        umask: 0o77,
        is_open: true,
        is_mapped: true,
    };
    assert_eq!(changed, all);
}

fn what_a_process_holds_ends_with_it() {
    let (read, write) = pipe();
    let locked = file("locked", b"x");
    let segment = ok(call(
        libc::SYS_shmget,
        &[libc::IPC_PRIVATE as usize, 4096, 0o600],
    ));
    let attached = || {
        let mut about: [u64; 14] = [0; 14];
        let args = [
            segment,
            libc::IPC_STAT as usize,
            about.as_mut_ptr() as usize,
        ];
        ok(call(libc::SYS_shmctl, &args));
        // `shm_nattch`: behind the permissions, the size, three times and two numbers.
        about[11]
    };
    let lock = |kind: i32| {
        let mut lock: libc::flock = zeroed();
        (lock.l_type, lock.l_len) = (kind as i16, 1);
        call(
            libc::SYS_fcntl,
            &[
                locked as usize,
                libc::F_SETLK as usize,
                &raw const lock as usize,
            ],
        )
    };
    let ready = shared::<AtomicU32>();
    let pid = child(|| {
        close(read);
        ok(lock(libc::F_WRLCK));
        ok(call(libc::SYS_shmat, &[segment, 0, 0]));
        ready.store(1, Ordering::SeqCst);
        sleep_for_ever()
    });
    close(write);
    soon(|| ready.load(Ordering::SeqCst) == 1);
    assert_eq!(attached(), 1);
    assert_eq!(lock(libc::F_WRLCK), Err(libc::EAGAIN));
    ok(kill(pid, libc::SIGKILL));
    assert!(get(read, 1).is_empty(), "its end of the pipe is closed");
    assert_eq!(wait(pid), Ended::Signal(libc::SIGKILL));
    // Another CPU may still have its memory loaded.
    soon(|| attached() == 0);
    ok(lock(libc::F_WRLCK));
    ok(call(
        libc::SYS_shmctl,
        &[segment, libc::IPC_RMID as usize, 0],
    ));
}

/// KiB that nobody uses.
fn free_memory() -> i64 {
    let text = proc_field("/proc/meminfo", "MemFree").expect("it is there");
    let number = text.split(' ').next().expect("a number, and its unit");
    number.parse().expect("a number")
}

fn descriptors_of_processes_are_given_back() {
    const PROCESSES: i64 = 2000;
    let some = |many| (0..many).for_each(|_| in_child(|| ()));
    // Caches fill first.
    some(100);
    let before = free_memory();
    some(PROCESSES);
    // A KiB of each process that stays is more than what else comes and goes.
    soon(|| before - free_memory() < PROCESSES);
}
