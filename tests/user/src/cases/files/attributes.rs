//! What is known of a file: times, statx, its file system, extended attributes.

use super::stat;
use crate::cases::cases;
use crate::sys::*;
use libc::{AT_FDCWD, O_RDONLY, O_WRONLY};

cases![
    times_are_kept,
    statx_fills,
    statfs_knows,
    extended_attributes,
];

fn times_are_kept() {
    file("f", b"");
    let times = [
        libc::timespec {
            tv_sec: 1000,
            tv_nsec: 5,
        },
        libc::timespec {
            tv_sec: 2000,
            tv_nsec: 999_999_999,
        },
    ];
    ok(utimensat(AT_FDCWD, "f", Some(&times), 0));
    let info = stat("f");
    assert_eq!(
        (
            info.st_atime,
            info.st_atime_nsec,
            info.st_mtime,
            info.st_mtime_nsec
        ),
        (1000, 5, 2000, 999_999_999)
    );
    let omit = [
        libc::timespec {
            tv_sec: 0,
            tv_nsec: libc::UTIME_OMIT,
        },
        libc::timespec {
            tv_sec: 0,
            tv_nsec: libc::UTIME_NOW,
        },
    ];
    ok(utimensat(AT_FDCWD, "f", Some(&omit), 0));
    assert!(stat("f").st_atime == 1000 && stat("f").st_mtime > 1_700_000_000);
    let wrong = [libc::timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000_000,
    }; 2];
    fails(utimensat(AT_FDCWD, "f", Some(&wrong), 0), libc::EINVAL);
    // Writing moves the times of content and change, a new entry those of the directory.
    let before = stat("f");
    sleep_ms(30);
    put(ok(open("f", O_WRONLY)), b"x");
    let after = stat("f");
    let nanos = |s: i64, n: i64| s * 1_000_000_000 + n;
    assert!(
        nanos(after.st_mtime, after.st_mtime_nsec) > nanos(before.st_mtime, before.st_mtime_nsec)
    );
    assert!(
        nanos(after.st_ctime, after.st_ctime_nsec) > nanos(before.st_ctime, before.st_ctime_nsec)
    );
    let directory = stat(".");
    sleep_ms(30);
    file("g", b"");
    assert!(
        nanos(stat(".").st_mtime, stat(".").st_mtime_nsec)
            > nanos(directory.st_mtime, directory.st_mtime_nsec)
    );
}

fn statx_fills() {
    file("f", b"hello");
    let info = ok(statx(AT_FDCWD, "f", 0, libc::STATX_BASIC_STATS));
    assert_eq!(
        info.stx_mask & libc::STATX_BASIC_STATS,
        libc::STATX_BASIC_STATS
    );
    assert_eq!(
        (info.stx_size, info.stx_nlink, u32::from(info.stx_mode)),
        (5, 1, stat("f").st_mode)
    );
    assert_eq!(info.stx_ino, stat("f").st_ino);
    let fd = ok(open("f", O_RDONLY));
    let info = ok(statx(fd, "", libc::AT_EMPTY_PATH, libc::STATX_ALL));
    assert_eq!(info.stx_size, 5);
    let all = libc::STATX_ALL;
    fails(statx(AT_FDCWD, "f", 0x100_0000, all), libc::EINVAL);
    fails(statx(AT_FDCWD, "", 0, all), libc::ENOENT);
}

fn statfs_knows() {
    let kind = |path: &str| {
        let info = ok(statfs(path));
        assert!(info.f_bsize > 0 && info.f_namelen == 255);
        info.f_type as i64
    };
    assert_eq!(kind("/proc"), 0x9fa0);
    assert_eq!(kind("/dev/shm"), 0x0102_1994);
    assert_eq!(kind("/dev/pts"), 0x1cd1);
    assert_eq!(kind("/sys"), 0x6265_6572);
    let info = ok(statfs("/dev/shm"));
    assert!(info.f_blocks > 0 && info.f_bfree <= info.f_blocks && info.f_files > 0);
    fails(statfs("no"), libc::ENOENT);
}

fn extended_attributes() {
    ok(chdir("/dev/shm"));
    let path = "attributes";
    file("attributes", b"");
    let name = "trusted.a";
    let set = |flags| setxattr(path, name, b"value", flags);
    ok(set(0));
    fails(set(libc::XATTR_CREATE), libc::EEXIST);
    let mut buffer = [0_u8; 100];
    let mut get = |name: &str, len: usize| getxattr(path, name, &mut buffer[..len]);
    assert_eq!(ok(get("trusted.a", 0)), 5);
    fails(get("trusted.a", 3), libc::ERANGE);
    assert_eq!(ok(get("trusted.a", 100)), 5);
    fails(get("trusted.b", 100), libc::ENODATA);
    fails(get("nonsense", 100), libc::EOPNOTSUPP);
    assert_eq!(&buffer[..5], b"value");
    ok(removexattr(path, name));
    fails(removexattr(path, name), libc::ENODATA);
    ok(unlink(path));
}
