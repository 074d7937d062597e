//! Control groups, version 2, with the `cpu` controller: cgroups(7), Linux's `cgroup-v2.rst`.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::cases;
use crate::load::{Running, affinity, cpu_time, set_affinity, soon};
use crate::sys::{c, call, in_child, sleep_ms};

cases![
    groups_come_and_go,
    processes_move_and_children_follow,
    the_controller_is_handed_on,
    threads_and_groups_do_not_compete,
    weights_are_checked,
    limits_are_checked,
    events_wake_who_polls,
    kill_ends_all,
    time_is_counted,
    shares_follow_weights,
    groups_compete_and_not_their_threads,
    a_quota_holds,
    a_limit_that_is_lifted_holds_nobody,
    a_thousand_groups,
    deep_trees_answer,
];

const ROOT: &str = "/tmp/cgroups";

/// A group that is removed, with those below it, when this is dropped.
struct Cgroup(String);

impl Cgroup {
    /// Mounts the tree, and makes a group with the controller in it that nobody else has.
    fn new(name: &str) -> Self {
        fs::create_dir_all(ROOT).expect("it can be made");
        if !fs::exists(format!("{ROOT}/cgroup.procs")).unwrap_or(false) {
            let (what, at) = (c("cgroup2"), c(ROOT));
            let args = [
                what.as_ptr() as usize,
                at.as_ptr() as usize,
                what.as_ptr() as usize,
                0,
                0,
            ];
            call(libc::SYS_mount, &args).expect("it is mounted");
        }
        fs::write(format!("{ROOT}/cgroup.subtree_control"), "+cpu").expect("it is handed on");
        let path = format!("{ROOT}/{name}-{}", std::process::id());
        fs::create_dir(&path).expect("it is new");
        Self(path)
    }

    /// A group in it.
    fn inner(&self, name: &str) -> Self {
        let path = format!("{}/{name}", self.0);
        fs::create_dir(&path).expect("it is new");
        Self(path)
    }

    #[track_caller]
    fn read(&self, file: &str) -> String {
        fs::read_to_string(format!("{}/{file}", self.0)).expect(file)
    }

    fn write(&self, file: &str, text: &str) -> Result<(), i32> {
        fs::write(format!("{}/{file}", self.0), text).map_err(|e| e.raw_os_error().unwrap_or(0))
    }

    /// Puts process `pid` into it, or the caller if that is 0.
    #[track_caller]
    fn take(&self, pid: i32) {
        self.write("cgroup.procs", &pid.to_string())
            .expect("it may be moved");
    }

    /// A child in it that spins, on the first processor.
    fn spinner(&self) -> Running {
        let all = affinity(0);
        Running::spinning(|| {
            set_affinity(0, all & all.wrapping_neg()).expect("it is there");
            self.take(0);
        })
    }

    /// The number behind `name` in `file`.
    #[track_caller]
    fn field(&self, file: &str, name: &str) -> u64 {
        let text = self.read(file);
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.expect(name).parse().expect("a number")
    }

    fn path(&self) -> &str {
        &self.0[ROOT.len()..]
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Who was killed may need a moment.
        soon(|| fs::remove_dir(&self.0).is_ok());
    }
}

fn groups_come_and_go() {
    let group = Cgroup::new("life");
    assert_eq!(group.read("cgroup.procs"), "");
    assert_eq!(group.read("cgroup.type"), "domain\n");
    assert_eq!(group.read("cgroup.events"), "populated 0\nfrozen 0\n");
    assert_eq!(group.field("cgroup.stat", "nr_descendants"), 0);
    let mode = |name: &str| {
        fs::metadata(format!("{}/{name}", group.0)).map(|m| m.permissions().mode() & 0o777)
    };
    assert_eq!(mode("cgroup.controllers").ok(), Some(0o444));
    assert_eq!(mode("cgroup.procs").ok(), Some(0o644));
    let inner = group.inner("a");
    assert_eq!(group.field("cgroup.stat", "nr_descendants"), 1);
    let again = fs::create_dir(&inner.0).expect_err("it is there");
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    let full = fs::remove_dir(&group.0).expect_err("there is one in it");
    assert_eq!(full.raw_os_error(), Some(libc::EBUSY));
    let bad = fs::create_dir(format!("{}/two\nlines", group.0)).expect_err("no such name");
    assert_eq!(bad.raw_os_error(), Some(libc::EINVAL));
    let file = fs::remove_file(format!("{}/cgroup.procs", group.0)).expect_err("it stays");
    assert_eq!(file.raw_os_error(), Some(libc::EPERM));
    let names: Vec<_> = fs::read_dir(&group.0)
        .expect("it is a directory")
        .map(|entry| {
            entry
                .expect("it is there")
                .file_name()
                .into_string()
                .expect("plain")
        })
        .collect();
    for name in ["a", "cgroup.procs", "cpu.weight", "cpu.max", "cpu.stat"] {
        assert!(names.iter().any(|n| n == name), "{name} in {names:?}");
    }
    // A file of a group that is gone.
    let open = fs::File::open(format!("{}/cgroup.procs", inner.0)).expect("it is there");
    drop(inner);
    let gone = std::io::read_to_string(open).expect_err("it is gone");
    assert_eq!(gone.raw_os_error(), Some(libc::ENODEV));
}

fn processes_move_and_children_follow() {
    let group = Cgroup::new("move");
    let own = fs::read_to_string("/proc/self/cgroup").expect("it is there");
    assert!(own.ends_with("0::/\n"), "{own}");
    in_child(|| {
        group.take(0);
        let pid = std::process::id();
        assert_eq!(group.read("cgroup.procs"), format!("{pid}\n"));
        let own = fs::read_to_string("/proc/self/cgroup").expect("it is there");
        assert!(own.ends_with(&format!("0::{}\n", group.path())), "{own}");
        // Its threads are in it, and its children.
        std::thread::spawn({
            let file = format!("{}/cgroup.threads", group.0);
            move || {
                let threads = fs::read_to_string(file).expect("it is there");
                assert_eq!(threads.lines().count(), 2);
            }
        })
        .join()
        .expect("no panic");
        in_child(|| assert_eq!(group.read("cgroup.procs").lines().count(), 2));
        let busy = fs::remove_dir(&group.0).expect_err("there is somebody");
        assert_eq!(busy.raw_os_error(), Some(libc::EBUSY));
    });
    for (text, error) in [
        ("x", libc::EINVAL),
        ("-1", libc::EINVAL),
        ("1073741823", libc::ESRCH),
    ] {
        assert_eq!(group.write("cgroup.procs", text), Err(error), "{text}");
    }
    soon(|| group.read("cgroup.procs").is_empty());
}

fn the_controller_is_handed_on() {
    let group = Cgroup::new("hand");
    assert_eq!(group.read("cgroup.controllers"), "cpu\n");
    assert_eq!(group.read("cgroup.subtree_control").trim(), "");
    let (a, has) = (group.inner("a"), |g: &Cgroup| {
        fs::exists(format!("{}/cpu.weight", g.0)).unwrap_or(false)
    });
    assert!(has(&group) && !has(&a));
    // What it does not have itself it cannot hand on.
    assert_eq!(a.write("cgroup.subtree_control", "+cpu"), Err(libc::ENOENT));
    assert_eq!(
        group.write("cgroup.subtree_control", "+nothing"),
        Err(libc::EINVAL)
    );
    group
        .write("cgroup.subtree_control", "+cpu")
        .expect("it has it");
    assert_eq!(group.read("cgroup.subtree_control"), "cpu\n");
    assert!(has(&a));
    a.write("cgroup.subtree_control", "+cpu")
        .expect("it has it now");
    let deep = a.inner("deep");
    assert!(has(&deep));
    assert_eq!(
        group.write("cgroup.subtree_control", "-cpu"),
        Err(libc::EBUSY)
    );
    // Somebody who runs there goes on when it is taken away, and when it comes back.
    let spinner = deep.spinner();
    for text in ["-cpu", "+cpu"].repeat(5) {
        a.write("cgroup.subtree_control", text).expect("it may");
        let before = cpu_time(spinner.0);
        soon(|| cpu_time(spinner.0) > before);
    }
}

fn threads_and_groups_do_not_compete() {
    let group = Cgroup::new("mix");
    let inner = group.inner("inner");
    group
        .write("cgroup.subtree_control", "+cpu")
        .expect("it has it");
    let sleeper = Running::new(|| group.take(0), || sleep_ms(1000));
    soon(|| !group.read("cgroup.procs").is_empty());
    let own = sleeper.0.to_string();
    assert_eq!(inner.write("cgroup.procs", &own), Err(libc::EOPNOTSUPP));
    group
        .write("cgroup.subtree_control", "-cpu")
        .expect("it may");
    inner
        .write("cgroup.procs", &own)
        .expect("nothing is in the way now");
    group
        .write("cgroup.subtree_control", "+cpu")
        .expect("it has it");
    assert_eq!(group.write("cgroup.procs", &own), Err(libc::EBUSY));
}

fn weights_are_checked() {
    let group = Cgroup::new("weight");
    assert_eq!(group.read("cpu.weight"), "100\n");
    assert_eq!(group.read("cpu.weight.nice"), "0\n");
    for (text, error) in [
        ("0", libc::ERANGE),
        ("10001", libc::ERANGE),
        ("x", libc::EINVAL),
    ] {
        assert_eq!(group.write("cpu.weight", text), Err(error), "{text}");
    }
    for weight in ["1", "10000", "250"] {
        group.write("cpu.weight", weight).expect("it is one");
        assert_eq!(group.read("cpu.weight").trim(), weight);
    }
    for (text, error) in [("20", libc::ERANGE), ("-21", libc::ERANGE)] {
        assert_eq!(group.write("cpu.weight.nice", text), Err(error), "{text}");
    }
    group.write("cpu.weight.nice", "5").expect("it is one");
    assert_eq!(group.read("cpu.weight.nice"), "5\n");
    assert_eq!(group.read("cpu.weight"), "33\n");
    assert_eq!(group.read("cpu.idle"), "0\n");
    group.write("cpu.idle", "1").expect("it may");
    assert_eq!(
        (&*group.read("cpu.idle"), &*group.read("cpu.weight")),
        ("1\n", "0\n")
    );
    assert_eq!(group.write("cpu.weight", "100"), Err(libc::EINVAL));
    group.write("cpu.idle", "0").expect("it may");
    assert_eq!(group.read("cpu.weight"), "100\n");
    assert_eq!(group.write("cpu.idle", "2"), Err(libc::EINVAL));
}

fn limits_are_checked() {
    let group = Cgroup::new("max");
    assert_eq!(group.read("cpu.max"), "max 100000\n");
    for bad in ["999", "10000 999", "10000 1000001", "x", "x 10000", "0"] {
        assert_eq!(group.write("cpu.max", bad), Err(libc::EINVAL), "{bad}");
    }
    group.write("cpu.max", "20000 50000").expect("it is one");
    assert_eq!(group.read("cpu.max"), "20000 50000\n");
    group.write("cpu.max", "30000").expect("it is one");
    assert_eq!(group.read("cpu.max"), "30000 50000\n", "the period stays");
    assert_eq!(group.read("cpu.max.burst"), "0\n");
    assert_eq!(group.write("cpu.max.burst", "30001"), Err(libc::EINVAL));
    group.write("cpu.max.burst", "10000").expect("it is one");
    assert_eq!(group.read("cpu.max.burst"), "10000\n");
    assert_eq!(
        group.write("cpu.max", "5000"),
        Err(libc::EINVAL),
        "less than the burst"
    );
    group.write("cpu.max", "max").expect("it is one");
    assert_eq!(group.read("cpu.max"), "max 50000\n");
}

fn events_wake_who_polls() {
    let group = Cgroup::new("events");
    let events = fs::File::open(format!("{}/cgroup.events", group.0)).expect("it is there");
    use std::os::fd::AsRawFd;
    let populated = || group.field("cgroup.events", "populated") == 1;
    let mut poll = libc::pollfd {
        fd: events.as_raw_fd(),
        events: libc::POLLPRI,
        revents: 0,
    };
    let mut wait = |ms: i32| {
        let mut text = [0u8; 64];
        let args = [
            events.as_raw_fd() as usize,
            text.as_mut_ptr() as usize,
            text.len(),
            0,
        ];
        move_on(&args);
        poll.revents = 0;
        call(libc::SYS_poll, &[&raw mut poll as usize, 1, ms as usize])
    };
    assert_eq!(wait(0), Ok(0), "nothing has happened since it was read");
    let child = Running::new(
        || {
            sleep_ms(100);
            group.take(0);
        },
        || sleep_ms(1000),
    );
    assert_eq!(wait(15_000), Ok(1));
    assert!(populated());
    let ender = std::thread::spawn(move || {
        sleep_ms(100);
        child.end();
    });
    assert_eq!(wait(15_000), Ok(1));
    ender.join().expect("no panic");
    assert!(!populated());
}

/// Reads from the beginning, so that what happens next is news.
fn move_on(args: &[usize; 4]) {
    call(libc::SYS_pread64, args).expect("it can be read");
}

fn kill_ends_all() {
    let group = Cgroup::new("kill");
    let inner = group.inner("inner");
    let sleepers = [&group, &inner].map(|g| Running::new(|| g.take(0), || sleep_ms(1000)));
    soon(|| {
        inner.field("cgroup.events", "populated") == 1 && !group.read("cgroup.procs").is_empty()
    });
    assert_eq!(group.write("cgroup.kill", "2"), Err(libc::ERANGE));
    group.write("cgroup.kill", "1").expect("it may");
    soon(|| group.field("cgroup.events", "populated") == 0);
    drop(sleepers);
}

fn time_is_counted() {
    let group = Cgroup::new("time");
    assert_eq!(group.field("cpu.stat", "usage_usec"), 0);
    let inner = group.inner("inner");
    let spinner = inner.spinner();
    soon(|| cpu_time(spinner.0) > Duration::from_millis(200));
    let seen = group.field("cpu.stat", "usage_usec");
    assert!(seen > 150_000, "{seen}");
    assert!(group.field("cpu.stat", "user_usec") > 100_000);
    spinner.end();
    drop(inner);
    // What is gone stays counted.
    assert!(group.field("cpu.stat", "usage_usec") >= seen);
    let all = fs::read_to_string(format!("{ROOT}/cpu.stat")).expect("the root has it");
    assert!(all.starts_with("usage_usec "));
}

/// Waits until the first of two sets of spinners has had a part of the time of both that is in `due`.
///
/// A moment's lead is bounded, whatever the host does, so what is measured comes ever closer to the weights.
#[track_caller]
fn race(sets: [&[Running]; 2], due: std::ops::Range<f64>) {
    let sum = |set: &[Running]| set.iter().map(|s| cpu_time(s.0)).sum::<Duration>();
    soon(|| {
        sets.iter()
            .all(|set| set.iter().all(|s| cpu_time(s.0) > Duration::from_millis(5)))
    });
    let before = sets.map(sum);
    sleep_ms(2500);
    soon(|| {
        let after = sets.map(sum);
        let used = [0, 1].map(|n| (after[n] - before[n]).as_secs_f64());
        due.contains(&(used[0] / (used[0] + used[1])))
    });
}

fn shares_follow_weights() {
    let (a, b) = (Cgroup::new("a"), Cgroup::new("b"));
    b.write("cpu.weight", "300").expect("it is one");
    let (one, other) = ([a.spinner()], [b.spinner()]);
    race([&one, &other], 0.22..0.28);
    // A new weight counts from then on.
    a.write("cpu.weight", "300").expect("it is one");
    race([&one, &other], 0.46..0.54);
}

fn groups_compete_and_not_their_threads() {
    let (a, b) = (Cgroup::new("many"), Cgroup::new("few"));
    let many: Vec<_> = (0..4).map(|_| a.spinner()).collect();
    let few = [b.spinner()];
    race([&many, &few], 0.45..0.55);
}

fn a_quota_holds() {
    let group = Cgroup::new("quota");
    group.write("cpu.max", "20000 100000").expect("it is one");
    let spinner = group.spinner();
    soon(|| cpu_time(spinner.0) > Duration::ZERO);
    let before = cpu_time(spinner.0);
    let start = std::time::Instant::now();
    sleep_ms(3000);
    soon(|| {
        let used = (cpu_time(spinner.0) - before).as_secs_f64();
        (0.17..0.23).contains(&(used / start.elapsed().as_secs_f64()))
    });
    assert!(group.field("cpu.stat", "nr_periods") >= 20);
    assert!(group.field("cpu.stat", "nr_throttled") >= 10);
    assert!(group.field("cpu.stat", "throttled_usec") > 1_000_000);
    // Without it the spinner has what it wants, at once.
    group.write("cpu.max", "max").expect("it may");
    let before = cpu_time(spinner.0);
    soon(|| cpu_time(spinner.0) - before > Duration::from_millis(300));
}

fn a_limit_that_is_lifted_holds_nobody() {
    let group = Cgroup::new("lift");
    let spinner = group.spinner();
    soon(|| cpu_time(spinner.0) > Duration::ZERO);
    // Used up at once, the quota is back after a second. The best of some tries counts, for the machine may be busy.
    let tries = (0..5).map(|_| {
        let held = group.field("cpu.stat", "nr_throttled");
        group.write("cpu.max", "1000 1000000").expect("it is one");
        soon(|| group.field("cpu.stat", "nr_throttled") > held);
        let before = cpu_time(spinner.0);
        let start = std::time::Instant::now();
        group.write("cpu.max", "max 1000000").expect("it may");
        soon(|| cpu_time(spinner.0) > before + Duration::from_millis(10));
        start.elapsed()
    });
    let best = tries.min().expect("there were some");
    assert!(best < Duration::from_millis(600), "{best:?}");
}

fn a_thousand_groups() {
    let top = Cgroup::new("thousand");
    top.write("cgroup.subtree_control", "+cpu")
        .expect("it has it");
    let groups: Vec<_> = (0..1000).map(|n| top.inner(&n.to_string())).collect();
    assert_eq!(top.field("cgroup.stat", "nr_descendants"), 1000);
    // In some of them somebody spins, on all processors.
    let spinners: Vec<_> = groups
        .iter()
        .step_by(50)
        .map(|group| Running::spinning(|| group.take(0)))
        .collect();
    soon(|| spinners.iter().all(|s| cpu_time(s.0) > Duration::ZERO));
    // And others are answered still.
    let start = std::time::Instant::now();
    for _ in 0..20 {
        in_child(|| ());
    }
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
    drop(spinners);
}

fn deep_trees_answer() {
    let top = Cgroup::new("deep");
    let mut path = top.0.clone();
    let mut depth = 0;
    while depth < 200 {
        path.push_str("/d");
        match fs::create_dir(&path) {
            Ok(()) => depth += 1,
            // Linux goes on; where there is an end, it is told so.
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
                break;
            }
        }
    }
    assert!(depth >= 60, "{depth}");
    let stat = fs::read_to_string(format!("{}/cgroup.stat", top.0)).expect("it is read");
    let below = format!("nr_descendants {depth}\n");
    assert!(stat.starts_with(&below), "{stat}");
    fs::read_to_string(format!("{}/cpu.stat", top.0)).expect("it is read");
    path.truncate(top.0.len() + 2 * depth);
    while path.len() > top.0.len() {
        fs::remove_dir(&path).expect("nothing is below it");
        path.truncate(path.len() - 2);
    }
}
