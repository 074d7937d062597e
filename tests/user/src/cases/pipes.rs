//! Pipes, FIFOs, and waiting for readiness: poll, select, epoll, eventfd, inotify.

use super::cases;
use crate::sys::*;
use std::time::{Duration, Instant};

cases![
    pipe_ends,
    pipe_capacity,
    pipe_blocks_and_wakes,
    pipe_small_writes_are_whole,
    pipe_errors,
    pipe_size,
    fifo_waits_for_both,
    fifo_nonblocking,
    poll_reports,
    poll_wakes_up,
    select_reports,
    ppoll_takes_a_mask,
    epoll_levels,
    epoll_edges,
    epoll_oneshot,
    epoll_errors,
    epoll_nests,
    epoll_forgets_closed_files,
    eventfd_counts,
    eventfd_semaphore,
    inotify_tells,
    inotify_moves,
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

fn mkfifo(path: &str) {
    ok(crate::sys::mkfifo(path, 0o600));
}

fn fifo_waits_for_both() {
    mkfifo("p");
    let pid = child(|| {
        sleep_ms(50);
        let writer = ok(open("p", libc::O_WRONLY));
        put(writer, b"through");
        0
    });
    let start = Instant::now();
    let reader = ok(open("p", libc::O_RDONLY));
    assert!(start.elapsed().as_millis() >= 30);
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

fn poll_reports() {
    let (reader, writer) = pipe();
    assert_eq!(poll_one(reader, libc::POLLIN, 0), 0);
    assert_eq!(poll_one(writer, libc::POLLOUT, 0), libc::POLLOUT);
    put(writer, b"x");
    assert_eq!(poll_one(reader, libc::POLLIN, 0), libc::POLLIN);
    close(writer);
    assert_eq!(
        poll_one(reader, libc::POLLIN, 0),
        libc::POLLIN | libc::POLLHUP
    );
    get(reader, 1);
    assert_eq!(poll_one(reader, libc::POLLIN, 0), libc::POLLHUP);
    let (reader, writer) = pipe();
    close(reader);
    assert_eq!(
        poll_one(writer, libc::POLLOUT, 0),
        libc::POLLOUT | libc::POLLERR
    );
    assert_eq!(poll_one(999, libc::POLLIN, 0), libc::POLLNVAL);
    assert_eq!(poll_one(-1, libc::POLLIN, 0), 0);
    let fd = file("f", b"");
    assert_eq!(
        poll_one(fd, libc::POLLIN | libc::POLLOUT, 0),
        libc::POLLIN | libc::POLLOUT
    );
    assert_eq!(call(libc::SYS_poll, &[8, 1 << 30, 0]), Err(libc::EINVAL));
}

fn poll_wakes_up() {
    let (reader, writer) = pipe();
    let (other, _keep) = pipe();
    let pid = child(|| {
        sleep_ms(50);
        put(writer, b"x");
        0
    });
    let mut both = [reader, other].map(|fd| pollfd(fd, libc::POLLIN));
    assert_eq!(ok(poll(&mut both, 5000)), 1);
    assert_eq!((both[0].revents, both[1].revents), (libc::POLLIN, 0));
    assert_eq!(wait(pid), Ended::Exit(0));
}

fn select_reports() {
    let (reader, writer) = pipe();
    let (mut read, mut write) = (FdSet::of(&[reader]), FdSet::of(&[writer]));
    let mut zero: libc::timeval = zeroed();
    let count = select(writer + 1, Some(&mut read), Some(&mut write), &mut zero);
    assert_eq!(ok(count), 1);
    assert!(!read.has(reader) && write.has(writer));
    let mut bad = FdSet::of(&[60]);
    fails(select(61, Some(&mut bad), None, &mut zero), libc::EBADF);
    fails(select(-1, None, None, &mut zero), libc::EINVAL);
}

fn ppoll_takes_a_mask() {
    block(&[libc::SIGUSR1]);
    catch_signal(libc::SIGUSR1);
    raise(libc::SIGUSR1);
    let mut patience = timespec(Duration::from_secs(5));
    fails(
        ppoll(&mut [], Some(&mut patience), Some(SigSet::default())),
        libc::EINTR,
    );
}

fn epoll() -> i32 {
    ok(epoll_create1(libc::EPOLL_CLOEXEC))
}

fn control(ep: i32, op: i32, fd: i32, events: i32) -> Result {
    epoll_ctl(ep, op, fd, events as u32, fd as u64)
}

fn ready(ep: i32, timeout: i32) -> Vec<(i32, u32)> {
    let events = ok(epoll_wait(ep, 8, timeout)).into_iter();
    events.map(|(events, fd)| (fd as i32, events)).collect()
}

const IN: u32 = libc::EPOLLIN as u32;

fn epoll_levels() {
    let (reader, writer) = pipe();
    let ep = epoll();
    ok(control(ep, libc::EPOLL_CTL_ADD, reader, libc::EPOLLIN));
    assert_eq!(ready(ep, 0), []);
    put(writer, b"ab");
    assert_eq!(ready(ep, 0), [(reader, IN)]);
    get(reader, 1);
    assert_eq!(ready(ep, 0), [(reader, IN)]);
    get(reader, 1);
    assert_eq!(ready(ep, 0), []);
    ok(control(ep, libc::EPOLL_CTL_MOD, reader, 0));
    put(writer, b"c");
    assert_eq!(ready(ep, 0), []);
    ok(control(ep, libc::EPOLL_CTL_MOD, reader, libc::EPOLLIN));
    assert_eq!(ready(ep, 0), [(reader, IN)]);
    close(writer);
    assert_eq!(ready(ep, 0), [(reader, IN | libc::EPOLLHUP as u32)]);
    ok(control(ep, libc::EPOLL_CTL_DEL, reader, 0));
    assert_eq!(ready(ep, 0), []);
}

fn epoll_edges() {
    let (reader, writer) = pipe();
    let ep = epoll();
    ok(control(
        ep,
        libc::EPOLL_CTL_ADD,
        reader,
        libc::EPOLLIN | libc::EPOLLET,
    ));
    put(writer, b"a");
    assert_eq!(ready(ep, 0), [(reader, IN)]);
    assert_eq!(ready(ep, 0), [], "nothing new");
    put(writer, b"b");
    assert_eq!(ready(ep, 0), [(reader, IN)]);
    let pid = child(|| {
        sleep_ms(50);
        put(writer, b"c");
        0
    });
    assert_eq!(ready(ep, 5000), [(reader, IN)]);
    assert_eq!(wait(pid), Ended::Exit(0));
}

fn epoll_oneshot() {
    let (reader, writer) = pipe();
    let ep = epoll();
    ok(control(
        ep,
        libc::EPOLL_CTL_ADD,
        reader,
        libc::EPOLLIN | libc::EPOLLONESHOT,
    ));
    put(writer, b"a");
    assert_eq!(ready(ep, 0), [(reader, IN)]);
    put(writer, b"b");
    assert_eq!(ready(ep, 0), []);
    ok(control(
        ep,
        libc::EPOLL_CTL_MOD,
        reader,
        libc::EPOLLIN | libc::EPOLLONESHOT,
    ));
    assert_eq!(ready(ep, 0), [(reader, IN)]);
}

fn epoll_errors() {
    let (reader, _writer) = pipe();
    let ep = epoll();
    ok(control(ep, libc::EPOLL_CTL_ADD, reader, libc::EPOLLIN));
    fails(
        control(ep, libc::EPOLL_CTL_ADD, reader, libc::EPOLLIN),
        libc::EEXIST,
    );
    fails(
        control(ep, libc::EPOLL_CTL_ADD, ep, libc::EPOLLIN),
        libc::EINVAL,
    );
    fails(
        control(ep, libc::EPOLL_CTL_ADD, 999, libc::EPOLLIN),
        libc::EBADF,
    );
    fails(
        control(999, libc::EPOLL_CTL_ADD, reader, libc::EPOLLIN),
        libc::EBADF,
    );
    fails(
        control(reader, libc::EPOLL_CTL_ADD, ep, libc::EPOLLIN),
        libc::EINVAL,
    );
    fails(
        control(ep, libc::EPOLL_CTL_ADD, file("f", b""), libc::EPOLLIN),
        libc::EPERM,
    );
    let (other, _keep) = pipe();
    fails(
        control(ep, libc::EPOLL_CTL_MOD, other, libc::EPOLLIN),
        libc::ENOENT,
    );
    fails(control(ep, libc::EPOLL_CTL_DEL, other, 0), libc::ENOENT);
    fails(control(ep, 9, other, 0), libc::EINVAL);
    fails(epoll_wait(ep, 0, 0), libc::EINVAL);
    fails(epoll_wait(reader, 1, 0), libc::EINVAL);
    assert_eq!(call(libc::SYS_epoll_create, &[0]), Err(libc::EINVAL));
    fails(epoll_create1(1), libc::EINVAL);
}

fn epoll_nests() {
    let (reader, writer) = pipe();
    let (inner, outer) = (epoll(), epoll());
    ok(control(inner, libc::EPOLL_CTL_ADD, reader, libc::EPOLLIN));
    ok(control(outer, libc::EPOLL_CTL_ADD, inner, libc::EPOLLIN));
    fails(
        control(inner, libc::EPOLL_CTL_ADD, outer, libc::EPOLLIN),
        libc::ELOOP,
    );
    assert_eq!(ready(outer, 0), []);
    put(writer, b"x");
    assert_eq!(ready(outer, 1000), [(inner, IN)]);
    assert_eq!(poll_one(outer, libc::POLLIN, 0), libc::POLLIN);
}

fn epoll_forgets_closed_files() {
    let (reader, writer) = pipe();
    let ep = epoll();
    ok(control(ep, libc::EPOLL_CTL_ADD, reader, libc::EPOLLIN));
    put(writer, b"x");
    let copy = ok(dup(reader));
    close(reader);
    // The open file lives on in the copy.
    assert_eq!(ready(ep, 0), [(reader, IN)]);
    close(copy);
    assert_eq!(ready(ep, 0), []);
}

fn eventfd_counts() {
    let fd = ok(eventfd(3, libc::EFD_NONBLOCK));
    put(fd, &4_u64.to_ne_bytes());
    assert_eq!(get(fd, 8), 7_u64.to_ne_bytes());
    let mut value = [0_u8; 8];
    fails(read(fd, &mut value), libc::EAGAIN);
    fails(read(fd, &mut value[..7]), libc::EINVAL);
    fails(write(fd, &u64::MAX.to_ne_bytes()), libc::EINVAL);
    put(fd, &(u64::MAX - 1).to_ne_bytes());
    fails(write(fd, &1_u64.to_ne_bytes()), libc::EAGAIN);
    assert_eq!(poll_one(fd, libc::POLLIN | libc::POLLOUT, 0), libc::POLLIN);
}

fn eventfd_semaphore() {
    let fd = ok(eventfd(2, libc::EFD_SEMAPHORE));
    assert_eq!(get(fd, 8), 1_u64.to_ne_bytes());
    assert_eq!(get(fd, 8), 1_u64.to_ne_bytes());
    let pid = child(|| {
        sleep_ms(30);
        put(fd, &1_u64.to_ne_bytes());
        0
    });
    assert_eq!(get(fd, 8), 1_u64.to_ne_bytes());
    assert_eq!(wait(pid), Ended::Exit(0));
}

/// Events of an inotify file: mask, cookie, name.
fn events(fd: i32) -> Vec<(u32, u32, String)> {
    let data = get(fd, 4096);
    let mut rest = &data[..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let word =
            |i: usize| u32::from_ne_bytes(rest[4 * i..4 * i + 4].try_into().expect("four bytes"));
        let (mask, cookie, len) = (word(1), word(2), word(3) as usize);
        let name: Vec<u8> = rest[16..16 + len]
            .iter()
            .copied()
            .take_while(|byte| *byte != 0)
            .collect();
        found.push((mask, cookie, String::from_utf8(name).expect("text")));
        rest = &rest[16 + len..];
    }
    found
}

fn inotify_tells() {
    std::fs::create_dir("d").expect("the directory is writable");
    let fd = ok(inotify_init1(libc::IN_NONBLOCK));
    let watch = ok(inotify_add_watch(
        fd,
        "d",
        libc::IN_ALL_EVENTS & !libc::IN_ACCESS,
    ));
    fails(read(fd, &mut [0]), libc::EAGAIN);
    std::fs::write("d/f", "x").expect("the directory is writable");
    let seen: Vec<_> = events(fd)
        .into_iter()
        .map(|(mask, _, name)| (mask, name))
        .collect();
    let name = || "f".to_string();
    let expected = [
        libc::IN_CREATE,
        libc::IN_OPEN,
        libc::IN_MODIFY,
        libc::IN_CLOSE_WRITE,
    ]
    .map(|mask| (mask, name()));
    assert_eq!(seen, expected);
    std::fs::remove_file("d/f").expect("it is there");
    std::fs::create_dir("d/e").expect("the directory is writable");
    let seen: Vec<_> = events(fd)
        .into_iter()
        .map(|(mask, _, name)| (mask, name))
        .collect();
    assert_eq!(
        seen,
        [
            (libc::IN_DELETE, name()),
            (libc::IN_CREATE | libc::IN_ISDIR, "e".to_string())
        ]
    );
    ok(inotify_rm_watch(fd, watch));
    assert_eq!(events(fd)[0].0, libc::IN_IGNORED);
    fails(inotify_rm_watch(fd, watch), libc::EINVAL);
    fails(inotify_add_watch(fd, "none", libc::IN_CREATE), libc::ENOENT);
    fails(inotify_add_watch(fd, "d", 0), libc::EINVAL);
}

fn inotify_moves() {
    std::fs::create_dir("d").expect("the directory is writable");
    std::fs::write("d/a", "").expect("the directory is writable");
    let fd = ok(inotify_init1(0));
    ok(inotify_add_watch(fd, "d", libc::IN_MOVE));
    std::fs::rename("d/a", "d/b").expect("it is there");
    let seen = events(fd);
    assert_eq!((seen[0].0, seen[0].2.as_str()), (libc::IN_MOVED_FROM, "a"));
    assert_eq!((seen[1].0, seen[1].2.as_str()), (libc::IN_MOVED_TO, "b"));
    assert!(seen[0].1 != 0 && seen[0].1 == seen[1].1);
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
