//! Pipes, FIFOs, and waiting for readiness: poll, select, epoll, eventfd, inotify.

use super::cases;
use crate::sys::*;
use std::time::Instant;

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
    let flags = ok(unsafe { libc::fcntl(fd, libc::F_GETFL) });
    ok(unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) });
}

fn poll(fd: i32, events: i16, timeout: i32) -> i16 {
    let mut poll = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    let count = ok(unsafe { libc::poll(&raw mut poll, 1, timeout) });
    assert_eq!(count, i32::from(poll.revents != 0));
    poll.revents
}

fn pipe_ends() {
    let (reader, writer) = pipe();
    put(writer, b"hello");
    put(writer, b" there");
    assert_eq!(get(reader, 100), b"hello there");
    fails(
        unsafe { libc::write(reader, c"x".as_ptr().cast(), 1) },
        libc::EBADF,
    );
    let mut byte = 0_u8;
    fails(
        unsafe { libc::read(writer, (&raw mut byte).cast(), 1) },
        libc::EBADF,
    );
    close(writer);
    assert_eq!(get(reader, 1), b"");
}

fn pipe_capacity() {
    let (reader, writer) = pipe();
    nonblocking(writer);
    let block = [7_u8; 4096];
    let mut total = 0;
    while let len @ 1.. = unsafe { libc::write(writer, block.as_ptr().cast(), 4096) } {
        total += len;
    }
    assert_eq!((total, errno()), (65536, libc::EAGAIN));
    assert_eq!(poll(writer, libc::POLLOUT, 0), 0);
    assert_eq!(get(reader, 4096).len(), 4096);
    assert_eq!(poll(writer, libc::POLLOUT, 0), libc::POLLOUT);
    let mut waiting = 0;
    ok(unsafe { libc::ioctl(reader, libc::FIONREAD, &raw mut waiting) });
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
    while unsafe { libc::write(writer, block.as_ptr().cast(), 4095) } > 0 {}
    // Up to 4096 bytes go in whole or not at all.
    get(reader, 100);
    fails(
        unsafe { libc::write(writer, block.as_ptr().cast(), 4096) },
        libc::EAGAIN,
    );
}

fn pipe_errors() {
    let mut ends = [0; 2];
    fails(unsafe { libc::pipe2(ends.as_mut_ptr(), 0x1) }, libc::EINVAL);
    let (reader, writer) = pipe();
    fails(
        unsafe { libc::lseek(reader, 0, libc::SEEK_SET) },
        libc::ESPIPE,
    );
    let mut byte = 0_u8;
    fails(
        unsafe { libc::pread(reader, (&raw mut byte).cast(), 1, 0) },
        libc::ESPIPE,
    );
    fails(unsafe { libc::ftruncate(writer, 0) }, libc::EINVAL);
    fails(unsafe { libc::fsync(writer) }, libc::EINVAL);
    nonblocking(reader);
    fails(
        unsafe { libc::read(reader, (&raw mut byte).cast(), 1) },
        libc::EAGAIN,
    );
    assert_eq!(
        ok(unsafe { libc::read(reader, (&raw mut byte).cast(), 0) }),
        0
    );
}

fn pipe_size() {
    let (_reader, writer) = pipe();
    assert_eq!(
        ok(unsafe { libc::fcntl(writer, libc::F_GETPIPE_SZ) }),
        65536
    );
    assert_eq!(
        ok(unsafe { libc::fcntl(writer, libc::F_SETPIPE_SZ, 5000) }),
        8192
    );
    nonblocking(writer);
    let block = [0_u8; 16384];
    assert_eq!(
        ok(unsafe { libc::write(writer, block.as_ptr().cast(), 16384) }),
        8192
    );
    fails(
        unsafe { libc::fcntl(writer, libc::F_SETPIPE_SZ, 4096) },
        libc::EBUSY,
    );
}

fn mkfifo(path: &str) {
    ok(unsafe { libc::mkfifo(c(path).as_ptr(), 0o600) });
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
    let mut byte = 0_u8;
    fails(
        unsafe { libc::read(reader, (&raw mut byte).cast(), 1) },
        libc::EAGAIN,
    );
    put(writer, b"x");
    assert_eq!(get(reader, 10), b"x");
}

fn poll_reports() {
    let (reader, writer) = pipe();
    assert_eq!(poll(reader, libc::POLLIN, 0), 0);
    assert_eq!(poll(writer, libc::POLLOUT, 0), libc::POLLOUT);
    put(writer, b"x");
    assert_eq!(poll(reader, libc::POLLIN, 0), libc::POLLIN);
    close(writer);
    assert_eq!(poll(reader, libc::POLLIN, 0), libc::POLLIN | libc::POLLHUP);
    get(reader, 1);
    assert_eq!(poll(reader, libc::POLLIN, 0), libc::POLLHUP);
    let (reader, writer) = pipe();
    close(reader);
    assert_eq!(
        poll(writer, libc::POLLOUT, 0),
        libc::POLLOUT | libc::POLLERR
    );
    assert_eq!(poll(999, libc::POLLIN, 0), libc::POLLNVAL);
    assert_eq!(poll(-1, libc::POLLIN, 0), 0);
    let fd = file("f", b"");
    assert_eq!(
        poll(fd, libc::POLLIN | libc::POLLOUT, 0),
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
    let mut both = [reader, other].map(|fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    });
    assert_eq!(ok(unsafe { libc::poll(both.as_mut_ptr(), 2, 5000) }), 1);
    assert_eq!((both[0].revents, both[1].revents), (libc::POLLIN, 0));
    assert_eq!(wait(pid), Ended::Exit(0));
}

fn select_reports() {
    let (reader, writer) = pipe();
    let empty: libc::fd_set = unsafe { std::mem::zeroed() };
    let (mut read, mut write) = (empty, empty);
    let mut zero = libc::timeval {
        tv_sec: 0,
        tv_usec: 0,
    };
    unsafe {
        libc::FD_SET(reader, &mut read);
        libc::FD_SET(writer, &mut write);
    }
    let count = unsafe {
        libc::select(
            writer + 1,
            &raw mut read,
            &raw mut write,
            std::ptr::null_mut(),
            &raw mut zero,
        )
    };
    assert_eq!(ok(count), 1);
    assert!(unsafe { !libc::FD_ISSET(reader, &read) && libc::FD_ISSET(writer, &write) });
    let mut bad = empty;
    unsafe { libc::FD_SET(60, &mut bad) };
    fails(
        unsafe {
            libc::select(
                61,
                &raw mut bad,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                &raw mut zero,
            )
        },
        libc::EBADF,
    );
    fails(
        unsafe {
            libc::select(
                -1,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                &raw mut zero,
            )
        },
        libc::EINVAL,
    );
}

extern "C" fn nothing(_: i32) {}

fn ppoll_takes_a_mask() {
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    unsafe { libc::sigaddset(&raw mut set, libc::SIGUSR1) };
    unsafe { libc::signal(libc::SIGUSR1, nothing as *const () as usize) };
    ok(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) });
    ok(unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) });
    let none: libc::sigset_t = unsafe { std::mem::zeroed() };
    let second = libc::timespec {
        tv_sec: 5,
        tv_nsec: 0,
    };
    fails(
        unsafe { libc::ppoll(std::ptr::null_mut(), 0, &raw const second, &raw const none) },
        libc::EINTR,
    );
}

fn epoll() -> i32 {
    ok(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
}

fn control(ep: i32, op: i32, fd: i32, events: i32) -> i32 {
    let mut event = libc::epoll_event {
        events: events as u32,
        u64: fd as u64,
    };
    unsafe { libc::epoll_ctl(ep, op, fd, &raw mut event) }
}

fn ready(ep: i32, timeout: i32) -> Vec<(i32, u32)> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 8];
    let count = ok(unsafe { libc::epoll_wait(ep, events.as_mut_ptr(), 8, timeout) });
    events[..count as usize]
        .iter()
        .map(|event| (event.u64 as i32, event.events))
        .collect()
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
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    fails(
        unsafe { libc::epoll_wait(ep, &raw mut event, 0, 0) },
        libc::EINVAL,
    );
    fails(
        unsafe { libc::epoll_wait(reader, &raw mut event, 1, 0) },
        libc::EINVAL,
    );
    assert_eq!(call(libc::SYS_epoll_create, &[0]), Err(libc::EINVAL));
    fails(unsafe { libc::epoll_create1(1) }, libc::EINVAL);
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
    assert_eq!(poll(outer, libc::POLLIN, 0), libc::POLLIN);
}

fn epoll_forgets_closed_files() {
    let (reader, writer) = pipe();
    let ep = epoll();
    ok(control(ep, libc::EPOLL_CTL_ADD, reader, libc::EPOLLIN));
    put(writer, b"x");
    let copy = ok(unsafe { libc::dup(reader) });
    close(reader);
    // The open file lives on in the copy.
    assert_eq!(ready(ep, 0), [(reader, IN)]);
    close(copy);
    assert_eq!(ready(ep, 0), []);
}

fn eventfd_counts() {
    let fd = ok(unsafe { libc::eventfd(3, libc::EFD_NONBLOCK) });
    put(fd, &4_u64.to_ne_bytes());
    assert_eq!(get(fd, 8), 7_u64.to_ne_bytes());
    let mut value = [0_u8; 8];
    fails(
        unsafe { libc::read(fd, value.as_mut_ptr().cast(), 8) },
        libc::EAGAIN,
    );
    fails(
        unsafe { libc::read(fd, value.as_mut_ptr().cast(), 7) },
        libc::EINVAL,
    );
    fails(
        unsafe { libc::write(fd, u64::MAX.to_ne_bytes().as_ptr().cast(), 8) },
        libc::EINVAL,
    );
    put(fd, &(u64::MAX - 1).to_ne_bytes());
    fails(
        unsafe { libc::write(fd, 1_u64.to_ne_bytes().as_ptr().cast(), 8) },
        libc::EAGAIN,
    );
    assert_eq!(poll(fd, libc::POLLIN | libc::POLLOUT, 0), libc::POLLIN);
}

fn eventfd_semaphore() {
    let fd = ok(unsafe { libc::eventfd(2, libc::EFD_SEMAPHORE) });
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
    let fd = ok(unsafe { libc::inotify_init1(libc::IN_NONBLOCK) });
    let watch = ok(unsafe {
        libc::inotify_add_watch(fd, c("d").as_ptr(), libc::IN_ALL_EVENTS & !libc::IN_ACCESS)
    });
    let mut byte = 0_u8;
    fails(
        unsafe { libc::read(fd, (&raw mut byte).cast(), 1) },
        libc::EAGAIN,
    );
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
    ok(unsafe { libc::inotify_rm_watch(fd, watch) });
    assert_eq!(events(fd)[0].0, libc::IN_IGNORED);
    fails(unsafe { libc::inotify_rm_watch(fd, watch) }, libc::EINVAL);
    fails(
        unsafe { libc::inotify_add_watch(fd, c("none").as_ptr(), libc::IN_CREATE) },
        libc::ENOENT,
    );
    fails(
        unsafe { libc::inotify_add_watch(fd, c("d").as_ptr(), 0) },
        libc::EINVAL,
    );
}

fn inotify_moves() {
    std::fs::create_dir("d").expect("the directory is writable");
    std::fs::write("d/a", "").expect("the directory is writable");
    let fd = ok(unsafe { libc::inotify_init1(0) });
    ok(unsafe { libc::inotify_add_watch(fd, c("d").as_ptr(), libc::IN_MOVE) });
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
    let len =
        ok(unsafe { libc::splice(fd, std::ptr::null_mut(), writer, std::ptr::null_mut(), 4, 0) });
    assert_eq!(len, 4);
    assert_eq!(get(reader, 10), b"from");
    fails(
        unsafe { libc::splice(fd, std::ptr::null_mut(), fd, std::ptr::null_mut(), 4, 0) },
        libc::EINVAL,
    );
}
