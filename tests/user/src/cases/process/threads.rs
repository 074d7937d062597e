//! Threads: what they share, how they wait for each other and end.

use crate::cases::cases;
use crate::sys::*;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};

cases![
    exit_group_ends_threads,
    threads_share_memory,
    thread_ids,
    thread_local_storage,
    mutex_and_condvar,
    thread_exit_leaves_the_process,
];

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
        sleep_for_ever()
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
