//! Files that tell of events: eventfd and inotify.

use crate::cases::cases;
use crate::sys::*;

cases![
    eventfd_counts,
    eventfd_semaphore,
    inotify_tells,
    inotify_moves,
];

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
