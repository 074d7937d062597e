//! Maps of files, private and shared.

use super::RW;
use crate::cases::cases;
use crate::sys::*;
use libc::{MAP_PRIVATE, MAP_SHARED, PROT_READ};

cases![
    private_file_maps_copy,
    shared_file_maps_write,
    shared_maps_between_processes,
    map_rights_follow_the_file,
    truncation_zaps_maps,
    dev_zero_maps,
];

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

fn dev_zero_maps() {
    let fd = ok(open("/dev/zero", libc::O_RDWR));
    let at = mmap(0, 4096, RW, MAP_PRIVATE, fd, 0).expect("it can be mapped");
    assert_eq!(peek(at), 0);
    poke(at, 1);
    assert_eq!(peek(at), 1);
}
