//! Scheduling: policies and priorities, who may set which, and what they do; processors.

use super::cases;
use crate::sys::*;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

cases![
    policies_are_set_and_read,
    invalid_values_are_refused,
    users_need_the_right,
    limits_let_users_go_as_far,
    children_reset,
    attributes_by_size,
    attributes_keep,
    intervals,
    nice_of_a_sleeper,
    masks_are_kept_and_checked,
    a_running_thread_is_moved_at_once,
    spinners_spread,
    a_mask_of_two_is_balanced,
    realtime_comes_first,
    equals_take_turns_by_yielding,
    realtime_wakes_at_once,
    shares_follow_nice,
    idle_policy_gets_the_rest,
    realtime_is_throttled,
    realtime_settings,
    processor_time_is_exact,
    switches_are_counted,
    proc_sched_shows,
];

const RESET_ON_FORK: i32 = 0x4000_0000;

fn set(pid: i32, policy: i32, priority: i32) -> Result<usize> {
    // Not the C library's, which refuses by itself.
    let param = [priority];
    call(
        libc::SYS_sched_setscheduler,
        &[pid as usize, policy as usize, param.as_ptr() as usize],
    )
}

fn set_priority(pid: i32, priority: i32) -> Result<usize> {
    let param = [priority];
    call(
        libc::SYS_sched_setparam,
        &[pid as usize, param.as_ptr() as usize],
    )
}

fn policy(pid: i32) -> i32 {
    ok(call(libc::SYS_sched_getscheduler, &[pid as usize])) as i32
}

fn priority(pid: i32) -> i32 {
    let mut param = [-1];
    ok(call(
        libc::SYS_sched_getparam,
        &[pid as usize, param.as_mut_ptr() as usize],
    ));
    param[0]
}

/// Field `n` of `stat` in proc(5), counted from 1.
fn stat_field(pid: i32, n: usize) -> i64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
    let behind_name = stat.rsplit(") ").next().expect("a name in parentheses");
    let field = behind_name.split_whitespace().nth(n - 3);
    field.expect("enough fields").parse().expect("a number")
}

const PRIORITY: usize = 18;
const NICE: usize = 19;
const PROCESSOR: usize = 39;
const RT_PRIORITY: usize = 40;
const POLICY: usize = 41;

fn policies_are_set_and_read() {
    assert_eq!((policy(0), priority(0)), (libc::SCHED_OTHER, 0));
    let fields = || [PRIORITY, RT_PRIORITY, POLICY].map(|n| stat_field(getpid(), n));
    assert_eq!(fields(), [20, 0, 0]);
    ok(set(0, libc::SCHED_FIFO, 10));
    assert_eq!(
        (policy(getpid()), priority(getpid())),
        (libc::SCHED_FIFO, 10)
    );
    assert_eq!(fields(), [-11, 10, 1]);
    ok(set_priority(0, 99));
    assert_eq!(fields(), [-100, 99, 1]);
    ok(set(getpid(), libc::SCHED_RR, 1));
    assert_eq!(fields(), [-2, 1, 2]);
    for other in [libc::SCHED_BATCH, libc::SCHED_IDLE, libc::SCHED_OTHER] {
        ok(set(0, other, 0));
        assert_eq!((policy(0), priority(0)), (other, 0));
        assert_eq!(fields(), [20, 0, i64::from(other)]);
    }
    // Nice levels stay while a policy does not heed them.
    ok(set_nice(0, 5));
    ok(set(0, libc::SCHED_FIFO, 7));
    assert_eq!(stat_field(getpid(), NICE), 5);
    ok(set_nice(0, 6));
    assert_eq!(fields(), [-8, 7, 1]);
    ok(set(0, libc::SCHED_OTHER, 0));
    assert_eq!(fields(), [26, 0, 0]);
    // They are inherited.
    ok(set(0, libc::SCHED_RR, 3));
    in_child(|| assert_eq!((policy(0), priority(0)), (libc::SCHED_RR, 3)));
}

fn invalid_values_are_refused() {
    for (policy, priority) in [
        (libc::SCHED_OTHER, 1),
        (libc::SCHED_FIFO, 0),
        (libc::SCHED_FIFO, 100),
        (libc::SCHED_FIFO, -1),
        (libc::SCHED_RR, 0),
        (libc::SCHED_BATCH, 1),
        (libc::SCHED_IDLE, 1),
        (4, 0),
        (7, 0),
        (-1, 0),
        (-5, 0),
        (libc::SCHED_DEADLINE, 0),
    ] {
        fails(set(0, policy, priority), libc::EINVAL);
    }
    fails(set(-1, libc::SCHED_OTHER, 0), libc::EINVAL);
    fails(set(0x3fff_ffff, libc::SCHED_OTHER, 0), libc::ESRCH);
    fails(set_priority(0, 1), libc::EINVAL);
    ok(set_priority(0, 0));
    ok(set(0, libc::SCHED_FIFO, 5));
    for priority in [0, 100, -3] {
        fails(set_priority(0, priority), libc::EINVAL);
    }
    ok(set(0, libc::SCHED_OTHER, 0));
    for number in [libc::SYS_sched_setparam, libc::SYS_sched_getparam] {
        fails(call(number, &[0, 0]), libc::EINVAL);
        fails(call(number, &[0, 8]), libc::EFAULT);
    }
    fails(call(libc::SYS_sched_setscheduler, &[0, 0, 0]), libc::EINVAL);
    fails(call(libc::SYS_sched_setscheduler, &[0, 0, 8]), libc::EFAULT);
    fails(
        call(libc::SYS_sched_getscheduler, &[usize::MAX]),
        libc::EINVAL,
    );
    fails(
        call(libc::SYS_sched_getscheduler, &[0x3fff_ffff]),
        libc::ESRCH,
    );
    for (policy, max, min) in [
        (0, 0, 0),
        (1, 99, 1),
        (2, 99, 1),
        (3, 0, 0),
        (5, 0, 0),
        (6, 0, 0),
    ] {
        assert_eq!(ok(sched_get_priority_max(policy)), max);
        assert_eq!(ok(sched_get_priority_min(policy)), min);
    }
    for policy in [4, 7, -1] {
        fails(sched_get_priority_max(policy), libc::EINVAL);
        fails(sched_get_priority_min(policy), libc::EINVAL);
    }
}

fn users_need_the_right() {
    let parent = getpid();
    in_child(|| {
        become_user();
        fails(set(0, libc::SCHED_FIFO, 1), libc::EPERM);
        fails(set(0, libc::SCHED_RR, 1), libc::EPERM);
        fails(set(parent, libc::SCHED_OTHER, 0), libc::EPERM);
        assert_eq!(policy(parent), libc::SCHED_OTHER);
        ok(set(0, libc::SCHED_BATCH, 0));
        ok(set(0, libc::SCHED_OTHER, 0));
        ok(set(0, libc::SCHED_OTHER | RESET_ON_FORK, 0));
        fails(set(0, libc::SCHED_OTHER, 0), libc::EPERM);
        assert_eq!(policy(0), libc::SCHED_OTHER | RESET_ON_FORK);
        ok(set(0, libc::SCHED_IDLE | RESET_ON_FORK, 0));
        fails(set(0, libc::SCHED_OTHER | RESET_ON_FORK, 0), libc::EPERM);
    });
}

fn limits_let_users_go_as_far() {
    in_child(|| {
        limit(libc::RLIMIT_RTPRIO, 10);
        limit(libc::RLIMIT_NICE, 20);
        become_user();
        ok(set(0, libc::SCHED_FIFO, 10));
        fails(set(0, libc::SCHED_FIFO, 11), libc::EPERM);
        fails(set_priority(0, 11), libc::EPERM);
        ok(set(0, libc::SCHED_RR, 2));
        // RLIMIT_NICE of 20 is nice 0.
        ok(set(0, libc::SCHED_IDLE, 0));
        ok(set(0, libc::SCHED_OTHER, 0));
        ok(set_nice(0, 4));
        ok(set_nice(0, 0));
        fails(set_nice(0, -1), libc::EACCES);
    });
    in_child(|| {
        ok(set(0, libc::SCHED_FIFO, 50));
        become_user();
        // What one has may be kept and lowered.
        ok(set(0, libc::SCHED_FIFO, 40));
        fails(set(0, libc::SCHED_FIFO, 41), libc::EPERM);
        fails(set(0, libc::SCHED_RR, 40), libc::EPERM);
        ok(set(0, libc::SCHED_OTHER, 0));
        fails(set(0, libc::SCHED_FIFO, 1), libc::EPERM);
    });
}

fn children_reset() {
    ok(set_nice(0, -5));
    ok(set(0, libc::SCHED_FIFO | RESET_ON_FORK, 30));
    assert_eq!(policy(0), libc::SCHED_FIFO | RESET_ON_FORK);
    in_child(|| {
        assert_eq!((policy(0), priority(0)), (libc::SCHED_OTHER, 0));
        assert_eq!(stat_field(getpid(), NICE), 0);
    });
    std::thread::spawn(|| assert_eq!(policy(0), libc::SCHED_OTHER))
        .join()
        .expect("no panic");
    ok(set(0, libc::SCHED_OTHER | RESET_ON_FORK, 0));
    in_child(|| {
        assert_eq!(
            (policy(0), stat_field(getpid(), NICE)),
            (libc::SCHED_OTHER, 0)
        )
    });
    ok(set_nice(0, 7));
    in_child(|| assert_eq!(stat_field(getpid(), NICE), 7));
    // The flag of its own call changes nothing else.
    ok(set(0, libc::SCHED_BATCH, 0));
    assert_eq!(policy(0), libc::SCHED_BATCH);
}

/// `struct sched_attr` and something behind it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Attr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    util_min: u32,
    util_max: u32,
    unknown: u64,
}

const SIZE_FIRST: u32 = 48;
const SIZE: u32 = 56;

fn set_attr(attr: &mut Attr) -> Result<usize> {
    call(
        libc::SYS_sched_setattr,
        &[0, std::ptr::from_mut(attr) as usize, 0],
    )
}

fn get_attr(size: u32) -> Attr {
    let mut attr = Attr::default();
    let at = &raw mut attr as usize;
    ok(call(libc::SYS_sched_getattr, &[0, at, size as usize, 0]));
    attr
}

fn attributes_by_size() {
    let other = Attr {
        size: SIZE_FIRST,
        nice: 3,
        ..Attr::default()
    };
    ok(set_attr(&mut other.clone()));
    assert_eq!(get_attr(SIZE_FIRST), other);
    assert_eq!(get_attr(SIZE_FIRST + 1).size, SIZE_FIRST + 1);
    assert_eq!(get_attr(4096).nice, 3);
    for (size, error) in [
        (1, libc::E2BIG),
        (SIZE_FIRST - 1, libc::E2BIG),
        (4097, libc::E2BIG),
        (u32::MAX, libc::E2BIG),
    ] {
        let mut attr = Attr { size, ..other };
        fails(set_attr(&mut attr), error);
        assert_eq!(attr.size, SIZE, "the size that is known");
    }
    let mut zero = Attr { size: 0, ..other };
    ok(set_attr(&mut zero));
    let mut longer = Attr { size: 64, ..other };
    ok(set_attr(&mut longer));
    longer.unknown = 1;
    fails(set_attr(&mut longer), libc::E2BIG);
    // More nice than there is, either way, is as much as there is.
    for (given, kept) in [(100, 19), (-100, -20)] {
        ok(set_attr(&mut Attr {
            nice: given,
            ..other
        }));
        assert_eq!(get_attr(SIZE_FIRST).nice, kept);
    }
    let at = &raw const other as usize;
    for args in [[0, 0, 0], [usize::MAX, at, 0], [0, at, 1]] {
        fails(call(libc::SYS_sched_setattr, &args), libc::EINVAL);
    }
    fails(call(libc::SYS_sched_setattr, &[0, 8, 0]), libc::EFAULT);
    fails(
        call(libc::SYS_sched_setattr, &[0x3fff_ffff, at, 0]),
        libc::ESRCH,
    );
    for args in [
        [0, 0, 48, 0],
        [usize::MAX, at, 48, 0],
        [0, at, 47, 0],
        [0, at, 4097, 0],
        [0, at, 48, 1],
    ] {
        fails(call(libc::SYS_sched_getattr, &args), libc::EINVAL);
    }
    fails(call(libc::SYS_sched_getattr, &[0, 8, 48, 0]), libc::EFAULT);
    for attr in [
        Attr {
            policy: u32::MAX,
            ..other
        },
        Attr { policy: 4, ..other },
        Attr { policy: 1, ..other },
        Attr {
            policy: 1,
            priority: 100,
            ..other
        },
        Attr {
            priority: 1,
            ..other
        },
        Attr {
            flags: 0x80,
            ..other
        },
        Attr {
            flags: 0x20,
            ..other
        },
    ] {
        fails(set_attr(&mut attr.clone()), libc::EINVAL);
    }
}

fn attributes_keep() {
    const KEEP_POLICY: u64 = 8;
    const KEEP_PARAMS: u64 = 16;
    let fifo = Attr {
        size: SIZE_FIRST,
        policy: 1,
        priority: 20,
        flags: 1,
        ..Attr::default()
    };
    ok(set_attr(&mut fifo.clone()));
    assert_eq!(get_attr(SIZE_FIRST), fifo);
    assert_eq!(policy(0), libc::SCHED_FIFO | RESET_ON_FORK);
    let higher = Attr {
        policy: 5,
        priority: 21,
        flags: KEEP_POLICY,
        ..fifo
    };
    ok(set_attr(&mut higher.clone()));
    assert_eq!(
        get_attr(SIZE_FIRST),
        Attr {
            priority: 21,
            ..fifo
        }
    );
    let robin = Attr {
        policy: 2,
        priority: 9,
        flags: KEEP_PARAMS,
        ..fifo
    };
    ok(set_attr(&mut robin.clone()));
    // As the policy is one of the parameters, only the flag of children changes.
    assert_eq!((policy(0), priority(0)), (libc::SCHED_FIFO, 21));
    fails(set_attr(&mut Attr { policy: 0, ..robin }), libc::EINVAL);
}

fn intervals() {
    let interval = |pid: i32| {
        let mut time: libc::timespec = zeroed();
        ok(sched_rr_get_interval(pid, &mut time));
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    ok(set(0, libc::SCHED_RR, 5));
    assert_eq!(interval(0), Duration::from_millis(100));
    ok(set(0, libc::SCHED_FIFO, 5));
    assert_eq!(interval(0), Duration::ZERO);
    ok(set(0, libc::SCHED_OTHER, 0));
    assert!(interval(getpid()) < Duration::from_millis(100));
    let number = libc::SYS_sched_rr_get_interval;
    fails(call(number, &[usize::MAX, 0]), libc::EINVAL);
    fails(call(number, &[0x3fff_ffff, 0]), libc::ESRCH);
    fails(call(number, &[0, 8]), libc::EFAULT);
}

fn nice_of_a_sleeper() {
    let (read, write) = pipe();
    let pid = child(|| {
        get(read, 1);
        i32::from(stat_field(getpid(), NICE) != 9 || stat_field(getpid(), PRIORITY) != 29)
    });
    sleep_ms(20);
    ok(set_nice(pid, 9));
    put(write, b"x");
    assert_eq!(wait(pid), Ended::Exit(0));
}

fn pin(pid: i32, set: &[usize]) {
    ok(sched_setaffinity(pid, set));
}

fn mask(pid: i32) -> Vec<usize> {
    ok(sched_getaffinity(pid))
}

fn masks_are_kept_and_checked() {
    let all = mask(0);
    // What there is not is left out.
    pin(0, &[0, 500]);
    assert_eq!(mask(0), [0]);
    in_child(|| assert_eq!(mask(0), [0], "inherited"));
    let list = proc_field("/proc/self/status", "Cpus_allowed_list");
    assert_eq!(list.as_deref(), Some("0"));
    pin(0, &all);
    assert_eq!(mask(getpid()), all);
    let none = cpus(&[500]);
    let at = &raw const none as usize;
    let number = libc::SYS_sched_setaffinity;
    fails(call(number, &[0, 128, at]), libc::EINVAL);
    fails(call(number, &[0, 0, at]), libc::EINVAL);
    fails(call(number, &[0x3fff_ffff, 128, at]), libc::ESRCH);
    fails(call(number, &[0, 128, 8]), libc::EFAULT);
    let get = libc::SYS_sched_getaffinity;
    fails(call(get, &[0, 0, at]), libc::EINVAL);
    fails(call(get, &[0, 9, at]), libc::EINVAL);
    fails(call(get, &[0x3fff_ffff, 128, at]), libc::ESRCH);
    fails(call(get, &[0, 128, 8]), libc::EFAULT);
    let parent = getpid();
    in_child(|| {
        become_user();
        let one = cpus(&[0]);
        let at = &raw const one as usize;
        fails(call(number, &[parent as usize, 128, at]), libc::EPERM);
        ok(call(number, &[0, 128, at]));
    });
}

/// A child that spins, counting, until it is killed.
struct Spinner(i32);

impl Spinner {
    fn new(count: &'static AtomicU64, prepare: impl FnOnce()) -> Self {
        Self(child(|| {
            prepare();
            loop {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }))
    }

    fn cpu(&self) -> usize {
        stat_field(self.0, PROCESSOR) as usize
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        ok(kill(self.0, libc::SIGKILL));
        ignore(wait(self.0));
    }
}

/// Waits until `done`, for a while.
#[track_caller]
fn soon(done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(15), "not in time");
        sleep_ms(2);
    }
}

fn a_running_thread_is_moved_at_once() {
    let count = shared::<AtomicU64>();
    let spinner = Spinner::new(count, || ());
    soon(|| count.load(Ordering::Relaxed) > 0);
    for cpu in mask(0).into_iter().cycle().take(12) {
        pin(spinner.0, &[cpu]);
        soon(|| spinner.cpu() == cpu);
        let before = count.load(Ordering::Relaxed);
        soon(|| count.load(Ordering::Relaxed) > before);
    }
}

fn spinners_spread() {
    let all = mask(0);
    let count = shared::<AtomicU64>();
    let spinners: Vec<_> = all.iter().map(|_| Spinner::new(count, || ())).collect();
    soon(|| {
        let mut on: Vec<_> = spinners.iter().map(Spinner::cpu).collect();
        on.sort_unstable();
        on == all
    });
}

fn a_mask_of_two_is_balanced() {
    let all = mask(0);
    let two = &all[..all.len().min(2)];
    let counts = shared::<[AtomicU64; 2]>();
    // Both begin on the first, and may then use the other as well.
    let spinners = [0, 1].map(|n| Spinner::new(&counts[n], || pin(0, &all[..1])));
    soon(|| counts.iter().all(|count| count.load(Ordering::Relaxed) > 0));
    for spinner in &spinners {
        assert_eq!(spinner.cpu(), all[0]);
        pin(spinner.0, two);
        assert_eq!(mask(spinner.0), two);
    }
    soon(|| {
        let mut on = spinners.each_ref().map(Spinner::cpu);
        on.sort_unstable();
        on[..two.len().max(1)] == *two || two.len() == 1
    });
}

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
        for _ in 0..50 {
            get(read, 1);
            count.fetch_add(1, Ordering::Relaxed);
        }
        put(tell, b"x");
        0
    });
    sleep_ms(50);
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

fn shares_follow_nice() {
    let five = || {
        ok(set_nice(0, 5));
    };
    let share = race([|| (), five]);
    let weights = 335.0 / 1024.0;
    assert!(
        (share / weights - 1.0).abs() < 0.25,
        "{share} for {weights}"
    );
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
        sleep_ms(200);
        assert!(quick_now(libc::CLOCK_PROCESS_CPUTIME_ID) < Duration::from_millis(150));
    });
    assert!(used(libc::RUSAGE_CHILDREN) - before >= Duration::from_millis(20));
}

fn switches_are_counted() {
    let before = usage(libc::RUSAGE_THREAD);
    for _ in 0..20 {
        sleep_ms(1);
    }
    let waited = usage(libc::RUSAGE_THREAD).ru_nvcsw - before.ru_nvcsw;
    assert!((20..60).contains(&waited), "{waited} for 20 sleeps");
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
