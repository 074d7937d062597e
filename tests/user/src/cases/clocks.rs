//! Clocks that are adjusted, set, and run on another counter.

use super::cases;
use crate::sys::*;
use std::fs;
use std::time::{Duration, Instant};

cases![
    nobody_disciplines_the_clock,
    a_longer_tick_makes_time_pass_faster,
    frequency_and_status_are_kept,
    adjtime_tells_what_is_left,
    the_time_of_day_can_be_moved_by_an_offset,
    atomic_time_is_ahead_as_told,
    adjusting_is_checked,
    a_counter_is_chosen_by_name,
    timers_of_day_follow_the_clock,
    sleeps_of_day_follow_the_clock,
    timerfd_is_cancelled_by_setting_the_clock,
    used_time_is_not_counted_asleep,
    many_timers_expire_in_order,
    parts_of_used_time_make_up_the_whole,
    alarm_clocks_ring,
    only_who_may_wake_the_machine_sets_alarm_clocks,
];

const ADJ_OFFSET: u32 = 0x1;
const ADJ_FREQUENCY: u32 = 0x2;
const ADJ_STATUS: u32 = 0x10;
const ADJ_TAI: u32 = 0x80;
const ADJ_SETOFFSET: u32 = 0x100;
const ADJ_TICK: u32 = 0x4000;
const ADJ_ADJTIME: u32 = 0x8000;
const ADJ_READONLY: u32 = 0x2000;
const STA_PLL: i32 = 0x1;
const STA_UNSYNC: i32 = 0x40;
const TIME_OK: usize = 0;
const TIME_ERROR: usize = 5;

fn empty(modes: u32) -> libc::timex {
    let mut timex: libc::timex = zeroed();
    timex.modes = modes;
    timex
}

fn adjust(timex: &mut libc::timex) -> Result<usize, i32> {
    call(libc::SYS_adjtimex, &[timex as *mut _ as usize])
}

fn set_day(to: Duration) {
    ok(clock_settime(libc::CLOCK_REALTIME, &timespec(to)));
}

fn nobody_disciplines_the_clock() {
    let mut timex = empty(0);
    let before = now(libc::CLOCK_REALTIME);
    assert_eq!(adjust(&mut timex), Ok(TIME_ERROR));
    let after = now(libc::CLOCK_REALTIME);
    assert_eq!(timex.status & STA_UNSYNC, STA_UNSYNC);
    assert_eq!(
        (timex.tick, timex.tolerance, timex.precision),
        (10_000, 32_768_000, 1)
    );
    let told = Duration::new(timex.time.tv_sec as u64, timex.time.tv_usec as u32 * 1000);
    let microsecond = Duration::from_micros(1);
    assert!(before < told + microsecond && told <= after, "{told:?}");
}

fn a_longer_tick_makes_time_pass_faster() {
    let mut timex = empty(ADJ_TICK);
    timex.tick = 11_000;
    adjust(&mut timex).expect("root may");
    assert_eq!(timex.tick, 11_000);
    // The change is in force from the next tick on.
    std::thread::sleep(Duration::from_millis(50));
    let (raw, start) = (now(libc::CLOCK_MONOTONIC_RAW), now(libc::CLOCK_MONOTONIC));
    let quick = quick_now(libc::CLOCK_MONOTONIC);
    std::thread::sleep(Duration::from_millis(500));
    let passed = now(libc::CLOCK_MONOTONIC) - start;
    let quick = quick_now(libc::CLOCK_MONOTONIC) - quick;
    let raw = now(libc::CLOCK_MONOTONIC_RAW) - raw;
    timex = empty(ADJ_TICK);
    timex.tick = 10_000;
    adjust(&mut timex).expect("root may");
    assert!(passed > raw.mul_f64(1.03), "{passed:?} in {raw:?}");
    assert!(
        quick > raw.mul_f64(1.03),
        "{quick:?} in {raw:?} by the vDSO"
    );
}

fn frequency_and_status_are_kept() {
    let mut timex = empty(ADJ_FREQUENCY | ADJ_STATUS);
    timex.freq = 50 << 16;
    timex.status = STA_PLL;
    assert_eq!(adjust(&mut timex), Ok(TIME_OK));
    let mut told = empty(0);
    assert_eq!(adjust(&mut told), Ok(TIME_OK));
    // Scaled there and back.
    assert!((told.freq - (50 << 16)).abs() <= 1, "{}", told.freq);
    assert_eq!(told.status & (STA_PLL | STA_UNSYNC), STA_PLL);
    // Too much is cut.
    timex = empty(ADJ_FREQUENCY);
    timex.freq = 2000 << 16;
    adjust(&mut timex).expect("root may");
    assert!((timex.freq - (500 << 16)).abs() <= 1, "{}", timex.freq);
    timex = empty(ADJ_FREQUENCY | ADJ_STATUS);
    timex.status = STA_UNSYNC;
    assert_eq!(adjust(&mut timex), Ok(TIME_ERROR));
    assert_eq!(timex.freq, 0);
}

fn adjtime_tells_what_is_left() {
    let mut timex = empty(ADJ_ADJTIME | ADJ_OFFSET);
    timex.offset = 100_000;
    adjust(&mut timex).expect("root may");
    assert_eq!(timex.offset, 0);
    std::thread::sleep(Duration::from_millis(1500));
    let mut left = empty(ADJ_ADJTIME | ADJ_OFFSET | ADJ_READONLY);
    adjust(&mut left).expect("everybody may ask");
    assert!((90_000..100_000).contains(&left.offset), "{}", left.offset);
    let mut stop = empty(ADJ_ADJTIME | ADJ_OFFSET);
    adjust(&mut stop).expect("root may");
    assert!((90_000..100_000).contains(&stop.offset), "{}", stop.offset);
}

/// The time of day and the steady one, of the same moment: taken again where something came in between.
fn day_and_steady() -> (Duration, Duration) {
    loop {
        let before = now(libc::CLOCK_MONOTONIC);
        let day = now(libc::CLOCK_REALTIME);
        if now(libc::CLOCK_MONOTONIC) - before < Duration::from_millis(2) {
            return (day, before);
        }
    }
}

fn the_time_of_day_can_be_moved_by_an_offset() {
    let move_by = |sec: i64, usec: i64| {
        let mut timex = empty(ADJ_SETOFFSET);
        (timex.time.tv_sec, timex.time.tv_usec) = (sec, usec);
        adjust(&mut timex).expect("root may");
    };
    let (day, since) = day_and_steady();
    move_by(100, 500_000);
    let ahead = now(libc::CLOCK_REALTIME) - day;
    assert!(ahead >= Duration::from_millis(100_500) && ahead < Duration::from_secs(110));
    // Minus 100.5 s.
    move_by(-101, 500_000);
    let (day_now, now) = day_and_steady();
    let drift = (day_now - day).abs_diff(now - since);
    assert!(drift < Duration::from_millis(5), "{drift:?}");
}

fn atomic_time_is_ahead_as_told() {
    let tell = |seconds: i64| {
        let mut timex = empty(ADJ_TAI);
        timex.constant = seconds;
        adjust(&mut timex).expect("root may");
        assert_eq!(i64::from(timex.tai), seconds);
    };
    tell(37);
    let ahead = now(libc::CLOCK_TAI) - now(libc::CLOCK_REALTIME);
    let quick = quick_now(libc::CLOCK_TAI) - quick_now(libc::CLOCK_REALTIME);
    tell(0);
    for ahead in [ahead, quick] {
        assert!(
            ahead.abs_diff(Duration::from_secs(37)) < Duration::from_secs(10),
            "{ahead:?}"
        );
    }
}

fn adjusting_is_checked() {
    let refused = |modes: u32, change: fn(&mut libc::timex)| {
        let mut timex = empty(modes);
        change(&mut timex);
        adjust(&mut timex).err()
    };
    assert_eq!(
        refused(ADJ_TICK, |timex| timex.tick = 8999),
        Some(libc::EINVAL)
    );
    assert_eq!(
        refused(ADJ_TICK, |timex| timex.tick = 11_001),
        Some(libc::EINVAL)
    );
    assert_eq!(refused(ADJ_ADJTIME, |_| ()), Some(libc::EINVAL));
    let odd: fn(&mut libc::timex) = |timex| timex.time.tv_usec = 1_000_000;
    assert_eq!(refused(ADJ_SETOFFSET, odd), Some(libc::EINVAL));
    assert_eq!(
        refused(ADJ_FREQUENCY, |timex| timex.freq = i64::MAX),
        Some(libc::EINVAL)
    );
    assert_eq!(call(libc::SYS_adjtimex, &[8]), Err(libc::EFAULT));
    let mut timex = empty(0);
    let at = &raw mut timex as usize;
    let on = |clock: i32| call(libc::SYS_clock_adjtime, &[clock as usize, at]);
    assert_eq!(on(libc::CLOCK_MONOTONIC), Err(libc::EOPNOTSUPP));
    assert_eq!(on(77), Err(libc::EINVAL));
    assert_eq!(on(libc::CLOCK_REALTIME), Ok(TIME_ERROR));
    in_child(|| {
        ok(setuid(1000));
        assert_eq!(adjust(&mut empty(0)), Ok(TIME_ERROR));
        assert_eq!(adjust(&mut empty(ADJ_FREQUENCY)), Err(libc::EPERM));
        assert_eq!(
            adjust(&mut empty(ADJ_ADJTIME | ADJ_OFFSET)),
            Err(libc::EPERM)
        );
        assert!(adjust(&mut empty(ADJ_ADJTIME | ADJ_OFFSET | ADJ_READONLY)).is_ok());
    });
}

fn a_counter_is_chosen_by_name() {
    let dir = "/sys/devices/system/clocksource/clocksource0";
    let text = |name: &str| fs::read_to_string(format!("{dir}/{name}")).expect("it is there");
    let current = text("current_clocksource");
    let available = text("available_clocksource");
    let names: Vec<_> = available.split_whitespace().collect();
    assert!(names.contains(&current.trim()), "{current:?} {available:?}");
    let choose = |name: &str| fs::write(format!("{dir}/current_clocksource"), name);
    for name in names.iter().rev().copied().chain([current.trim()]) {
        let before = now(libc::CLOCK_MONOTONIC);
        choose(name).expect("root may");
        assert_eq!(text("current_clocksource").trim(), name);
        let after = now(libc::CLOCK_MONOTONIC);
        assert!(
            after >= before && after - before < Duration::from_secs(10),
            "{name}"
        );
        for _ in 0..100 {
            let (slow, quick) = (now(libc::CLOCK_MONOTONIC), quick_now(libc::CLOCK_MONOTONIC));
            assert!(
                slow <= quick && quick <= now(libc::CLOCK_MONOTONIC),
                "{name}: the vDSO differs"
            );
        }
    }
    assert_eq!(choose("").map_err(|e| e.raw_os_error()), Ok(()));
    let long = "x".repeat(40);
    assert_eq!(
        choose(&long).map_err(|e| e.raw_os_error()),
        Err(Some(libc::EINVAL))
    );
}

/// Sets the clock an hour ahead for as long as `body` takes.
fn an_hour_ahead<R>(body: impl FnOnce() -> R) -> R {
    let (day, since) = (now(libc::CLOCK_REALTIME), now(libc::CLOCK_MONOTONIC));
    set_day(day + Duration::from_secs(3600));
    let result = body();
    set_day(day + (now(libc::CLOCK_MONOTONIC) - since));
    result
}

fn timers_of_day_follow_the_clock() {
    let set = block(&[libc::SIGALRM]);
    let mut id = 0_i32;
    call(
        libc::SYS_timer_create,
        &[libc::CLOCK_REALTIME as usize, 0, &raw mut id as usize],
    )
    .expect("a timer");
    let end = now(libc::CLOCK_REALTIME) + Duration::from_secs(1800);
    let setting = [0, 0, end.as_secs(), u64::from(end.subsec_nanos())];
    const ABSTIME: usize = 1;
    call(
        libc::SYS_timer_settime,
        &[id as usize, ABSTIME, setting.as_ptr() as usize, 0],
    )
    .expect("it is set");
    let start = Instant::now();
    let got = an_hour_ahead(|| sigtimedwait(set, Duration::from_secs(20)));
    assert_eq!(ok(got).si_signo, libc::SIGALRM);
    assert!(start.elapsed() < Duration::from_secs(10));
    call(libc::SYS_timer_delete, &[id as usize]).expect("it is there");
}

fn sleeps_of_day_follow_the_clock() {
    let start = Instant::now();
    let end = now(libc::CLOCK_REALTIME) + Duration::from_secs(1800);
    let sleeper = std::thread::spawn(move || {
        let end = timespec(end);
        let at = &raw const end as usize;
        call(
            libc::SYS_clock_nanosleep,
            &[libc::CLOCK_REALTIME as usize, 1, at, 0],
        )
    });
    std::thread::sleep(Duration::from_millis(50));
    let slept = an_hour_ahead(|| sleeper.join().expect("it does not panic"));
    assert_eq!(slept, Ok(0));
    assert!(start.elapsed() < Duration::from_secs(10));
}

fn timerfd_is_cancelled_by_setting_the_clock() {
    let fd = ok(timerfd_create(libc::CLOCK_REALTIME, libc::TFD_NONBLOCK));
    const ABSTIME: usize = 1;
    const CANCEL_ON_SET: usize = 2;
    let end = now(libc::CLOCK_REALTIME).as_secs() + 100_000;
    let setting = [0, 0, end, 0];
    let arm = || {
        let at = setting.as_ptr() as usize;
        call(
            libc::SYS_timerfd_settime,
            &[fd as usize, ABSTIME | CANCEL_ON_SET, at, 0],
        )
    };
    arm().expect("it is set");
    let mut count = 0_u64;
    let read = |count: &mut u64| call(libc::SYS_read, &[fd as usize, count as *mut _ as usize, 8]);
    assert_eq!(read(&mut count), Err(libc::EAGAIN));
    an_hour_ahead(|| assert_eq!(read(&mut count), Err(libc::ECANCELED)));
}

fn used_time_is_not_counted_asleep() {
    default_signal(libc::SIGPROF);
    ok(setitimer(libc::ITIMER_PROF, &itimerval(700_000, 0), None));
    // It would end this process.
    std::thread::sleep(Duration::from_millis(1000));
    let left = ok(getitimer(libc::ITIMER_PROF)).it_value;
    assert!(left.tv_sec == 0 && left.tv_usec > 0, "{} us", left.tv_usec);
}

fn many_timers_expire_in_order() {
    let set = block(&[libc::SIGRTMIN()]);
    const TIMERS: usize = 50;
    // Set in an order of its own: 7 has no divisor in common with their number.
    let mut ids = [0_i32; TIMERS];
    // All are set before the first expires, on a busy host too.
    let start = now(libc::CLOCK_MONOTONIC) + Duration::from_secs(1);
    for at in (0..TIMERS).map(|n| n * 7 % TIMERS) {
        let mut event: libc::sigevent = zeroed();
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = libc::SIGRTMIN();
        event.sigev_value.sival_ptr = at as *mut _;
        let id = &raw mut ids[at] as usize;
        let made = call(
            libc::SYS_timer_create,
            &[
                libc::CLOCK_MONOTONIC as usize,
                &raw const event as usize,
                id,
            ],
        );
        made.expect("a timer");
        let end = start + Duration::from_millis(2 * at as u64);
        let setting = [0, 0, end.as_secs(), u64::from(end.subsec_nanos())];
        call(
            libc::SYS_timer_settime,
            &[ids[at] as usize, 1, setting.as_ptr() as usize, 0],
        )
        .expect("it is set");
    }
    for at in 0..TIMERS {
        let info = ok(sigwaitinfo(set));
        assert_eq!((info.si_signo, info.value()), (libc::SIGRTMIN(), at));
        assert!(
            now(libc::CLOCK_MONOTONIC) >= start + Duration::from_millis(2 * at as u64),
            "too early"
        );
    }
}

/// The parts of the processor time of this process.
fn parts() -> [Duration; 2] {
    let usage = ok(getrusage(libc::RUSAGE_SELF));
    let part = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    [part(usage.ru_utime), part(usage.ru_stime)]
}

fn parts_of_used_time_make_up_the_whole() {
    const LONG: Duration = Duration::from_millis(300);
    let used = || now(libc::CLOCK_PROCESS_CPUTIME_ID);
    let start = used();
    while used() < start + LONG {
        for _ in 0..10_000 {
            std::hint::black_box(0);
        }
    }
    let [user, _] = parts();
    assert!(user > Duration::ZERO, "the tick has seen none of {LONG:?}");
    let zeros = fs::File::open("/dev/zero").expect("it is there");
    let mut buffer = vec![0; 1 << 20];
    let start = used();
    while used() < start + LONG {
        std::io::Read::read(&mut &zeros, &mut buffer).expect("zeros");
    }
    // Sampled, but scaled so that they sum up to what was measured; each is cut to microseconds.
    let before = used();
    let [user, system] = parts();
    let after = used();
    assert!(
        system > Duration::ZERO,
        "the tick has seen none of {LONG:?}"
    );
    let sum = user + system;
    assert!(
        before <= sum + Duration::from_micros(2) && sum <= after,
        "{before:?} {sum:?} {after:?}"
    );
}

const ALARMS: [i32; 2] = [libc::CLOCK_REALTIME_ALARM, libc::CLOCK_BOOTTIME_ALARM];

fn alarm_clocks_ring() {
    let soon = Duration::from_millis(20);
    for clock in ALARMS {
        let shown = now(clock);
        let setting = timespec(now(libc::CLOCK_REALTIME));
        assert_eq!(clock_settime(clock, &setting), Err(libc::EINVAL));
        let args = [clock as usize, 0, &raw const setting as usize, 0];
        let begun = Instant::now();
        let rest = timespec(soon);
        let relative = [args[0], 0, &raw const rest as usize, 0];
        assert_eq!(call(libc::SYS_clock_nanosleep, &relative), Ok(0));
        assert!(begun.elapsed() >= soon);
        let end = timespec(now(clock) + soon);
        let absolute = [
            args[0],
            libc::TIMER_ABSTIME as usize,
            &raw const end as usize,
            0,
        ];
        assert_eq!(call(libc::SYS_clock_nanosleep, &absolute), Ok(0));
        assert!(now(clock) >= shown + 2 * soon);
        // A file, and a timer that signals.
        let fd = call(libc::SYS_timerfd_create, &[args[0], 0]).expect("root may");
        let setting = itimerspec(soon, Duration::ZERO);
        call(
            libc::SYS_timerfd_settime,
            &[fd, 0, &raw const setting as usize, 0],
        )
        .expect("it is set");
        let mut count = 0_u64;
        assert_eq!(
            call(libc::SYS_read, &[fd, &raw mut count as usize, 8]),
            Ok(8)
        );
        assert_eq!(count, 1);
        call(libc::SYS_close, &[fd]).expect("it is open");
        let wanted = block(&[libc::SIGALRM]);
        let mut id = 0_i32;
        call(libc::SYS_timer_create, &[args[0], 0, &raw mut id as usize]).expect("root may");
        let setting = [timespec(Duration::ZERO), timespec(soon)];
        call(
            libc::SYS_timer_settime,
            &[id as usize, 0, setting.as_ptr() as usize, 0],
        )
        .expect("it is set");
        assert_eq!(ok(sigwaitinfo(wanted)).si_signo, libc::SIGALRM);
        call(libc::SYS_timer_delete, &[id as usize]).expect("it is there");
    }
}

fn only_who_may_wake_the_machine_sets_alarm_clocks() {
    in_child(|| {
        become_user();
        for clock in ALARMS {
            now(clock);
            let clock = clock as usize;
            let mut id = 0_i32;
            let rest = timespec(Duration::from_millis(1));
            let refused = [
                call(libc::SYS_timer_create, &[clock, 0, &raw mut id as usize]),
                call(libc::SYS_timerfd_create, &[clock, 0]),
                call(
                    libc::SYS_clock_nanosleep,
                    &[clock, 0, &raw const rest as usize, 0],
                ),
            ];
            assert_eq!(refused, [Err(libc::EPERM); 3]);
        }
    });
}
