//! `mlock(2)` and its relatives.

use super::{ANON, RW};
use crate::cases::cases;
use crate::sys::*;
use libc::{MAP_LOCKED, MAP_NONBLOCK, MAP_POPULATE, PROT_NONE};

cases![
    locked_pages_are_there_and_counted,
    locking_on_fault_waits_for_the_fault,
    all_is_locked_now_and_later,
    locks_are_checked,
    children_inherit_no_locks,
];

const PAGE: usize = 4096;
const ONFAULT: usize = libc::MLOCK_ONFAULT as usize;

/// KiB that are locked.
fn locked() -> usize {
    let text = proc_field("/proc/self/status", "VmLck").expect("VmLck");
    let number = text.split_whitespace().next();
    number.and_then(|n| n.parse().ok()).expect("a number")
}

fn mlock2(at: usize, len: usize, flags: usize) -> Result<usize> {
    call(libc::SYS_mlock2, &[at, len, flags])
}

fn resident(at: usize) -> bool {
    let mut seen = [9_u8; 2];
    ok(mincore(at, PAGE, &mut seen));
    seen[0] & 1 == 1
}

fn locked_pages_are_there_and_counted() {
    let at = map(8 * PAGE) as usize;
    assert_eq!(locked(), 0);
    // A byte of a page is the page.
    ok(mlock(at + PAGE + 5, PAGE));
    assert_eq!(locked(), 8);
    assert!(resident(at + PAGE) && resident(at + 2 * PAGE));
    assert!(!resident(at) && !resident(at + 3 * PAGE));
    // Once is enough.
    ok(mlock(at, 4 * PAGE));
    assert_eq!(locked(), 16);
    ok(munlock(at, PAGE));
    assert_eq!(locked(), 12);
    ok(munmap(at + PAGE, PAGE));
    assert_eq!(locked(), 8);
    let at = mmap(0, 4 * PAGE, RW, ANON | MAP_LOCKED, -1, 0).expect("root may");
    assert_eq!(locked(), 24);
    assert!(resident(at + 3 * PAGE));
}

fn locking_on_fault_waits_for_the_fault() {
    let at = map(4 * PAGE) as usize;
    assert_eq!(mlock2(at, 4 * PAGE, ONFAULT), Ok(0));
    assert_eq!(locked(), 16);
    assert!(!resident(at));
    poke(at + PAGE, 1);
    assert!(!resident(at) && resident(at + PAGE));
    assert_eq!(mlock2(at, PAGE, 0), Ok(0));
    assert!(resident(at));
    assert_eq!(mlock2(at, PAGE, 2), Err(libc::EINVAL));
}

fn all_is_locked_now_and_later() {
    let lockall = |flags: i32| call(libc::SYS_mlockall, &[flags as usize]);
    let early = map(4 * PAGE) as usize;
    assert_eq!(lockall(0), Err(libc::EINVAL));
    assert_eq!(lockall(libc::MCL_ONFAULT), Err(libc::EINVAL));
    assert_eq!(lockall(8), Err(libc::EINVAL));
    assert_eq!(lockall(libc::MCL_FUTURE), Ok(0));
    assert_eq!(locked(), 0);
    let later = map(4 * PAGE) as usize;
    assert!(resident(later + 3 * PAGE) && !resident(early));
    assert_eq!(locked(), 16);
    assert_eq!(lockall(libc::MCL_CURRENT), Ok(0));
    assert!(resident(early + 3 * PAGE));
    assert!(locked() > 32);
    // The future is as before again.
    assert!(!resident(map(PAGE) as usize));
    assert_eq!(lockall(libc::MCL_FUTURE | libc::MCL_ONFAULT), Ok(0));
    let before = locked();
    assert!(!resident(map(PAGE) as usize));
    assert_eq!(locked(), before + 4);
    assert_eq!(call(libc::SYS_munlockall, &[]), Ok(0));
    assert_eq!(locked(), 0);
}

fn locks_are_checked() {
    let at = map(4 * PAGE) as usize;
    ok(munmap(at + 2 * PAGE, PAGE));
    fails(mlock(at, 4 * PAGE), libc::ENOMEM);
    // What comes before the hole is locked.
    assert_eq!(locked(), 8);
    fails(munlock(at, 4 * PAGE), libc::ENOMEM);
    assert_eq!(locked(), 0);
    fails(mlock(usize::MAX - PAGE, 4 * PAGE), libc::EINVAL);
    let none = mmap(0, PAGE, PROT_NONE, ANON, -1, 0).expect("there is room");
    fails(mlock(none, PAGE), libc::ENOMEM);
    in_child(|| {
        become_user();
        limit(libc::RLIMIT_MEMLOCK, 2 * PAGE as u64);
        let at = map(4 * PAGE) as usize;
        ok(mlock(at, 2 * PAGE));
        fails(mlock(at, 3 * PAGE), libc::ENOMEM);
        assert_eq!(
            mmap(0, PAGE, RW, ANON | MAP_LOCKED, -1, 0),
            Err(libc::EAGAIN)
        );
        assert_eq!(
            call(libc::SYS_mlockall, &[libc::MCL_CURRENT as usize]),
            Err(libc::ENOMEM)
        );
        limit(libc::RLIMIT_MEMLOCK, 0);
        fails(mlock(at, PAGE), libc::EPERM);
    });
    let at = mmap(0, 4 * PAGE, RW, ANON | MAP_POPULATE, -1, 0).expect("there is room");
    assert!(resident(at + 3 * PAGE));
    let lazy = ANON | MAP_POPULATE | MAP_NONBLOCK;
    let at = mmap(0, 4 * PAGE, RW, lazy, -1, 0).expect("there is room");
    assert!(!resident(at));
}

fn children_inherit_no_locks() {
    let at = map(4 * PAGE) as usize;
    ok(mlock(at, 4 * PAGE));
    assert_eq!(
        call(libc::SYS_mlockall, &[libc::MCL_FUTURE as usize]),
        Ok(0)
    );
    in_child(|| {
        assert_eq!(locked(), 0);
        assert!(!resident(map(PAGE) as usize));
    });
    assert!(locked() >= 16);
}
