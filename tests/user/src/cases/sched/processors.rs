//! On which processors a thread runs.

use super::{Spinner, mask, pin};
use crate::cases::cases;
use crate::sys::*;
use std::sync::atomic::{AtomicU64, Ordering};

cases![
    masks_are_kept_and_checked,
    a_running_thread_is_moved_at_once,
    spinners_spread,
    a_mask_of_two_is_balanced,
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
