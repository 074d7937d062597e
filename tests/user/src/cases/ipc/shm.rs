//! Shared memory.

use super::{CREAT, EXCL, PERM, PRIVATE, RMID, SET, STAT, cases, key, owners, set_owner, shown};
use crate::sys::*;

cases![
    segments_are_found_by_their_key,
    segments_are_shared,
    addresses_of_attachments,
    attachments_may_be_for_reading_only,
    attachments_are_counted,
    a_removed_segment_stays_while_attached,
    detaching_takes_what_was_attached,
    rights_of_segments_are_checked,
    bad_segment_calls,
    segments_are_shown,
];

const RDONLY: usize = 0o10000;
const RND: usize = 0o20000;
const REMAP: usize = 0o40000;
const DEST: u32 = 0o1000;
const PAGE: usize = 4096;

/// `struct shmid64_ds`.
type Words = [u64; 14];
const PIDS: usize = PERM + 4;
const ATTACHED: usize = PERM + 5;

fn shmget(key: i32, size: usize, flags: i32) -> Result<i32> {
    call(libc::SYS_shmget, &[key as usize, size, flags as usize]).map(|id| id as i32)
}

fn shmat(id: i32, at: usize, flags: usize) -> Result<usize> {
    call(libc::SYS_shmat, &[id as usize, at, flags])
}

fn shmdt(at: usize) -> Result<usize> {
    call(libc::SYS_shmdt, &[at])
}

fn shmctl(id: i32, command: i32, arg: usize) -> Result<usize> {
    call(libc::SYS_shmctl, &[id as usize, command as usize, arg])
}

fn segment(size: usize) -> i32 {
    ok(shmget(PRIVATE, size, 0o600))
}

fn stat(id: i32) -> Words {
    let mut words: Words = [0; 14];
    ok(shmctl(id, STAT, words.as_mut_ptr() as usize));
    words
}

fn attached(id: i32) -> u64 {
    stat(id)[ATTACHED]
}

fn remove(id: i32) {
    ok(shmctl(id, RMID, 0));
}

fn segments_are_found_by_their_key() {
    let key = key(1);
    assert_eq!(shmget(key, PAGE, 0), Err(libc::ENOENT));
    let id = ok(shmget(key, 5000, CREAT | EXCL | 0o600));
    assert_eq!(shmget(key, PAGE, CREAT | EXCL), Err(libc::EEXIST));
    assert_eq!(shmget(key, 5000, 0), Ok(id));
    assert_eq!(shmget(key, 0, 0), Ok(id));
    assert_eq!(shmget(key, 5001, 0), Err(libc::EINVAL));
    let words = stat(id);
    assert_eq!(words[PERM], 5000);
    assert_eq!(words[PIDS], u64::from(std::process::id()));
    assert_eq!((words[PERM + 1], words[ATTACHED]), (0, 0));
    remove(id);
    assert_eq!(shmget(key, 0, 0), Err(libc::ENOENT));
    assert_eq!(shmat(id, 0, 0), Err(libc::EINVAL));
}

fn segments_are_shared() {
    let id = segment(3 * PAGE);
    let at = ok(shmat(id, 0, 0));
    assert_eq!(peek(at + PAGE), 0);
    poke(at, 1);
    in_child(|| {
        poke(at + 1, 2);
        let again = ok(shmat(id, 0, 0));
        assert_ne!(again, at);
        assert_eq!((peek(again), peek(again + 1)), (1, 2));
        poke(again + 2 * PAGE, 3);
    });
    assert_eq!((peek(at + 1), peek(at + 2 * PAGE)), (2, 3));
    ok(shmdt(at));
    assert_eq!(end_of(|| ignore(peek(at))), Ended::Signal(libc::SIGSEGV));
    // What was written stays.
    let at = ok(shmat(id, 0, 0));
    assert_eq!(peek(at + 1), 2);
    remove(id);
}

fn addresses_of_attachments() {
    let id = segment(2 * PAGE);
    let room = map(8 * PAGE) as usize;
    ok(munmap(room, 8 * PAGE));
    assert_eq!(shmat(id, room, 0), Ok(room));
    assert_eq!(shmat(id, room, 0), Err(libc::EINVAL), "it is taken");
    assert_eq!(shmat(id, room + PAGE, 0), Err(libc::EINVAL));
    assert_eq!(shmat(id, room + PAGE, REMAP), Ok(room + PAGE));
    assert_eq!(shmat(id, room + 4 * PAGE + 5, 0), Err(libc::EINVAL));
    assert_eq!(shmat(id, room + 4 * PAGE + 5, RND), Ok(room + 4 * PAGE));
    assert_eq!(shmat(id, 0, REMAP), Err(libc::EINVAL));
    poke(room + 4 * PAGE, 7);
    assert_eq!((peek(room), peek(room + PAGE)), (7, 7));
    remove(id);
}

fn attachments_may_be_for_reading_only() {
    let id = segment(PAGE);
    let at = ok(shmat(id, 0, RDONLY));
    assert_eq!(peek(at), 0);
    assert_eq!(end_of(|| poke(at, 1)), Ended::Signal(libc::SIGSEGV));
    remove(id);
}

fn attachments_are_counted() {
    let id = segment(PAGE);
    let at = ok(shmat(id, 0, 0));
    let also = ok(shmat(id, 0, RDONLY));
    assert_eq!(attached(id), 2);
    let (read, write) = pipe();
    let pid = child(|| {
        close(write);
        get(read, 1);
        0
    });
    assert_eq!(attached(id), 4, "a child has what its parent has");
    close(write);
    assert_eq!(wait(pid), Ended::Exit(0));
    assert_eq!(attached(id), 2);
    ok(shmdt(also));
    assert_eq!(attached(id), 1);
    let words = stat(id);
    assert_eq!(words[PIDS] >> 32, u64::from(std::process::id()));
    assert!(words[PERM + 1] != 0 && words[PERM + 2] != 0);
    ok(munmap(at, PAGE));
    assert_eq!(attached(id), 0);
    remove(id);
}

fn a_removed_segment_stays_while_attached() {
    let key = key(2);
    let id = ok(shmget(key, PAGE, CREAT | 0o600));
    let at = ok(shmat(id, 0, 0));
    remove(id);
    let words = stat(id);
    assert_eq!(owners(&words).2, DEST | 0o600);
    assert_eq!(words[0] as u32, 0, "it has no key any more");
    poke(at, 5);
    let also = ok(shmat(id, 0, 0));
    assert_eq!(peek(also), 5);
    let other = ok(shmget(key, PAGE, CREAT | 0o600));
    assert_ne!(other, id);
    remove(other);
    ok(shmdt(at));
    assert_eq!(attached(id), 1);
    ok(shmdt(also));
    assert_eq!(shmat(id, 0, 0), Err(libc::EINVAL));
    let mut words: Words = [0; 14];
    assert_eq!(
        shmctl(id, STAT, words.as_mut_ptr() as usize),
        Err(libc::EINVAL)
    );
}

fn detaching_takes_what_was_attached() {
    let id = segment(3 * PAGE);
    let at = ok(shmat(id, 0, 0));
    // A hole, and other rights, make three mappings of one.
    ok(munmap(at + PAGE, PAGE));
    assert_eq!(attached(id), 2);
    assert_eq!(shmdt(at + PAGE), Err(libc::EINVAL));
    ok(shmdt(at));
    assert_eq!(attached(id), 0);
    assert_eq!(shmdt(at), Err(libc::EINVAL));
    assert_eq!(shmdt(at + 5), Err(libc::EINVAL));
    let mine = map(PAGE) as usize;
    assert_eq!(shmdt(mine), Err(libc::EINVAL));
    remove(id);
}

fn rights_of_segments_are_checked() {
    let key = key(3);
    let id = ok(shmget(key, PAGE, CREAT | 0o644));
    in_child(|| {
        become_user();
        assert_eq!(shmget(key, PAGE, 0o600), Err(libc::EACCES));
        assert_eq!(shmget(key, PAGE, 0o400), Ok(id));
        assert_eq!(shmat(id, 0, 0), Err(libc::EACCES));
        let at = ok(shmat(id, 0, RDONLY));
        assert_eq!(
            mprotect(at, PAGE, libc::PROT_READ | libc::PROT_WRITE),
            Err(libc::EACCES)
        );
        assert_eq!(shmctl(id, RMID, 0), Err(libc::EPERM));
    });
    let mut words = stat(id);
    set_owner(&mut words, 1000, 0o600);
    ok(shmctl(id, SET, words.as_ptr() as usize));
    assert_eq!(owners(&stat(id)), (1000, 0, 0o600));
    in_child(|| {
        become_user();
        let at = ok(shmat(id, 0, 0));
        poke(at, 1);
        const LOCK: i32 = 11;
        const UNLOCK: i32 = 12;
        const LOCKED: u32 = 0o2000;
        ok(shmctl(id, LOCK, 0));
        assert_eq!(owners(&stat(id)).2, LOCKED | 0o600);
        ok(shmctl(id, UNLOCK, 0));
        assert_eq!(owners(&stat(id)).2, 0o600);
        limit(libc::RLIMIT_MEMLOCK, 0);
        assert_eq!(shmctl(id, LOCK, 0), Err(libc::EPERM));
        remove(id);
    });
}

fn bad_segment_calls() {
    assert_eq!(shmget(PRIVATE, 0, 0o600), Err(libc::EINVAL));
    assert!(matches!(
        shmget(PRIVATE, usize::MAX, 0o600),
        Err(libc::EINVAL | libc::ENOSPC)
    ));
    assert!(matches!(
        shmget(PRIVATE, 1 << 46, 0o600),
        Err(libc::ENOMEM | libc::ENOSPC)
    ));
    let id = segment(PAGE);
    assert_eq!(shmat(-1, 0, 0), Err(libc::EINVAL));
    assert!(shmat(id, 1 << 62, 0).is_err());
    assert_eq!(shmctl(id, STAT, 8), Err(libc::EFAULT));
    assert_eq!(shmctl(id, SET, 8), Err(libc::EFAULT));
    assert_eq!(shmctl(id, 99, 0), Err(libc::EINVAL));
    assert_eq!(shmdt(0), Err(libc::EINVAL));
    remove(id);
}

fn segments_are_shown() {
    let id = ok(shmget(key(4), 5000, CREAT | 0o600));
    let at = ok(shmat(id, 0, 0));
    poke(at, 1);
    let line = shown("shm", id).expect("it is shown");
    let (wanted, pid) = (key(4).to_string(), std::process::id().to_string());
    assert_eq!(line[..4], [&wanted, &id.to_string(), "600", "5000"]);
    assert_eq!(line[4..7], [&pid, &pid, "1"]);
    assert_eq!(line[14], "4096", "one page is there");
    let maps = std::fs::read_to_string("/proc/self/maps").expect("it is there");
    let name = format!("/SYSV{:08x} (deleted)", key(4));
    let shown_there = maps
        .lines()
        .find(|line| line.ends_with(&name))
        .expect("it is mapped");
    assert!(shown_there.starts_with(&format!("{at:x}-{:x} rw-s 00000000 ", at + 2 * PAGE)));
    const INFO: i32 = 3;
    let mut info = [0_u64; 9];
    ok(shmctl(0, INFO, info.as_mut_ptr() as usize));
    let limits = ["shmmax", "shmmni", "shmall"].map(|name| {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
        text.expect("it is there")
            .trim()
            .parse::<u64>()
            .expect("a number")
    });
    assert_eq!([info[0], info[2], info[4]], limits);
    remove(id);
}
