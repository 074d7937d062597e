//! What is in files: offsets, positions, holes, sizes, files that are only memory.

use super::{seek, stat};
use crate::cases::cases;
use crate::sys::*;
use libc::{O_RDONLY, O_RDWR, O_WRONLY};

cases![
    offsets,
    positioned_io,
    vectored_io,
    append_goes_to_the_end,
    holes_and_truncation,
    seek_data_and_hole,
    sendfile_copies,
    sendfile_reads_what_can_be_spliced,
    copy_file_range_copies,
    allocate_and_punch,
    memory_files,
    seals_and_maps,
    many_files,
    big_file,
];

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

fn sendfile_reads_what_can_be_spliced() {
    let to = file("b", b"");
    let (reader, writer) = pipe();
    let event = ok(eventfd(1, 0));
    let zeros = ok(open("/dev/zero", O_RDONLY));
    let root = ok(open("/", O_RDONLY));
    // Neither into a file nor into a pipe: a program reads and writes then.
    for source in [event, zeros, root] {
        for target in [to, writer] {
            fails(sendfile(target, source, None, 8), libc::EINVAL);
        }
        fails(splice(source, None, writer, None, 8, 0), libc::EINVAL);
    }
    let mut offset = 0_i64;
    fails(sendfile(to, event, Some(&mut offset), 8), libc::ESPIPE);
    fails(sendfile(to, reader, None, 1), libc::EINVAL);
    fails(sendfile(to, reader, Some(&mut offset), 1), libc::ESPIPE);
    let random = ok(open("/dev/urandom", O_RDONLY));
    assert_eq!(ok(sendfile(writer, random, None, 8)), 8);
    let version = ok(open("/proc/version", O_RDONLY));
    assert!(ok(sendfile(to, version, None, 4096)) > 10);
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

fn seals_and_maps() {
    let seal = |fd, seals| fcntl(fd, libc::F_ADD_SEALS, seals);
    let (rw, ro) = (libc::PROT_READ | libc::PROT_WRITE, libc::PROT_READ);
    let fd = ok(memfd_create("name", libc::MFD_ALLOW_SEALING));
    ok(ftruncate(fd, 4096));
    let map = ok(mmap(0, 4096, rw, libc::MAP_SHARED, fd, 0));
    fails(seal(fd, libc::F_SEAL_WRITE), libc::EBUSY);
    // It could be made writable again.
    ok(mprotect(map, 4096, ro));
    fails(seal(fd, libc::F_SEAL_WRITE), libc::EBUSY);
    ok(seal(fd, libc::F_SEAL_FUTURE_WRITE));
    fails(mmap(0, 4096, rw, libc::MAP_SHARED, fd, 0), libc::EPERM);
    fails(write(fd, b"x"), libc::EPERM);
    ok(mprotect(map, 4096, rw));
    // A child has the map as well.
    let (read_end, write_end) = pipe();
    let pid = child(|| {
        let _ = get(read_end, 1);
        0
    });
    ok(munmap(map, 4096));
    fails(seal(fd, libc::F_SEAL_WRITE), libc::EBUSY);
    put(write_end, b"x");
    assert_eq!(wait(pid), Ended::Exit(0));
    ok(mmap(0, 4096, rw, libc::MAP_PRIVATE, fd, 0));
    ok(seal(fd, libc::F_SEAL_WRITE | libc::F_SEAL_SEAL));
    fails(seal(fd, libc::F_SEAL_GROW), libc::EPERM);
    // Only files without a name are sealed.
    let named = file("f", b"");
    fails(seal(named, libc::F_SEAL_GROW), libc::EPERM);
    assert_eq!(ok(fcntl(named, libc::F_GET_SEALS, 0)), libc::F_SEAL_SEAL);
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
