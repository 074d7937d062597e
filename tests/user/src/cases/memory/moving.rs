//! `mremap(2)` and the flags of `mmap(2)`, value by value.

use super::{ANON, RW, dies};
use crate::cases::cases;
use crate::sys::*;
use libc::{
    MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, MAP_SHARED_VALIDATE, PROT_NONE, PROT_READ,
};

cases![
    moving_without_unmapping,
    shared_memory_is_doubled,
    a_move_to_a_place_replaces_what_is_there,
    files_keep_their_offsets,
    moves_are_checked,
    flags_that_are_validated,
    flags_that_say_where,
    flags_without_effect,
    large_pages_come_from_a_pool,
];

const PAGE: usize = 4096;
const MAYMOVE: usize = libc::MREMAP_MAYMOVE as usize;
const FIXED: usize = libc::MREMAP_FIXED as usize;
const DONTUNMAP: usize = libc::MREMAP_DONTUNMAP as usize;

fn remap(at: usize, old: usize, new: usize, flags: usize, to: usize) -> Result<usize> {
    call(libc::SYS_mremap, &[at, old, new, flags, to])
}

fn moving_without_unmapping() {
    let at = map(4 * PAGE) as usize;
    (0..4).for_each(|page| poke(at + page * PAGE, page as u8 + 1));
    let to = remap(at, 4 * PAGE, 4 * PAGE, MAYMOVE | DONTUNMAP, 0).expect("it may move");
    assert_ne!(to, at);
    let seen: Vec<u8> = (0..4).map(|page| peek(to + page * PAGE)).collect();
    assert_eq!(seen, [1, 2, 3, 4]);
    // The old place is still there, and empty.
    assert_eq!((peek(at), peek(at + 3 * PAGE)), (0, 0));
    poke(at, 9);
    assert_eq!(peek(to), 1);
    let place = map(4 * PAGE) as usize;
    assert_eq!(
        remap(to, 4 * PAGE, 4 * PAGE, MAYMOVE | FIXED | DONTUNMAP, place),
        Ok(place)
    );
    assert_eq!((peek(place), peek(to)), (1, 0));
    let invalid = Err(libc::EINVAL);
    assert_eq!(remap(at, 4 * PAGE, 4 * PAGE, DONTUNMAP, 0), invalid);
    assert_eq!(
        remap(at, 4 * PAGE, 8 * PAGE, MAYMOVE | DONTUNMAP, 0),
        invalid
    );
}

fn shared_memory_is_doubled() {
    let flags = MAP_SHARED | MAP_ANONYMOUS;
    let at = mmap(0, 2 * PAGE, RW, flags, -1, 0).expect("there is room");
    poke(at, 1);
    let twin = remap(at, 0, 2 * PAGE, MAYMOVE, 0).expect("it is shared");
    assert_eq!(peek(twin), 1);
    poke(twin + PAGE, 2);
    assert_eq!(peek(at + PAGE), 2);
    let private = map(PAGE) as usize;
    assert_eq!(remap(private, 0, PAGE, MAYMOVE, 0), Err(libc::EINVAL));
}

fn a_move_to_a_place_replaces_what_is_there() {
    let at = map(2 * PAGE) as usize;
    poke(at, 1);
    poke(at + PAGE, 2);
    let place = map(4 * PAGE) as usize;
    (0..4).for_each(|page| poke(place + page * PAGE, 8));
    assert_eq!(
        remap(at, 2 * PAGE, 2 * PAGE, MAYMOVE | FIXED, place + PAGE),
        Ok(place + PAGE)
    );
    let seen: Vec<u8> = (0..4).map(|page| peek(place + page * PAGE)).collect();
    assert_eq!(seen, [8, 1, 2, 8]);
    assert!(dies(|| ignore(peek(at))));
    // Larger or smaller on the way.
    let to = map(4 * PAGE) as usize;
    assert_eq!(remap(place, PAGE, 3 * PAGE, MAYMOVE | FIXED, to), Ok(to));
    assert_eq!((peek(to), peek(to + 2 * PAGE)), (8, 0));
    assert_eq!(
        remap(place + PAGE, 3 * PAGE, PAGE, MAYMOVE | FIXED, to),
        Ok(to)
    );
    assert_eq!(peek(to), 1);
    assert!(dies(|| ignore(peek(place + 2 * PAGE))));
}

fn files_keep_their_offsets() {
    let mut bytes = vec![0; 4 * PAGE];
    bytes
        .chunks_mut(PAGE)
        .enumerate()
        .for_each(|(n, page)| page.fill(n as u8));
    let fd = file("f", &bytes);
    let at = mmap(0, 4 * PAGE, RW, MAP_PRIVATE, fd, 0).expect("a file can be mapped");
    poke(at + 2 * PAGE, 77);
    let to = remap(at + PAGE, 2 * PAGE, 3 * PAGE, MAYMOVE, 0).expect("it may move");
    assert_eq!((peek(to), peek(to + PAGE), peek(to + 2 * PAGE)), (1, 77, 3));
    assert_eq!(peek(at), 0);
    // Behind the end of the file.
    let to = remap(to, 3 * PAGE, 5 * PAGE, MAYMOVE, 0).expect("it may move");
    assert_eq!(
        end_of(|| ignore(peek(to + 4 * PAGE))),
        Ended::Signal(libc::SIGBUS)
    );
}

fn moves_are_checked() {
    let at = map(4 * PAGE) as usize;
    let invalid = Err(libc::EINVAL);
    assert_eq!(remap(at, PAGE, PAGE, 8, 0), invalid);
    assert_eq!(remap(at, PAGE, PAGE, FIXED, at + PAGE), invalid);
    assert_eq!(
        remap(at, 2 * PAGE, 2 * PAGE, MAYMOVE | FIXED, at + PAGE),
        invalid
    );
    assert_eq!(remap(at, PAGE, PAGE, MAYMOVE | FIXED, at + 1), invalid);
    assert_eq!(
        remap(at, PAGE, PAGE, MAYMOVE | FIXED, usize::MAX & !0xfff),
        invalid
    );
    assert_eq!(remap(at, PAGE, 1 << 48, MAYMOVE, 0), Err(libc::ENOMEM));
    // Not across mappings.
    ok(mprotect(at + PAGE, PAGE, PROT_READ));
    assert_eq!(remap(at, 2 * PAGE, 4 * PAGE, MAYMOVE, 0), Err(libc::EFAULT));
    // A smaller one takes what is behind it away, whatever that is.
    assert_eq!(remap(at, 4 * PAGE, PAGE, 0, 0), Ok(at));
    assert!(dies(|| ignore(peek(at + 3 * PAGE))));
    in_child(|| {
        let at = map(PAGE) as usize;
        let used = proc_field("/proc/self/status", "VmSize").expect("VmSize");
        let kib: u64 = used
            .split(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .expect("a number");
        limit(libc::RLIMIT_AS, (kib << 10) + (1 << 20));
        assert_eq!(remap(at, PAGE, 2 << 20, MAYMOVE, 0), Err(libc::ENOMEM));
    });
}

fn flags_that_are_validated() {
    const SYNC: i32 = 0x8_0000;
    const UNKNOWN: i32 = 0x20_0000;
    let fd = file("f", &[1; PAGE]);
    let with = |flags| mmap(0, PAGE, RW, flags, fd, 0);
    assert!(with(MAP_SHARED_VALIDATE).is_ok());
    assert_eq!(with(MAP_SHARED_VALIDATE | UNKNOWN), Err(libc::EOPNOTSUPP));
    assert_eq!(with(MAP_SHARED_VALIDATE | SYNC), Err(libc::EOPNOTSUPP));
    // The older ones take whatever comes.
    assert!(with(MAP_SHARED | UNKNOWN).is_ok());
    assert!(with(MAP_PRIVATE | UNKNOWN).is_ok());
    let anonymous = |flags| mmap(0, PAGE, RW, flags | MAP_ANONYMOUS, -1, 0);
    assert_eq!(anonymous(MAP_SHARED_VALIDATE), Err(libc::EINVAL));
    assert_eq!(anonymous(0), Err(libc::EINVAL));
    assert!(anonymous(MAP_PRIVATE | UNKNOWN).is_ok());
}

fn flags_that_say_where() {
    let low = mmap(0, PAGE, RW, ANON | libc::MAP_32BIT, -1, 0).expect("there is room");
    assert!(low < 1 << 31);
    let at = map(4 * PAGE) as usize;
    ok(munmap(at, 4 * PAGE));
    // A wish is rounded down to a page, and granted where nothing is.
    assert_eq!(mmap(at + PAGE - 100, PAGE, RW, ANON, -1, 0), Ok(at));
    let elsewhere = mmap(at, PAGE, RW, ANON, -1, 0).expect("there is room");
    assert_ne!(elsewhere, at);
    // Too low a wish is lifted; a fixed place is not.
    let lowest = mmap(4096, PAGE, RW, ANON, -1, 0).expect("there is room");
    assert!(lowest >= 65536);
    in_child(|| {
        become_user();
        assert_eq!(mmap(0, PAGE, RW, ANON | MAP_FIXED, -1, 0), Err(libc::EPERM));
    });
}

fn flags_without_effect() {
    for flag in [
        libc::MAP_DENYWRITE,
        libc::MAP_EXECUTABLE,
        libc::MAP_STACK,
        libc::MAP_NORESERVE,
        // MAP_UNINITIALIZED: there is still nothing of others in it.
        0x400_0000,
    ] {
        let at = mmap(0, PAGE, RW, ANON | flag, -1, 0).expect("there is room");
        assert!(peek_all(at, PAGE).iter().all(|byte| *byte == 0));
        poke(at, 1);
    }
    let none = mmap(0, PAGE, PROT_NONE, ANON, -1, 0).expect("there is room");
    assert!(dies(|| ignore(peek(none))));
}

fn large_pages_come_from_a_pool() {
    // Where nobody has filled it, there are none.
    let huge = ANON | libc::MAP_HUGETLB;
    assert_eq!(mmap(0, 2 << 20, RW, huge, -1, 0), Err(libc::ENOMEM));
    assert_eq!(
        mmap(0, 2 << 20, RW, huge | 5 << 26, -1, 0),
        Err(libc::EINVAL)
    );
    let fd = file("f", &[1; PAGE]);
    assert_eq!(
        mmap(0, 2 << 20, RW, MAP_PRIVATE | libc::MAP_HUGETLB, fd, 0),
        Err(libc::EINVAL)
    );
}
