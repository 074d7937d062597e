//! What is told of the time used and of switches.

use super::{Spinner, mask, pin, set};
use crate::cases::cases;
use crate::sys::*;
use std::time::{Duration, Instant};

cases![
    processor_time_is_exact,
    switches_are_counted,
    proc_sched_shows,
];

fn usage(who: i32) -> libc::rusage {
    ok(getrusage(who))
}

fn used(who: i32) -> Duration {
    let usage = usage(who);
    let of = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    of(usage.ru_utime) + of(usage.ru_stime)
}

fn processor_time_is_exact() {
    let (thread, process) = (
        libc::CLOCK_THREAD_CPUTIME_ID,
        libc::CLOCK_PROCESS_CPUTIME_ID,
    );
    // Far below a tick, and never the same twice.
    let mut last = quick_now(thread);
    for _ in 0..200 {
        let now = quick_now(thread);
        assert!(now > last, "{now:?} after {last:?}");
        last = now;
    }
    // Each span lies within the next.
    let begin = Instant::now();
    let (of_process, of_thread) = (quick_now(process), quick_now(thread));
    spin(Duration::from_millis(3));
    let by_thread = quick_now(thread) - of_thread;
    let by_process = quick_now(process) - of_process;
    let passed = begin.elapsed();
    assert!(by_thread <= passed, "{by_thread:?} of {passed:?}");
    assert!(by_process >= by_thread, "{by_process:?} {by_thread:?}");
    // What getrusage tells of a thread is the same time, in microseconds.
    let (before, told, after) = (
        quick_now(thread),
        used(libc::RUSAGE_THREAD),
        quick_now(thread),
    );
    let slack = Duration::from_micros(2);
    assert!(
        told + slack >= before && told <= after + slack,
        "{before:?} {told:?} {after:?}"
    );
    // A child's goes to its parent, whoever sleeps uses none.
    let before = used(libc::RUSAGE_CHILDREN);
    in_child(|| {
        while quick_now(libc::CLOCK_PROCESS_CPUTIME_ID) < Duration::from_millis(20) {}
        let (start, before) = (Instant::now(), quick_now(libc::CLOCK_PROCESS_CPUTIME_ID));
        sleep_ms(400);
        let asleep = quick_now(libc::CLOCK_PROCESS_CPUTIME_ID) - before;
        assert!(asleep < start.elapsed() / 2, "{asleep:?}");
    });
    assert!(used(libc::RUSAGE_CHILDREN) - before >= Duration::from_millis(20));
}

fn switches_are_counted() {
    let before = usage(libc::RUSAGE_THREAD);
    for _ in 0..20 {
        sleep_ms(10);
    }
    let waited = usage(libc::RUSAGE_THREAD).ru_nvcsw - before.ru_nvcsw;
    // On a loaded host a sleep may be over before it has begun.
    assert!((10..60).contains(&waited), "{waited} for 20 sleeps");
    // Two spinners on one processor take it from each other.
    pin(0, &[0]);
    let _other = Spinner::new(shared(), || ());
    let start = Instant::now();
    soon(|| {
        spin(Duration::from_millis(20));
        usage(libc::RUSAGE_THREAD).ru_nivcsw - before.ru_nivcsw >= 5
            || start.elapsed().as_secs() > 10
    });
    assert!(usage(libc::RUSAGE_THREAD).ru_nivcsw - before.ru_nivcsw >= 5);
}

fn proc_sched_shows() {
    let value = |name: &str| {
        let text = std::fs::read_to_string("/proc/self/sched").expect("it is there");
        assert!(
            text.lines()
                .next()
                .is_some_and(|line| line.ends_with("#threads: 1)")),
            "{text}"
        );
        let line = text
            .lines()
            .find(|line| line.split_whitespace().next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
        let (_, value) = line.split_once(':').expect("a colon");
        value.trim().parse::<f64>().expect("a number")
    };
    assert_eq!([value("policy"), value("prio")], [0.0, 120.0]);
    assert_eq!(value("se.load.weight"), 1024.0 * 1024.0);
    let (run, switches, moves) = (
        value("se.sum_exec_runtime"),
        value("nr_switches"),
        value("se.nr_migrations"),
    );
    for cpu in mask(0) {
        pin(0, &[cpu]);
        sleep_ms(1);
    }
    assert!(value("se.sum_exec_runtime") > run && value("nr_switches") > switches);
    assert!(value("se.nr_migrations") - moves >= mask(0).len() as f64 - 1.0);
    ok(set(0, libc::SCHED_FIFO, 5));
    assert_eq!([value("policy"), value("prio")], [1.0, 94.0]);
}
