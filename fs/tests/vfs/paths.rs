//! Path walks and the calls that make, remove and rename names, as a program sees them.

use crate::common::{Names, World, read_all, write_all};
use fs::file::oflag::*;
use fs::inode::{S_IFCHR, S_IFDIR, S_IFIFO, S_IFSOCK, make_dev, rename_flag};
use fs::namei::LookupFlags;
use fs::{Errno, SliceSource, attr, dirops};

#[test]
fn walks_end_with_linux_errors() {
    let w = World::new();
    w.mkdir("/d").unwrap();
    w.write("/d/f", b"x");
    w.symlink("loop2", "/loop1").unwrap();
    w.symlink("loop1", "/loop2").unwrap();
    w.symlink("d/", "/to_d").unwrap();
    w.symlink("d/f", "/to_f").unwrap();
    w.symlink("missing", "/dangling").unwrap();
    let error = |path: &str| w.lookup(path).err();
    assert_eq!(error(""), Some(Errno::ENOENT));
    assert_eq!(error("/none"), Some(Errno::ENOENT));
    assert_eq!(error("/none/x"), Some(Errno::ENOENT));
    assert_eq!(error("/d/f/x"), Some(Errno::ENOTDIR));
    assert_eq!(error("/d/f/"), Some(Errno::ENOTDIR));
    assert_eq!(error("/d/f/."), Some(Errno::ENOTDIR));
    assert_eq!(error("/d/f/.."), Some(Errno::ENOTDIR));
    assert_eq!(error("/loop1"), Some(Errno::ELOOP));
    assert_eq!(error("/loop1/x"), Some(Errno::ELOOP));
    assert_eq!(error("/to_f/"), Some(Errno::ENOTDIR));
    assert_eq!(error("/dangling"), Some(Errno::ENOENT));
    assert_eq!(
        error(&format!("/{}", "n".repeat(256))),
        Some(Errno::ENAMETOOLONG)
    );
    assert_eq!(error(&format!("/{}", "n".repeat(255))), Some(Errno::ENOENT));
    assert_eq!(error(&"/d/..".repeat(1000)), Some(Errno::ENAMETOOLONG));
    for ok in [
        "/",
        "//",
        "/.",
        "/..",
        "/d/",
        "/d//f",
        "/to_d/f",
        "/to_f",
        "/d/../d/./f",
        "d/f",
    ] {
        assert_eq!(error(ok), None, "{ok}");
    }
    assert!(w.lookup_link("/dangling").is_ok());
    assert_eq!(w.lookup_link("/dangling/").err(), Some(Errno::ENOENT));
    assert!(
        w.lookup_link("/to_d/")
            .unwrap()
            .dentry
            .inode()
            .unwrap()
            .is_dir()
    );
}

#[test]
fn forty_links_are_followed_and_no_more() {
    let w = World::new();
    w.write("/l0", b"end");
    for n in 1..=41 {
        w.symlink(&format!("l{}", n - 1), &format!("/l{n}"))
            .unwrap();
    }
    assert_eq!(w.read("/l40"), b"end");
    assert_eq!(w.lookup("/l41").err(), Some(Errno::ELOOP));
}

#[test]
fn dot_dot_stops_at_the_root_of_the_process() {
    let mut w = World::new();
    w.mkdir("/jail").unwrap();
    w.mkdir("/jail/in").unwrap();
    w.write("/outside", b"");
    w.symlink("/in", "/jail/link").unwrap();
    let outer = w.root.clone();
    w.root = w.lookup("/jail").unwrap();
    w.cwd = w.root.clone();
    assert_eq!(w.lookup("../outside").err(), Some(Errno::ENOENT));
    assert_eq!(
        w.lookup("in/../../../in").unwrap(),
        w.lookup("/link").unwrap()
    );
    assert_eq!(w.display(&w.lookup("in").unwrap()), "/in");
    assert_eq!(
        w.lookup("in").unwrap().display(&outer).unwrap(),
        b"/jail/in"
    );
}

#[test]
fn open_flags() {
    let w = World::new();
    w.mkdir("/d").unwrap();
    w.write("/f", b"hello");
    w.symlink("f", "/l").unwrap();
    w.symlink("new", "/dangling").unwrap();
    let error = |path: &str, flags| w.open(path, flags).err();
    assert_eq!(
        error("/f", O_RDONLY | O_CREAT | O_EXCL),
        Some(Errno::EEXIST)
    );
    assert_eq!(
        error("/dangling", O_RDWR | O_CREAT | O_EXCL),
        Some(Errno::EEXIST)
    );
    assert_eq!(error("/l", O_RDONLY | O_NOFOLLOW), Some(Errno::ELOOP));
    assert_eq!(
        error("/l", O_RDONLY | O_CREAT | O_NOFOLLOW),
        Some(Errno::ELOOP)
    );
    assert_eq!(error("/f", O_RDONLY | O_DIRECTORY), Some(Errno::ENOTDIR));
    assert_eq!(error("/d", O_WRONLY), Some(Errno::EISDIR));
    assert_eq!(error("/d", O_RDONLY | O_CREAT), Some(Errno::EISDIR));
    assert_eq!(error("/", O_RDONLY | O_CREAT), Some(Errno::EISDIR));
    assert_eq!(error("/x/", O_RDWR | O_CREAT), Some(Errno::EISDIR));
    assert_eq!(error("/x", O_RDONLY), Some(Errno::ENOENT));
    assert_eq!(error("/f/x", O_RDWR | O_CREAT), Some(Errno::ENOTDIR));
    assert_eq!(error("/f", O_RDWR | O_DIRECT), Some(Errno::EINVAL));
    assert_eq!(error("/d", O_RDONLY | O_TMPFILE), Some(Errno::EINVAL));

    // A dangling link is created through.
    drop(w.open("/dangling", O_RDWR | O_CREAT).unwrap());
    assert_eq!(w.stat("/new").unwrap().mode, 0o100644);

    let path_only = w.open("/l", O_PATH | O_NOFOLLOW).unwrap();
    assert!(path_only.is_path());
    assert_eq!(
        path_only.read(&mut fs::SliceSink::new(&mut [0; 4])),
        Err(Errno::EBADF)
    );

    let file = w.open("/f", O_RDWR | O_APPEND).unwrap();
    write_all(&file, b" world").unwrap();
    assert_eq!(w.read("/f"), b"hello world");
    assert_eq!(file.pos(), 11);
    drop(w.open("/f", O_WRONLY | O_TRUNC).unwrap());
    assert_eq!(w.stat("/f").unwrap().size, 0);
}

#[test]
fn a_file_without_a_name_can_get_one() {
    let w = World::new();
    let file = w.open_mode("/", O_RDWR | O_TMPFILE, 0o600).unwrap();
    write_all(&file, b"secret").unwrap();
    assert_eq!(file.inode().nlink(), 0);
    assert!(w.names("/").is_empty());
    dirops::link(file.path(), &w.walk(), b"/named").unwrap();
    assert_eq!(w.read("/named"), b"secret");
    let other = w.open("/", O_RDWR | O_TMPFILE | O_EXCL).unwrap();
    assert_eq!(
        dirops::link(other.path(), &w.walk(), b"/x"),
        Err(Errno::ENOENT)
    );
}

#[test]
fn names_that_cannot_be_made_or_removed() {
    let w = World::new();
    w.mkdir("/d").unwrap();
    w.mkdir("/d/sub").unwrap();
    w.write("/f", b"");
    w.symlink("d", "/l").unwrap();
    for (path, error) in [
        ("/", Errno::EEXIST),
        ("/d", Errno::EEXIST),
        ("/d/.", Errno::EEXIST),
        ("/d/..", Errno::EEXIST),
        ("/l", Errno::EEXIST),
        ("/x/y", Errno::ENOENT),
        ("/f/y", Errno::ENOTDIR),
        ("", Errno::ENOENT),
    ] {
        assert_eq!(w.mkdir(path), Err(error), "mkdir {path}");
    }
    w.mkdir("/slash/").unwrap();
    for (path, error) in [
        ("/", Errno::EBUSY),
        ("/d/.", Errno::EINVAL),
        ("/d/..", Errno::ENOTEMPTY),
        ("/d", Errno::ENOTEMPTY),
        ("/f", Errno::ENOTDIR),
        ("/l", Errno::ENOTDIR),
        ("/x", Errno::ENOENT),
    ] {
        assert_eq!(w.rmdir(path), Err(error), "rmdir {path}");
    }
    for (path, error) in [
        ("/", Errno::EISDIR),
        ("/d", Errno::EISDIR),
        ("/d/.", Errno::EISDIR),
        ("/d/", Errno::EISDIR),
        ("/f/", Errno::ENOTDIR),
        ("/x", Errno::ENOENT),
        ("/x/", Errno::ENOENT),
    ] {
        assert_eq!(w.unlink(path), Err(error), "unlink {path}");
    }
    assert_eq!(w.symlink("", "/e"), Err(Errno::ENOENT));
    assert_eq!(w.symlink("t", "/e/"), Err(Errno::ENOENT));
    assert_eq!(w.symlink("t", "/f"), Err(Errno::EEXIST));
    assert_eq!(w.link("/d", "/d2"), Err(Errno::EPERM));
    assert_eq!(w.link("/f", "/f"), Err(Errno::EEXIST));
    assert_eq!(w.mknod("/n", S_IFDIR | 0o700, 0), Err(Errno::EPERM));
    assert_eq!(w.mknod("/n", 0o030000, 0), Err(Errno::EINVAL));
    let user = w.as_user(1000);
    w.chmod("/", 0o777).unwrap();
    assert_eq!(
        user.mknod("/n", S_IFCHR | 0o600, make_dev(1, 3)),
        Err(Errno::EPERM)
    );
    user.mknod("/fifo", S_IFIFO | 0o600, 0).unwrap();
    user.mknod("/sock", S_IFSOCK | 0o600, 0).unwrap();
    assert_eq!(w.open("/sock", O_RDONLY).err(), Some(Errno::ENXIO));
}

#[test]
fn link_counts_and_sizes_of_directories() {
    let w = World::new();
    assert_eq!(w.stat("/").unwrap().nlink, 2);
    w.mkdir("/a").unwrap();
    w.mkdir("/b").unwrap();
    w.mkdir("/a/sub").unwrap();
    assert_eq!(w.stat("/").unwrap().nlink, 4);
    assert_eq!(w.stat("/").unwrap().size, 80);
    assert_eq!(w.stat("/a").unwrap().nlink, 3);
    w.rename("/a/sub", "/b/sub").unwrap();
    assert_eq!(
        (w.stat("/a").unwrap().nlink, w.stat("/b").unwrap().nlink),
        (2, 3)
    );
    w.write("/f", b"1");
    w.link("/f", "/g").unwrap();
    assert_eq!(w.stat("/f").unwrap().nlink, 2);
    w.unlink("/f").unwrap();
    assert_eq!(w.stat("/g").unwrap().nlink, 1);
    w.rmdir("/b/sub").unwrap();
    assert_eq!(w.stat("/b").unwrap().nlink, 2);
}

#[test]
fn renames_and_what_they_refuse() {
    let w = World::new();
    for dir in ["/a", "/a/b", "/a/b/c", "/full", "/empty"] {
        w.mkdir(dir).unwrap();
    }
    w.write("/full/x", b"x");
    w.write("/f", b"f");
    w.write("/g", b"g");
    let cases = [
        ("/a", "/a/b/d", Errno::EINVAL),
        ("/a", "/a/b", Errno::EINVAL),
        ("/a/b/c", "/a", Errno::ENOTEMPTY),
        ("/a", "/full", Errno::ENOTEMPTY),
        ("/f", "/full", Errno::EISDIR),
        ("/empty", "/f", Errno::ENOTDIR),
        ("/f/", "/x", Errno::ENOTDIR),
        ("/f", "/x/", Errno::ENOTDIR),
        ("/none", "/x", Errno::ENOENT),
        ("/f", "/none/x", Errno::ENOENT),
        ("/a/.", "/x", Errno::EBUSY),
        ("/f", "/a/..", Errno::EBUSY),
        ("/f", "/", Errno::EBUSY),
    ];
    for (old, new, error) in cases {
        assert_eq!(w.rename(old, new), Err(error), "{old} to {new}");
    }
    assert_eq!(
        w.rename_flags("/f", "/g", rename_flag::NOREPLACE),
        Err(Errno::EEXIST)
    );
    assert_eq!(
        w.rename_flags("/f", "/x", rename_flag::EXCHANGE),
        Err(Errno::ENOENT)
    );
    assert_eq!(w.rename_flags("/f", "/g", 3), Err(Errno::EINVAL));
    assert_eq!(w.rename_flags("/f", "/g", 8), Err(Errno::EINVAL));

    w.rename_flags("/f", "/g", rename_flag::EXCHANGE).unwrap();
    assert_eq!((w.read("/f"), w.read("/g")), (b"g".to_vec(), b"f".to_vec()));
    w.rename_flags("/f", "/full", rename_flag::EXCHANGE)
        .unwrap();
    assert_eq!(w.read("/f/x"), b"x");
    w.rename("/full", "/g").unwrap();
    assert_eq!(w.read("/g"), b"g");
    w.rename("/a/b", "/empty/").unwrap();
    assert_eq!(w.names("/empty"), ["c"]);
    w.link("/g", "/h").unwrap();
    w.rename("/g", "/h").unwrap();
    assert_eq!(
        w.stat("/g").unwrap().nlink,
        2,
        "two names of one file: nothing happens"
    );
    assert_eq!(w.names("/"), ["a", "empty", "f", "g", "h"]);
}

#[test]
fn what_is_open_follows_renames_and_removal() {
    let mut w = World::new();
    w.mkdir("/a").unwrap();
    w.mkdir("/a/cwd").unwrap();
    w.write("/a/f", b"data");
    let file = w.open("/a/f", O_RDWR).unwrap();
    w.chdir("/a/cwd");
    w.rename("/a", "/z").unwrap();
    assert_eq!(w.display(file.path()), "/z/f");
    assert_eq!(w.display(&w.cwd), "/z/cwd");
    assert_eq!(w.lookup("..").unwrap(), w.lookup("/z").unwrap());
    w.unlink("/z/f").unwrap();
    w.rmdir("/z/cwd").unwrap();
    assert_eq!(w.display(file.path()), "/z/f (deleted)");
    assert_eq!(w.cwd.getcwd(&w.root), Err(Errno::ENOENT));
    assert_eq!(w.mkdir("sub"), Err(Errno::ENOENT));
    assert_eq!(w.open("new", O_CREAT | O_RDWR).err(), Some(Errno::ENOENT));
    assert!(w.lookup(".").is_ok());
    assert_eq!(read_all(&file), b"data");
    assert_eq!(file.inode().nlink(), 0);
    file.pwrite(0, &mut SliceSource::new(b"more")).unwrap();
}

#[test]
fn listing_is_newest_first_and_survives_removal() {
    let w = World::new();
    w.mkdir("/d").unwrap();
    for name in ["one", "two", "three", "four"] {
        w.write(&format!("/d/{name}"), b"");
    }
    let dir = w.open("/d", O_RDONLY).unwrap();
    let mut names = Names(Vec::new(), 3);
    dir.readdir(&mut names).unwrap();
    assert_eq!(names.0, [".", "..", "four"]);
    w.unlink("/d/three").unwrap();
    w.write("/d/five", b"");
    let mut rest = Names(Vec::new(), 10);
    dir.readdir(&mut rest).unwrap();
    assert_eq!(rest.0, ["two", "one"]);
    dir.seek(0, fs::file::Whence::Set).unwrap();
    let mut all = Names(Vec::new(), 10);
    dir.readdir(&mut all).unwrap();
    assert_eq!(all.0, [".", "..", "five", "four", "two", "one"]);
    for name in ["one", "two", "four", "five"] {
        w.unlink(&format!("/d/{name}")).unwrap();
    }
    w.rmdir("/d").unwrap();
    assert_eq!(dir.readdir(&mut Names(Vec::new(), 1)), Err(Errno::ENOENT));
}

#[test]
fn permissions_are_checked_along_the_way() {
    let w = World::new();
    w.mkdir("/private").unwrap();
    w.write("/private/f", b"x");
    w.chmod("/private", 0o700).unwrap();
    let user = w.as_user(1000);
    assert_eq!(user.stat("/private/f").err(), Some(Errno::EACCES));
    assert_eq!(user.stat("/private").map(|s| s.mode), Ok(S_IFDIR | 0o700));
    assert_eq!(user.mkdir("/x"), Err(Errno::EACCES));
    w.chmod("/private", 0o711).unwrap();
    assert_eq!(user.read("/private/f"), b"x");
    assert_eq!(user.open("/private/f", O_WRONLY).err(), Some(Errno::EACCES));
    assert_eq!(user.open("/private", O_RDONLY).err(), Some(Errno::EACCES));
    assert_eq!(user.chmod("/private/f", 0o777), Err(Errno::EPERM));
    assert_eq!(user.unlink("/private/f"), Err(Errno::EACCES));

    // A sticky directory.
    w.mkdir("/tmp").unwrap();
    w.chmod("/tmp", 0o1777).unwrap();
    user.write("/tmp/mine", b"");
    let other = w.as_user(1001);
    assert_eq!(other.unlink("/tmp/mine"), Err(Errno::EPERM));
    assert_eq!(other.rename("/tmp/mine", "/tmp/theirs"), Err(Errno::EPERM));
    user.unlink("/tmp/mine").unwrap();

    // Root executes only what somebody may execute.
    let path = w.lookup("/private/f").unwrap();
    assert_eq!(attr::access(&path, &w.cred, 1), Err(Errno::EACCES));
    assert_eq!(attr::access(&path, &w.cred, 6), Ok(()));
    w.chmod("/private/f", 0o001).unwrap();
    assert_eq!(attr::access(&path, &w.cred, 1), Ok(()));
}

#[test]
fn set_id_bits_go_when_they_should() {
    let w = World::new();
    w.chmod("/", 0o777).unwrap();
    let user = w.as_user(1000);
    user.write("/f", b"");
    user.chmod("/f", 0o6755).unwrap();
    assert_eq!(user.stat("/f").unwrap().mode & 0o7777, 0o6755);
    write_all(&user.open("/f", O_WRONLY).unwrap(), b"x").unwrap();
    assert_eq!(user.stat("/f").unwrap().mode & 0o7777, 0o755);
    user.chmod("/f", 0o6745).unwrap();
    w.chown("/f", 1000, 1000).unwrap();
    assert_eq!(
        user.stat("/f").unwrap().mode & 0o7777,
        0o2745,
        "no group execution: a lock mark"
    );
    assert_eq!(user.chown("/f", 1001, 1000), Err(Errno::EPERM));
    assert_eq!(user.chown("/f", 1000, 5), Err(Errno::EPERM));
    user.chown("/f", 1000, 1000).unwrap();
    write_all(&w.open("/f", O_WRONLY).unwrap(), b"x").unwrap();
    // A set-group-id directory hands down its group, and the bit to directories.
    w.mkdir("/sg").unwrap();
    w.chown("/sg", 0, 77).unwrap();
    w.chmod("/sg", 0o2777).unwrap();
    user.mkdir("/sg/d").unwrap();
    user.write("/sg/f", b"");
    assert_eq!(
        w.stat("/sg/d").map(|s| (s.gid, s.mode & 0o7777)),
        Ok((77, 0o2755))
    );
    assert_eq!(
        w.stat("/sg/f").map(|s| (s.gid, s.mode & 0o7777)),
        Ok((77, 0o644))
    );
}

#[test]
fn an_executed_file_is_not_written() {
    let w = World::new();
    w.write("/prog", b"x");
    let inode = w.lookup("/prog").unwrap().dentry.inode().unwrap().clone();
    inode.deny_write_access().unwrap();
    assert_eq!(w.open("/prog", O_WRONLY).err(), Some(Errno::ETXTBSY));
    assert_eq!(
        attr::truncate(&w.lookup("/prog").unwrap(), &w.cred, 0, u64::MAX),
        Err(Errno::ETXTBSY)
    );
    inode.allow_write_access();
    let writer = w.open("/prog", O_WRONLY).unwrap();
    assert_eq!(inode.deny_write_access(), Err(Errno::ETXTBSY));
    drop(writer);
    inode.deny_write_access().unwrap();
}

#[test]
fn the_cache_remembers_what_does_not_exist_only_as_long() {
    let w = World::new();
    assert_eq!(w.stat("/late").err(), Some(Errno::ENOENT));
    assert_eq!(w.stat("/late").err(), Some(Errno::ENOENT));
    w.write("/late", b"1");
    assert_eq!(w.read("/late"), b"1");
    w.unlink("/late").unwrap();
    assert_eq!(w.stat("/late").err(), Some(Errno::ENOENT));
    w.mkdir("/late").unwrap();
    for n in 0..2000 {
        let _ = w.stat(&format!("/late/n{n}"));
    }
    w.rmdir("/late").unwrap();
    fs::dentry::shrink(usize::MAX);
    assert_eq!(
        w.walk().lookup(b"/late", LookupFlags::FOLLOW).err(),
        Some(Errno::ENOENT)
    );
}
