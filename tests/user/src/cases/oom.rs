//! What happens when memory runs out: who has to end, and that the others go on.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering::*};

use super::cases;
use crate::sys::*;
use libc::{MAP_ANONYMOUS, MAP_LOCKED, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED};

cases![
    the_right_one_ends,
    who_is_spared_is_not_chosen,
    every_kind_of_memory_runs_out,
    scores_follow_adjustments,
];

const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;
const ANON: i32 = MAP_PRIVATE | MAP_ANONYMOUS;
const PAGE: usize = 4096;
const MIB: usize = 1 << 20;

fn adjust(value: i32) {
    fs::write("/proc/self/oom_score_adj", value.to_string()).expect("root may");
}

/// Writes to a page of each `step` bytes.
fn touch(at: usize, len: usize, step: usize) {
    (0..len)
        .step_by(step)
        .for_each(|offset| poke(at + offset, 1));
}

/// A process that has so much memory and is adjusted, once it has both.
fn keeper(adjustment: i32, mib: usize) -> i32 {
    let ready: &AtomicU64 = shared();
    let pid = child(|| {
        adjust(adjustment);
        let at = mmap(0, mib * MIB, RW, ANON, -1, 0).expect("there is room");
        touch(at, mib * MIB, PAGE);
        ready.store(1, Release);
        loop {
            ignore(call(libc::SYS_pause, &[]));
        }
    });
    while ready.load(Acquire) == 0 {
        sleep_ms(1);
    }
    pid
}

/// Takes private memory until it is told to stop.
fn take_all(stop: &AtomicU64) -> i32 {
    while stop.load(Acquire) == 0 {
        let Ok(at) = mmap(0, MIB, RW, ANON, -1, 0) else {
            return 12;
        };
        touch(at, MIB, PAGE);
    }
    0
}

fn kill(pid: i32) {
    assert_eq!(
        call(libc::SYS_kill, &[pid as usize, libc::SIGKILL as usize]),
        Ok(0)
    );
    assert_eq!(wait(pid), Ended::Signal(libc::SIGKILL));
}

/// Whether a child has not ended.
fn lives(pid: i32) -> bool {
    let mut status = 0;
    ok(waitpid(pid, &mut status, libc::WNOHANG)) == 0
}

/// How many processes have been chosen so far.
fn kills() -> u64 {
    let text = fs::read_to_string("/proc/vmstat").expect("vmstat");
    let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line.and_then(|n| n.parse().ok()).expect("a number")
}

/// All that the kernel has said.
fn log() -> String {
    const READ_ALL: usize = 3;
    let mut text = vec![0_u8; 1 << 20];
    let args = [READ_ALL, text.as_mut_ptr() as usize, text.len()];
    let len = call(libc::SYS_syslog, &args).expect("root may");
    String::from_utf8_lossy(&text[..len]).into_owned()
}

fn the_right_one_ends() {
    let before = kills();
    let spared = keeper(-1000, 40);
    let wanted = keeper(1000, 4);
    let stop: &AtomicU64 = shared();
    let greedy = child(|| take_all(stop));
    // Small as it is, it has asked for it.
    assert_eq!(wait(wanted), Ended::Signal(libc::SIGKILL));
    stop.store(1, Release);
    let end = wait(greedy);
    assert!(
        [Ended::Exit(0), Ended::Signal(libc::SIGKILL)].contains(&end),
        "{end:?}"
    );
    assert!(lives(spared));
    kill(spared);
    assert!(kills() > before);
    let log = log();
    let killed = format!("Out of memory: Killed process {wanted} (");
    let line = log.lines().find(|line| line.contains(&killed));
    let line = line.expect("the log names it");
    for part in [
        " total-vm:",
        " anon-rss:",
        " UID:0 pgtables:",
        "kB oom_score_adj:1000",
    ] {
        assert!(line.contains(part), "{line}");
    }
    assert!(log.contains(" invoked oom-killer: "), "{log}");
    assert!(
        log.contains("Tasks state (memory values in pages):"),
        "{log}"
    );
    let listed = |pid: i32| {
        let entry = format!("[{pid:7}] ");
        log.lines().any(|line| line.contains(&entry))
    };
    assert!(listed(wanted) && listed(greedy), "{log}");
}

fn who_is_spared_is_not_chosen() {
    // The larger one is safe, so the other is the worst, though it is small.
    let spared = keeper(-1000, 200);
    let stop: &AtomicU64 = shared();
    let greedy = child(|| {
        adjust(500);
        take_all(stop)
    });
    assert_eq!(wait(greedy), Ended::Signal(libc::SIGKILL));
    assert!(lives(spared));
    kill(spared);
}

/// Ways to take memory; each goes on until it fails.
const KINDS: [(&str, fn()); 4] = [
    ("private", || {
        take_all(&AtomicU64::new(0));
    }),
    ("shared", || {
        let shared = MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE;
        while let Ok(at) = mmap(0, MIB, RW, shared, -1, 0) {
            touch(at, MIB, PAGE);
        }
    }),
    ("locked", || {
        while mmap(0, MIB, RW, ANON | MAP_LOCKED, -1, 0).is_ok() {}
    }),
    ("page tables", || {
        // A page in each 2 MiB needs a table of its own.
        let sparse = ANON | MAP_NORESERVE;
        while let Ok(at) = mmap(0, 1 << 30, RW, sparse, -1, 0) {
            touch(at, 1 << 30, 2 * MIB);
        }
    }),
];

fn every_kind_of_memory_runs_out() {
    let ticks: &AtomicU64 = shared();
    let bystander = child(|| {
        adjust(-1000);
        loop {
            ticks.fetch_add(1, Relaxed);
            sleep_ms(1);
        }
    });
    for (kind, take) in &KINDS {
        let pid = child(|| {
            adjust(1000);
            take();
            12
        });
        let end = wait(pid);
        let expected = [
            Ended::Signal(libc::SIGKILL),
            Ended::Signal(libc::SIGBUS),
            Ended::Exit(12),
        ];
        assert!(expected.contains(&end), "{kind}: {end:?}");
        // The others go on, and there is memory again.
        let seen = ticks.load(Relaxed);
        while ticks.load(Relaxed) < seen + 3 {
            sleep_ms(1);
        }
        assert!(lives(bystander), "{kind}");
        in_child(|| touch(map(16 * MIB) as usize, 16 * MIB, PAGE));
        fs::write("f", vec![1; MIB]).expect("there is memory again");
    }
    kill(bystander);
}

fn scores_follow_adjustments() {
    let score = || -> i32 {
        let text = fs::read_to_string("/proc/self/oom_score").expect("oom_score");
        text.trim().parse().expect("a number")
    };
    let before = score();
    assert!((600..1000).contains(&before), "{before}");
    adjust(1000);
    assert!((before + 600..=1400).contains(&score()), "{}", score());
    adjust(-500);
    assert!(
        (before - 400..before - 200).contains(&score()),
        "{}",
        score()
    );
    adjust(-1000);
    assert_eq!(score(), 0);
    for bad in ["1001", "-1001", "x", ""] {
        let _ = fs::write("/proc/self/oom_score_adj", bad);
        assert_eq!(score(), 0, "{bad}");
    }
    in_child(|| assert_eq!(score(), 0));
}
