//! Names: directories and what is in them, renaming, links.

use super::{path_exists, raw_error, seek, stat};
use crate::cases::cases;
use crate::sys::*;
use libc::{AT_FDCWD, O_CREAT, O_RDONLY, O_WRONLY};

cases![
    directories_list_everything,
    directory_seeks,
    rename_replaces,
    rename_flags,
    rename_errors,
    links_count,
    unlinked_files_live_on,
    symbolic_links,
];

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
