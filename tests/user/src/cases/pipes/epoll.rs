//! epoll: levels, edges, one shot, nesting.

use crate::cases::cases;
use crate::sys::*;

cases![
    epoll_levels,
    epoll_edges,
    epoll_oneshot,
    epoll_errors,
    epoll_nests,
    epoll_forgets_closed_files,
];

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
