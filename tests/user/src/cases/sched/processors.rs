//! On which processors a thread runs.

use super::{Spinner, mask, pin, processor_clock, set};
use crate::cases::cases;
use crate::sys::*;
use std::sync::atomic::{AtomicU64, Ordering};

cases![
    masks_are_kept_and_checked,
    a_running_thread_is_moved_at_once,
    spinners_spread,
    a_mask_of_two_is_balanced,
    weights_count_over_two_processors,
    the_most_urgent_run_on_all_processors,
];

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

/// Two spinners of nice 0 begin on one processor and two of nice 5 on the other. By numbers that is even, and all would get the
/// same; by weight those of nice 0 are due three times as much.
fn weights_count_over_two_processors() {
    let all = mask(0);
    let Some(two) = all.get(..2) else { return };
    let counts = shared::<[AtomicU64; 4]>();
    let spinners = [0, 1, 2, 3].map(|n| {
        Spinner::new(&counts[n], || {
            pin(0, &[two[n / 2]]);
            ok(set_nice(0, [0, 5][n / 2]));
        })
    });
    soon(|| counts.iter().all(|count| count.load(Ordering::Relaxed) > 0));
    for spinner in &spinners {
        pin(spinner.0, two);
    }
    let times = || {
        spinners
            .each_ref()
            .map(|spinner| now(processor_clock(spinner.0)).as_secs_f64())
    };
    let share = || {
        let before = times();
        sleep_ms(500);
        let after = times();
        let got: [f64; 4] = core::array::from_fn(|n| after[n] - before[n]);
        (got[0] + got[1]) / (got[2] + got[3])
    };
    // It is 3.06 in the long run.
    soon(|| (2.0..4.5).contains(&share()));
}

/// On each processor a thread runs that is more urgent than any that waits: of two that begin on one processor, the second is
/// pushed to the other, where a third has to wait.
fn the_most_urgent_run_on_all_processors() {
    let all = mask(0);
    let Some(two) = all.get(..2) else { return };
    let [ready, go, low, high] = shared::<[AtomicU64; 4]>();
    // Ahead of all of them.
    pin(0, &two[..1]);
    ok(set(0, libc::SCHED_FIFO, 50));
    let start = |priority, at: &[usize], count: &'static AtomicU64| {
        let before = ready.load(Ordering::Relaxed);
        let child = child(|| {
            pin(0, at);
            ok(set(0, libc::SCHED_FIFO, priority));
            ready.fetch_add(1, Ordering::Relaxed);
            while go.load(Ordering::Relaxed) == 0 {
                count.fetch_add(1, Ordering::Relaxed);
            }
            0
        });
        soon(|| ready.load(Ordering::Relaxed) > before);
        child
    };
    let lower = start(10, &two[1..], low);
    let higher = [20, 30].map(|priority| {
        let child = start(priority, &two[..1], high);
        pin(child, two);
        child
    });
    // Both run, and the least urgent does not.
    soon(|| {
        let read = || [low, high].map(|count| count.load(Ordering::Relaxed));
        let before = read();
        sleep_ms(20);
        let after = read();
        after[0] == before[0] && after[1] > before[1]
    });
    go.store(1, Ordering::Relaxed);
    for child in [lower, higher[0], higher[1]] {
        assert_eq!(wait(child), Ended::Exit(0));
    }
}
