//! What may be done with pages, and what is known of them.

use super::{RW, dies};
use crate::cases::cases;
use crate::sys::*;
use libc::{PROT_NONE, PROT_READ};

cases![
    protection_splits,
    madvise_dontneed_zeroes,
    mincore_and_msync,
    bad_pointers,
    partial_copies,
    mprotect_errors,
];

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
