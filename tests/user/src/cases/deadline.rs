//! `SCHED_DEADLINE`: sched(7), sched_setattr(2).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::cases;
use crate::load::{
    Attr, OVERRUN, RECLAIM, RESET_ON_FORK, Running, Shared, affinity, cpu_time, give_way,
    monotonic, set_affinity, soon, work,
};
use crate::sys::{become_user, call, handle_with, ignore_signal, in_child, sleep_ms};

cases![
    parameters_are_kept_and_checked,
    only_the_privileged,
    as_many_as_there_is_room_for,
    all_processors_or_none,
    children_do_not_inherit,
    a_budget_is_for_a_period,
    who_reclaims_gets_what_nobody_was_promised,
    what_others_were_promised_is_not_reclaimed,
    bounds_of_periods_can_be_set,
    a_yield_waits_for_the_next_period,
    overruns_are_told,
];

const MS: u64 = 1000;

/// A field of `stat` in proc(5), counted from 1.
fn stat_field(n: usize) -> i64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("it is there");
    let behind_name = stat.rsplit(") ").next().expect("a name in parentheses");
    let field = behind_name.split_whitespace().nth(n - 3);
    field.expect("enough fields").parse().expect("a number")
}

fn parameters_are_kept_and_checked() {
    let given = Attr {
        flags: RECLAIM | OVERRUN | RESET_ON_FORK,
        deadline: 20_000_000,
        ..Attr::deadline(5 * MS, 30 * MS)
    };
    ignore_signal(libc::SIGXCPU);
    given.set(0).expect("there is room");
    assert_eq!(Attr::get(0), given);
    const PRIORITY: usize = 18;
    const POLICY: usize = 41;
    assert_eq!((stat_field(PRIORITY), stat_field(POLICY)), (-101, 6));
    // Without a period it is the deadline.
    let short = Attr {
        period: 0,
        ..Attr::deadline(2 * MS, 10 * MS)
    };
    short.set(0).expect("there is room");
    assert_eq!(Attr::get(0), Attr::deadline(2 * MS, 10 * MS));
    let good = Attr::deadline(10 * MS, 100 * MS);
    for bad in [
        Attr { runtime: 0, ..good },
        Attr {
            runtime: 1023,
            ..good
        },
        Attr {
            deadline: 0,
            ..good
        },
        Attr {
            deadline: 9_999_999,
            ..good
        },
        Attr {
            period: 99_999_999,
            ..good
        },
        Attr {
            runtime: 2000,
            deadline: 99_999,
            period: 99_999,
            ..good
        },
        Attr {
            period: 5_000_000_000,
            ..good
        },
        Attr {
            deadline: 1 << 63,
            period: 0,
            ..good
        },
        Attr {
            period: 1 << 63,
            ..good
        },
        Attr {
            priority: 1,
            ..good
        },
        Attr {
            flags: 0x80,
            ..good
        },
    ] {
        assert_eq!(bad.set(0), Err(libc::EINVAL), "{bad:?}");
    }
    // The older calls have no room for parameters.
    let param = [0i32];
    let at = param.as_ptr() as usize;
    let older = [
        call(libc::SYS_sched_setscheduler, &[0, 6, at]),
        call(libc::SYS_sched_setparam, &[0, at]),
    ];
    assert_eq!(older, [Err(libc::EINVAL); 2]);
    assert_eq!(Attr::get(0), Attr::deadline(2 * MS, 10 * MS));
    Attr::policy(0, 0).set(0).expect("anybody may leave");
    assert_eq!(Attr::get(0).runtime, 0);
}

fn only_the_privileged() {
    in_child(|| {
        become_user();
        assert_eq!(Attr::deadline(MS, 100 * MS).set(0), Err(libc::EPERM));
    });
    // What it has it may not change, only leave.
    in_child(|| {
        Attr::deadline(MS, 100 * MS).set(0).expect("there is room");
        become_user();
        assert_eq!(Attr::deadline(MS, 200 * MS).set(0), Err(libc::EPERM));
        Attr::policy(0, 0).set(0).expect("anybody may leave");
    });
}

fn as_many_as_there_is_room_for() {
    let cpus = affinity(0).count_ones() as usize;
    let state = Shared::new();
    let most = || {
        Running::new(
            || {
                Attr::deadline(900 * MS, 1000 * MS)
                    .set(0)
                    .expect("there is room");
                state.add(0, 1);
            },
            || sleep_ms(1000),
        )
    };
    let mut sleepers: Vec<_> = (0..cpus).map(|_| most()).collect();
    soon(|| state.get(0) == cpus as u64);
    let more = Attr::deadline(500 * MS, 1000 * MS);
    assert_eq!(more.set(0), Err(libc::EBUSY));
    Attr::deadline(MS, 100 * MS)
        .set(0)
        .expect("so much is left");
    assert_eq!(more.set(0), Err(libc::EBUSY), "nor to raise it");
    assert_eq!(Attr::get(0).runtime, 1_000_000);
    // The limit of all cannot be lowered below what was promised.
    let limit = "/proc/sys/kernel/sched_rt_runtime_us";
    let refused = std::fs::write(limit, "500000").expect_err("too little");
    assert_eq!(refused.raw_os_error(), Some(libc::EBUSY));
    // What one of them had is given back when it ends, or leaves.
    sleepers.pop().expect("there is one").end();
    soon(|| more.set(0).is_ok());
    Attr::policy(0, 0).set(0).expect("anybody may leave");
    soon(|| Attr::deadline(900 * MS, 1000 * MS).set(0).is_ok());
}

fn all_processors_or_none() {
    let all = affinity(0);
    let one = all & all.wrapping_neg();
    let attr = Attr::deadline(MS, 100 * MS);
    if all == one {
        attr.set(0).expect("there is room");
        set_affinity(0, one).expect("it is all there is");
        return;
    }
    set_affinity(0, one).expect("it is there");
    assert_eq!(attr.set(0), Err(libc::EPERM));
    set_affinity(0, all).expect("it is there");
    attr.set(0).expect("there is room");
    assert_eq!(set_affinity(0, one), Err(libc::EBUSY));
    assert_eq!(affinity(0), all);
    Attr::policy(0, 0).set(0).expect("anybody may leave");
    set_affinity(0, one).expect("it is like others now");
}

/// Sets the caller's as soon as there is room: Linux keeps that of a thread that has ended until its period is over.
#[track_caller]
fn when_there_is_room(attr: Attr) {
    soon(|| attr.set(0).is_ok());
}

fn children_do_not_inherit() {
    let attr = Attr::deadline(10 * MS, 100 * MS);
    when_there_is_room(attr);
    assert_eq!(call(libc::SYS_fork, &[]), Err(libc::EAGAIN));
    let reset = Attr {
        flags: RESET_ON_FORK,
        ..attr
    };
    reset.set(0).expect("it is the same");
    in_child(|| assert_eq!(Attr::get(0), Attr::policy(0, 0)));
    assert_eq!(Attr::get(0), reset);
}

fn a_budget_is_for_a_period() {
    let spinner = Running::spinning(|| {
        when_there_is_room(Attr::deadline(20 * MS, 100 * MS));
    });
    soon(|| cpu_time(spinner.0) > Duration::ZERO);
    // A fifth, though nobody else wants the processor; one budget more or less.
    settles([&spinner], |[part]| (0.17..0.23).contains(&part));
}

/// A deadline thread that spins.
fn spinner(attr: Attr) -> Running {
    let spinner = Running::spinning(|| attr.set(0).expect("there is room"));
    soon(|| cpu_time(spinner.0) > Duration::ZERO);
    spinner
}

/// Waits until what `spinners` have had of a processor since this began is as `right` says. What a busy host lets one run for too
/// long is made up for later, so that it counts less and less.
#[track_caller]
fn settles<const N: usize>(spinners: [&Running; N], right: impl Fn([f64; N]) -> bool) {
    let (start, before) = (monotonic(), spinners.map(|s| cpu_time(s.0)));
    sleep_ms(2000);
    soon(|| {
        let (now, used) = (monotonic(), spinners.map(|s| cpu_time(s.0)));
        let whole = (now - start).as_secs_f64();
        right(std::array::from_fn(|n| {
            (used[n] - before[n]).as_secs_f64() / whole
        }))
    });
}

fn who_reclaims_gets_what_nobody_was_promised() {
    let reclaims = spinner(Attr {
        flags: RECLAIM,
        ..Attr::deadline(10 * MS, 100 * MS)
    });
    // 95 % but for what the host takes; it asked for 10.
    settles([&reclaims], |[part]| part > 0.5);
}

fn what_others_were_promised_is_not_reclaimed() {
    let plain = Attr::deadline(40 * MS, 100 * MS);
    let reclaims = spinner(Attr {
        flags: RECLAIM,
        ..plain
    });
    let other = spinner(plain);
    let alone = affinity(0).count_ones() == 1;
    settles([&reclaims, &other], |[more, just]| {
        // On one processor 0.4 / (0.8 / 0.95).
        (0.36..0.44).contains(&just) && more > 0.36 && (!alone || more < 0.54)
    });
}

fn bounds_of_periods_can_be_set() {
    let [shortest, longest] = ["min", "max"].map(|which| {
        let path = format!("/proc/sys/kernel/sched_deadline_period_{which}_us");
        move |text: &str| std::fs::write(&path, text).map_err(|e| e.raw_os_error().unwrap_or(0))
    });
    let asked = Attr::deadline(MS, 100 * MS);
    shortest("100001").expect("it is one");
    assert_eq!(asked.set(0), Err(libc::EINVAL));
    shortest("100000").expect("it is one");
    longest("100000").expect("it is one");
    asked.set(0).expect("it is within");
    // They are checked, and against each other.
    assert_eq!(shortest("100001"), Err(libc::ERANGE));
    assert_eq!(longest("99999"), Err(libc::ERANGE));
    for bad in ["-1", "4294967296", "x"] {
        assert_eq!(shortest(bad), Err(libc::EINVAL), "{bad}");
        assert_eq!(longest(bad), Err(libc::EINVAL), "{bad}");
    }
    longest("4194304").expect("it is one");
    shortest("100").expect("it is one");
    // Who has a deadline keeps it.
    assert_eq!(Attr::get(0), asked);
}

fn a_yield_waits_for_the_next_period() {
    when_there_is_room(Attr::deadline(20 * MS, 50 * MS));
    give_way();
    let mut before = monotonic();
    let periods: Vec<_> = (0..10)
        .map(|_| {
            give_way();
            let now = monotonic();
            (now - std::mem::replace(&mut before, now)).as_millis()
        })
        .collect();
    // A busy host may be late with some, and so early with the next.
    assert!(periods.iter().sum::<u128>() > 250, "{periods:?} ms");
    assert!(periods.iter().any(|ms| *ms <= 60), "{periods:?} ms");
}

static TOLD: AtomicU64 = AtomicU64::new(0);

fn overruns_are_told() {
    let on_signal = |_, _: &_, _: &mut _| {
        TOLD.fetch_add(1, Ordering::SeqCst);
    };
    handle_with(libc::SIGXCPU, on_signal, libc::SA_RESTART, &[]);
    let attr = Attr::deadline(10 * MS, 50 * MS);
    when_there_is_room(attr);
    work(Duration::from_millis(35));
    assert_eq!(TOLD.load(Ordering::SeqCst), 0, "it did not ask");
    Attr {
        flags: OVERRUN,
        ..attr
    }
    .set(0)
    .expect("there is room");
    work(Duration::from_millis(35));
    let told = TOLD.load(Ordering::SeqCst);
    // What a busy host lets run in one piece is one overrun, however long.
    assert!((1..=4).contains(&told), "{told} times");
    // Who stays within its budget is not told; a wide one, which a busy host does not use up.
    Attr {
        flags: OVERRUN,
        ..Attr::deadline(120 * MS, 150 * MS)
    }
    .set(0)
    .expect("there is room");
    for _ in 0..5 {
        give_way();
        work(Duration::from_millis(1));
    }
    let told = TOLD.load(Ordering::SeqCst) - told;
    assert!(told <= 1, "{told} times, and one was under way");
}
