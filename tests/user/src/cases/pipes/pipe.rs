//! Pipes: their ends, their size, who waits.

use crate::cases::cases;
use crate::sys::*;

cases![
    pipe_ends,
    pipe_capacity,
    pipe_blocks_and_wakes,
    pipe_small_writes_are_whole,
    pipe_errors,
    pipe_size,
    many_writers,
    tee_and_splice,
];

fn nonblocking(fd: i32) {
    ok(fcntl(fd, libc::F_SETFL, file_flags(fd) | libc::O_NONBLOCK));
}

fn pipe_ends() {
    let (reader, writer) = pipe();
    put(writer, b"hello");
    put(writer, b" there");
    assert_eq!(get(reader, 100), b"hello there");
    fails(write(reader, b"x"), libc::EBADF);
    fails(read(writer, &mut [0]), libc::EBADF);
    close(writer);
    assert_eq!(get(reader, 1), b"");
}

fn pipe_capacity() {
    let (reader, writer) = pipe();
    nonblocking(writer);
    let block = [7_u8; 4096];
    let mut total = 0;
    let error = loop {
        match write(writer, &block) {
            Ok(len) => total += len,
            Err(error) => break error,
        }
    };
    assert_eq!((total, error), (65536, libc::EAGAIN));
    assert_eq!(poll_one(writer, libc::POLLOUT, 0), 0);
    assert_eq!(get(reader, 4096).len(), 4096);
    assert_eq!(poll_one(writer, libc::POLLOUT, 0), libc::POLLOUT);
    let mut waiting = 0;
    ok(ioctl_at(reader, libc::FIONREAD, &mut waiting));
    assert_eq!(waiting, 65536 - 4096);
}

fn pipe_blocks_and_wakes() {
    let (reader, writer) = pipe();
    let pid = child(|| {
        close(reader);
        let block = vec![1_u8; 300_000];
        put(writer, &block);
        0
    });
    close(writer);
    let mut total = 0;
    loop {
        match get(reader, 10_000).len() {
            0 => break,
            len => total += len,
        }
    }
    assert_eq!(total, 300_000);
    assert_eq!(wait(pid), Ended::Exit(0));
}

fn pipe_small_writes_are_whole() {
    let (reader, writer) = pipe();
    nonblocking(writer);
    let block = [7_u8; 4096];
    while write(writer, &block[..4095]).is_ok() {}
    // Up to 4096 bytes go in whole or not at all.
    get(reader, 100);
    fails(write(writer, &block), libc::EAGAIN);
}

fn pipe_errors() {
    let mut ends = [0; 2];
    fails(pipe2(&mut ends, 0x1), libc::EINVAL);
    let (reader, writer) = pipe();
    fails(lseek(reader, 0, libc::SEEK_SET), libc::ESPIPE);
    fails(pread(reader, &mut [0], 0), libc::ESPIPE);
    fails(ftruncate(writer, 0), libc::EINVAL);
    fails(fsync(writer), libc::EINVAL);
    nonblocking(reader);
    fails(read(reader, &mut [0]), libc::EAGAIN);
    assert_eq!(ok(read(reader, &mut [])), 0);
}

fn pipe_size() {
    let (_reader, writer) = pipe();
    assert_eq!(ok(fcntl(writer, libc::F_GETPIPE_SZ, 0)), 65536);
    assert_eq!(ok(fcntl(writer, libc::F_SETPIPE_SZ, 5000)), 8192);
    nonblocking(writer);
    let block = [0_u8; 16384];
    assert_eq!(ok(write(writer, &block)), 8192);
    fails(fcntl(writer, libc::F_SETPIPE_SZ, 4096), libc::EBUSY);
}

fn many_writers() {
    let (reader, writer) = pipe();
    let children: Vec<i32> = (0..8_u8)
        .map(|i| {
            child(move || {
                for _ in 0..100 {
                    put(writer, &[i; 16]);
                }
                0
            })
        })
        .collect();
    close(writer);
    let mut counts = [0; 8];
    let mut rest = Vec::new();
    loop {
        let chunk = get(reader, 4096);
        if chunk.is_empty() {
            break;
        }
        rest.extend(chunk);
        while rest.len() >= 16 {
            let one: Vec<u8> = rest.drain(..16).collect();
            assert!(
                one.iter().all(|byte| *byte == one[0]),
                "two writes were mixed"
            );
            counts[one[0] as usize] += 1;
        }
    }
    assert_eq!(counts, [100; 8]);
    for pid in children {
        assert_eq!(wait(pid), Ended::Exit(0));
    }
}

fn tee_and_splice() {
    let (reader, writer) = pipe();
    let fd = file("f", b"from a file");
    let len = ok(splice(fd, None, writer, None, 4, 0));
    assert_eq!(len, 4);
    assert_eq!(get(reader, 10), b"from");
    fails(splice(fd, None, fd, None, 4, 0), libc::EINVAL);
}
