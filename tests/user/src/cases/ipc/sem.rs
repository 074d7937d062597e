//! Semaphores.

use super::{
    CREAT, EXCL, NOWAIT, PERM, PRIVATE, RMID, SET, STAT, cases, key, owners, set_owner, shown,
};
use crate::sys::*;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

cases![
    sets_are_found_by_their_key,
    operations_are_done_together_or_not,
    waiters_are_served_in_order,
    waiters_are_counted,
    who_waits_for_zero_goes_on_first,
    what_was_done_is_taken_back_at_the_end,
    threads_share_what_is_taken_back,
    setting_forgets_what_is_taken_back,
    waits_end_in_time_and_by_signals,
    removal_ends_waits,
    rights_of_sets_are_checked,
    bad_semaphore_calls,
    sets_are_shown,
];

const UNDO: i16 = 0x1000;

const GETPID: i32 = 11;
const GETVAL: i32 = 12;
const GETALL: i32 = 13;
const GETNCNT: i32 = 14;
const GETZCNT: i32 = 15;
const SETVAL: i32 = 16;
const SETALL: i32 = 17;

/// `struct semid64_ds`.
type Words = [u64; 13];

fn semget(key: i32, count: usize, flags: i32) -> Result<i32> {
    call(libc::SYS_semget, &[key as usize, count, flags as usize]).map(|id| id as i32)
}

fn semctl(id: i32, number: usize, command: i32, arg: usize) -> Result<usize> {
    call(
        libc::SYS_semctl,
        &[id as usize, number, command as usize, arg],
    )
}

/// Number of the semaphore, change, flags.
type Op = (u16, i16, i16);

fn semop(id: i32, ops: &[Op]) -> Result<usize> {
    semtimedop(id, ops, None)
}

fn semtimedop(id: i32, ops: &[Op], time: Option<Duration>) -> Result<usize> {
    let words: Vec<[u16; 3]> = ops
        .iter()
        .map(|&(number, change, flags)| [number, change as u16, flags as u16])
        .collect();
    let time = time.map(timespec);
    let time = time
        .as_ref()
        .map_or(0, |time| std::ptr::from_ref(time) as usize);
    call(
        libc::SYS_semtimedop,
        &[id as usize, words.as_ptr() as usize, words.len(), time],
    )
}

/// A set of its own with these values.
fn set(values: &[u16]) -> i32 {
    let id = ok(semget(PRIVATE, values.len(), 0o600));
    ok(semctl(id, 0, SETALL, values.as_ptr() as usize));
    id
}

fn values(id: i32, count: usize) -> Vec<u16> {
    let mut values = vec![0_u16; count];
    ok(semctl(id, 0, GETALL, values.as_mut_ptr() as usize));
    values
}

fn value(id: i32, number: usize) -> usize {
    ok(semctl(id, number, GETVAL, 0))
}

fn stat(id: i32) -> Words {
    let mut words: Words = [0; 13];
    ok(semctl(id, 0, STAT, words.as_mut_ptr() as usize));
    words
}

fn remove(id: i32) {
    ok(semctl(id, 0, RMID, 0));
}

/// Waits until so many wait for a semaphore.
fn until_waiting(id: i32, number: usize, command: i32, count: usize) {
    soon(|| semctl(id, number, command, 0) == Ok(count));
}

fn sets_are_found_by_their_key() {
    let key = key(1);
    assert_eq!(semget(key, 1, 0), Err(libc::ENOENT));
    let id = ok(semget(key, 3, CREAT | EXCL | 0o600));
    assert_eq!(semget(key, 3, CREAT | EXCL | 0o600), Err(libc::EEXIST));
    assert_eq!(semget(key, 3, CREAT | 0o600), Ok(id));
    assert_eq!(semget(key, 2, 0), Ok(id));
    assert_eq!(semget(key, 4, 0), Err(libc::EINVAL));
    assert_eq!(values(id, 3), [0, 0, 0]);
    let words = stat(id);
    assert_eq!(words[0] as u32 as i32, key);
    assert_eq!(words[PERM + 4], 3);
    assert_eq!(words[PERM], 0, "nobody has operated on it");
    remove(id);
    assert_eq!(semctl(id, 0, GETVAL, 0), Err(libc::EINVAL));
    let again = ok(semget(key, 3, CREAT | 0o600));
    assert_ne!(again, id, "a number is not given again at once");
    remove(again);
}

fn operations_are_done_together_or_not() {
    let id = set(&[1, 0, 5]);
    let both = [(0, -1, NOWAIT as i16), (1, -1, NOWAIT as i16)];
    assert_eq!(semop(id, &both), Err(libc::EAGAIN));
    assert_eq!(values(id, 3), [1, 0, 5]);
    assert_eq!(semop(id, &[(2, -3, 0), (1, 4, 0), (0, 2, 0)]), Ok(0));
    assert_eq!(values(id, 3), [3, 4, 2]);
    // Each sees what those before it did.
    assert_eq!(semop(id, &[(0, -3, 0), (0, 0, 0), (0, 7, 0)]), Ok(0));
    assert_eq!(values(id, 3), [7, 4, 2]);
    assert_eq!(semctl(id, 0, GETPID, 0), Ok(std::process::id() as usize));
    assert_ne!(stat(id)[PERM], 0);
    // A later one that cannot be done takes back the earlier ones.
    assert_eq!(semop(id, &[(0, 1, 0), (2, i16::MAX, 0)]), Err(libc::ERANGE));
    assert_eq!(values(id, 3), [7, 4, 2]);
    remove(id);
}

fn waiters_are_served_in_order() {
    let id = set(&[0]);
    let order = shared::<[AtomicU32; 5]>();
    let children: Vec<_> = (1..=4_u32)
        .map(|turn| {
            let pid = child(|| {
                ok(semop(id, &[(0, -1, 0)]));
                let at = order[0].fetch_add(1, Ordering::SeqCst);
                order[1 + at as usize].store(turn, Ordering::SeqCst);
                0
            });
            until_waiting(id, 0, GETNCNT, turn as usize);
            pid
        })
        .collect();
    for turn in 1..=4_u32 {
        ok(semop(id, &[(0, 1, 0)]));
        soon(|| order[turn as usize].load(Ordering::SeqCst) != 0);
        assert_eq!(order[turn as usize].load(Ordering::SeqCst), turn);
    }
    for pid in children {
        assert_eq!(wait(pid), Ended::Exit(0));
    }
    remove(id);
}

fn waiters_are_counted() {
    let id = set(&[0, 1]);
    let more = child(|| semop(id, &[(0, -2, 0)]).map_or(1, |_| 0));
    let zero = child(|| semop(id, &[(1, 0, 0)]).map_or(1, |_| 0));
    until_waiting(id, 0, GETNCNT, 1);
    until_waiting(id, 1, GETZCNT, 1);
    assert_eq!(semctl(id, 0, GETZCNT, 0), Ok(0));
    assert_eq!(semctl(id, 1, GETNCNT, 0), Ok(0));
    // Too little.
    ok(semop(id, &[(0, 1, 0)]));
    assert_eq!(semctl(id, 0, GETNCNT, 0), Ok(1));
    ok(semop(id, &[(0, 1, 0), (1, -1, 0)]));
    assert_eq!(wait(more), Ended::Exit(0));
    assert_eq!(wait(zero), Ended::Exit(0));
    assert_eq!(values(id, 2), [0, 0]);
    assert_eq!(semctl(id, 0, GETPID, 0), Ok(more as usize));
    remove(id);
}

fn who_waits_for_zero_goes_on_first() {
    let id = set(&[1]);
    let zero = child(|| semop(id, &[(0, 0, 0)]).map_or(1, |_| 0));
    until_waiting(id, 0, GETZCNT, 1);
    // It becomes zero within one call only, and nobody sees that.
    ok(semop(id, &[(0, -1, 0), (0, 1, 0)]));
    assert_eq!(semctl(id, 0, GETZCNT, 0), Ok(1));
    ok(semctl(id, 0, SETVAL, 0));
    assert_eq!(wait(zero), Ended::Exit(0));
    remove(id);
}

fn what_was_done_is_taken_back_at_the_end() {
    let id = set(&[1, 0]);
    in_child(|| {
        ok(semop(id, &[(0, -1, UNDO)]));
        ok(semop(id, &[(1, 3, UNDO), (1, 2, 0)]));
        assert_eq!(values(id, 2), [0, 5]);
    });
    assert_eq!(values(id, 2), [1, 2]);
    // Who waits for one that is killed goes on.
    let (read, write) = pipe();
    let holder = child(|| {
        ok(semop(id, &[(0, -1, UNDO)]));
        put(write, b"x");
        sleep_for_ever()
    });
    get(read, 1);
    let waiter = child(|| semop(id, &[(0, -1, UNDO)]).map_or(1, |_| 0));
    until_waiting(id, 0, GETNCNT, 1);
    ok(kill(holder, libc::SIGKILL));
    assert_eq!(wait(holder), Ended::Signal(libc::SIGKILL));
    assert_eq!(wait(waiter), Ended::Exit(0));
    assert_eq!(value(id, 0), 1);
    // No value goes below zero by that.
    in_child(|| {
        ok(semop(id, &[(0, 3, UNDO)]));
        ok(semop(id, &[(0, -4, 0)]));
    });
    assert_eq!(value(id, 0), 0);
    // A child of fork has its own account.
    in_child(|| {
        ok(semop(id, &[(0, 1, UNDO)]));
        in_child(|| ());
        assert_eq!(value(id, 0), 1);
    });
    assert_eq!(value(id, 0), 0);
    remove(id);
}

fn threads_share_what_is_taken_back() {
    let id = set(&[0]);
    in_child(|| {
        let thread = std::thread::spawn(move || {
            ok(semop(id, &[(0, 2, UNDO)]));
        });
        thread.join().expect("it does not panic");
        assert_eq!(value(id, 0), 2, "the other thread goes on");
    });
    assert_eq!(value(id, 0), 0);
    in_child(|| {
        let thread = std::thread::spawn(move || {
            ok(semop(id, &[(0, 2, UNDO)]));
            ok(call(libc::SYS_unshare, &[libc::CLONE_SYSVSEM as usize]));
            ok(semop(id, &[(0, 3, UNDO)]));
        });
        thread.join().expect("it does not panic");
        // What it did alone is taken back, perhaps a little after others see its end.
        soon(|| value(id, 0) == 2);
    });
    assert_eq!(value(id, 0), 0);
    remove(id);
}

fn setting_forgets_what_is_taken_back() {
    let id = set(&[0, 0]);
    in_child(|| {
        ok(semop(id, &[(0, 2, UNDO), (1, 2, UNDO)]));
        ok(semctl(id, 0, SETVAL, 7));
    });
    assert_eq!(values(id, 2), [7, 0]);
    remove(id);
}

fn waits_end_in_time_and_by_signals() {
    let id = set(&[0]);
    let start = now(libc::CLOCK_MONOTONIC);
    let time = Duration::from_millis(50);
    assert_eq!(semtimedop(id, &[(0, -1, 0)], Some(time)), Err(libc::EAGAIN));
    assert!(now(libc::CLOCK_MONOTONIC) - start >= time);
    assert_eq!(semctl(id, 0, GETNCNT, 0), Ok(0));
    let soon_enough = Some(Duration::ZERO);
    assert_eq!(
        semtimedop(id, &[(0, -1, 0)], soon_enough),
        Err(libc::EAGAIN)
    );
    assert_eq!(semtimedop(id, &[(0, 1, 0)], soon_enough), Ok(0));
    ok(semctl(id, 0, SETVAL, 0));
    // A handler that restarts calls does not restart this one.
    let waiter = child(|| {
        handle_with(libc::SIGUSR1, |_, _, _| (), libc::SA_RESTART, &[]);
        i32::from(semop(id, &[(0, -1, 0)]) != Err(libc::EINTR))
    });
    until_waiting(id, 0, GETNCNT, 1);
    ok(kill(waiter, libc::SIGUSR1));
    assert_eq!(wait(waiter), Ended::Exit(0));
    assert_eq!(semctl(id, 0, GETNCNT, 0), Ok(0));
    remove(id);
}

fn removal_ends_waits() {
    let id = set(&[0]);
    let waiter = child(|| i32::from(semop(id, &[(0, -1, UNDO)]) != Err(libc::EIDRM)));
    until_waiting(id, 0, GETNCNT, 1);
    remove(id);
    assert_eq!(wait(waiter), Ended::Exit(0));
    assert_eq!(semop(id, &[(0, 1, 0)]), Err(libc::EINVAL));
}

fn rights_of_sets_are_checked() {
    let key = key(2);
    let id = ok(semget(key, 1, CREAT | 0o640));
    in_child(|| {
        become_user();
        assert_eq!(semget(key, 1, 0o400), Err(libc::EACCES));
        assert_eq!(semget(key, 1, 0), Ok(id));
        assert_eq!(semop(id, &[(0, 1, 0)]), Err(libc::EACCES));
        assert_eq!(semctl(id, 0, GETVAL, 0), Err(libc::EACCES));
        assert_eq!(semctl(id, 0, RMID, 0), Err(libc::EPERM));
        assert!(shown("sem", id).is_some(), "everybody sees what there is");
    });
    let mut words = stat(id);
    assert_eq!(owners(&words), (0, 0, 0o640));
    set_owner(&mut words, 1000, 0o7400);
    ok(semctl(id, 0, SET, words.as_ptr() as usize));
    assert_eq!(owners(&stat(id)), (1000, 0, 0o400));
    in_child(|| {
        become_user();
        assert_eq!(semctl(id, 0, GETVAL, 0), Ok(0));
        assert_eq!(semop(id, &[(0, 0, 0)]), Ok(0));
        assert_eq!(semop(id, &[(0, 1, 0)]), Err(libc::EACCES));
        // The owner may change what it may do, and remove it.
        let mut words = stat(id);
        set_owner(&mut words, 1000, 0o600);
        ok(semctl(id, 0, SET, words.as_ptr() as usize));
        assert_eq!(semop(id, &[(0, 1, 0)]), Ok(0));
        remove(id);
    });
}

fn bad_semaphore_calls() {
    assert_eq!(semget(PRIVATE, 0, 0o600), Err(libc::EINVAL));
    assert_eq!(semget(PRIVATE, usize::MAX, 0o600), Err(libc::EINVAL));
    assert_eq!(semget(PRIVATE, 32001, 0o600), Err(libc::EINVAL));
    let id = set(&[1, 1]);
    assert_eq!(semop(id, &[]), Err(libc::EINVAL));
    assert_eq!(semop(id, &[(2, 1, 0)]), Err(libc::EFBIG));
    assert_eq!(semop(-1, &[(0, 1, 0)]), Err(libc::EINVAL));
    assert_eq!(semop(id, &[(0, 0, 0); 501]), Err(libc::E2BIG));
    let args = [id as usize, 8, 1, 0];
    assert_eq!(call(libc::SYS_semtimedop, &args), Err(libc::EFAULT));
    let op = [0_u16, 1, 0];
    let args = [id as usize, op.as_ptr() as usize, 1, 8];
    assert_eq!(call(libc::SYS_semtimedop, &args), Err(libc::EFAULT));
    let bad = Duration::from_secs(1);
    let mut time = timespec(bad);
    time.tv_nsec = 2_000_000_000;
    let args = [
        id as usize,
        op.as_ptr() as usize,
        1,
        &raw const time as usize,
    ];
    assert_eq!(call(libc::SYS_semtimedop, &args), Err(libc::EINVAL));
    assert_eq!(semctl(id, 0, SETVAL, 32768), Err(libc::ERANGE));
    assert_eq!(semctl(id, 0, SETVAL, usize::MAX), Err(libc::ERANGE));
    assert_eq!(semctl(id, 2, SETVAL, 0), Err(libc::EINVAL));
    assert_eq!(semctl(id, 2, GETVAL, 0), Err(libc::EINVAL));
    let large = [0_u16, 40_000];
    assert_eq!(
        semctl(id, 0, SETALL, large.as_ptr() as usize),
        Err(libc::ERANGE)
    );
    assert_eq!(semctl(id, 0, SETALL, 8), Err(libc::EFAULT));
    assert_eq!(semctl(id, 0, STAT, 8), Err(libc::EFAULT));
    assert_eq!(semctl(id, 0, 99, 0), Err(libc::EINVAL));
    assert_eq!(values(id, 2), [1, 1]);
    remove(id);
}

fn sets_are_shown() {
    let id = set(&[0; 7]);
    let line = shown("sem", id).expect("it is shown");
    assert_eq!(line[..4], ["0", &id.to_string(), "600", "7"]);
    const INFO: i32 = 3;
    const INFO_USED: i32 = 19;
    const STAT_ANY: i32 = 20;
    let mut info = [0_i32; 10];
    let highest = ok(semctl(0, 0, INFO_USED, info.as_mut_ptr() as usize));
    assert!(info[7] >= 1 && info[9] >= 7);
    let found = (0..=highest).any(|at| {
        let mut words: Words = [0; 13];
        semctl(at as i32, 0, STAT_ANY, words.as_mut_ptr() as usize) == Ok(id as usize)
            && words[PERM + 4] == 7
    });
    assert!(found);
    ok(semctl(0, 0, INFO, info.as_mut_ptr() as usize));
    let limits = format!("{}\t{}\t{}\t{}\n", info[4], info[2], info[5], info[1]);
    let shown_limits = std::fs::read_to_string("/proc/sys/kernel/sem").expect("it is there");
    assert_eq!(shown_limits, limits);
    remove(id);
    assert!(shown("sem", id).is_none());
}
