//! Address spaces: maps, protection, the break, sharing, growth.

use super::cases;
use crate::sys::*;
use libc::{
    MAP_ANONYMOUS, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_PRIVATE, MAP_SHARED, PROT_NONE, PROT_READ,
    PROT_WRITE,
};

cases![
    anonymous_memory_is_zero,
    mmap_errors,
    fixed_maps_replace,
    fixed_noreplace_refuses,
    unmapping_a_hole,
    protection_splits,
    break_moves,
    mremap_moves_and_shrinks,
    madvise_dontneed_zeroes,
    private_file_maps_copy,
    shared_file_maps_write,
    shared_maps_between_processes,
    map_rights_follow_the_file,
    truncation_zaps_maps,
    mincore_and_msync,
    stack_grows,
    stack_overflow_kills,
    stack_limit_counts,
    address_space_limit,
    exhaustion_leaves_the_system_well,
    many_maps,
    proc_maps_shows,
    bad_pointers,
    partial_copies,
    mlock_limits,
    fork_of_much_memory,
    mprotect_errors,
    dev_zero_maps,
];

const RW: i32 = PROT_READ | PROT_WRITE;
const ANON: i32 = MAP_PRIVATE | MAP_ANONYMOUS;

fn dies(body: impl FnOnce()) -> bool {
    end_of(body) == Ended::Signal(libc::SIGSEGV)
}

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

fn protection_splits() {
    let at = map(3 * 4096) as usize;
    ok(mprotect(at + 4096, 4096, PROT_READ));
    poke(at, 1);
    poke(at + 8192, 3);
    assert_eq!(peek(at + 4096), 0);
    assert!(dies(|| poke(at + 4096, 2)));
    ok(mprotect(at, 3 * 4096, RW));
    poke(at + 4096, 2);
    assert_eq!((peek(at), peek(at + 4096), peek(at + 8192)), (1, 2, 3));
    ok(mprotect(at, 4096, PROT_NONE));
    assert!(dies(|| ignore(peek(at))));
    ok(mprotect(at, 4096, PROT_READ));
    assert_eq!(peek(at), 1);
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

fn madvise_dontneed_zeroes() {
    let at = map(8192);
    poke(at as usize, 5);
    ok(madvise(at as usize, 8192, libc::MADV_DONTNEED));
    assert_eq!(peek(at as usize), 0);
    fails(
        madvise(at as usize + 1, 4096, libc::MADV_DONTNEED),
        libc::EINVAL,
    );
    fails(madvise(at as usize, 4096, 12345), libc::EINVAL);
    ok(munmap(at as usize, 8192));
    fails(
        madvise(at as usize, 8192, libc::MADV_DONTNEED),
        libc::ENOMEM,
    );
}

fn private_file_maps_copy() {
    let fd = file("f", &[b'a'; 5000]);
    let at = mmap(0, 5000, RW, MAP_PRIVATE, fd, 0).expect("a file can be mapped");
    assert_eq!(
        (peek(at), peek(at + 4999), peek(at + 5001)),
        (b'a', b'a', 0)
    );
    poke(at, b'X');
    assert_eq!(std::fs::read("f").expect("it is there")[0], b'a');
    // A page that was not written to yet still shows the file.
    ok(pwrite(fd, b"b", 4096));
    assert_eq!((peek(at), peek(at + 4096)), (b'X', b'b'));
    close(fd);
    assert_eq!(peek(at + 4097), b'a');
    let fd = ok(open("f", libc::O_RDONLY));
    let second = mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 4096).expect("an offset of a page");
    assert_eq!(peek(second), b'b');
}

fn shared_file_maps_write() {
    let fd = file("f", &[b'a'; 4096]);
    let at = mmap(0, 4096, RW, MAP_SHARED, fd, 0).expect("a file can be mapped");
    poke(at + 10, b'S');
    assert_eq!(std::fs::read("f").expect("it is there")[10], b'S');
    ok(pwrite(fd, b"W", 20));
    assert_eq!(peek(at + 20), b'W');
    in_child(|| poke(at + 30, b'C'));
    assert_eq!(peek(at + 30), b'C');
    ok(msync(at, 4096, libc::MS_SYNC));
}

fn shared_maps_between_processes() {
    let fd = file("f", &[0; 4096]);
    let at = mmap(0, 4096, RW, MAP_SHARED, fd, 0).expect("a file can be mapped");
    in_child(|| {
        let fd = ok(open("f", libc::O_RDWR));
        let other = mmap(0, 4096, RW, MAP_SHARED, fd, 0).expect("a file can be mapped");
        poke(other + 5, 55);
    });
    assert_eq!(peek(at + 5), 55);
}

fn map_rights_follow_the_file() {
    file("f", &[1; 4096]);
    let fd = ok(open("f", libc::O_RDONLY));
    assert_eq!(mmap(0, 4096, RW, MAP_SHARED, fd, 0), Err(libc::EACCES));
    mmap(0, 4096, RW, MAP_PRIVATE, fd, 0).expect("a private one may be written");
    let at = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0).expect("reading is fine");
    fails(mprotect(at, 4096, RW), libc::EACCES);
    let fd = ok(open("f", libc::O_WRONLY));
    assert_eq!(
        mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0),
        Err(libc::EACCES)
    );
}

fn truncation_zaps_maps() {
    let fd = file("f", &[1; 8192]);
    let at = mmap(0, 8192, RW, MAP_SHARED, fd, 0).expect("a file can be mapped");
    assert_eq!(peek(at + 4096), 1);
    ok(ftruncate(fd, 4096));
    assert_eq!(
        end_of(|| ignore(peek(at + 4096))),
        Ended::Signal(libc::SIGBUS)
    );
    ok(ftruncate(fd, 8192));
    assert_eq!(peek(at + 4096), 0);
}

fn mincore_and_msync() {
    let at = map(2 * 4096);
    poke(at as usize, 1);
    let mut seen = [9_u8; 2];
    ok(mincore(at as usize, 8192, &mut seen));
    assert_eq!((seen[0] & 1, seen[1] & 1), (1, 0));
    fails(msync(at as usize + 1, 4096, libc::MS_SYNC), libc::EINVAL);
    fails(
        msync(at as usize, 4096, libc::MS_SYNC | libc::MS_ASYNC),
        libc::EINVAL,
    );
    ok(munmap(at as usize, 8192));
    fails(mincore(at as usize, 8192, &mut seen), libc::ENOMEM);
    fails(msync(at as usize, 4096, libc::MS_SYNC), libc::ENOMEM);
}

fn depth(n: u32) -> u64 {
    let block = std::hint::black_box([u64::from(n); 128]);
    if n == 0 { 0 } else { depth(n - 1) + block[5] }
}

fn stack_grows() {
    // A little more than 2 MiB.
    assert_eq!(depth(2000), 2000 * 2001 / 2);
}

fn stack_overflow_kills() {
    assert!(dies(|| ignore(std::hint::black_box(depth(u32::MAX)))));
}

fn stack_limit_counts() {
    assert!(dies(|| {
        ok(setrlimit(
            libc::RLIMIT_STACK,
            512 * 1024,
            libc::RLIM_INFINITY,
        ));
        std::hint::black_box(depth(2000));
    }));
}

fn address_space_limit() {
    in_child(|| {
        limit(libc::RLIMIT_AS, 32 << 20);
        assert_eq!(mmap(0, 64 << 20, RW, ANON, -1, 0), Err(libc::ENOMEM));
        mmap(0, 1 << 20, RW, ANON, -1, 0).expect("a little is left");
        let mut count = 0;
        let error = loop {
            match mmap(0, 1 << 20, RW, ANON, -1, 0) {
                Ok(_) => count += 1,
                Err(error) => break error,
            }
        };
        assert!(count < 32 && error == libc::ENOMEM);
    });
    in_child(|| {
        limit(libc::RLIMIT_DATA, 1 << 20);
        assert_eq!(mmap(0, 16 << 20, RW, ANON, -1, 0), Err(libc::ENOMEM));
        mmap(0, 16 << 20, PROT_READ, ANON, -1, 0).expect("what cannot be written is no data");
    });
}

fn exhaustion_leaves_the_system_well() {
    // One process takes all the memory there is. It fails or is killed; everybody else goes on.
    let end = end_of(|| {
        std::fs::write("/proc/self/oom_score_adj", "1000").ok();
        loop {
            let Ok(at) = mmap(0, 4 << 20, RW, ANON, -1, 0) else {
                exit(12)
            };
            for page in (0..4 << 20).step_by(4096) {
                poke(at + page, 1);
            }
        }
    });
    let expected = [
        Ended::Signal(libc::SIGKILL),
        Ended::Signal(libc::SIGBUS),
        Ended::Exit(12),
    ];
    assert!(expected.contains(&end), "{end:?}");
    std::fs::write("f", vec![1; 1 << 20]).expect("there is memory again");
    in_child(|| ignore(map(1 << 20)));
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

fn bad_pointers() {
    let fd = file("f", b"abc");
    for at in [
        0,
        8,
        0x7fff_ffff_f000,
        0x8000_0000_0000,
        0xffff_8880_0000_0000,
        0xffff_ffff_8000_0000,
        usize::MAX - 2,
    ] {
        let fault = Err(libc::EFAULT);
        assert_eq!(
            call(libc::SYS_read, &[fd as usize, at, 3]),
            fault,
            "read {at:#x}"
        );
        ok(lseek(fd, 0, libc::SEEK_SET));
        assert_eq!(
            call(libc::SYS_write, &[fd as usize, at, 3]),
            fault,
            "write {at:#x}"
        );
        assert_eq!(
            call(libc::SYS_openat, &[libc::AT_FDCWD as usize, at, 0]),
            fault,
            "open {at:#x}"
        );
        assert_eq!(
            call(
                libc::SYS_newfstatat,
                &[libc::AT_FDCWD as usize, c"f".as_ptr() as usize, at, 0]
            ),
            fault
        );
        assert_eq!(call(libc::SYS_pipe2, &[at, 0]), fault, "pipe {at:#x}");
        assert_eq!(call(libc::SYS_getcwd, &[at, 4096]), fault, "getcwd {at:#x}");
        assert_eq!(
            call(libc::SYS_clock_gettime, &[5, at]),
            fault,
            "clock_gettime {at:#x}"
        );
        assert_eq!(
            call(libc::SYS_readv, &[fd as usize, at, 1]),
            fault,
            "readv {at:#x}"
        );
        assert_eq!(call(libc::SYS_poll, &[at, 1, 0]), fault, "poll {at:#x}");
        assert_eq!(call(libc::SYS_execve, &[at, 0, 0]), fault, "execve {at:#x}");
    }
    let end = end_of(|| {
        let _ = call(libc::SYS_wait4, &[usize::MAX, 0xffff_8880_0000_0000, 0, 0]);
    });
    assert_eq!(end, Ended::Exit(0));
}

fn partial_copies() {
    let at = map(8192) as usize;
    ok(munmap(at + 4096, 4096));
    let zero = ok(open("/dev/zero", libc::O_RDONLY));
    assert_eq!(
        call(libc::SYS_read, &[zero as usize, at + 4000, 200]),
        Ok(96)
    );
    let fd = file("f", b"");
    assert_eq!(
        call(libc::SYS_write, &[fd as usize, at + 4000, 200]),
        Ok(96)
    );
    assert_eq!(
        call(libc::SYS_write, &[fd as usize, at + 4096, 200]),
        Err(libc::EFAULT)
    );
    assert_eq!(std::fs::metadata("f").expect("it is there").len(), 96);
    // A length near 2^64 is cut or refused, and nothing is overwritten.
    assert_eq!(
        call(libc::SYS_read, &[zero as usize, at, usize::MAX]),
        Err(libc::EFAULT)
    );
    assert_eq!(
        call(libc::SYS_read, &[zero as usize, at, 1 << 63]),
        Err(libc::EFAULT)
    );
}

fn mlock_limits() {
    let at = map(1 << 20) as usize;
    ok(mlock(at, 1 << 20));
    ok(munlock(at, 1 << 20));
    in_child(|| {
        limit(libc::RLIMIT_MEMLOCK, 65536);
        become_user();
        ok(mlock(at, 4096));
        fails(mlock(at, 1 << 20), libc::ENOMEM);
    });
}

fn fork_of_much_memory() {
    let at = map(16 << 20) as usize;
    for page in 0..4096 {
        poke(at + page * 4096, page as u8);
    }
    for _ in 0..3 {
        in_child(|| {
            for page in 0..4096 {
                assert_eq!(peek(at + page * 4096), page as u8);
                poke(at + page * 4096, 0xee);
            }
        });
    }
    for page in 0..4096 {
        assert_eq!(peek(at + page * 4096), page as u8);
    }
}

fn mprotect_errors() {
    let at = map(4096) as usize;
    assert_eq!(
        call(libc::SYS_mprotect, &[at + 1, 4096, 1]),
        Err(libc::EINVAL)
    );
    assert_eq!(
        call(libc::SYS_mprotect, &[at, 4096, 0x100]),
        Err(libc::EINVAL)
    );
    assert_eq!(call(libc::SYS_mprotect, &[at, 0, 1]), Ok(0));
    ok(munmap(at, 4096));
    assert_eq!(call(libc::SYS_mprotect, &[at, 4096, 1]), Err(libc::ENOMEM));
    assert_eq!(
        call(libc::SYS_mprotect, &[at, usize::MAX, 1]),
        Err(libc::ENOMEM)
    );
}

fn dev_zero_maps() {
    let fd = ok(open("/dev/zero", libc::O_RDWR));
    let at = mmap(0, 4096, RW, MAP_PRIVATE, fd, 0).expect("it can be mapped");
    assert_eq!(peek(at), 0);
    poke(at, 1);
    assert_eq!(peek(at), 1);
}
