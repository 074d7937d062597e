//! Making, moving and taking away maps.

use super::{ANON, RW, dies};
use crate::cases::cases;
use crate::sys::*;
use libc::{MAP_ANONYMOUS, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_PRIVATE, PROT_READ};

cases![
    anonymous_memory_is_zero,
    mmap_errors,
    fixed_maps_replace,
    fixed_noreplace_refuses,
    unmapping_a_hole,
    break_moves,
    mremap_moves_and_shrinks,
    many_maps,
    proc_maps_shows,
];

fn anonymous_memory_is_zero() {
    let at = map(1 << 20) as usize;
    assert!(peek_all(at, 1 << 20).iter().all(|byte| *byte == 0));
    assert_eq!(at % 4096, 0);
}

fn mmap_errors() {
    assert_eq!(mmap(0, 0, RW, ANON, -1, 0), Err(libc::EINVAL));
    assert_eq!(mmap(0, usize::MAX, RW, ANON, -1, 0), Err(libc::ENOMEM));
    assert_eq!(
        mmap(0, usize::MAX - 8191, RW, ANON, -1, 0),
        Err(libc::ENOMEM)
    );
    assert_eq!(mmap(0, 1 << 47, RW, ANON, -1, 0), Err(libc::ENOMEM));
    assert_eq!(
        mmap(123, 4096, RW, ANON | MAP_FIXED, -1, 0),
        Err(libc::EINVAL)
    );
    assert_eq!(
        mmap(0xffff_8000_0000_0000, 4096, RW, ANON | MAP_FIXED, -1, 0),
        Err(libc::ENOMEM)
    );
    assert_eq!(mmap(0, 4096, RW, MAP_ANONYMOUS, -1, 0), Err(libc::EINVAL));
    assert_eq!(mmap(0, 4096, RW, MAP_PRIVATE, -1, 0), Err(libc::EBADF));
    let fd = file("f", b"x");
    assert_eq!(
        call(libc::SYS_mmap, &[0, 4096, 1, 2, fd as usize, 100]),
        Err(libc::EINVAL)
    );
    let (reader, _) = pipe();
    assert_eq!(
        mmap(0, 4096, PROT_READ, MAP_PRIVATE, reader, 0),
        Err(libc::ENODEV)
    );
    assert_eq!(call(libc::SYS_munmap, &[1, 4096]), Err(libc::EINVAL));
    assert_eq!(call(libc::SYS_munmap, &[0, 0]), Err(libc::EINVAL));
    assert_eq!(
        call(libc::SYS_munmap, &[4096, usize::MAX - 4095]),
        Err(libc::EINVAL)
    );
}

fn fixed_maps_replace() {
    let at = map(4 * 4096) as usize;
    poke(at + 4096, 1);
    poke(at + 8192, 2);
    assert_eq!(
        mmap(at + 4096, 4096, RW, ANON | MAP_FIXED, -1, 0),
        Ok(at + 4096)
    );
    assert_eq!((peek(at + 4096), peek(at + 8192)), (0, 2));
}

fn fixed_noreplace_refuses() {
    let at = map(8192) as usize;
    assert_eq!(
        mmap(at, 4096, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0),
        Err(libc::EEXIST)
    );
    ok(munmap(at, 4096));
    assert_eq!(
        mmap(at, 4096, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0),
        Ok(at)
    );
    // Without either flag an address is a wish.
    assert_ne!(mmap(at, 4096, RW, ANON, -1, 0), Ok(at));
}

fn unmapping_a_hole() {
    let at = map(5 * 4096) as usize;
    for page in 0..5 {
        poke(at + page * 4096, page as u8 + 1);
    }
    ok(munmap(at + 4096, 2 * 4096));
    assert_eq!(
        (peek(at), peek(at + 3 * 4096), peek(at + 4 * 4096)),
        (1, 4, 5)
    );
    assert!(dies(|| ignore(peek(at + 4096))) && dies(|| ignore(peek(at + 2 * 4096))));
    ok(munmap(at, 5 * 4096));
    ok(munmap(at, 5 * 4096));
    assert!(dies(|| ignore(peek(at))));
}

fn break_moves() {
    let brk = |at: usize| call(libc::SYS_brk, &[at]).expect("brk never fails that way");
    let start = brk(0);
    assert_eq!(brk(start + 0x10000), start + 0x10000);
    poke(start + 0x8000, 9);
    assert_eq!(brk(start + 0x4000), start + 0x4000);
    assert_eq!(brk(start + 0x10000), start + 0x10000);
    assert_eq!(peek(start + 0x8000), 0);
    // Where it cannot be moved to, it stays.
    assert_eq!(brk(usize::MAX), start + 0x10000);
    assert_eq!(brk(1), start + 0x10000);
    assert_eq!(brk(start), start);
}

fn mremap_moves_and_shrinks() {
    let remap = |at: usize, old: usize, new: usize, flags: usize| {
        call(libc::SYS_mremap, &[at, old, new, flags])
    };
    let at = map(4 * 4096) as usize;
    poke(at, 1);
    poke(at + 3 * 4096, 4);
    assert_eq!(remap(at, 4 * 4096, 2 * 4096, 0), Ok(at));
    assert!(dies(|| ignore(peek(at + 3 * 4096))));
    let big = remap(at, 2 * 4096, 64 * 4096, libc::MREMAP_MAYMOVE as usize).expect("it may move");
    assert_eq!((peek(big), peek(big + 63 * 4096)), (1, 0));
    // In place, but something is in the way.
    let block = mmap(0, 3 * 4096, RW, ANON, -1, 0).expect("there is room");
    assert_eq!(remap(block, 4096, 2 * 4096, 0), Err(libc::ENOMEM));
    let target = map(4096) as usize;
    let fixed = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as usize;
    poke(block, 77);
    assert_eq!(
        call(libc::SYS_mremap, &[block, 4096, 4096, fixed, target]),
        Ok(target)
    );
    assert_eq!(peek(target), 77);
    assert_eq!(remap(1, 4096, 4096, 0), Err(libc::EINVAL));
    assert_eq!(remap(target, 4096, 0, 0), Err(libc::EINVAL));
    ok(munmap(target, 4096));
    assert_eq!(remap(target, 4096, 8192, 1), Err(libc::EFAULT));
}

fn many_maps() {
    // Every second one is read-only, so that neighbours cannot be merged.
    let at = map(2000 * 4096) as usize;
    for page in (0..2000).step_by(2) {
        ok(mprotect(at + page * 4096, 4096, PROT_READ));
    }
    for page in (1..2000).step_by(2) {
        poke(at + page * 4096, 1);
    }
    assert!(
        std::fs::read_to_string("/proc/self/maps")
            .expect("procfs")
            .lines()
            .count()
            > 2000
    );
    ok(munmap(at, 2000 * 4096));
}

fn proc_maps_shows() {
    let fd = file("mapped", &[1; 4096]);
    let at = mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0).expect("a file can be mapped");
    let maps = std::fs::read_to_string("/proc/self/maps").expect("procfs");
    let line = maps
        .lines()
        .find(|line| line.starts_with(&format!("{at:x}-{:x} r--p 00000000 ", at + 4096)));
    assert!(line.is_some_and(|line| line.ends_with("/mapped")), "{maps}");
    for name in ["[stack]", "[vdso]", "/usertests"] {
        assert!(maps.contains(name), "{name}: {maps}");
    }
}
