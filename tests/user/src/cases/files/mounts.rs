//! Mounts, and roots other than the first.

use super::{path_exists, raw_error, stat};
use crate::cases::cases;
use crate::sys::*;
use libc::{O_CREAT, O_RDONLY, O_WRONLY};

cases![
    mounts_nest,
    mounts_on_directories_of_the_kernel,
    bind_mounts,
    read_only_mounts,
    mount_errors,
    chroot_confines,
];

fn mounts_nest() {
    ok(mkdir("m", 0o755));
    ok(mount("first", "m", "tmpfs", 0, ""));
    close(file("m/one", b""));
    ok(mkdir("m/n", 0o755));
    ok(mount("second", "m/n", "tmpfs", 0, "mode=700"));
    assert_eq!(stat("m/n").st_mode & 0o777, 0o700);
    assert_ne!(stat("m").st_dev, stat("m/n").st_dev);
    fails(umount("m"), libc::EBUSY);
    // Over a mount point lies the newest.
    ok(mount("third", "m/n", "tmpfs", 0, ""));
    close(file("m/n/three", b""));
    ok(umount("m/n"));
    assert!(!path_exists("m/n/three"));
    ok(umount("m/n"));
    let fd = ok(open("m/one", O_RDONLY));
    fails(umount("m"), libc::EBUSY);
    ok(umount2("m", libc::MNT_DETACH));
    assert!(!path_exists("m/one"));
    assert_eq!(get(fd, 1), b"");
    fails(rmdir("/proc"), libc::EBUSY);
}

fn mounts_on_directories_of_the_kernel() {
    for at in ["/sys/fs/cgroup", "/proc/sys", "/proc/self/task"] {
        ok(mount("over", at, "tmpfs", 0, ""));
        close(file(&format!("{at}/one"), b""));
        ok(mkdir(&format!("{at}/two"), 0o755));
        ok(mount("beneath", &format!("{at}/two"), "tmpfs", 0, ""));
        fails(umount(at), libc::EBUSY);
        ok(umount(&format!("{at}/two")));
        // Whoever looks anew finds it too.
        in_child(move || {
            assert!(path_exists(&format!("{at}/two")) || at == "/proc/self/task");
        });
        ok(umount(at));
        assert!(!path_exists(&format!("{at}/one")));
        fails(umount(at), libc::EINVAL);
    }
    assert!(path_exists("/proc/sys/kernel"));
}

fn bind_mounts() {
    ok(mkdir("a", 0o755));
    ok(mkdir("b", 0o755));
    file("a/f", b"bound");
    ok(mount("a", "b", "", libc::MS_BIND, ""));
    assert_eq!(std::fs::read("b/f").expect("it shows"), b"bound");
    assert_eq!(raw_error(std::fs::rename("a/f", "b/g")), libc::EXDEV);
    ok(umount("b"));
    file("plain", b"plain");
    file("target", b"");
    ok(mount("plain", "target", "", libc::MS_BIND, ""));
    assert_eq!(std::fs::read("target").expect("it shows"), b"plain");
    fails(unlink("target"), libc::EBUSY);
    ok(umount("target"));
    fails(mount("a", "plain", "", libc::MS_BIND, ""), libc::ENOTDIR);
}

fn read_only_mounts() {
    ok(mkdir("m", 0o755));
    ok(mount("t", "m", "tmpfs", 0, ""));
    file("m/f", b"x");
    close_from(3);
    ok(mount(
        "t",
        "m",
        "tmpfs",
        libc::MS_REMOUNT | libc::MS_RDONLY,
        "",
    ));
    fails(open("m/f", O_WRONLY), libc::EROFS);
    fails(open("m/new", O_WRONLY | O_CREAT), libc::EROFS);
    fails(mkdir("m/d", 0o755), libc::EROFS);
    fails(chmod("m/f", 0o600), libc::EROFS);
    assert_eq!(raw_error(std::fs::rename("m/f", "m/g")), libc::EROFS);
    ok(open("m/f", O_RDONLY));
    close_from(3);
    ok(mount("t", "m", "tmpfs", libc::MS_REMOUNT, ""));
    ok(open("m/f", O_WRONLY));
    close_from(3);
    ok(umount("m"));
}

fn mount_errors() {
    ok(mkdir("m", 0o755));
    file("f", b"");
    fails(mount("t", "m", "nosuchfs", 0, ""), libc::ENODEV);
    fails(mount("t", "none", "tmpfs", 0, ""), libc::ENOENT);
    fails(mount("t", "f", "tmpfs", 0, ""), libc::ENOTDIR);
    fails(mount("t", "m", "tmpfs", 0, "size=nonsense"), libc::EINVAL);
    fails(mount("t", "m", "tmpfs", 0, "nosuchoption=1"), libc::EINVAL);
    fails(umount("m"), libc::EINVAL);
    fails(umount("none"), libc::ENOENT);
    fails(mount("none", "m", "", libc::MS_BIND, ""), libc::ENOENT);
    fails(mount("t", "m", "tmpfs", libc::MS_REMOUNT, ""), libc::EINVAL);
}

fn chroot_confines() {
    ok(mkdir("r", 0o755));
    ok(mkdir("r/d", 0o755));
    file("r/inside", b"");
    in_child(|| {
        ok(chroot("r"));
        ok(chdir("/d"));
        ok(open("/inside", O_RDONLY));
        ok(open("../../../../inside", O_RDONLY));
        fails(open("/etc/passwd", O_RDONLY), libc::ENOENT);
        std::os::unix::fs::symlink("/inside", "l").expect("the directory is writable");
        ok(open("l", O_RDONLY));
        assert_eq!(
            std::env::current_dir().expect("there is one"),
            std::path::Path::new("/d")
        );
    });
    fails(chroot("r/inside"), libc::ENOTDIR);
    fails(chroot("r/none"), libc::ENOENT);
}
