//! `madvise(2)`, value by value, and `process_madvise(2)`.

use super::{ANON, RW, dies};
use crate::cases::cases;
use crate::sys::*;
use libc::{MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PROT_NONE, PROT_READ};

cases![
    freed_pages_are_old_or_empty,
    cold_pages_keep_what_they_hold,
    populating_makes_present,
    populating_says_why_not,
    removing_empties_the_file,
    children_get_what_was_advised,
    advice_is_shown_in_smaps,
    advice_is_checked,
    advice_for_another_process,
];

const PAGE: usize = 4096;

/// Which pages are resident.
fn resident(at: usize, pages: usize) -> Vec<bool> {
    let mut seen = vec![9_u8; pages];
    let args = [at, pages * PAGE, seen.as_mut_ptr() as usize];
    assert_eq!(call(libc::SYS_mincore, &args), Ok(0));
    seen.iter().map(|byte| byte & 1 == 1).collect()
}

fn shared_map(pages: usize) -> usize {
    let flags = MAP_SHARED | MAP_ANONYMOUS;
    mmap(0, pages * PAGE, RW, flags, -1, 0).expect("there is room")
}

fn freed_pages_are_old_or_empty() {
    let at = map(4 * PAGE) as usize;
    (0..4).for_each(|page| poke(at + page * PAGE, 5));
    ok(madvise(at, 2 * PAGE, libc::MADV_FREE));
    for page in 0..2 {
        let byte = peek(at + page * PAGE);
        assert!(byte == 0 || byte == 5);
    }
    assert_eq!((peek(at + 2 * PAGE), peek(at + 3 * PAGE)), (5, 5));
    // What is written afterwards stays.
    poke(at, 6);
    assert_eq!(peek(at), 6);
    // A child's copy does not go with it.
    poke(at + PAGE, 7);
    in_child(|| ok(madvise(at + PAGE, PAGE, libc::MADV_FREE)));
    assert_eq!(peek(at + PAGE), 7);
    fails(madvise(shared_map(1), PAGE, libc::MADV_FREE), libc::EINVAL);
    let fd = file("f", &[1; PAGE]);
    let file = mmap(0, PAGE, RW, MAP_PRIVATE, fd, 0).expect("a file can be mapped");
    fails(madvise(file, PAGE, libc::MADV_FREE), libc::EINVAL);
}

fn cold_pages_keep_what_they_hold() {
    let at = map(4 * PAGE) as usize;
    let fd = file("f", &[3; PAGE]);
    let file = mmap(0, PAGE, RW, MAP_SHARED, fd, 0).expect("a file can be mapped");
    (0..4).for_each(|page| poke(at + page * PAGE, page as u8 + 1));
    for advice in [libc::MADV_COLD, libc::MADV_PAGEOUT] {
        ok(madvise(at, 4 * PAGE, advice));
        ok(madvise(file, PAGE, advice));
        for page in 0..4 {
            assert_eq!(peek(at + page * PAGE), page as u8 + 1);
        }
        assert_eq!(peek(file + 9), 3);
        ok(mlock(at, PAGE));
        fails(madvise(at, 4 * PAGE, advice), libc::EINVAL);
        ok(munlock(at, PAGE));
    }
}

fn populating_makes_present() {
    let at = map(8 * PAGE) as usize;
    ok(madvise(at, 2 * PAGE, libc::MADV_POPULATE_WRITE));
    assert_eq!(resident(at, 4), [true, true, false, false]);
    ok(madvise(at + 4 * PAGE, PAGE, libc::MADV_POPULATE_READ));
    // The page of zeros counts.
    assert!(resident(at + 4 * PAGE, 1)[0]);
    assert_eq!(peek(at + 4 * PAGE), 0);
    let fd = file("f", &[1; 4 * PAGE]);
    let file = mmap(0, 4 * PAGE, RW, MAP_PRIVATE, fd, 0).expect("a file can be mapped");
    ok(madvise(file, 4 * PAGE, libc::MADV_POPULATE_WRITE));
    assert_eq!((peek(file), peek(file + 3 * PAGE)), (1, 1));
    // They are copies already.
    ok(pwrite(fd, b"x", 0));
    assert_eq!(peek(file), 1);
}

fn populating_says_why_not() {
    let at = map(4 * PAGE) as usize;
    ok(munmap(at + 2 * PAGE, PAGE));
    fails(
        madvise(at, 4 * PAGE, libc::MADV_POPULATE_READ),
        libc::ENOMEM,
    );
    ok(mprotect(at, PAGE, PROT_READ));
    ok(madvise(at, PAGE, libc::MADV_POPULATE_READ));
    fails(madvise(at, PAGE, libc::MADV_POPULATE_WRITE), libc::EINVAL);
    ok(mprotect(at, PAGE, PROT_NONE));
    fails(madvise(at, PAGE, libc::MADV_POPULATE_READ), libc::EINVAL);
    let fd = file("f", &[1; PAGE]);
    let file = mmap(0, 2 * PAGE, RW, MAP_SHARED, fd, 0).expect("a file can be mapped");
    fails(
        madvise(file, 2 * PAGE, libc::MADV_POPULATE_READ),
        libc::EFAULT,
    );
}

fn removing_empties_the_file() {
    let fd = ok(memfd_create("m", 0));
    ok(ftruncate(fd, 4 * PAGE as i64));
    let at = mmap(0, 4 * PAGE, RW, MAP_SHARED, fd, 0).expect("a file can be mapped");
    (0..4).for_each(|page| poke(at + page * PAGE, 4));
    ok(madvise(at + PAGE, 2 * PAGE, libc::MADV_REMOVE));
    let seen: Vec<u8> = (0..4).map(|page| peek(at + page * PAGE)).collect();
    assert_eq!(seen, [4, 0, 0, 4]);
    let status = ok(fstat(fd));
    assert_eq!(status.st_size, 4 * PAGE as i64);
    let shared = shared_map(2);
    poke(shared, 1);
    ok(madvise(shared, PAGE, libc::MADV_REMOVE));
    assert_eq!(peek(shared), 0);
    fails(
        madvise(map(PAGE) as usize, PAGE, libc::MADV_REMOVE),
        libc::EINVAL,
    );
    // What counts is how it was opened.
    let readable = mmap(0, PAGE, PROT_READ, MAP_SHARED, fd, 0).expect("a file can be mapped");
    ok(madvise(readable, PAGE, libc::MADV_REMOVE));
    close(fd);
    file("f", &[1; PAGE]);
    let fd = ok(open("f", libc::O_RDONLY));
    let readable = mmap(0, PAGE, PROT_READ, MAP_SHARED, fd, 0).expect("a file can be mapped");
    fails(madvise(readable, PAGE, libc::MADV_REMOVE), libc::EACCES);
    ok(mlock(at, PAGE));
    fails(madvise(at, PAGE, libc::MADV_REMOVE), libc::EINVAL);
}

fn children_get_what_was_advised() {
    let at = map(4 * PAGE) as usize;
    (0..4).for_each(|page| poke(at + page * PAGE, 5));
    ok(madvise(at, PAGE, libc::MADV_DONTFORK));
    ok(madvise(at + PAGE, PAGE, libc::MADV_WIPEONFORK));
    in_child(|| {
        assert_eq!(peek(at + PAGE), 0);
        assert_eq!(peek(at + 2 * PAGE), 5);
        poke(at + PAGE, 6);
        // Its own children find it empty as well.
        in_child(|| assert_eq!(peek(at + PAGE), 0));
    });
    assert!(dies(|| ignore(peek(at))));
    assert_eq!((peek(at), peek(at + PAGE)), (5, 5));
    ok(madvise(at, PAGE, libc::MADV_DOFORK));
    ok(madvise(at + PAGE, PAGE, libc::MADV_KEEPONFORK));
    in_child(|| assert_eq!((peek(at), peek(at + PAGE)), (5, 5)));
    fails(
        madvise(shared_map(1), PAGE, libc::MADV_WIPEONFORK),
        libc::EINVAL,
    );
}

/// The letters in `VmFlags:` of the mapping at `at`.
fn letters(at: usize) -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
    text.lines()
        .skip_while(|line| !line.starts_with(&format!("{at:x}-")))
        .find_map(|line| line.strip_prefix("VmFlags:"))
        .expect("flags")
        .split_whitespace()
        .map(str::to_string)
        .collect()
}

fn advice_is_shown_in_smaps() {
    let whole = mmap(0, 3 * PAGE, PROT_NONE, ANON, -1, 0).expect("there is room");
    let at = whole + PAGE;
    ok(mprotect(at, PAGE, RW));
    for (advice, letter, undo) in [
        (libc::MADV_RANDOM, "rr", libc::MADV_NORMAL),
        (libc::MADV_SEQUENTIAL, "sr", libc::MADV_NORMAL),
        (libc::MADV_DONTFORK, "dc", libc::MADV_DOFORK),
        (libc::MADV_WIPEONFORK, "wf", libc::MADV_KEEPONFORK),
        (libc::MADV_DONTDUMP, "dd", libc::MADV_DODUMP),
        (libc::MADV_HUGEPAGE, "hg", libc::MADV_NOHUGEPAGE),
    ] {
        assert!(!letters(at).iter().any(|l| l == letter), "{letter}");
        ok(madvise(at, PAGE, advice));
        assert!(letters(at).iter().any(|l| l == letter), "{letter}");
        ok(madvise(at, PAGE, undo));
        assert!(!letters(at).iter().any(|l| l == letter), "{letter}");
    }
    assert!(letters(at).iter().any(|l| l == "nh"));
}

fn advice_is_checked() {
    let at = map(4 * PAGE) as usize;
    for advice in [-1, 5, 6, 7, 99] {
        fails(madvise(at, PAGE, advice), libc::EINVAL);
    }
    // Nothing is asked for, so nothing need be there.
    ok(madvise(0x1000, 0, libc::MADV_DONTNEED));
    fails(madvise(at, usize::MAX, libc::MADV_DONTNEED), libc::EINVAL);
    // What is beside a hole is advised all the same.
    (0..4).for_each(|page| poke(at + page * PAGE, 5));
    ok(munmap(at + PAGE, PAGE));
    fails(madvise(at, 4 * PAGE, libc::MADV_DONTNEED), libc::ENOMEM);
    assert_eq!((peek(at), peek(at + 3 * PAGE)), (0, 0));
    fails(madvise(at, 4 * PAGE, libc::MADV_WILLNEED), libc::ENOMEM);
    // Locked memory is given up only by those who say so.
    poke(at, 5);
    ok(mlock(at, PAGE));
    fails(madvise(at, PAGE, libc::MADV_DONTNEED), libc::EINVAL);
    assert_eq!(peek(at), 5);
    ok(madvise(at, PAGE, 24));
    assert_eq!(peek(at), 0);
}

/// `process_madvise(2)` for one range.
fn advise_other(fd: i32, at: usize, len: usize, advice: i32, flags: usize) -> Result<usize> {
    let range = [at, len];
    let args = [
        fd as usize,
        range.as_ptr() as usize,
        1,
        advice as usize,
        flags,
    ];
    call(libc::SYS_process_madvise, &args)
}

fn advice_for_another_process() {
    let at = map(4 * PAGE) as usize;
    poke(at, 5);
    let pid = child(|| {
        loop {
            ignore(call(libc::SYS_pause, &[]));
        }
    });
    let fd = call(libc::SYS_pidfd_open, &[pid as usize, 0]).expect("a child") as i32;
    for advice in [libc::MADV_COLD, libc::MADV_PAGEOUT, libc::MADV_WILLNEED] {
        assert_eq!(advise_other(fd, at, 2 * PAGE, advice, 0), Ok(2 * PAGE));
    }
    for advice in [libc::MADV_DONTNEED, libc::MADV_FREE, libc::MADV_NORMAL, 99] {
        assert_eq!(advise_other(fd, at, PAGE, advice, 0), Err(libc::EINVAL));
    }
    assert_eq!(
        advise_other(fd, at, PAGE, libc::MADV_COLD, 1),
        Err(libc::EINVAL)
    );
    assert_eq!(
        advise_other(fd, at + 1, PAGE, libc::MADV_COLD, 0),
        Err(libc::EINVAL)
    );
    assert_eq!(
        advise_other(-1, at, PAGE, libc::MADV_COLD, 0),
        Err(libc::EBADF)
    );
    // What came before the hole counts.
    let two = [at, PAGE, 0x1000, PAGE];
    let args = [
        fd as usize,
        two.as_ptr() as usize,
        2,
        libc::MADV_COLD as usize,
        0,
    ];
    assert_eq!(call(libc::SYS_process_madvise, &args), Ok(PAGE));
    assert_eq!(
        advise_other(fd, 0x1000, PAGE, libc::MADV_COLD, 0),
        Err(libc::ENOMEM)
    );
    in_child(|| {
        become_user();
        let cold = |fd| advise_other(fd, at, PAGE, libc::MADV_COLD, 0);
        assert_eq!(cold(fd), Err(libc::EACCES));
        // Even of its own, without CAP_SYS_NICE.
        let own = [std::process::id() as usize, 0];
        let own = call(libc::SYS_pidfd_open, &own).expect("it is there");
        assert_eq!(cold(own as i32), Err(libc::EPERM));
    });
    assert!(call(libc::SYS_kill, &[pid as usize, libc::SIGKILL as usize]).is_ok());
    assert_eq!(wait(pid), Ended::Signal(libc::SIGKILL));
}
