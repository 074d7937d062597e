//! `RLIMIT_RTTIME`: how long a real-time thread may run without waiting; setrlimit(2).

use std::time::Duration;

use super::cases;
use crate::load::{Attr, work};
use crate::sys::{Ended, end_of, ignore_signal, ok, setrlimit, sleep_ms};

cases![
    a_thread_that_does_not_wait_is_told,
    and_ended_at_the_hard_limit,
    waiting_begins_anew
];

const FIFO: u32 = 1;

/// Makes the caller a real-time thread that may run for `soft` microseconds at a time, and for `hard` at most.
fn limited(soft: u64, hard: u64) {
    ok(setrlimit(libc::RLIMIT_RTTIME, soft, hard));
    Attr::policy(FIFO, 1).set(0).expect("root may");
}

fn a_thread_that_does_not_wait_is_told() {
    let end = end_of(|| {
        limited(100_000, 5_000_000);
        work(Duration::from_secs(2));
    });
    assert_eq!(end, Ended::Signal(libc::SIGXCPU));
}

fn and_ended_at_the_hard_limit() {
    let end = end_of(|| {
        ignore_signal(libc::SIGXCPU);
        limited(100_000, 300_000);
        work(Duration::from_secs(2));
    });
    assert_eq!(end, Ended::Signal(libc::SIGKILL));
}

fn waiting_begins_anew() {
    let end = end_of(|| {
        limited(900_000, 900_000);
        for _ in 0..10 {
            work(Duration::from_millis(150));
            sleep_ms(2);
        }
    });
    assert_eq!(end, Ended::Exit(0));
}
