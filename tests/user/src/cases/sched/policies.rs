//! Policies and priorities: who may set which, and what children get.

use super::{RESET_ON_FORK, policy, priority, set, stat_field};
use crate::cases::cases;
use crate::sys::*;
use std::time::Duration;

cases![
    policies_are_set_and_read,
    invalid_values_are_refused,
    users_need_the_right,
    limits_let_users_go_as_far,
    children_reset,
    intervals,
    nice_of_a_sleeper,
];

fn set_priority(pid: i32, priority: i32) -> Result<usize> {
    let param = [priority];
    call(
        libc::SYS_sched_setparam,
        &[pid as usize, param.as_ptr() as usize],
    )
}

const PRIORITY: usize = 18;
const NICE: usize = 19;
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
