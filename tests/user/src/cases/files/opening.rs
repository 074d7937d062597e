//! Opening files and paths: flags, errors, lengths, descriptors that are only a path.

use super::{path_exists, raw_error, stat};
use crate::cases::cases;
use crate::sys::*;
use libc::{AT_FDCWD, O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_WRONLY};

cases![
    open_flags,
    open_errors,
    name_lengths,
    deep_paths,
    path_only_descriptors,
    temporary_files,
    working_directory,
    relative_to_a_directory,
    device_files,
    read_directory_as_file,
    proc_fd_links,
];

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
