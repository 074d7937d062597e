//! Who may do what: permissions, sticky directories, groups, ownership, the umask.

use super::stat;
use crate::cases::cases;
use crate::sys::*;
use libc::{AT_FDCWD, O_CREAT, O_RDONLY, O_RDWR, O_WRONLY};

cases![
    permissions_are_checked,
    directory_permissions,
    sticky_directories,
    group_permissions,
    mode_bits_change,
    umask_applies,
    ownership_clears_set_id,
    access_uses_real_ids,
    fchmodat_and_fchownat,
];

fn permissions_are_checked() {
    file("f", b"x");
    ok(chmod("f", 0o600));
    file("r", b"x");
    ok(chmod("r", 0o644));
    ok(chmod(".", 0o755));
    in_child(|| {
        become_user();
        fails(open("f", O_RDONLY), libc::EACCES);
        ok(open("r", O_RDONLY));
        fails(open("r", O_RDWR), libc::EACCES);
        fails(open("new", O_WRONLY | O_CREAT), libc::EACCES);
        fails(unlink("r"), libc::EACCES);
        fails(chmod("r", 0o777), libc::EPERM);
        fails(chown("r", 1000, 1000), libc::EPERM);
        fails(truncate("r", 0), libc::EACCES);
        fails(utimensat(AT_FDCWD, "r", None, 0), libc::EACCES);
        fails(
            mknod("/tmp/dev", libc::S_IFCHR | 0o666, libc::makedev(1, 3)),
            libc::EPERM,
        );
    });
    ok(chmod("f", 0o000));
    ok(open("f", O_RDWR)); // root may
}

fn directory_permissions() {
    ok(mkdir("d", 0o755));
    file("d/f", b"x");
    in_child(|| {
        ok(chmod("d", 0o711));
        become_user();
        ok(open("d/f", O_RDONLY));
        fails(open("d", O_RDONLY), libc::EACCES);
    });
    in_child(|| {
        ok(chmod("d", 0o744));
        become_user();
        fails(open("d/f", O_RDONLY), libc::EACCES);
        ok(open("d", O_RDONLY));
        fails(chdir("d"), libc::EACCES);
    });
}

fn sticky_directories() {
    ok(mkdir("d", 0o755));
    ok(chmod("d", 0o1777));
    file("d/root", b"");
    in_child(|| {
        become_user();
        fails(unlink("d/root"), libc::EPERM);
        fails(rename("d/root", "d/x"), libc::EPERM);
        file("d/mine", b"");
        ok(unlink("d/mine"));
    });
}

fn group_permissions() {
    file("f", b"x");
    ok(chown("f", 0, 77));
    ok(chmod("f", 0o640));
    in_child(|| {
        ok(setgroups(&[77]));
        ok(setresgid(1000, 1000, 1000));
        ok(setresuid(1000, 1000, 1000));
        ok(open("f", O_RDONLY));
        fails(open("f", O_WRONLY), libc::EACCES);
    });
    // The owner's bits count for the owner, even if they give less.
    ok(chown("f", 1000, 77));
    ok(chmod("f", 0o066));
    in_child(|| {
        become_user();
        fails(open("f", O_RDONLY), libc::EACCES);
    });
    // A set-group-id directory hands its group on.
    ok(mkdir("d", 0o755));
    ok(chown("d", 0, 88));
    ok(chmod("d", 0o2755));
    file("d/f", b"");
    ok(mkdir("d/e", 0o755));
    assert_eq!(
        (
            stat("d/f").st_gid,
            stat("d/e").st_gid,
            stat("d/e").st_mode & 0o2000
        ),
        (88, 88, 0o2000)
    );
}

fn mode_bits_change() {
    file("f", b"");
    for mode in [0o000, 0o777, 0o4711, 0o2755, 0o1644] {
        ok(chmod("f", mode));
        assert_eq!(stat("f").st_mode & 0o7777, mode);
    }
    let fd = ok(open("f", O_RDONLY));
    ok(fchmod(fd, 0o612));
    assert_eq!(stat("f").st_mode, libc::S_IFREG | 0o612);
}

fn umask_applies() {
    assert_eq!(umask(0o027), 0o022);
    ok(open_mode("f", O_CREAT | O_WRONLY, 0o777));
    ok(mkdir("d", 0o777));
    ok(mkfifo("p", 0o666));
    let bits = |path| stat(path).st_mode & 0o777;
    assert_eq!((bits("f"), bits("d"), bits("p")), (0o750, 0o750, 0o640));
    in_child(|| assert_eq!(umask(0), 0o027));
    assert_eq!(umask(0), 0o027);
}

fn ownership_clears_set_id() {
    file("f", b"");
    ok(chown("f", 1000, 1000));
    ok(chmod("f", 0o6755));
    ok(chown("f", 1000, 1000));
    assert_eq!(stat("f").st_mode & 0o7777, 0o755);
    ok(chown("f", u32::MAX, 5));
    assert_eq!((stat("f").st_uid, stat("f").st_gid), (1000, 5));
    // Writing by somebody else clears them as well.
    ok(chmod("f", 0o6777));
    in_child(|| {
        become_user();
        put(ok(open("f", O_WRONLY)), b"x");
    });
    assert_eq!(stat("f").st_mode & 0o7777, 0o777);
}

fn access_uses_real_ids() {
    file("f", b"");
    ok(chmod("f", 0o600));
    ok(chmod(".", 0o755));
    in_child(|| {
        ok(setresuid(1000, 0, 0));
        let access = |mode| access("f", mode);
        fails(access(libc::R_OK), libc::EACCES);
        ok(access(libc::F_OK));
        ok(open("f", O_RDONLY));
        ok(faccessat(AT_FDCWD, "f", libc::R_OK, libc::AT_EACCESS));
    });
    fails(access("f", libc::X_OK), libc::EACCES);
    fails(access("f", 0x80), libc::EINVAL);
}

fn fchmodat_and_fchownat() {
    file("f", b"");
    std::os::unix::fs::symlink("f", "l").expect("the directory is writable");
    ok(fchownat(AT_FDCWD, "l", 5, 6, libc::AT_SYMLINK_NOFOLLOW));
    assert_eq!((stat("l").st_uid, stat("f").st_uid), (5, 0));
    ok(fchownat(AT_FDCWD, "l", 7, 8, 0));
    assert_eq!((stat("f").st_uid, stat("f").st_gid), (7, 8));
    ok(fchmodat(AT_FDCWD, "l", 0o601));
    assert_eq!(stat("f").st_mode & 0o777, 0o601);
    let fd = ok(open("f", O_RDONLY));
    ok(fchownat(fd, "", 9, 9, libc::AT_EMPTY_PATH));
    assert_eq!(stat("f").st_uid, 9);
}
