//! Clocks, sleeping, timers.

use super::cases;
use crate::sys::*;
use std::time::{Duration, Instant};

cases![
    clocks_advance,
    clock_errors,
    sleeping_takes_its_time,
    absolute_sleep,
    sleep_errors,
    interval_timer_repeats,
    cpu_timer_counts_cpu_time,
    timerfd_counts,
    timerfd_absolute_and_disarm,
    poll_times_out,
    vdso_agrees_with_the_calls,
    cpu_clocks,
    realtime_can_be_set,
    posix_timers,
    many_sleepers,
];

fn clocks_advance() {
    for clock in [
        libc::CLOCK_REALTIME,
        libc::CLOCK_MONOTONIC,
        libc::CLOCK_MONOTONIC_RAW,
        libc::CLOCK_BOOTTIME,
    ] {
        let mut last = now(clock);
        for _ in 0..1000 {
            let next = now(clock);
            assert!(next >= last, "clock {clock} went back");
            last = next;
        }
    }
    assert!(now(libc::CLOCK_REALTIME).as_secs() > 1_700_000_000);
    assert!(now(libc::CLOCK_MONOTONIC).as_secs() < 86400);
    let before = now(libc::CLOCK_REALTIME);
    let coarse = now(libc::CLOCK_REALTIME_COARSE);
    let slack = Duration::from_millis(500);
    assert!(before - slack < coarse && coarse <= now(libc::CLOCK_REALTIME));
}

fn clock_errors() {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    assert_eq!(
        call(libc::SYS_clock_gettime, &[99, &raw mut time as usize]),
        Err(libc::EINVAL)
    );
    assert_eq!(
        call(libc::SYS_clock_getres, &[1, &raw mut time as usize]),
        Ok(0)
    );
    assert!(time.tv_sec == 0 && time.tv_nsec >= 1);
    assert_eq!(call(libc::SYS_clock_getres, &[99, 0]), Err(libc::EINVAL));
    assert_eq!(
        call(libc::SYS_clock_settime, &[1, &raw const time as usize]),
        Err(libc::EINVAL)
    );
}

fn sleeping_takes_its_time() {
    for ms in [1, 20, 110] {
        let start = Instant::now();
        sleep_ms(ms);
        let took = start.elapsed();
        assert!(
            took >= Duration::from_millis(ms) && took < Duration::from_millis(ms + 10_000),
            "{took:?}"
        );
    }
}

fn absolute_sleep() {
    let until = now(libc::CLOCK_MONOTONIC) + Duration::from_millis(50);
    let time = libc::timespec {
        tv_sec: until.as_secs() as i64,
        tv_nsec: i64::from(until.subsec_nanos()),
    };
    let flags = libc::TIMER_ABSTIME as usize;
    for _ in 0..2 {
        // The second time it is over already.
        assert_eq!(
            call(
                libc::SYS_clock_nanosleep,
                &[1, flags, &raw const time as usize, 0]
            ),
            Ok(0)
        );
        assert!(now(libc::CLOCK_MONOTONIC) >= until);
    }
}

fn sleep_errors() {
    for (sec, nsec) in [(0, 1_000_000_000), (0, -1), (-1, 0)] {
        let time = libc::timespec {
            tv_sec: sec,
            tv_nsec: nsec,
        };
        assert_eq!(
            call(libc::SYS_nanosleep, &[&raw const time as usize, 0]),
            Err(libc::EINVAL)
        );
    }
    assert_eq!(call(libc::SYS_nanosleep, &[8, 0]), Err(libc::EFAULT));
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 1,
    };
    assert_eq!(
        call(
            libc::SYS_clock_nanosleep,
            &[99, 0, &raw const time as usize, 0]
        ),
        Err(libc::EINVAL)
    );
}

fn set_timer(which: i32, first_us: i64, interval_us: i64) -> libc::itimerval {
    let timer = itimerval(first_us, interval_us);
    ok(filled(|old| setitimer(which, &timer, Some(old))))
}

fn interval_timer_repeats() {
    let set = block(&[libc::SIGALRM]);
    let start = Instant::now();
    set_timer(0, 20_000, 30_000);
    for _ in 0..4 {
        assert_eq!(sigwait(set), libc::SIGALRM);
    }
    assert!(start.elapsed() >= Duration::from_millis(110));
    let old = set_timer(0, 0, 0);
    assert!(old.it_interval.tv_usec == 30_000 && old.it_value.tv_usec <= 30_000);
    let wrong = libc::itimerval {
        it_interval: libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        },
        it_value: libc::timeval {
            tv_sec: 0,
            tv_usec: 1_000_000,
        },
    };
    assert_eq!(
        call(libc::SYS_setitimer, &[0, &raw const wrong as usize, 0]),
        Err(libc::EINVAL)
    );
    assert_eq!(
        call(libc::SYS_setitimer, &[3, &raw const wrong as usize, 0]),
        Err(libc::EINVAL)
    );
}

fn cpu_timer_counts_cpu_time() {
    let end = end_of(|| {
        set_timer(1, 50_000, 0);
        sleep_ms(100); // costs no CPU time
        loop {
            std::hint::spin_loop();
        }
    });
    assert_eq!(end, Ended::Signal(libc::SIGVTALRM));
}

fn timerfd(flags: i32) -> i32 {
    ok(timerfd_create(libc::CLOCK_MONOTONIC, flags))
}

fn arm(fd: i32, flags: i32, first: Duration, interval: Duration) -> Result {
    timerfd_settime(fd, flags, &itimerspec(first, interval), None)
}

fn expirations(fd: i32) -> u64 {
    u64::from_ne_bytes(get(fd, 8).try_into().expect("eight bytes"))
}

fn timerfd_counts() {
    let fd = timerfd(libc::TFD_NONBLOCK);
    let mut count = [0_u8; 8];
    fails(read(fd, &mut count[..8]), libc::EAGAIN);
    let start = Instant::now();
    ok(arm(
        fd,
        0,
        Duration::from_millis(10),
        Duration::from_millis(10),
    ));
    sleep_ms(105);
    let got = u128::from(expirations(fd));
    let most = start.elapsed().as_millis() / 10;
    assert!((10..=most).contains(&got), "{got} of {most}");
    fails(read(fd, &mut count[..4]), libc::EINVAL);
    let blocking = timerfd(0);
    ok(arm(blocking, 0, Duration::from_millis(30), Duration::ZERO));
    let start = Instant::now();
    assert_eq!(expirations(blocking), 1);
    assert!(start.elapsed() >= Duration::from_millis(25));
}

fn timerfd_absolute_and_disarm() {
    let fd = timerfd(libc::TFD_NONBLOCK);
    ok(arm(
        fd,
        libc::TFD_TIMER_ABSTIME,
        Duration::from_nanos(1),
        Duration::ZERO,
    ));
    assert_eq!(poll_one(fd, libc::POLLIN, 1000), libc::POLLIN);
    assert_eq!(expirations(fd), 1);
    ok(arm(fd, 0, Duration::from_secs(20), Duration::ZERO));
    let left = ok(timerfd_gettime(fd)).it_value;
    let left = Duration::new(left.tv_sec as u64, left.tv_nsec as u32);
    assert!(left > Duration::from_secs(10) && left <= Duration::from_secs(20));
    ok(arm(fd, 0, Duration::from_millis(20), Duration::ZERO));
    ok(arm(fd, 0, Duration::ZERO, Duration::ZERO));
    assert_eq!(poll_one(fd, libc::POLLIN, 60), 0);
    fails(timerfd_create(99, 0), libc::EINVAL);
}

fn poll_times_out() {
    let (reader, _writer) = pipe();
    let start = Instant::now();
    assert_eq!(poll_one(reader, libc::POLLIN, 40), 0);
    assert!(start.elapsed() >= Duration::from_millis(40));
    let mut wait = libc::timeval {
        tv_sec: 0,
        tv_usec: 30_000,
    };
    let mut set = FdSet::of(&[reader]);

    let start = Instant::now();
    let args = [
        reader as usize + 1,
        set.address(),
        0,
        0,
        &raw mut wait as usize,
    ];
    assert_eq!(call(libc::SYS_select, &args), Ok(0));
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert_eq!(
        (wait.tv_sec, wait.tv_usec),
        (0, 0),
        "Linux writes the time that is left"
    );
}

fn vdso_agrees_with_the_calls() {
    assert_ne!(getauxval(libc::AT_SYSINFO_EHDR), 0);
    for _ in 0..100 {
        // The C library's function is the vDSO's.
        let before = now(libc::CLOCK_MONOTONIC);
        let middle = quick_now(libc::CLOCK_MONOTONIC);
        let after = now(libc::CLOCK_MONOTONIC);
        assert!(
            before <= middle && middle <= after,
            "{before:?} {middle:?} {after:?}"
        );
    }
    let mut time = libc::timeval {
        tv_sec: 0,
        tv_usec: 0,
    };
    // SAFETY: writes the time and nothing else.
    ok(unsafe { libc::gettimeofday(&mut time, std::ptr::null_mut()) });
    assert!(
        now(libc::CLOCK_REALTIME)
            .as_secs()
            .abs_diff(time.tv_sec as u64)
            <= 1
    );
}

fn cpu_clocks() {
    let (begun, start) = (Instant::now(), now(libc::CLOCK_PROCESS_CPUTIME_ID));
    sleep_ms(500);
    let slept = now(libc::CLOCK_PROCESS_CPUTIME_ID) - start;
    assert!(
        slept < begun.elapsed() / 2,
        "{slept:?} of CPU time while asleep"
    );
    spin(Duration::from_millis(100));
    assert!(now(libc::CLOCK_PROCESS_CPUTIME_ID) - start > slept);
    assert!(now(libc::CLOCK_THREAD_CPUTIME_ID) <= now(libc::CLOCK_PROCESS_CPUTIME_ID));
}

fn realtime_can_be_set() {
    let before = now(libc::CLOCK_REALTIME);
    let steady = now(libc::CLOCK_MONOTONIC);
    let time = libc::timespec {
        tv_sec: before.as_secs() as i64 + 1000,
        tv_nsec: 0,
    };
    assert_eq!(
        call(libc::SYS_clock_settime, &[0, &raw const time as usize]),
        Ok(0)
    );
    assert!(now(libc::CLOCK_REALTIME) - before >= Duration::from_secs(999));
    assert!(now(libc::CLOCK_MONOTONIC) - steady < Duration::from_secs(100));
    let back = libc::timespec {
        tv_sec: before.as_secs() as i64,
        tv_nsec: 0,
    };
    assert_eq!(
        call(libc::SYS_clock_settime, &[0, &raw const back as usize]),
        Ok(0)
    );
}

fn posix_timers() {
    let set = block(&[libc::SIGUSR1]);
    let mut event: libc::sigevent = zeroed();
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = libc::SIGUSR1;
    event.sigev_value = libc::sigval {
        sival_ptr: 77 as *mut libc::c_void,
    };
    let mut id = 0_i32;
    let args = [
        libc::CLOCK_MONOTONIC as usize,
        &raw const event as usize,
        &raw mut id as usize,
    ];
    assert_eq!(call(libc::SYS_timer_create, &args), Ok(0));
    let timer = libc::itimerspec {
        it_interval: libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        it_value: libc::timespec {
            tv_sec: 0,
            tv_nsec: 20_000_000,
        },
    };
    assert_eq!(
        call(
            libc::SYS_timer_settime,
            &[id as usize, 0, &raw const timer as usize, 0]
        ),
        Ok(0)
    );
    let info = ok(sigwaitinfo(set));
    assert_eq!(info.si_signo, libc::SIGUSR1);
    assert_eq!((info.si_code, info.value()), (libc::SI_TIMER, 77));
    assert_eq!(call(libc::SYS_timer_delete, &[id as usize]), Ok(0));
    assert_eq!(
        call(libc::SYS_timer_delete, &[id as usize]),
        Err(libc::EINVAL)
    );
}

fn many_sleepers() {
    let start = Instant::now();
    let children: Vec<i32> = (0..40)
        .map(|i| {
            child(move || {
                sleep_ms(500 + (i * 7) % 50);
                0
            })
        })
        .collect();
    for pid in children {
        assert_eq!(wait(pid), Ended::Exit(0));
    }
    // They sleep side by side, not one after another.
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
}
