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

fn mkdir(path: &str) {
    ok(unsafe { libc::mkdir(c(path).as_ptr(), 0o755) });
}

fn stat(path: &str) -> libc::stat {
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    ok(unsafe { libc::lstat(c(path).as_ptr(), &raw mut stat) });
    stat
}

fn chmod(path: &str, mode: u32) {
    ok(unsafe { libc::chmod(c(path).as_ptr(), mode) });
}

fn seek(fd: i32, offset: i64, whence: i32) -> i64 {
    unsafe { libc::lseek(fd, offset, whence) }
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
    let flags = ok(unsafe { libc::fcntl(fd, libc::F_GETFL) });
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
    fails(unsafe { libc::close(999) }, libc::EBADF);
    fails(unsafe { libc::close(-1) }, libc::EBADF);
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
        mkdir("directory-with-a-name");
        ok(unsafe { libc::chdir(c("directory-with-a-name").as_ptr()) });
    }
    // getcwd of more than PATH_MAX has an error of its own.
    let mut buffer = vec![0_u8; 10_000];
    let error = call(
        libc::SYS_getcwd,
        &[buffer.as_mut_ptr() as usize, buffer.len()],
    );
    assert_eq!(error, Err(libc::ENAMETOOLONG));
    for _ in 0..300 {
        ok(unsafe { libc::chdir(c("..").as_ptr()) });
        ok(unsafe { libc::rmdir(c("directory-with-a-name").as_ptr()) });
    }
    assert_eq!(
        call(libc::SYS_getcwd, &[buffer.as_mut_ptr() as usize, 2]),
        Err(libc::ERANGE)
    );
}

fn path_only_descriptors() {
    file("f", b"x");
    let fd = ok(open("f", libc::O_PATH));
    let mut byte = 0_u8;
    fails(
        unsafe { libc::read(fd, (&raw mut byte).cast(), 1) },
        libc::EBADF,
    );
    assert_eq!(
        call(libc::SYS_fchmod, &[fd as usize, 0o600]),
        Err(libc::EBADF)
    );
    let mut info: libc::stat = unsafe { std::mem::zeroed() };
    ok(unsafe { libc::fstat(fd, &raw mut info) });
    assert_eq!(info.st_size, 1);
    std::os::unix::fs::symlink("f", "l").expect("the directory is writable");
    let link = ok(open("l", libc::O_PATH | libc::O_NOFOLLOW));
    ok(unsafe { libc::fstat(link, &raw mut info) });
    assert_eq!(info.st_mode & libc::S_IFMT, libc::S_IFLNK);
}

fn temporary_files() {
    let fd = ok(unsafe { libc::open(c(".").as_ptr(), libc::O_TMPFILE | O_RDWR, 0o600) });
    put(fd, b"hidden");
    assert_eq!(std::fs::read_dir(".").expect("it can be read").count(), 0);
    let from = c(&format!("/proc/self/fd/{fd}"));
    ok(unsafe {
        libc::linkat(
            AT_FDCWD,
            from.as_ptr(),
            AT_FDCWD,
            c("named").as_ptr(),
            libc::AT_SYMLINK_FOLLOW,
        )
    });
    assert_eq!(
        std::fs::read("named").expect("it has a name now"),
        b"hidden"
    );
}

fn offsets() {
    let fd = file("f", b"0123456789");
    assert_eq!(seek(fd, 3, libc::SEEK_SET), 3);
    assert_eq!(get(fd, 2), b"34");
    assert_eq!(seek(fd, -1, libc::SEEK_CUR), 4);
    assert_eq!(seek(fd, -2, libc::SEEK_END), 8);
    assert_eq!(get(fd, 10), b"89");
    assert_eq!(get(fd, 10), b"");
    fails(seek(fd, -1, libc::SEEK_SET), libc::EINVAL);
    fails(seek(fd, 0, 99), libc::EINVAL);
    assert_eq!(seek(fd, 1 << 40, libc::SEEK_SET), 1 << 40);
    assert_eq!(get(fd, 1), b"");
}

fn positioned_io() {
    let fd = file("f", b"0123456789");
    let mut data = [0_u8; 4];
    assert_eq!(
        ok(unsafe { libc::pread(fd, data.as_mut_ptr().cast(), 4, 6) }),
        4
    );
    assert_eq!(&data, b"6789");
    assert_eq!(
        ok(unsafe { libc::pwrite(fd, c"XY".as_ptr().cast(), 2, 12) }),
        2
    );
    assert_eq!(get(fd, 100), b"0123456789\0\0XY");
    fails(
        unsafe { libc::pread(fd, data.as_mut_ptr().cast(), 4, -1) },
        libc::EINVAL,
    );
    fails(
        unsafe { libc::pwrite(fd, data.as_ptr().cast(), 4, -1) },
        libc::EINVAL,
    );
}

fn vectored_io() {
    let fd = file("f", b"");
    let part = |text: &'static [u8]| libc::iovec {
        iov_base: text.as_ptr() as *mut _,
        iov_len: text.len(),
    };
    let parts = [part(b"one"), part(b""), part(b"two")];
    assert_eq!(ok(unsafe { libc::writev(fd, parts.as_ptr(), 3) }), 6);
    seek(fd, 0, libc::SEEK_SET);
    let (mut a, mut b) = ([0_u8; 2], [0_u8; 10]);
    let into = [
        libc::iovec {
            iov_base: a.as_mut_ptr().cast(),
            iov_len: 2,
        },
        libc::iovec {
            iov_base: b.as_mut_ptr().cast(),
            iov_len: 10,
        },
    ];
    assert_eq!(ok(unsafe { libc::readv(fd, into.as_ptr(), 2) }), 6);
    assert_eq!((&a, &b[..4]), (b"on", &b"etwo"[..]));
    fails(unsafe { libc::readv(fd, into.as_ptr(), -1) }, libc::EINVAL);
    fails(
        unsafe { libc::readv(fd, into.as_ptr(), 1025) },
        libc::EINVAL,
    );
    let huge = [libc::iovec {
        iov_base: a.as_mut_ptr().cast(),
        iov_len: usize::MAX,
    }];
    fails(unsafe { libc::writev(fd, huge.as_ptr(), 1) }, libc::EINVAL);
    assert_eq!(ok(unsafe { libc::preadv(fd, into.as_ptr(), 1, 3) }), 2);
    assert_eq!(&a, b"tw");
}

fn append_goes_to_the_end() {
    file("f", b"start");
    let fd = ok(open("f", O_RDWR | libc::O_APPEND));
    let other = ok(open("f", O_WRONLY));
    seek(fd, 0, libc::SEEK_SET);
    put(fd, b"-end");
    put(other, b"S");
    assert_eq!(std::fs::read("f").expect("it is there"), b"Start-end");
    assert_eq!(seek(fd, 0, libc::SEEK_CUR), 9);
}

fn holes_and_truncation() {
    let fd = file("f", b"abc");
    ok(unsafe { libc::ftruncate(fd, 10_000) });
    let data = std::fs::read("f").expect("it is there");
    assert!(
        data.len() == 10_000
            && data.starts_with(b"abc\0")
            && data[3..].iter().all(|byte| *byte == 0)
    );
    ok(unsafe { libc::ftruncate(fd, 2) });
    ok(unsafe { libc::ftruncate(fd, 5) });
    assert_eq!(std::fs::read("f").expect("it is there"), b"ab\0\0\0");
    fails(unsafe { libc::ftruncate(fd, -1) }, libc::EINVAL);
    let reader = ok(open("f", O_RDONLY));
    fails(unsafe { libc::ftruncate(reader, 0) }, libc::EINVAL);
    fails(unsafe { libc::truncate(c(".").as_ptr(), 0) }, libc::EISDIR);
    fails(unsafe { libc::truncate(c("no").as_ptr(), 0) }, libc::ENOENT);
}

fn seek_data_and_hole() {
    let fd = file("f", b"abc");
    ok(unsafe { libc::ftruncate(fd, 1 << 20) });
    ok(unsafe { libc::pwrite(fd, c"x".as_ptr().cast(), 1, 512 * 1024) });
    assert_eq!(seek(fd, 0, libc::SEEK_DATA), 0);
    let hole = seek(fd, 0, libc::SEEK_HOLE);
    assert!((3..=512 * 1024).contains(&hole), "{hole}");
    assert_eq!(seek(fd, hole, libc::SEEK_DATA), 512 * 1024);
    fails(seek(fd, 2 << 20, libc::SEEK_DATA), libc::ENXIO);
    assert_eq!(stat("f").st_blocks, 16);
}

fn descriptors_are_duplicated() {
    let fd = file("f", b"abcdef");
    let copy = ok(unsafe { libc::dup(fd) });
    assert_eq!(get(copy, 2), b"ab");
    assert_eq!(get(fd, 2), b"cd");
    assert_eq!(ok(unsafe { libc::dup2(fd, 50) }), 50);
    assert_eq!(ok(unsafe { libc::dup2(fd, fd) }), fd);
    fails(unsafe { libc::dup3(fd, fd, 0) }, libc::EINVAL);
    fails(unsafe { libc::dup2(999, 5) }, libc::EBADF);
    fails(unsafe { libc::dup3(fd, 60, 0x1) }, libc::EINVAL);
    let high = ok(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 100) });
    assert_eq!(high, 100);
    assert_eq!(
        ok(unsafe { libc::fcntl(high, libc::F_GETFD) }),
        libc::FD_CLOEXEC
    );
    assert_eq!(
        ok(unsafe { libc::fcntl(ok(libc::dup(high)), libc::F_GETFD) }),
        0
    );
    fails(unsafe { libc::fcntl(fd, libc::F_DUPFD, -1) }, libc::EINVAL);
    fails(
        unsafe { libc::fcntl(fd, libc::F_DUPFD, 1 << 30) },
        libc::EINVAL,
    );
}

fn full_descriptor_table() {
    let limit = libc::rlimit {
        rlim_cur: 64,
        rlim_max: 64,
    };
    ok(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) });
    while unsafe { libc::dup(0) } >= 0 {}
    fails(open("/dev/null", O_RDONLY), libc::EMFILE);
    let mut ends = [0; 2];
    fails(unsafe { libc::pipe(ends.as_mut_ptr()) }, libc::EMFILE);
    fails(
        unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0) },
        libc::EMFILE,
    );
    fails(unsafe { libc::eventfd(0, 0) }, libc::EMFILE);
    close(40);
    assert_eq!(ok(open("/dev/null", O_RDONLY)), 40);
}

fn close_range_closes() {
    for fd in 20..30 {
        ok(unsafe { libc::dup2(0, fd) });
    }
    assert_eq!(call(libc::SYS_close_range, &[22, 27, 0]), Ok(0));
    let open: Vec<i32> = (20..30)
        .filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0)
        .collect();
    assert_eq!(open, [20, 21, 28, 29]);
    assert_eq!(
        call(libc::SYS_close_range, &[28, usize::MAX >> 32, 4]),
        Ok(0)
    );
    assert_eq!(
        ok(unsafe { libc::fcntl(28, libc::F_GETFD) }),
        libc::FD_CLOEXEC
    );
    assert_eq!(call(libc::SYS_close_range, &[5, 4, 0]), Err(libc::EINVAL));
}

fn directories_list_everything() {
    mkdir("d");
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
    ok(unsafe { libc::rmdir(c("d").as_ptr()) });
}

fn directory_seeks() {
    mkdir("d");
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
    assert_eq!(seek(fd, 0, libc::SEEK_SET), 0);
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
    mkdir("d");
    mkdir("e");
    std::fs::rename("d", "e").expect("it replaces an empty directory");
    mkdir("g");
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
    mkdir("d");
    assert_eq!(rename("d", "b", libc::RENAME_EXCHANGE), Ok(0));
    assert!(std::fs::metadata("b").expect("it is there").is_dir());
}

fn rename_errors() {
    mkdir("d");
    mkdir("e");
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
    mkdir("d");
    assert_eq!(raw_error(std::fs::hard_link("d", "e")), libc::EPERM);
    assert_eq!(raw_error(std::fs::hard_link("no", "e")), libc::ENOENT);
    assert_eq!(
        raw_error(std::fs::hard_link("f", "/dev/shm/e")),
        libc::EXDEV
    );
    mkdir("d/e");
    assert_eq!(stat("d").st_nlink, 3);
    std::fs::remove_file("f").expect("it is there");
    assert_eq!(stat("g").st_nlink, 1);
    // A link to a symbolic link links the link.
    std::os::unix::fs::symlink("nowhere", "s").expect("the directory is writable");
    ok(unsafe { libc::linkat(AT_FDCWD, c("s").as_ptr(), AT_FDCWD, c("t").as_ptr(), 0) });
    assert_eq!(stat("t").st_mode & libc::S_IFMT, libc::S_IFLNK);
}

fn unlinked_files_live_on() {
    let fd = file("f", b"still here");
    std::fs::remove_file("f").expect("it is there");
    assert_eq!(get(fd, 100), b"still here");
    let mut info: libc::stat = unsafe { std::mem::zeroed() };
    ok(unsafe { libc::fstat(fd, &raw mut info) });
    assert_eq!(info.st_nlink, 0);
    assert_eq!(raw_error(std::fs::remove_file("f")), libc::ENOENT);
    mkdir("d");
    assert_eq!(raw_error(std::fs::remove_file("d")), libc::EISDIR);
    assert_eq!(raw_error(std::fs::remove_dir("d/.")), libc::EINVAL);
    file("g", b"");
    assert_eq!(raw_error(std::fs::remove_dir("g")), libc::ENOTDIR);
    let dir = ok(open("d", O_RDONLY));
    std::fs::remove_dir("d").expect("it is empty");
    fails(
        unsafe { libc::openat(dir, c("x").as_ptr(), O_WRONLY | O_CREAT, 0o644) },
        libc::ENOENT,
    );
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
    assert_eq!(
        ok(unsafe { libc::readlink(c("l").as_ptr(), buffer.as_mut_ptr().cast(), 3) }),
        3
    );
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
    mkdir("d");
    symlink("d", "dl").expect("the directory is writable");
    file("dl/x", b"");
    assert!(path_exists("d/x"));
}

fn permissions_are_checked() {
    file("f", b"x");
    chmod("f", 0o600);
    file("r", b"x");
    chmod("r", 0o644);
    chmod(".", 0o755);
    in_child(|| {
        become_user();
        fails(open("f", O_RDONLY), libc::EACCES);
        ok(open("r", O_RDONLY));
        fails(open("r", O_RDWR), libc::EACCES);
        fails(open("new", O_WRONLY | O_CREAT), libc::EACCES);
        fails(unsafe { libc::unlink(c("r").as_ptr()) }, libc::EACCES);
        fails(unsafe { libc::chmod(c("r").as_ptr(), 0o777) }, libc::EPERM);
        fails(
            unsafe { libc::chown(c("r").as_ptr(), 1000, 1000) },
            libc::EPERM,
        );
        fails(unsafe { libc::truncate(c("r").as_ptr(), 0) }, libc::EACCES);
        fails(
            unsafe { libc::utimensat(AT_FDCWD, c("r").as_ptr(), std::ptr::null(), 0) },
            libc::EACCES,
        );
        fails(
            unsafe {
                libc::mknod(
                    c("/tmp/dev").as_ptr(),
                    libc::S_IFCHR | 0o666,
                    libc::makedev(1, 3),
                )
            },
            libc::EPERM,
        );
    });
    chmod("f", 0o000);
    ok(open("f", O_RDWR)); // root may
}

fn directory_permissions() {
    mkdir("d");
    file("d/f", b"x");
    in_child(|| {
        chmod("d", 0o711);
        become_user();
        ok(open("d/f", O_RDONLY));
        fails(open("d", O_RDONLY), libc::EACCES);
    });
    in_child(|| {
        chmod("d", 0o744);
        become_user();
        fails(open("d/f", O_RDONLY), libc::EACCES);
        ok(open("d", O_RDONLY));
        fails(unsafe { libc::chdir(c("d").as_ptr()) }, libc::EACCES);
    });
}

fn sticky_directories() {
    mkdir("d");
    chmod("d", 0o1777);
    file("d/root", b"");
    in_child(|| {
        become_user();
        fails(unsafe { libc::unlink(c("d/root").as_ptr()) }, libc::EPERM);
        fails(
            unsafe { libc::rename(c("d/root").as_ptr(), c("d/x").as_ptr()) },
            libc::EPERM,
        );
        file("d/mine", b"");
        ok(unsafe { libc::unlink(c("d/mine").as_ptr()) });
    });
}

fn group_permissions() {
    file("f", b"x");
    ok(unsafe { libc::chown(c("f").as_ptr(), 0, 77) });
    chmod("f", 0o640);
    in_child(|| {
        ok(unsafe { libc::setgroups(1, [77].as_ptr()) });
        ok(unsafe { libc::setresgid(1000, 1000, 1000) });
        ok(unsafe { libc::setresuid(1000, 1000, 1000) });
        ok(open("f", O_RDONLY));
        fails(open("f", O_WRONLY), libc::EACCES);
    });
    // The owner's bits count for the owner, even if they give less.
    ok(unsafe { libc::chown(c("f").as_ptr(), 1000, 77) });
    chmod("f", 0o066);
    in_child(|| {
        become_user();
        fails(open("f", O_RDONLY), libc::EACCES);
    });
    // A set-group-id directory hands its group on.
    mkdir("d");
    ok(unsafe { libc::chown(c("d").as_ptr(), 0, 88) });
    chmod("d", 0o2755);
    file("d/f", b"");
    mkdir("d/e");
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
        chmod("f", mode);
        assert_eq!(stat("f").st_mode & 0o7777, mode);
    }
    let fd = ok(open("f", O_RDONLY));
    ok(unsafe { libc::fchmod(fd, 0o612) });
    assert_eq!(stat("f").st_mode, libc::S_IFREG | 0o612);
}

fn umask_applies() {
    assert_eq!(unsafe { libc::umask(0o027) }, 0o022);
    ok(unsafe { libc::open(c("f").as_ptr(), O_CREAT | O_WRONLY, 0o777) });
    ok(unsafe { libc::mkdir(c("d").as_ptr(), 0o777) });
    ok(unsafe { libc::mkfifo(c("p").as_ptr(), 0o666) });
    let bits = |path| stat(path).st_mode & 0o777;
    assert_eq!((bits("f"), bits("d"), bits("p")), (0o750, 0o750, 0o640));
    in_child(|| assert_eq!(unsafe { libc::umask(0) }, 0o027));
    assert_eq!(unsafe { libc::umask(0) }, 0o027);
}

fn ownership_clears_set_id() {
    file("f", b"");
    ok(unsafe { libc::chown(c("f").as_ptr(), 1000, 1000) });
    chmod("f", 0o6755);
    ok(unsafe { libc::chown(c("f").as_ptr(), 1000, 1000) });
    assert_eq!(stat("f").st_mode & 0o7777, 0o755);
    ok(unsafe { libc::chown(c("f").as_ptr(), u32::MAX, 5) });
    assert_eq!((stat("f").st_uid, stat("f").st_gid), (1000, 5));
    // Writing by somebody else clears them as well.
    chmod("f", 0o6777);
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
    ok(unsafe { libc::utimensat(AT_FDCWD, c("f").as_ptr(), times.as_ptr(), 0) });
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
    ok(unsafe { libc::utimensat(AT_FDCWD, c("f").as_ptr(), omit.as_ptr(), 0) });
    assert!(stat("f").st_atime == 1000 && stat("f").st_mtime > 1_700_000_000);
    let wrong = [libc::timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000_000,
    }; 2];
    fails(
        unsafe { libc::utimensat(AT_FDCWD, c("f").as_ptr(), wrong.as_ptr(), 0) },
        libc::EINVAL,
    );
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
    let mut info: libc::statx = unsafe { std::mem::zeroed() };
    ok(unsafe {
        libc::statx(
            AT_FDCWD,
            c("f").as_ptr(),
            0,
            libc::STATX_BASIC_STATS,
            &raw mut info,
        )
    });
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
    ok(unsafe {
        libc::statx(
            fd,
            c("").as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_ALL,
            &raw mut info,
        )
    });
    assert_eq!(info.stx_size, 5);
    fails(
        unsafe {
            libc::statx(
                AT_FDCWD,
                c("f").as_ptr(),
                0x100_0000,
                libc::STATX_ALL,
                &raw mut info,
            )
        },
        libc::EINVAL,
    );
    fails(
        unsafe { libc::statx(AT_FDCWD, c("").as_ptr(), 0, libc::STATX_ALL, &raw mut info) },
        libc::ENOENT,
    );
}

fn statfs_knows() {
    let kind = |path: &str| {
        let mut info: libc::statfs = unsafe { std::mem::zeroed() };
        ok(unsafe { libc::statfs(c(path).as_ptr(), &raw mut info) });
        assert!(info.f_bsize > 0 && info.f_namelen == 255);
        info.f_type as i64
    };
    assert_eq!(kind("/proc"), 0x9fa0);
    assert_eq!(kind("/dev/shm"), 0x0102_1994);
    assert_eq!(kind("/dev/pts"), 0x1cd1);
    assert_eq!(kind("/sys"), 0x6265_6572);
    let mut info: libc::statfs = unsafe { std::mem::zeroed() };
    ok(unsafe { libc::statfs(c("/dev/shm").as_ptr(), &raw mut info) });
    assert!(info.f_blocks > 0 && info.f_bfree <= info.f_blocks && info.f_files > 0);
    fails(
        unsafe { libc::statfs(c("no").as_ptr(), &raw mut info) },
        libc::ENOENT,
    );
}

fn working_directory() {
    let home = std::env::current_dir().expect("there is one");
    mkdir("d");
    std::env::set_current_dir("d").expect("it is there");
    assert_eq!(
        std::env::current_dir().expect("there is one"),
        home.join("d")
    );
    let up = ok(open("..", O_RDONLY));
    ok(unsafe { libc::fchdir(up) });
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
    fails(
        unsafe { libc::chdir(c("/etc/passwd").as_ptr()) },
        libc::ENOTDIR,
    );
    fails(
        unsafe { libc::fchdir(file("/tmp/plain-file", b"")) },
        libc::ENOTDIR,
    );
    std::fs::remove_file("/tmp/plain-file").expect("it is there");
    ok(unsafe { libc::chdir(c("/../..").as_ptr()) });
    assert_eq!(
        std::env::current_dir().expect("there is one"),
        std::path::Path::new("/")
    );
}

fn relative_to_a_directory() {
    mkdir("d");
    let dir = ok(open("d", O_RDONLY));
    ok(unsafe { libc::openat(dir, c("f").as_ptr(), O_CREAT | O_WRONLY, 0o644) });
    ok(unsafe { libc::mkdirat(dir, c("e").as_ptr(), 0o755) });
    ok(unsafe { libc::symlinkat(c("f").as_ptr(), dir, c("l").as_ptr()) });
    ok(unsafe { libc::renameat(dir, c("f").as_ptr(), dir, c("g").as_ptr()) });
    ok(unsafe { libc::faccessat(dir, c("g").as_ptr(), libc::R_OK, 0) });
    ok(unsafe { libc::unlinkat(dir, c("g").as_ptr(), 0) });
    fails(
        unsafe { libc::unlinkat(dir, c("e").as_ptr(), 0) },
        libc::EISDIR,
    );
    ok(unsafe { libc::unlinkat(dir, c("e").as_ptr(), libc::AT_REMOVEDIR) });
    let plain = file("plain", b"");
    fails(
        unsafe { libc::openat(plain, c("x").as_ptr(), O_RDONLY) },
        libc::ENOTDIR,
    );
    fails(
        unsafe { libc::openat(999, c("x").as_ptr(), O_RDONLY) },
        libc::EBADF,
    );
    ok(unsafe { libc::openat(999, c("/etc/passwd").as_ptr(), O_RDONLY) });
}

fn lock(fd: i32, command: i32, kind: i32, start: i64, len: i64) -> (i32, libc::flock) {
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as i16;
    lock.l_start = start;
    lock.l_len = len;
    let result = unsafe { libc::fcntl(fd, command, &raw mut lock) };
    (result, lock)
}

fn record_locks() {
    let fd = file("f", &[0; 100]);
    ok(lock(fd, libc::F_SETLK, libc::F_WRLCK, 10, 10).0);
    let me = unsafe { libc::getpid() };
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
    let copy = ok(unsafe { libc::dup(a) });
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
    ok(unsafe { libc::flock(a, libc::LOCK_SH) });
    ok(unsafe { libc::flock(b, libc::LOCK_SH | now) });
    fails(
        unsafe { libc::flock(b, libc::LOCK_EX | now) },
        libc::EWOULDBLOCK,
    );
    ok(unsafe { libc::flock(a, libc::LOCK_UN) });
    ok(unsafe { libc::flock(b, libc::LOCK_EX | now) });
    fails(
        unsafe { libc::flock(a, libc::LOCK_SH | now) },
        libc::EWOULDBLOCK,
    );
    // A forked child has the same open file, and with it the lock.
    in_child(|| {
        ok(unsafe { libc::flock(b, libc::LOCK_UN) });
    });
    ok(unsafe { libc::flock(a, libc::LOCK_EX | now) });
    fails(unsafe { libc::flock(a, 0) }, libc::EINVAL);
    fails(unsafe { libc::flock(999, libc::LOCK_SH) }, libc::EBADF);
}

fn sendfile_copies() {
    let from = file("a", b"0123456789");
    let to = file("b", b"");
    let mut offset = 2_i64;
    assert_eq!(
        ok(unsafe { libc::sendfile(to, from, &raw mut offset, 4) }),
        4
    );
    assert_eq!((offset, seek(from, 0, libc::SEEK_CUR)), (6, 0));
    assert_eq!(
        ok(unsafe { libc::sendfile(to, from, std::ptr::null_mut(), 100) }),
        10
    );
    assert_eq!(std::fs::read("b").expect("it is there"), b"23450123456789");
    let (_reader, writer) = pipe();
    offset = 0;
    assert_eq!(
        ok(unsafe { libc::sendfile(writer, from, &raw mut offset, 3) }),
        3
    );
    fails(
        unsafe { libc::sendfile(ok(open("b", O_RDONLY)), from, std::ptr::null_mut(), 1) },
        libc::EBADF,
    );
}

fn copy_file_range_copies() {
    let from = file("a", b"0123456789");
    let to = file("b", b"xxxxxxxxxxxx");
    let (mut at, mut into) = (3_i64, 1_i64);
    let copy = |at: *mut i64, into: *mut i64, len| unsafe {
        libc::copy_file_range(from, at, to, into, len, 0)
    };
    assert_eq!(ok(copy(&raw mut at, &raw mut into, 4)), 4);
    assert_eq!((at, into), (7, 5));
    assert_eq!(std::fs::read("b").expect("it is there"), b"x3456xxxxxxx");
    at = 100;
    assert_eq!(ok(copy(&raw mut at, &raw mut into, 4)), 0);
    fails(
        unsafe {
            libc::copy_file_range(from, std::ptr::null_mut(), to, std::ptr::null_mut(), 1, 1)
        },
        libc::EINVAL,
    );
    let mut same = 2_i64;
    at = 0;
    fails(
        unsafe { libc::copy_file_range(from, &raw mut at, from, &raw mut same, 5, 0) },
        libc::EINVAL,
    );
}

fn allocate_and_punch() {
    let fd = file("f", b"abc");
    ok(unsafe { libc::fallocate(fd, 0, 0, 10_000) });
    assert_eq!(stat("f").st_size, 10_000);
    ok(unsafe { libc::fallocate(fd, libc::FALLOC_FL_KEEP_SIZE, 0, 20_000) });
    assert_eq!(stat("f").st_size, 10_000);
    ok(unsafe {
        libc::fallocate(
            fd,
            libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
            0,
            2,
        )
    });
    assert_eq!(&get(fd, 3), b"\0\0c");
    fails(unsafe { libc::fallocate(fd, 0, -1, 10) }, libc::EINVAL);
    fails(unsafe { libc::fallocate(fd, 0, 0, 0) }, libc::EINVAL);
    fails(unsafe { libc::fallocate(pipe().1, 0, 0, 1) }, libc::ESPIPE);
}

fn memory_files() {
    let fd = ok(unsafe { libc::memfd_create(c("name").as_ptr(), libc::MFD_ALLOW_SEALING) });
    put(fd, b"in memory");
    let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).expect("procfs");
    assert_eq!(link, std::path::Path::new("/memfd:name (deleted)"));
    ok(unsafe {
        libc::fcntl(
            fd,
            libc::F_ADD_SEALS,
            libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK,
        )
    });
    fails(
        unsafe { libc::write(fd, c"x".as_ptr().cast(), 1) },
        libc::EPERM,
    );
    fails(unsafe { libc::ftruncate(fd, 1) }, libc::EPERM);
    assert_eq!(
        ok(unsafe { libc::fcntl(fd, libc::F_GET_SEALS) }),
        libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK
    );
    fails(
        unsafe { libc::memfd_create(c("x").as_ptr(), 0x8000_0000) },
        libc::EINVAL,
    );
}

fn device_files() {
    let null = ok(open("/dev/null", O_RDWR));
    put(null, b"gone");
    assert_eq!(get(null, 10), b"");
    assert_eq!(get(ok(open("/dev/zero", O_RDONLY)), 5), [0; 5]);
    let full = ok(open("/dev/full", O_RDWR));
    fails(
        unsafe { libc::write(full, c"x".as_ptr().cast(), 1) },
        libc::ENOSPC,
    );
    assert_eq!(get(full, 2), [0; 2]);
    let rdev = stat("/dev/null").st_rdev;
    assert_eq!((libc::major(rdev), libc::minor(rdev)), (1, 3));
    ok(unsafe { libc::mknod(c("n").as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(1, 5)) });
    assert_eq!(get(ok(open("n", O_RDONLY)), 3), [0; 3]);
    ok(unsafe {
        libc::mknod(
            c("none").as_ptr(),
            libc::S_IFCHR | 0o666,
            libc::makedev(250, 77),
        )
    });
    fails(open("none", O_RDONLY), libc::ENXIO);
    fails(
        unsafe { libc::mknod(c("n").as_ptr(), libc::S_IFREG | 0o644, 0) },
        libc::EEXIST,
    );
    fails(
        unsafe { libc::mknod(c("x").as_ptr(), libc::S_IFDIR | 0o644, 0) },
        libc::EPERM,
    );
    fails(unsafe { libc::ioctl(null, libc::TCGETS, 8) }, libc::ENOTTY);
}

fn read_directory_as_file() {
    let fd = ok(open(".", O_RDONLY));
    let mut byte = 0_u8;
    fails(
        unsafe { libc::read(fd, (&raw mut byte).cast(), 1) },
        libc::EISDIR,
    );
    fails(
        unsafe { libc::write(fd, (&raw const byte).cast(), 1) },
        libc::EBADF,
    );
}

fn mount(from: &str, to: &str, kind: &str, flags: u64, data: &str) -> i32 {
    unsafe {
        libc::mount(
            c(from).as_ptr(),
            c(to).as_ptr(),
            c(kind).as_ptr(),
            flags,
            c(data).as_ptr().cast(),
        )
    }
}

fn umount(path: &str) -> i32 {
    unsafe { libc::umount(c(path).as_ptr()) }
}

fn mounts_nest() {
    mkdir("m");
    ok(mount("first", "m", "tmpfs", 0, ""));
    close(file("m/one", b""));
    mkdir("m/n");
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
    ok(unsafe { libc::umount2(c("m").as_ptr(), libc::MNT_DETACH) });
    assert!(!path_exists("m/one"));
    assert_eq!(get(fd, 1), b"");
    fails(unsafe { libc::rmdir(c("/proc").as_ptr()) }, libc::EBUSY);
}

fn bind_mounts() {
    mkdir("a");
    mkdir("b");
    file("a/f", b"bound");
    ok(mount("a", "b", "", libc::MS_BIND, ""));
    assert_eq!(std::fs::read("b/f").expect("it shows"), b"bound");
    assert_eq!(raw_error(std::fs::rename("a/f", "b/g")), libc::EXDEV);
    ok(umount("b"));
    file("plain", b"plain");
    file("target", b"");
    ok(mount("plain", "target", "", libc::MS_BIND, ""));
    assert_eq!(std::fs::read("target").expect("it shows"), b"plain");
    fails(unsafe { libc::unlink(c("target").as_ptr()) }, libc::EBUSY);
    ok(umount("target"));
    fails(mount("a", "plain", "", libc::MS_BIND, ""), libc::ENOTDIR);
}

fn read_only_mounts() {
    mkdir("m");
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
    fails(
        unsafe { libc::mkdir(c("m/d").as_ptr(), 0o755) },
        libc::EROFS,
    );
    fails(
        unsafe { libc::chmod(c("m/f").as_ptr(), 0o600) },
        libc::EROFS,
    );
    assert_eq!(raw_error(std::fs::rename("m/f", "m/g")), libc::EROFS);
    ok(open("m/f", O_RDONLY));
    close_from(3);
    ok(mount("t", "m", "tmpfs", libc::MS_REMOUNT, ""));
    ok(open("m/f", O_WRONLY));
    close_from(3);
    ok(umount("m"));
}

fn mount_errors() {
    mkdir("m");
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
    mkdir("r");
    mkdir("r/d");
    file("r/inside", b"");
    in_child(|| {
        ok(unsafe { libc::chroot(c("r").as_ptr()) });
        ok(unsafe { libc::chdir(c("/d").as_ptr()) });
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
    fails(
        unsafe { libc::chroot(c("r/inside").as_ptr()) },
        libc::ENOTDIR,
    );
    fails(unsafe { libc::chroot(c("r/none").as_ptr()) }, libc::ENOENT);
}

fn extended_attributes() {
    ok(unsafe { libc::chdir(c("/dev/shm").as_ptr()) });
    let path = c("attributes");
    file("attributes", b"");
    let name = c("trusted.a");
    let set = |flags| unsafe {
        libc::setxattr(
            path.as_ptr(),
            name.as_ptr(),
            c"value".as_ptr().cast(),
            5,
            flags,
        )
    };
    ok(set(0));
    fails(set(libc::XATTR_CREATE), libc::EEXIST);
    let mut buffer = [0_u8; 100];
    let get = |name: &str, len| unsafe {
        libc::getxattr(
            path.as_ptr(),
            c(name).as_ptr(),
            buffer.as_mut_ptr().cast(),
            len,
        )
    };
    let mut get = get;
    assert_eq!(ok(get("trusted.a", 0)), 5);
    fails(get("trusted.a", 3), libc::ERANGE);
    assert_eq!(ok(get("trusted.a", 100)), 5);
    fails(get("trusted.b", 100), libc::ENODATA);
    fails(get("nonsense", 100), libc::EOPNOTSUPP);
    assert_eq!(&buffer[..5], b"value");
    ok(unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) });
    fails(
        unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) },
        libc::ENODATA,
    );
    ok(unsafe { libc::unlink(path.as_ptr()) });
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
    seek(fd, 0, libc::SEEK_SET);
    let mut read = vec![0_u8; 1 << 20];
    for _ in 0..20 {
        assert_eq!(
            ok(unsafe { libc::read(fd, read.as_mut_ptr().cast(), read.len()) }),
            1 << 20
        );
        assert!(read == block);
    }
}

fn access_uses_real_ids() {
    file("f", b"");
    chmod("f", 0o600);
    chmod(".", 0o755);
    in_child(|| {
        ok(unsafe { libc::setresuid(1000, 0, 0) });
        let access = |mode| unsafe { libc::access(c("f").as_ptr(), mode) };
        fails(access(libc::R_OK), libc::EACCES);
        ok(access(libc::F_OK));
        ok(open("f", O_RDONLY));
        ok(unsafe { libc::faccessat(AT_FDCWD, c("f").as_ptr(), libc::R_OK, libc::AT_EACCESS) });
    });
    fails(
        unsafe { libc::access(c("f").as_ptr(), libc::X_OK) },
        libc::EACCES,
    );
    fails(unsafe { libc::access(c("f").as_ptr(), 0x80) }, libc::EINVAL);
}

fn fchmodat_and_fchownat() {
    file("f", b"");
    std::os::unix::fs::symlink("f", "l").expect("the directory is writable");
    ok(unsafe { libc::fchownat(AT_FDCWD, c("l").as_ptr(), 5, 6, libc::AT_SYMLINK_NOFOLLOW) });
    assert_eq!((stat("l").st_uid, stat("f").st_uid), (5, 0));
    ok(unsafe { libc::fchownat(AT_FDCWD, c("l").as_ptr(), 7, 8, 0) });
    assert_eq!((stat("f").st_uid, stat("f").st_gid), (7, 8));
    ok(unsafe { libc::fchmodat(AT_FDCWD, c("l").as_ptr(), 0o601, 0) });
    assert_eq!(stat("f").st_mode & 0o777, 0o601);
    let fd = ok(open("f", O_RDONLY));
    ok(unsafe { libc::fchownat(fd, c("").as_ptr(), 9, 9, libc::AT_EMPTY_PATH) });
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
    fails(unsafe { libc::fcntl(fd, 9999) }, libc::EINVAL);
    fails(unsafe { libc::fcntl(999, libc::F_GETFL) }, libc::EBADF);
    let flags = ok(unsafe { libc::fcntl(fd, libc::F_GETFL) });
    // The access mode and the flags of creation cannot be changed.
    ok(unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_WRONLY | libc::O_APPEND | O_CREAT) });
    assert_eq!(
        ok(unsafe { libc::fcntl(fd, libc::F_GETFL) }),
        flags | libc::O_APPEND
    );
}
