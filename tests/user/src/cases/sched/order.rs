//! Who runs before whom, and how much.

use super::{Spinner, pin, processor_clock, set};
use crate::cases::cases;
use crate::sys::*;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

cases![
    realtime_comes_first,
    equals_take_turns_by_yielding,
    realtime_wakes_at_once,
    shares_follow_nice,
    idle_policy_gets_the_rest,
    realtime_is_throttled,
    realtime_settings,
];

fn realtime_comes_first() {
    let count = shared::<AtomicU64>();
    pin(0, &[0]);
    let _spinner = Spinner::new(count, || ());
    soon(|| count.load(Ordering::Relaxed) > 0);
    ok(set(0, libc::SCHED_FIFO, 1));
    // Short of what real-time threads may use in a second.
    sleep_ms(1);
    let before = count.load(Ordering::Relaxed);
    spin(Duration::from_millis(200));
    assert_eq!(
        count.load(Ordering::Relaxed),
        before,
        "it ran beside a real-time thread"
    );
    ok(set(0, libc::SCHED_OTHER, 0));
    soon(|| count.load(Ordering::Relaxed) > before);
}

fn equals_take_turns_by_yielding() {
    const TURNS: u32 = 100;
    let [ready, turns, same, last] = shared::<[AtomicU32; 4]>();
    pin(0, &[0]);
    ok(set(0, libc::SCHED_FIFO, 2));
    let players = [1, 2].map(|n| {
        child(|| {
            // The parent is ahead until both are there.
            ok(set(0, libc::SCHED_FIFO, 1));
            ready.fetch_add(1, Ordering::Relaxed);
            while ready.load(Ordering::Relaxed) < 2 {
                ok(sched_yield());
            }
            for _ in 0..TURNS {
                if last.swap(n, Ordering::Relaxed) == n {
                    same.fetch_add(1, Ordering::Relaxed);
                }
                turns.fetch_add(1, Ordering::Relaxed);
                ok(sched_yield());
            }
            0
        })
    });
    for player in players {
        assert_eq!(wait(player), Ended::Exit(0));
    }
    assert_eq!(turns.load(Ordering::Relaxed), 2 * TURNS);
    assert!(
        same.load(Ordering::Relaxed) <= 2,
        "one had two turns on end"
    );
}

fn realtime_wakes_at_once() {
    let count = shared::<AtomicU64>();
    let (read, write) = pipe();
    let (done, tell) = pipe();
    pin(0, &[0]);
    let urgent = child(|| {
        ok(set(0, libc::SCHED_FIFO, 50));
        // The parent goes on when this one waits, not before.
        put(tell, b"x");
        for _ in 0..50 {
            get(read, 1);
            count.fetch_add(1, Ordering::Relaxed);
        }
        put(tell, b"x");
        0
    });
    get(done, 1);
    for n in 1..=50 {
        put(write, b"x");
        // It has run before the call returns, both being on one processor.
        assert_eq!(count.load(Ordering::Relaxed), n);
    }
    get(done, 1);
    assert_eq!(wait(urgent), Ended::Exit(0));
}

/// What two spinners on one processor count in a second, after `prepare` of each.
fn race(prepare: [fn(); 2]) -> f64 {
    let counts = shared::<[AtomicU64; 2]>();
    let spinners = [0, 1].map(|n| {
        Spinner::new(&counts[n], || {
            pin(0, &[0]);
            prepare[n]();
        })
    });
    soon(|| counts[0].load(Ordering::Relaxed) > 0);
    sleep_ms(100);
    let read = || [0, 1].map(|n| counts[n].load(Ordering::Relaxed));
    let before = read();
    sleep_ms(1500);
    let after = read();
    drop(spinners);
    (after[1] - before[1]) as f64 / (after[0] - before[0]) as f64
}

/// Spinners of nice 0 and `nice`, whose weight is `weight`, get one processor's time by their weights, to 2 %.
///
/// How far either is ahead at a moment is bounded, whatever else the machine that this one is emulated on does; so what is
/// measured comes ever closer to what is due.
fn nice_has_weight(nice: i32, weight: f64) {
    let counts = shared::<[AtomicU64; 2]>();
    let spinners = [0, 1].map(|n| {
        Spinner::new(&counts[n], || {
            pin(0, &[0]);
            ok(set_nice(0, [0, nice][n]));
        })
    });
    soon(|| counts.iter().all(|count| count.load(Ordering::Relaxed) > 0));
    let times = || {
        spinners
            .each_ref()
            .map(|spinner| now(processor_clock(spinner.0)).as_secs_f64())
    };
    let before = times();
    sleep_ms(1000);
    let due = weight / (1024.0 + weight);
    soon(|| {
        let after = times();
        let [other, ours] = [0, 1].map(|n| after[n] - before[n]);
        (ours / (ours + other) / due - 1.0).abs() < 0.02
    });
}

fn shares_follow_nice() {
    for (nice, weight) in [(5, 335.0), (-5, 3121.0), (10, 110.0)] {
        nice_has_weight(nice, weight);
    }
}

fn idle_policy_gets_the_rest() {
    let share = race([
        || (),
        || {
            ok(set(0, libc::SCHED_IDLE, 0));
        },
    ]);
    assert!(share < 0.02, "{share}");
}

fn realtime_is_throttled() {
    let count = shared::<AtomicU64>();
    pin(0, &[0]);
    let _fair = Spinner::new(count, || ());
    let _urgent = Spinner::new(shared(), || {
        ok(set(0, libc::SCHED_FIFO, 9));
    });
    // This thread, as the fair spinner, gets what real-time threads may not have.
    for _ in 0..3 {
        let before = count.load(Ordering::Relaxed);
        soon(|| count.load(Ordering::Relaxed) > before);
    }
}

fn realtime_settings() {
    let path = |name: &str| format!("/proc/sys/kernel/{name}");
    let read = |name: &str| {
        let text = std::fs::read_to_string(path(name)).expect("it is there");
        text.trim().parse::<i64>().expect("a number")
    };
    let write = |name: &str, value: i64| {
        std::fs::write(path(name), value.to_string()).map_err(|e| e.raw_os_error())
    };
    let (period, runtime, slice) = (
        "sched_rt_period_us",
        "sched_rt_runtime_us",
        "sched_rr_timeslice_ms",
    );
    assert_eq!(
        [period, runtime, slice].map(read),
        [1_000_000, 950_000, 100]
    );
    for (name, value) in [
        (period, 0),
        (period, 900_000),
        (runtime, -2),
        (runtime, 1_000_001),
    ] {
        assert_eq!(
            write(name, value),
            Err(Some(libc::EINVAL)),
            "{name} {value}"
        );
    }
    assert_eq!((read(period), read(runtime)), (1_000_000, 950_000));
    assert_eq!(write(runtime, 900_000), Ok(()));
    assert_eq!((write(runtime, -1), read(runtime)), (Ok(()), -1));
    assert_eq!(write(runtime, 950_000), Ok(()));
    assert_eq!((write(slice, 40), read(slice)), (Ok(()), 40));
    let mut time: libc::timespec = zeroed();
    ok(set(0, libc::SCHED_RR, 1));
    ok(sched_rr_get_interval(0, &mut time));
    assert_eq!(time.tv_nsec, 40_000_000);
    assert_eq!((write(slice, 0), read(slice)), (Ok(()), 100));
}
