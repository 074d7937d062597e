//! Sessions share the processors as groups: sched(7), "The autogroup feature".

use std::fs;
use std::time::Duration;

use super::cases;
use crate::load::{Running, affinity, cpu_time, set_affinity, soon};
use crate::sys::{become_user, call, child, in_child, ok, sleep_ms};

cases![
    a_session_has_a_group,
    levels_are_checked,
    users_may_not_raise_and_have_to_wait,
    the_switch_is_checked,
    sessions_share_and_not_their_threads,
];

const OWN: &str = "/proc/self/autogroup";
const SWITCH: &str = "/proc/sys/kernel/sched_autogroup_enabled";

fn new_session() {
    ok(call(libc::SYS_setsid, &[]));
}

/// Number and nice level of the caller's group.
#[track_caller]
fn own() -> (u64, i32) {
    let text = fs::read_to_string(OWN).expect("it is there");
    let rest = text.strip_prefix("/autogroup-").expect("its name");
    let (id, nice) = rest.trim_end().split_once(" nice ").expect("its level");
    (
        id.parse().expect("a number"),
        nice.parse().expect("a number"),
    )
}

fn set(text: &str) -> Result<(), i32> {
    fs::write(OWN, text).map_err(|e| e.raw_os_error().unwrap_or(0))
}

fn a_session_has_a_group() {
    in_child(|| {
        new_session();
        let first = own();
        assert_eq!(first.1, 0);
        in_child(|| assert_eq!(own(), first, "children are in it"));
        in_child(|| {
            new_session();
            assert!(own().0 > first.0, "a number is never used again");
        });
        // Its threads are in it, and their directories have no such file.
        let path = format!("/proc/self/task/{}/autogroup", std::process::id());
        assert!(!fs::exists(path).expect("it can be looked for"));
        // A process group of its own makes no difference.
        ok(call(libc::SYS_setpgid, &[0, 0]).or(Ok::<_, i32>(0)));
        assert_eq!(own(), first);
    });
}

fn levels_are_checked() {
    in_child(|| {
        new_session();
        for bad in ["20", "-21", "x", "5 5"] {
            assert_eq!(set(bad), Err(libc::EINVAL), "{bad}");
        }
        assert_eq!(set("99999999999"), Err(libc::ERANGE));
        for level in [19, -20, 5, 0] {
            set(&format!(" {level}\n")).expect("root may");
            assert_eq!(own().1, level);
        }
        set("0x5").expect("it is a number");
        in_child(|| assert_eq!(own().1, 5, "it is the group's"));
    });
}

fn users_may_not_raise_and_have_to_wait() {
    in_child(|| {
        new_session();
        become_user();
        // Else its files are root's.
        ok(call(libc::SYS_prctl, &[libc::PR_SET_DUMPABLE as usize, 1]));
        assert_eq!(set("-1"), Err(libc::EPERM));
        // Nobody may set levels all the time. A machine with much to do may let it pass now and then.
        let refused = (0..1000).any(|_| {
            let first = set("3");
            assert!(matches!(first, Ok(()) | Err(libc::EAGAIN)), "{first:?}");
            first == Err(libc::EAGAIN)
        });
        assert!(refused);
        soon(|| set("4").is_ok());
        assert_eq!(own().1, 4);
        let other = fs::write("/proc/1/autogroup", "5").expect_err("it is root's");
        assert_eq!(other.raw_os_error(), Some(libc::EACCES));
    });
}

/// What the switch was set to, which it is again when this is dropped.
struct Before(String);

impl Before {
    /// Has sessions count from now on, or not.
    fn switched(on: u8) -> Self {
        let before = fs::read_to_string(SWITCH).expect("it is there");
        fs::write(SWITCH, on.to_string()).expect("it is one");
        Self(before)
    }
}

impl Drop for Before {
    fn drop(&mut self) {
        fs::write(SWITCH, &self.0).expect("it was that");
    }
}

fn the_switch_is_checked() {
    let now = || fs::read_to_string(SWITCH).expect("it is there");
    let _before = Before::switched(1);
    assert_eq!(now(), "1\n");
    fs::write(SWITCH, "0").expect("it is one");
    assert_eq!(now(), "0\n");
    for bad in ["2", "-1", "x"] {
        let refused = fs::write(SWITCH, bad).expect_err(bad);
        assert_eq!(refused.raw_os_error(), Some(libc::EINVAL), "{bad}");
    }
}

/// A session that spins on the first processor: its first process, and `others`, which end with it.
fn session(others: usize) -> Running {
    let all = affinity(0);
    Running::spinning(|| {
        set_affinity(0, all & all.wrapping_neg()).expect("it is there");
        new_session();
        for _ in 0..others {
            child(|| {
                let signal = libc::SIGKILL as usize;
                ok(call(
                    libc::SYS_prctl,
                    &[libc::PR_SET_PDEATHSIG as usize, signal],
                ));
                loop {
                    std::hint::spin_loop();
                }
            });
        }
    })
}

/// Waits until `one` has, of the time of both first processes, a part as expected for a second or more. A busy host may
/// favour one for a while.
#[track_caller]
fn share_settles(one: &Running, other: &Running, expected: f64) {
    let times = || [one, other].map(|s| cpu_time(s.0));
    soon(|| times().iter().all(|time| *time > Duration::from_millis(5)));
    let mut seen = Vec::new();
    for _ in 0..6 {
        let before = times();
        sleep_ms(1500);
        let after = times();
        let used = [0, 1].map(|n| (after[n] - before[n]).as_secs_f64());
        let part = used[0] / (used[0] + used[1]);
        if (part - expected).abs() < 0.04 {
            return;
        }
        seen.push(part);
    }
    panic!("{expected}: {seen:?}");
}

fn sessions_share_and_not_their_threads() {
    let _before = Before::switched(1);
    // The first of four has a quarter of a half.
    let (many, one) = (session(3), session(0));
    share_settles(&many, &one, 0.2);
    // 335 to 1024.
    fs::write(format!("/proc/{}/autogroup", one.0), "5").expect("root may");
    share_settles(&many, &one, 0.25 / (0.25 + 335.0 / 1024.0));
    drop((many, one));
    // Without groups all threads are alike.
    fs::write(SWITCH, "0").expect("it is one");
    let (many, one) = (session(3), session(0));
    share_settles(&many, &one, 0.5);
}
