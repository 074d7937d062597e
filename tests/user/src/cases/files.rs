//! Files and directories: opening, offsets, links, names, permissions, times, locks, mounts.

use super::cases;
use crate::sys::*;
use libc::{AT_FDCWD, O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_WRONLY};

cases![
    open_flags,
    open_errors,
    name_lengths,
    deep_paths,
    path_only_descriptors,
    temporary_files,
    offsets,
    positioned_io,
    vectored_io,
    append_goes_to_the_end,
    holes_and_truncation,
    seek_data_and_hole,
    descriptors_are_duplicated,
    full_descriptor_table,
    close_range_closes,
    directories_list_everything,
    directory_seeks,
    rename_replaces,
    rename_flags,
    rename_errors,
    links_count,
    unlinked_files_live_on,
    symbolic_links,
    permissions_are_checked,
    directory_permissions,
    sticky_directories,
    group_permissions,
    mode_bits_change,
    umask_applies,
    ownership_clears_set_id,
    times_are_kept,
    statx_fills,
    statfs_knows,
    working_directory,
    relative_to_a_directory,
    record_locks,
    record_locks_wait,
    open_file_locks,
    flock_locks,
    sendfile_copies,
    copy_file_range_copies,
    allocate_and_punch,
    memory_files,
    device_files,
    read_directory_as_file,
    mounts_nest,
    bind_mounts,
    read_only_mounts,
    mount_errors,
    chroot_confines,
    extended_attributes,
    many_files,
    big_file,
    access_uses_real_ids,
    fchmodat_and_fchownat,
    proc_fd_links,
    fcntl_errors,
];

fn path_exists(path: &str) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

fn raw_error<T: std::fmt::Debug>(result: std::io::Result<T>) -> i32 {
    result
        .expect_err("it fails")
        .raw_os_error()
        .expect("from the system")
}

#[track_caller]
fn stat(path: &str) -> libc::stat {
    ok(lstat(path))
}

fn seek(fd: i32, offset: i64, whence: i32) -> Result<i64> {
    lseek(fd, offset, whence)
}

fn open_flags() {
    let fd = ok(open("f", O_RDWR | O_CREAT | O_EXCL));
    put(fd, b"hello");
    fails(open("f", O_RDWR | O_CREAT | O_EXCL), libc::EEXIST);
    ok(open("f", O_RDWR | O_CREAT));
    assert_eq!(stat("f").st_size, 5);
    ok(open("f", O_WRONLY | libc::O_TRUNC));
    assert_eq!(stat("f").st_size, 0);
    let fd = ok(open("f", O_WRONLY | libc::O_APPEND | libc::O_NONBLOCK));
    let flags = ok(fcntl(fd, libc::F_GETFL, 0));
    assert_eq!(
        flags & (libc::O_ACCMODE | libc::O_APPEND | libc::O_NONBLOCK),
        O_WRONLY | libc::O_APPEND | libc::O_NONBLOCK
    );
    // The lowest free number, always.
    let a = ok(open("f", O_RDONLY));
    let b = ok(open("f", O_RDONLY));
    close(a);
    assert_eq!(ok(open("f", O_RDONLY)), a);
    close(b);
}

fn open_errors() {
    fails(open("", O_RDONLY), libc::ENOENT);
    fails(open("no", O_RDONLY), libc::ENOENT);
    fails(open("no/f", O_WRONLY | O_CREAT), libc::ENOENT);
    file("f", b"x");
    fails(open("f/x", O_RDONLY), libc::ENOTDIR);
    fails(open("f/", O_RDONLY), libc::ENOTDIR);
    fails(open("f/.", O_RDONLY), libc::ENOTDIR);
    fails(open("f", O_RDONLY | libc::O_DIRECTORY), libc::ENOTDIR);
    fails(open(".", O_WRONLY), libc::EISDIR);
    fails(open(".", O_RDWR | O_CREAT), libc::EISDIR);
    fails(open("new/", O_WRONLY | O_CREAT), libc::EISDIR);
    std::os::unix::fs::symlink("f", "l").expect("the directory is writable");
    fails(open("l", O_RDONLY | libc::O_NOFOLLOW), libc::ELOOP);
    std::os::unix::fs::symlink("nowhere", "dangling").expect("the directory is writable");
    fails(open("dangling", O_RDONLY), libc::ENOENT);
    fails(open("dangling", O_WRONLY | O_CREAT | O_EXCL), libc::EEXIST);
    ok(open("dangling", O_WRONLY | O_CREAT));
    assert!(path_exists("nowhere"));
    fails(try_close(999), libc::EBADF);
    fails(try_close(-1), libc::EBADF);
}

fn name_lengths() {
    let longest = "n".repeat(255);
    file(&longest, b"x");
    fails(
        open(&"n".repeat(256), O_WRONLY | O_CREAT),
        libc::ENAMETOOLONG,
    );
    fails(open(&"x/".repeat(2048), O_RDONLY), libc::ENAMETOOLONG);
    let dots = "./".repeat(2000) + &longest[..1];
    fails(open(&dots, O_RDONLY), libc::ENOENT);
    for name in ["with space", "new\nline", "\u{e4}\u{f6}", "-dash", "..."] {
        file(name, b"x");
        assert!(path_exists(name));
    }
}

fn deep_paths() {
    for _ in 0..300 {
        ok(mkdir("directory-with-a-name", 0o755));
        ok(chdir("directory-with-a-name"));
    }
    // getcwd of more than PATH_MAX has an error of its own.
    let mut buffer = vec![0_u8; 10_000];
    let error = call(
        libc::SYS_getcwd,
        &[buffer.as_mut_ptr() as usize, buffer.len()],
    );
    assert_eq!(error, Err(libc::ENAMETOOLONG));
    for _ in 0..300 {
        ok(chdir(".."));
        ok(rmdir("directory-with-a-name"));
    }
    assert_eq!(
        call(libc::SYS_getcwd, &[buffer.as_mut_ptr() as usize, 2]),
        Err(libc::ERANGE)
    );
}

fn path_only_descriptors() {
    file("f", b"x");
    let fd = ok(open("f", libc::O_PATH));
    fails(read(fd, &mut [0]), libc::EBADF);
    assert_eq!(
        call(libc::SYS_fchmod, &[fd as usize, 0o600]),
        Err(libc::EBADF)
    );
    assert_eq!(ok(fstat(fd)).st_size, 1);
    std::os::unix::fs::symlink("f", "l").expect("the directory is writable");
    let link = ok(open("l", libc::O_PATH | libc::O_NOFOLLOW));
    assert_eq!(ok(fstat(link)).st_mode & libc::S_IFMT, libc::S_IFLNK);
}

fn temporary_files() {
    let fd = ok(open_mode(".", libc::O_TMPFILE | O_RDWR, 0o600));
    put(fd, b"hidden");
    assert_eq!(std::fs::read_dir(".").expect("it can be read").count(), 0);
    let from = format!("/proc/self/fd/{fd}");
    ok(linkat(
        AT_FDCWD,
        &from,
        AT_FDCWD,
        "named",
        libc::AT_SYMLINK_FOLLOW,
    ));
    assert_eq!(
        std::fs::read("named").expect("it has a name now"),
        b"hidden"
    );
}

fn offsets() {
    let fd = file("f", b"0123456789");
    assert_eq!(ok(seek(fd, 3, libc::SEEK_SET)), 3);
    assert_eq!(get(fd, 2), b"34");
    assert_eq!(ok(seek(fd, -1, libc::SEEK_CUR)), 4);
    assert_eq!(ok(seek(fd, -2, libc::SEEK_END)), 8);
    assert_eq!(get(fd, 10), b"89");
    assert_eq!(get(fd, 10), b"");
    fails(seek(fd, -1, libc::SEEK_SET), libc::EINVAL);
    fails(seek(fd, 0, 99), libc::EINVAL);
    assert_eq!(ok(seek(fd, 1 << 40, libc::SEEK_SET)), 1 << 40);
    assert_eq!(get(fd, 1), b"");
}

fn positioned_io() {
    let fd = file("f", b"0123456789");
    let mut data = [0_u8; 4];
    assert_eq!(ok(pread(fd, &mut data[..4], 6)), 4);
    assert_eq!(&data, b"6789");
    assert_eq!(ok(pwrite(fd, b"XY", 12)), 2);
    assert_eq!(get(fd, 100), b"0123456789\0\0XY");
    fails(pread(fd, &mut data[..4], -1), libc::EINVAL);
    fails(pwrite(fd, &data[..4], -1), libc::EINVAL);
}

fn vectored_io() {
    let fd = file("f", b"");
    let parts: [&[u8]; 3] = [b"one", b"", b"two"];
    assert_eq!(ok(writev(fd, &parts.map(piece_of))), 6);
    ok(seek(fd, 0, libc::SEEK_SET));
    let (mut a, mut b) = ([0_u8; 2], [0_u8; 10]);
    let into = [piece_into(&mut a), piece_into(&mut b)];
    assert_eq!(ok(readv(fd, &into)), 6);
    assert_eq!((&a, &b[..4]), (b"on", &b"etwo"[..]));
    for count in [usize::MAX, 1025] {
        let args = [fd as usize, into.as_ptr() as usize, count];
        assert_eq!(call(libc::SYS_readv, &args), Err(libc::EINVAL));
    }
    let mut huge = piece_into(&mut a);
    huge.iov_len = usize::MAX;
    fails(writev(fd, &[huge]), libc::EINVAL);
    assert_eq!(ok(preadv(fd, &into[..1], 3)), 2);
    assert_eq!(&a, b"tw");
}

fn append_goes_to_the_end() {
    file("f", b"start");
    let fd = ok(open("f", O_RDWR | libc::O_APPEND));
    let other = ok(open("f", O_WRONLY));
    ok(seek(fd, 0, libc::SEEK_SET));
    put(fd, b"-end");
    put(other, b"S");
    assert_eq!(std::fs::read("f").expect("it is there"), b"Start-end");
    assert_eq!(ok(seek(fd, 0, libc::SEEK_CUR)), 9);
}

fn holes_and_truncation() {
    let fd = file("f", b"abc");
    ok(ftruncate(fd, 10_000));
    let data = std::fs::read("f").expect("it is there");
    assert!(
        data.len() == 10_000
            && data.starts_with(b"abc\0")
            && data[3..].iter().all(|byte| *byte == 0)
    );
    ok(ftruncate(fd, 2));
    ok(ftruncate(fd, 5));
    assert_eq!(std::fs::read("f").expect("it is there"), b"ab\0\0\0");
    fails(ftruncate(fd, -1), libc::EINVAL);
    let reader = ok(open("f", O_RDONLY));
    fails(ftruncate(reader, 0), libc::EINVAL);
    fails(truncate(".", 0), libc::EISDIR);
    fails(truncate("no", 0), libc::ENOENT);
}

fn seek_data_and_hole() {
    let fd = file("f", b"abc");
    ok(ftruncate(fd, 1 << 20));
    ok(pwrite(fd, b"x", 512 * 1024));
    assert_eq!(ok(seek(fd, 0, libc::SEEK_DATA)), 0);
    let hole = ok(seek(fd, 0, libc::SEEK_HOLE));
    assert!((3..=512 * 1024).contains(&hole), "{hole}");
    assert_eq!(ok(seek(fd, hole, libc::SEEK_DATA)), 512 * 1024);
    fails(seek(fd, 2 << 20, libc::SEEK_DATA), libc::ENXIO);
    assert_eq!(stat("f").st_blocks, 16);
}

fn descriptors_are_duplicated() {
    let fd = file("f", b"abcdef");
    let copy = ok(dup(fd));
    assert_eq!(get(copy, 2), b"ab");
    assert_eq!(get(fd, 2), b"cd");
    assert_eq!(ok(dup2(fd, 50)), 50);
    assert_eq!(ok(dup2(fd, fd)), fd);
    fails(dup3(fd, fd, 0), libc::EINVAL);
    fails(dup2(999, 5), libc::EBADF);
    fails(dup3(fd, 60, 0x1), libc::EINVAL);
    let high = ok(fcntl(fd, libc::F_DUPFD_CLOEXEC, 100));
    assert_eq!(high, 100);
    assert_eq!(ok(fcntl(high, libc::F_GETFD, 0)), libc::FD_CLOEXEC);
    assert_eq!(ok(fcntl(ok(dup(high)), libc::F_GETFD, 0)), 0);
    fails(fcntl(fd, libc::F_DUPFD, -1), libc::EINVAL);
    fails(fcntl(fd, libc::F_DUPFD, 1 << 30), libc::EINVAL);
}

fn full_descriptor_table() {
    limit(libc::RLIMIT_NOFILE, 64);
    while dup(0).is_ok() {}
    fails(open("/dev/null", O_RDONLY), libc::EMFILE);
    let mut ends = [0; 2];
    fails(pipe2(&mut ends, 0), libc::EMFILE);
    fails(socket(libc::AF_UNIX, libc::SOCK_STREAM, 0), libc::EMFILE);
    fails(eventfd(0, 0), libc::EMFILE);
    close(40);
    assert_eq!(ok(open("/dev/null", O_RDONLY)), 40);
}

fn close_range_closes() {
    for fd in 20..30 {
        ok(dup2(0, fd));
    }
    assert_eq!(call(libc::SYS_close_range, &[22, 27, 0]), Ok(0));
    let open: Vec<i32> = (20..30).filter(|fd| is_open(*fd)).collect();
    assert_eq!(open, [20, 21, 28, 29]);
    assert_eq!(
        call(libc::SYS_close_range, &[28, usize::MAX >> 32, 4]),
        Ok(0)
    );
    assert_eq!(ok(fcntl(28, libc::F_GETFD, 0)), libc::FD_CLOEXEC);
    assert_eq!(call(libc::SYS_close_range, &[5, 4, 0]), Err(libc::EINVAL));
}

fn directories_list_everything() {
    ok(mkdir("d", 0o755));
    for i in 0..700 {
        file(&format!("d/file-number-{i}"), b"");
        // Closed at once, or the table would be full.
        close_from(10);
    }
    let mut names: Vec<String> = std::fs::read_dir("d")
        .expect("it can be read")
        .map(|e| {
            e.expect("an entry")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 700);
    let fd = ok(open("d", O_RDONLY));
    let mut small = [0_u8; 16];
    assert_eq!(
        call(
            libc::SYS_getdents64,
            &[fd as usize, small.as_mut_ptr() as usize, 16]
        ),
        Err(libc::EINVAL)
    );
    let plain = file("f", b"");
    assert_eq!(
        call(
            libc::SYS_getdents64,
            &[plain as usize, small.as_mut_ptr() as usize, 16]
        ),
        Err(libc::ENOTDIR)
    );
    // Removing while listing: what is left to list is listed, nothing twice.
    for entry in std::fs::read_dir("d").expect("it can be read") {
        std::fs::remove_file(entry.expect("an entry").path()).expect("it is there");
    }
    ok(rmdir("d"));
}

fn directory_seeks() {
    ok(mkdir("d", 0o755));
    for name in ["d/a", "d/b", "d/c"] {
        file(name, b"");
    }
    let fd = ok(open("d", O_RDONLY));
    let mut data = [0_u8; 1000];
    let list = |data: &mut [u8]| {
        call(
            libc::SYS_getdents64,
            &[fd as usize, data.as_mut_ptr() as usize, data.len()],
        )
    };
    let len = list(&mut data).expect("it can be read");
    assert!(len > 5 * 19);
    assert_eq!(list(&mut data), Ok(0));
    assert_eq!(ok(seek(fd, 0, libc::SEEK_SET)), 0);
    assert_eq!(list(&mut data), Ok(len));
    // `.` and `..` come with the right inode numbers.
    let inode = u64::from_ne_bytes(data[..8].try_into().expect("eight bytes"));
    assert_eq!(inode, stat("d").st_ino);
}

fn rename_replaces() {
    std::fs::write("a", "1").expect("the directory is writable");
    std::fs::write("b", "2").expect("the directory is writable");
    let inode = stat("a").st_ino;
    std::fs::rename("a", "b").expect("it replaces");
    assert!(!path_exists("a") && stat("b").st_ino == inode);
    ok(mkdir("d", 0o755));
    ok(mkdir("e", 0o755));
    std::fs::rename("d", "e").expect("it replaces an empty directory");
    ok(mkdir("g", 0o755));
    std::fs::rename("e", "g/h").expect("it moves");
    assert!(path_exists("g/h") && !path_exists("e"));
    assert_eq!(stat("g").st_nlink, 3);
    // A file onto another name of itself does nothing.
    std::fs::hard_link("b", "b2").expect("it can be linked");
    std::fs::rename("b", "b2").expect("nothing happens");
    assert!(path_exists("b") && path_exists("b2"));
}

fn rename_flags() {
    let rename = |from: &str, to: &str, flags: u32| {
        let (from, to) = (c(from), c(to));
        call(
            libc::SYS_renameat2,
            &[
                AT_FDCWD as usize,
                from.as_ptr() as usize,
                AT_FDCWD as usize,
                to.as_ptr() as usize,
                flags as usize,
            ],
        )
    };
    std::fs::write("a", "1").expect("the directory is writable");
    std::fs::write("b", "2").expect("the directory is writable");
    assert_eq!(rename("a", "b", libc::RENAME_NOREPLACE), Err(libc::EEXIST));
    assert_eq!(rename("a", "b", libc::RENAME_EXCHANGE), Ok(0));
    assert_eq!(std::fs::read("a").expect("it is there"), b"2");
    assert_eq!(rename("a", "c", libc::RENAME_EXCHANGE), Err(libc::ENOENT));
    assert_eq!(rename("a", "c", libc::RENAME_NOREPLACE), Ok(0));
    assert_eq!(rename("b", "c", 3), Err(libc::EINVAL));
    ok(mkdir("d", 0o755));
    assert_eq!(rename("d", "b", libc::RENAME_EXCHANGE), Ok(0));
    assert!(std::fs::metadata("b").expect("it is there").is_dir());
}

fn rename_errors() {
    ok(mkdir("d", 0o755));
    ok(mkdir("e", 0o755));
    std::fs::write("e/f", "").expect("the directory is writable");
    std::fs::write("f", "").expect("the directory is writable");
    assert_eq!(raw_error(std::fs::rename("d", "e")), libc::ENOTEMPTY);
    assert_eq!(raw_error(std::fs::rename("f", "d")), libc::EISDIR);
    assert_eq!(raw_error(std::fs::rename("d", "f")), libc::ENOTDIR);
    assert_eq!(raw_error(std::fs::rename("no", "x")), libc::ENOENT);
    assert_eq!(raw_error(std::fs::rename("e", "e/g")), libc::EINVAL);
    assert_eq!(raw_error(std::fs::rename("f", "/proc/x")), libc::EXDEV);
    assert_eq!(raw_error(std::fs::rename(".", "x")), libc::EBUSY);
    assert_eq!(raw_error(std::fs::rename("f", "x/")), libc::ENOTDIR);
}

fn links_count() {
    file("f", b"x");
    std::fs::hard_link("f", "g").expect("it can be linked");
    assert_eq!(
        (stat("f").st_nlink, stat("f").st_ino),
        (2, stat("g").st_ino)
    );
    assert_eq!(raw_error(std::fs::hard_link("f", "g")), libc::EEXIST);
    ok(mkdir("d", 0o755));
    assert_eq!(raw_error(std::fs::hard_link("d", "e")), libc::EPERM);
    assert_eq!(raw_error(std::fs::hard_link("no", "e")), libc::ENOENT);
    assert_eq!(
        raw_error(std::fs::hard_link("f", "/dev/shm/e")),
        libc::EXDEV
    );
    ok(mkdir("d/e", 0o755));
    assert_eq!(stat("d").st_nlink, 3);
    std::fs::remove_file("f").expect("it is there");
    assert_eq!(stat("g").st_nlink, 1);
    // A link to a symbolic link links the link.
    std::os::unix::fs::symlink("nowhere", "s").expect("the directory is writable");
    ok(linkat(AT_FDCWD, "s", AT_FDCWD, "t", 0));
    assert_eq!(stat("t").st_mode & libc::S_IFMT, libc::S_IFLNK);
}

fn unlinked_files_live_on() {
    let fd = file("f", b"still here");
    std::fs::remove_file("f").expect("it is there");
    assert_eq!(get(fd, 100), b"still here");
    assert_eq!(ok(fstat(fd)).st_nlink, 0);
    assert_eq!(raw_error(std::fs::remove_file("f")), libc::ENOENT);
    ok(mkdir("d", 0o755));
    assert_eq!(raw_error(std::fs::remove_file("d")), libc::EISDIR);
    assert_eq!(raw_error(std::fs::remove_dir("d/.")), libc::EINVAL);
    file("g", b"");
    assert_eq!(raw_error(std::fs::remove_dir("g")), libc::ENOTDIR);
    let dir = ok(open("d", O_RDONLY));
    std::fs::remove_dir("d").expect("it is empty");
    fails(openat(dir, "x", O_WRONLY | O_CREAT, 0o644), libc::ENOENT);
}

fn symbolic_links() {
    use std::os::unix::fs::symlink;
    symlink("target", "l").expect("the directory is writable");
    assert_eq!(
        std::fs::read_link("l").expect("it is one"),
        std::path::Path::new("target")
    );
    assert_eq!(stat("l").st_size, 6);
    let mut buffer = [0_u8; 3];
    assert_eq!(ok(readlink("l", &mut buffer[..3])), 3);
    assert_eq!(&buffer, b"tar");
    file("f", b"");
    assert_eq!(raw_error(std::fs::read_link("f")), libc::EINVAL);
    assert_eq!(raw_error(symlink("x", "l")), libc::EEXIST);
    assert_eq!(raw_error(symlink("", "m")), libc::ENOENT);
    symlink("b", "a").expect("the directory is writable");
    symlink("a", "b").expect("the directory is writable");
    fails(open("a", O_RDONLY), libc::ELOOP);
    // Forty are followed, forty-one are not.
    file("s0", b"end");
    for i in 1..=41 {
        symlink(format!("s{}", i - 1), format!("s{i}")).expect("the directory is writable");
    }
    ok(open("s40", O_RDONLY));
    fails(open("s41", O_RDONLY), libc::ELOOP);
    ok(mkdir("d", 0o755));
    symlink("d", "dl").expect("the directory is writable");
    file("dl/x", b"");
    assert!(path_exists("d/x"));
}

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

fn working_directory() {
    let home = std::env::current_dir().expect("there is one");
    ok(mkdir("d", 0o755));
    std::env::set_current_dir("d").expect("it is there");
    assert_eq!(
        std::env::current_dir().expect("there is one"),
        home.join("d")
    );
    let up = ok(open("..", O_RDONLY));
    ok(fchdir(up));
    assert_eq!(std::env::current_dir().expect("there is one"), home);
    std::env::set_current_dir("d").expect("it is there");
    std::fs::rename("../d", "../e").expect("it is there");
    assert_eq!(
        std::env::current_dir().expect("there is one"),
        home.join("e")
    );
    std::fs::remove_dir("../e").expect("it is empty");
    assert_eq!(raw_error(std::env::current_dir()), libc::ENOENT);
    fails(open("f", O_WRONLY | O_CREAT), libc::ENOENT);
    fails(chdir("/etc/passwd"), libc::ENOTDIR);
    fails(fchdir(file("/tmp/plain-file", b"")), libc::ENOTDIR);
    std::fs::remove_file("/tmp/plain-file").expect("it is there");
    ok(chdir("/../.."));
    assert_eq!(
        std::env::current_dir().expect("there is one"),
        std::path::Path::new("/")
    );
}

fn relative_to_a_directory() {
    ok(mkdir("d", 0o755));
    let dir = ok(open("d", O_RDONLY));
    ok(openat(dir, "f", O_CREAT | O_WRONLY, 0o644));
    ok(mkdirat(dir, "e", 0o755));
    ok(symlinkat("f", dir, "l"));
    ok(renameat(dir, "f", dir, "g"));
    ok(faccessat(dir, "g", libc::R_OK, 0));
    ok(unlinkat(dir, "g", 0));
    fails(unlinkat(dir, "e", 0), libc::EISDIR);
    ok(unlinkat(dir, "e", libc::AT_REMOVEDIR));
    let plain = file("plain", b"");
    fails(openat(plain, "x", O_RDONLY, 0), libc::ENOTDIR);
    fails(openat(999, "x", O_RDONLY, 0), libc::EBADF);
    ok(openat(999, "/etc/passwd", O_RDONLY, 0));
}

fn lock(fd: i32, command: i32, kind: i32, start: i64, len: i64) -> (Result, libc::flock) {
    let mut lock: libc::flock = zeroed();
    lock.l_type = kind as i16;
    lock.l_start = start;
    lock.l_len = len;
    let result = fcntl_lock(fd, command, &mut lock);
    (result, lock)
}

fn record_locks() {
    let fd = file("f", &[0; 100]);
    ok(lock(fd, libc::F_SETLK, libc::F_WRLCK, 10, 10).0);
    let me = getpid();
    in_child(|| {
        fails(
            lock(fd, libc::F_SETLK, libc::F_RDLCK, 15, 1).0,
            libc::EAGAIN,
        );
        ok(lock(fd, libc::F_SETLK, libc::F_WRLCK, 20, 10).0);
        let (result, found) = lock(fd, libc::F_GETLK, libc::F_RDLCK, 0, 0);
        ok(result);
        assert_eq!(
            (found.l_pid, found.l_start, found.l_len, found.l_type as i32),
            (me, 10, 10, libc::F_WRLCK)
        );
    });
    let (_, found) = lock(fd, libc::F_GETLK, libc::F_WRLCK, 20, 10);
    assert_eq!(
        found.l_type as i32,
        libc::F_UNLCK,
        "the child's lock went with it"
    );
    // Unlocking the middle splits; closing any descriptor of the file drops all.
    ok(lock(fd, libc::F_SETLK, libc::F_UNLCK, 12, 2).0);
    in_child(|| {
        ok(lock(fd, libc::F_SETLK, libc::F_WRLCK, 12, 2).0);
        fails(
            lock(fd, libc::F_SETLK, libc::F_WRLCK, 14, 1).0,
            libc::EAGAIN,
        );
    });
    close(ok(open("f", O_RDONLY)));
    in_child(|| {
        ok(lock(fd, libc::F_SETLK, libc::F_WRLCK, 0, 0).0);
    });
    fails(
        lock(ok(open("f", O_RDONLY)), libc::F_SETLK, libc::F_WRLCK, 0, 0).0,
        libc::EBADF,
    );
    fails(lock(fd, libc::F_SETLK, 99, 0, 0).0, libc::EINVAL);
}

fn record_locks_wait() {
    let fd = file("f", &[0; 100]);
    let (reader, writer) = pipe();
    let pid = child(|| {
        ok(lock(fd, libc::F_SETLK, libc::F_WRLCK, 0, 0).0);
        put(writer, b"x");
        sleep_ms(60);
        0
    });
    get(reader, 1);
    let start = std::time::Instant::now();
    ok(lock(fd, libc::F_SETLKW, libc::F_WRLCK, 0, 0).0);
    assert!(start.elapsed().as_millis() >= 40);
    assert_eq!(wait(pid), Ended::Exit(0));
    // Two that wait for each other: the second one is told.
    ok(lock(fd, libc::F_SETLK, libc::F_UNLCK, 0, 0).0);
    ok(lock(fd, libc::F_SETLK, libc::F_WRLCK, 0, 1).0);
    let pid = child(|| {
        ok(lock(fd, libc::F_SETLK, libc::F_WRLCK, 1, 1).0);
        put(writer, b"x");
        ok(lock(fd, libc::F_SETLKW, libc::F_WRLCK, 0, 1).0);
        0
    });
    get(reader, 1);
    sleep_ms(50);
    fails(
        lock(fd, libc::F_SETLKW, libc::F_WRLCK, 1, 1).0,
        libc::EDEADLK,
    );
    ok(lock(fd, libc::F_SETLK, libc::F_UNLCK, 0, 0).0);
    assert_eq!(wait(pid), Ended::Exit(0));
}

fn open_file_locks() {
    let a = file("f", b"");
    let b = ok(open("f", O_RDWR));
    ok(lock(a, libc::F_OFD_SETLK, libc::F_WRLCK, 0, 0).0);
    fails(
        lock(b, libc::F_OFD_SETLK, libc::F_RDLCK, 0, 0).0,
        libc::EAGAIN,
    );
    let copy = ok(dup(a));
    close(copy);
    fails(
        lock(b, libc::F_OFD_SETLK, libc::F_RDLCK, 0, 0).0,
        libc::EAGAIN,
    );
    close(a);
    ok(lock(b, libc::F_OFD_SETLK, libc::F_RDLCK, 0, 0).0);
}

fn flock_locks() {
    let a = file("f", b"");
    let b = ok(open("f", O_RDWR));
    let now = libc::LOCK_NB;
    ok(flock(a, libc::LOCK_SH));
    ok(flock(b, libc::LOCK_SH | now));
    fails(flock(b, libc::LOCK_EX | now), libc::EWOULDBLOCK);
    ok(flock(a, libc::LOCK_UN));
    ok(flock(b, libc::LOCK_EX | now));
    fails(flock(a, libc::LOCK_SH | now), libc::EWOULDBLOCK);
    // A forked child has the same open file, and with it the lock.
    in_child(|| {
        ok(flock(b, libc::LOCK_UN));
    });
    ok(flock(a, libc::LOCK_EX | now));
    fails(flock(a, 0), libc::EINVAL);
    fails(flock(999, libc::LOCK_SH), libc::EBADF);
}

fn sendfile_copies() {
    let from = file("a", b"0123456789");
    let to = file("b", b"");
    let mut offset = 2_i64;
    assert_eq!(ok(sendfile(to, from, Some(&mut offset), 4)), 4);
    assert_eq!((offset, ok(seek(from, 0, libc::SEEK_CUR))), (6, 0));
    assert_eq!(ok(sendfile(to, from, None, 100)), 10);
    assert_eq!(std::fs::read("b").expect("it is there"), b"23450123456789");
    let (_reader, writer) = pipe();
    offset = 0;
    assert_eq!(ok(sendfile(writer, from, Some(&mut offset), 3)), 3);
    fails(
        sendfile(ok(open("b", O_RDONLY)), from, None, 1),
        libc::EBADF,
    );
}

fn copy_file_range_copies() {
    let from = file("a", b"0123456789");
    let to = file("b", b"xxxxxxxxxxxx");
    let (mut at, mut into) = (3_i64, 1_i64);
    let copy = |at: &mut i64, into: &mut i64| copy_file_range(from, Some(at), to, Some(into), 4, 0);
    assert_eq!(ok(copy(&mut at, &mut into)), 4);
    assert_eq!((at, into), (7, 5));
    assert_eq!(std::fs::read("b").expect("it is there"), b"x3456xxxxxxx");
    at = 100;
    assert_eq!(ok(copy(&mut at, &mut into)), 0);
    fails(copy_file_range(from, None, to, None, 1, 1), libc::EINVAL);
    let mut same = 2_i64;
    at = 0;
    fails(
        copy_file_range(from, Some(&mut at), from, Some(&mut same), 5, 0),
        libc::EINVAL,
    );
}

fn allocate_and_punch() {
    let fd = file("f", b"abc");
    ok(fallocate(fd, 0, 0, 10_000));
    assert_eq!(stat("f").st_size, 10_000);
    ok(fallocate(fd, libc::FALLOC_FL_KEEP_SIZE, 0, 20_000));
    assert_eq!(stat("f").st_size, 10_000);
    ok(fallocate(
        fd,
        libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
        0,
        2,
    ));
    assert_eq!(&get(fd, 3), b"\0\0c");
    fails(fallocate(fd, 0, -1, 10), libc::EINVAL);
    fails(fallocate(fd, 0, 0, 0), libc::EINVAL);
    fails(fallocate(pipe().1, 0, 0, 1), libc::ESPIPE);
}

fn memory_files() {
    let fd = ok(memfd_create("name", libc::MFD_ALLOW_SEALING));
    put(fd, b"in memory");
    let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).expect("procfs");
    assert_eq!(link, std::path::Path::new("/memfd:name (deleted)"));
    ok(fcntl(
        fd,
        libc::F_ADD_SEALS,
        libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK,
    ));
    fails(write(fd, b"x"), libc::EPERM);
    fails(ftruncate(fd, 1), libc::EPERM);
    assert_eq!(
        ok(fcntl(fd, libc::F_GET_SEALS, 0)),
        libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK
    );
    fails(memfd_create("x", 0x8000_0000), libc::EINVAL);
}

fn device_files() {
    let null = ok(open("/dev/null", O_RDWR));
    put(null, b"gone");
    assert_eq!(get(null, 10), b"");
    assert_eq!(get(ok(open("/dev/zero", O_RDONLY)), 5), [0; 5]);
    let full = ok(open("/dev/full", O_RDWR));
    fails(write(full, b"x"), libc::ENOSPC);
    assert_eq!(get(full, 2), [0; 2]);
    let rdev = stat("/dev/null").st_rdev;
    assert_eq!((libc::major(rdev), libc::minor(rdev)), (1, 3));
    ok(mknod("n", libc::S_IFCHR | 0o666, libc::makedev(1, 5)));
    assert_eq!(get(ok(open("n", O_RDONLY)), 3), [0; 3]);
    ok(mknod("none", libc::S_IFCHR | 0o666, libc::makedev(250, 77)));
    fails(open("none", O_RDONLY), libc::ENXIO);
    fails(mknod("n", libc::S_IFREG | 0o644, 0), libc::EEXIST);
    fails(mknod("x", libc::S_IFDIR | 0o644, 0), libc::EPERM);
    fails(ioctl(null, libc::TCGETS, 8), libc::ENOTTY);
}

fn read_directory_as_file() {
    let fd = ok(open(".", O_RDONLY));
    fails(read(fd, &mut [0]), libc::EISDIR);
    fails(write(fd, b"x"), libc::EBADF);
}

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

fn many_files() {
    for i in 0..3000 {
        std::fs::write(format!("f{i}"), format!("{i}")).expect("the directory is writable");
    }
    for i in (0..3000).rev() {
        assert_eq!(
            std::fs::read_to_string(format!("f{i}")).expect("it is there"),
            format!("{i}")
        );
        std::fs::remove_file(format!("f{i}")).expect("it is there");
    }
    assert_eq!(std::fs::read_dir(".").expect("it can be read").count(), 0);
}

fn big_file() {
    let fd = file("f", b"");
    let block: Vec<u8> = (0..1 << 20)
        .map(|i: u32| (i * 7 + i / 4096) as u8)
        .collect();
    for _ in 0..20 {
        put(fd, &block);
    }
    ok(seek(fd, 0, libc::SEEK_SET));
    let mut copy = vec![0_u8; 1 << 20];
    for _ in 0..20 {
        assert_eq!(ok(read(fd, &mut copy)), 1 << 20);
        assert!(copy == block);
    }
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

fn proc_fd_links() {
    let fd = file("f", b"x");
    let path = std::env::current_dir().expect("there is one").join("f");
    let link = format!("/proc/self/fd/{fd}");
    assert_eq!(std::fs::read_link(&link).expect("procfs"), path);
    // Opening it again gives a new open file.
    let again = ok(open(&link, O_RDONLY));
    get(fd, 1);
    assert_eq!(get(again, 1), b"x");
    std::fs::remove_file("f").expect("it is there");
    let gone = std::fs::read_link(&link).expect("procfs");
    assert_eq!(
        gone.to_str(),
        Some(format!("{} (deleted)", path.display()).as_str())
    );
    let (reader, _) = pipe();
    let text = std::fs::read_link(format!("/proc/self/fd/{reader}")).expect("procfs");
    assert!(text.to_str().is_some_and(|text| text.starts_with("pipe:[")));
}

fn fcntl_errors() {
    let fd = file("f", b"");
    fails(fcntl(fd, 9999, 0), libc::EINVAL);
    fails(fcntl(999, libc::F_GETFL, 0), libc::EBADF);
    let flags = ok(fcntl(fd, libc::F_GETFL, 0));
    // The access mode and the flags of creation cannot be changed.
    ok(fcntl(
        fd,
        libc::F_SETFL,
        libc::O_WRONLY | libc::O_APPEND | O_CREAT,
    ));
    assert_eq!(ok(fcntl(fd, libc::F_GETFL, 0)), flags | libc::O_APPEND);
}
