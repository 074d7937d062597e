//! Pipes with a name.

use crate::cases::cases;
use crate::sys::*;
use std::time::Instant;

cases![fifo_waits_for_both, fifo_nonblocking,];

fn mkfifo(path: &str) {
    ok(crate::sys::mkfifo(path, 0o600));
}

fn fifo_waits_for_both() {
    mkfifo("p");
    let start = Instant::now();
    let pid = child(|| {
        sleep_ms(50);
        let writer = ok(open("p", libc::O_WRONLY));
        put(writer, b"through");
        0
    });
    let reader = ok(open("p", libc::O_RDONLY));
    assert!(start.elapsed().as_millis() >= 50);
    assert_eq!(get(reader, 100), b"through");
    assert_eq!(wait(pid), Ended::Exit(0));
    assert_eq!(get(reader, 100), b"");
}

fn fifo_nonblocking() {
    mkfifo("p");
    fails(open("p", libc::O_WRONLY | libc::O_NONBLOCK), libc::ENXIO);
    let reader = ok(open("p", libc::O_RDONLY | libc::O_NONBLOCK));
    assert_eq!(get(reader, 10), b"");
    let writer = ok(open("p", libc::O_WRONLY | libc::O_NONBLOCK));
    fails(read(reader, &mut [0]), libc::EAGAIN);
    put(writer, b"x");
    assert_eq!(get(reader, 10), b"x");
}
