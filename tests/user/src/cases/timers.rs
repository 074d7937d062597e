//! Timers that run over, that tell one thread, and that others can see; ticks and coarse clocks.

use super::cases;
use crate::sys::*;
use std::fs;
use std::time::{Duration, Instant};

cases![
    a_timer_that_nobody_waits_for_runs_over,
    a_timer_tells_the_thread_that_it_names,
    timers_of_others_are_listed,
    devices_that_interrupt_are_named,
    coarse_clocks_are_behind_and_go_on,
    programs_count_a_hundred_ticks_a_second,
    the_time_of_day_is_the_same_by_both_calls,
    ticks_stop_on_idle_cpus_and_are_caught_up,
];

/// Makes a timer on the monotonic clock that sends `event`.
fn create(event: &libc::sigevent) -> Result<usize, i32> {
    let mut id = 0_i32;
    let args = [
        libc::CLOCK_MONOTONIC as usize,
        std::ptr::from_ref(event) as usize,
        &raw mut id as usize,
    ];
    call(libc::SYS_timer_create, &args)?;
    Ok(id as usize)
}

fn signal_event(notify: i32, signal: i32) -> libc::sigevent {
    let mut event: libc::sigevent = zeroed();
    (event.sigev_notify, event.sigev_signo) = (notify, signal);
    event
}

/// Sets timer `id` for `first` from now, and every `interval` after that.
fn set(id: usize, first: Duration, interval: Duration) {
    let setting = [timespec(interval), timespec(first)];
    let args = [id, 0, setting.as_ptr() as usize, 0];
    call(libc::SYS_timer_settime, &args).expect("it is set");
}

fn a_timer_that_nobody_waits_for_runs_over() {
    let wanted = block(&[libc::SIGUSR1]);
    let id = create(&signal_event(libc::SIGEV_SIGNAL, libc::SIGUSR1)).expect("a timer");
    let overruns = || call(libc::SYS_timer_getoverrun, &[id]);
    assert_eq!(overruns(), Ok(0));
    set(id, Duration::from_millis(5), Duration::from_millis(5));
    std::thread::sleep(Duration::from_millis(200));
    let info = ok(sigwaitinfo(wanted));
    assert_eq!(
        (info.si_signo, info.si_code),
        (libc::SIGUSR1, libc::SI_TIMER)
    );
    // Forty times in that while, of which one is the signal; a timer that is served late counts what it was late for.
    let told = overruns().expect("it is there");
    assert!(told >= 38, "{told}");
    // After signal, error, code and a gap: the timer, and how often it ran over.
    let words = peek_all(&raw const info as usize, 24);
    let word = |at: usize| u32::from_ne_bytes(words[at..at + 4].try_into().expect("four bytes"));
    assert_eq!((word(16) as usize, word(20) as usize), (id, told));
    set(id, Duration::ZERO, Duration::ZERO);
    call(libc::SYS_timer_delete, &[id]).expect("it is there");
    assert_eq!(overruns(), Err(libc::EINVAL));
}

fn a_timer_tells_the_thread_that_it_names() {
    const SIGEV_THREAD_ID: i32 = 4;
    let wanted = block(&[libc::SIGUSR2]);
    let stranger = {
        let mut event = signal_event(SIGEV_THREAD_ID, libc::SIGUSR2);
        event.sigev_notify_thread_id = 1;
        create(&event)
    };
    // The first process is not one of our threads, unless it is us.
    if std::process::id() != 1 {
        assert_eq!(stranger, Err(libc::EINVAL));
    }
    let waiter = std::thread::spawn(move || {
        let mut event = signal_event(SIGEV_THREAD_ID, libc::SIGUSR2);
        event.sigev_notify_thread_id = gettid();
        let id = create(&event).expect("a timer");
        set(id, Duration::from_millis(5), Duration::ZERO);
        // The other thread waits for it as well, and must not get it.
        let info = ok(sigwaitinfo(wanted));
        call(libc::SYS_timer_delete, &[id]).expect("it is there");
        info.si_code
    });
    let got = sigtimedwait(wanted, Duration::from_millis(100));
    assert_eq!(got.map(|info| info.si_signo), Err(libc::EAGAIN));
    assert_eq!(waiter.join().expect("it does not panic"), libc::SI_TIMER);
}

fn listed() -> String {
    fs::read_to_string("/proc/timer_list").expect("root may read it")
}

/// The timers of `list`: who is called, and in how many ns.
fn expiries(list: &str) -> Vec<(&str, i64)> {
    let mut lines = list.lines().peekable();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let mut words = line.trim().split(", ");
        let is_timer = words
            .next()
            .is_some_and(|word| word.starts_with('#') && word.ends_with('>'));
        if !is_timer {
            continue;
        }
        let who = words.next().expect("who is called");
        let when = lines.next().expect("when that is");
        let (_, left) = when.split_once("[in ").expect("how far that is");
        let (left, _) = left.split_once(' ').expect("a number");
        found.push((who, left.parse().expect("a number of ns")));
    }
    found
}

fn timers_of_others_are_listed() {
    let sleeper = child(|| {
        std::thread::sleep(Duration::from_secs(100_000));
        0
    });
    let start = Instant::now();
    // Linux adds a slack of 50 us; nobody else sleeps for a day.
    let is_its = |&(who, left): &(&str, i64)| {
        who == "hrtimer_wakeup" && (90_000..=100_001).contains(&(left / 1_000_000_000))
    };
    while !expiries(&listed()).iter().any(is_its) {
        assert!(start.elapsed() < Duration::from_secs(60), "{}", listed());
        std::thread::sleep(Duration::from_millis(10));
    }
    ok(kill(sleeper, libc::SIGKILL));
    wait(sleeper);
    assert!(!expiries(&listed()).iter().any(is_its), "it is dead");
    let list = listed();
    assert!(list.starts_with("Timer List Version: v0."), "{list}");
    let cpus = fs::read_to_string("/proc/stat")
        .expect("it is there")
        .matches("\ncpu")
        .count();
    for cpu in 0..cpus {
        assert!(list.contains(&format!("\ncpu: {cpu}\n")));
        assert!(list.contains(&format!("\nPer CPU device: {cpu}\n")));
    }
    assert_eq!(list.matches("\n  .hres_active    : 1\n").count(), cpus);
    assert!(list.contains("\nBroadcast device\n"));
    in_child(|| {
        become_user();
        let refused = fs::read_to_string("/proc/timer_list").expect_err("others may not");
        assert_eq!(refused.raw_os_error(), Some(libc::EACCES));
    });
}

fn devices_that_interrupt_are_named() {
    let dir = "/sys/devices/system/clockevents";
    let name = fs::read_to_string(format!("{dir}/clockevent0/current_device"));
    let name = name.expect("it is there");
    let listed = listed();
    let (_, own) = listed
        .split_once("\nPer CPU device: 0\n")
        .expect("the first CPU has one");
    assert!(
        own.starts_with(&format!("Clock Event Device: {name}")),
        "{name}: {own}"
    );
    assert!(fs::metadata(format!("{dir}/broadcast/current_device")).is_ok());
}

fn coarse_clocks_are_behind_and_go_on() {
    for (coarse, fine) in [
        (libc::CLOCK_REALTIME_COARSE, libc::CLOCK_REALTIME),
        (libc::CLOCK_MONOTONIC_COARSE, libc::CLOCK_MONOTONIC),
    ] {
        let mut resolution = timespec(Duration::ZERO);
        let at = &raw mut resolution as usize;
        call(libc::SYS_clock_getres, &[coarse as usize, at]).expect("it is a clock");
        assert_eq!(duration(resolution), Duration::from_millis(4));
        let (first, start) = (now(coarse), Instant::now());
        while now(coarse) == first {
            assert!(start.elapsed() < Duration::from_secs(20), "it stands still");
        }
        for _ in 0..1000 {
            let behind = now(coarse);
            assert!(behind <= now(fine), "clock {coarse} is ahead");
        }
    }
}

fn programs_count_a_hundred_ticks_a_second() {
    const AT_CLKTCK: u64 = 17;
    assert_eq!(getauxval(AT_CLKTCK), 100);
    // The call gives ticks since some moment: a second is a hundred of them, and a busy host makes it longer.
    let ticks = || call(libc::SYS_times, &[0]).expect("it cannot fail");
    let (since, before) = (Instant::now(), ticks());
    std::thread::sleep(Duration::from_secs(1));
    let (passed, most) = (ticks() - before, since.elapsed());
    let most = most.as_millis() as usize / 10 + 2;
    assert!((99..=most).contains(&passed), "{passed} of {most}");
}

fn the_time_of_day_is_the_same_by_both_calls() {
    for _ in 0..1000 {
        let before = now(libc::CLOCK_REALTIME).as_micros();
        let mut value: libc::timeval = zeroed();
        call(libc::SYS_gettimeofday, &[&raw mut value as usize, 0]).expect("it cannot fail");
        let after = now(libc::CLOCK_REALTIME).as_micros();
        let between = value.tv_sec as u128 * 1_000_000 + value.tv_usec as u128;
        assert!(
            (before..=after).contains(&between),
            "{before} {between} {after}"
        );
    }
}

/// The numbers that `list` has behind `name`, one for each CPU.
fn numbers<'a>(list: &'a str, name: &str) -> impl Iterator<Item = u64> + use<'a> {
    let name = name.to_string();
    list.lines().filter_map(move |line| {
        let rest = line.trim().strip_prefix(name.as_str())?;
        let rest = rest.trim().trim_start_matches(':').trim();
        rest.split(' ').next()?.parse().ok()
    })
}

fn ticks_stop_on_idle_cpus_and_are_caught_up() {
    const TICK_NS: u64 = 4_000_000;
    /// Where the emulated clock interrupts late, Linux counts late.
    const LATE: u64 = 50;
    let read = || {
        let list = listed();
        let one = |name| numbers(&list, name).next().expect("it is there");
        let sleeps: u64 = numbers(&list, ".idle_sleeps").sum();
        (one("jiffies"), one("now at"), sleeps)
    };
    let (ticks, begun, sleeps) = read();
    soon(|| {
        sleep_ms(50);
        read().2 > sleeps
    });
    let (last, ended, _) = read();
    let (passed, due) = (last - ticks, (ended - begun) / TICK_NS);
    assert!(passed.abs_diff(due) <= LATE, "{passed} ticks of {due}");
}
