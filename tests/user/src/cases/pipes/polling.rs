//! poll and select.

use crate::cases::cases;
use crate::sys::*;
use std::time::Duration;

cases![
    poll_reports,
    poll_wakes_up,
    select_reports,
    ppoll_takes_a_mask,
];

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
