//! Calls that a signal interrupts, and those that go on.

use super::{COUNT, handle};
use crate::cases::cases;
use crate::sys::*;
use libc::c_int;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

cases![
    interrupted_read,
    restarted_read,
    nanosleep_tells_the_rest,
    pause_returns_eintr,
];

/// Reads from an empty pipe, with a signal as soon as it waits, and if it is to go on, with a byte 100 ms later.
fn read_with_signal(flags: c_int) -> Result<usize> {
    handle(libc::SIGUSR1, flags);
    let (reader, writer) = pipe();
    let parent = getpid();
    let pid = child(|| {
        until_asleep(parent);
        ok(kill(parent, libc::SIGUSR1));
        if flags & libc::SA_RESTART != 0 {
            sleep_ms(100);
            put(writer, b"x");
        }
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
    // Again and again, since the first may come before the sleep has begun.
    let often = itimerval(50_000, 50_000);
    ok(setitimer(libc::ITIMER_REAL, &often, None));
    let long = timespec(Duration::from_secs(5));
    let mut rest = zeroed();
    // Never restarted, whatever the flags say.
    fails(nanosleep(&long, Some(&mut rest)), libc::EINTR);
    assert_eq!(rest.tv_sec, 4);
}

fn pause_returns_eintr() {
    handle(libc::SIGALRM, libc::SA_RESTART);
    alarm(1);
    fails(pause(), libc::EINTR);
    assert_eq!(COUNT.load(SeqCst), 1);
    assert_eq!(alarm(100), 0);
    assert!(alarm(0) >= 99);
}
