//! POSIX message queues.

use super::cases;
use crate::sys::*;
use std::time::Duration;

cases![
    queues_are_opened_by_name,
    higher_priorities_come_first,
    attributes_are_told_and_set,
    attributes_have_bounds,
    full_and_empty_queues,
    senders_and_receivers_wait,
    waits_end_in_time_and_by_signals,
    a_process_is_told_of_a_message,
    only_one_is_told,
    who_waits_comes_before_who_is_told,
    a_queue_outlives_its_name,
    queues_count_against_a_limit,
    rights_of_message_queues,
    queues_are_files,
    queues_are_polled,
    bad_message_queue_calls,
];

const RDWR: i32 = libc::O_RDWR;
const CREAT: i32 = libc::O_CREAT;
const EXCL: i32 = libc::O_EXCL;
const NONBLOCK: i32 = libc::O_NONBLOCK;

/// `struct mq_attr`: flags, most messages, bytes of one, messages, and four words of nothing.
type Attr = [i64; 8];

fn attr(max: i64, size: i64) -> Attr {
    [0, max, size, 0, 0, 0, 0, 0]
}

/// As the system call has it: no slash before the name.
fn open_with(name: &str, flags: i32, mode: u32, attr: Option<&Attr>) -> Result<i32> {
    let name = c(name);
    let attr = attr.map_or(0, |attr| attr.as_ptr() as usize);
    let args = [name.as_ptr() as usize, flags as usize, mode as usize, attr];
    call(libc::SYS_mq_open, &args).map(|fd| fd as i32)
}

/// A new queue of four messages of 16 bytes.
#[track_caller]
fn new(name: &str) -> i32 {
    ok(open_with(
        name,
        RDWR | CREAT | EXCL | NONBLOCK,
        0o600,
        Some(&attr(4, 16)),
    ))
}

/// The same, opened so that calls wait.
#[track_caller]
fn waiting(name: &str) -> i32 {
    ok(open_with(name, RDWR, 0, None))
}

fn unlink(name: &str) -> Result<usize> {
    let name = c(name);
    call(libc::SYS_mq_unlink, &[name.as_ptr() as usize])
}

fn send_until(fd: i32, text: &[u8], priority: u32, end: Option<Duration>) -> Result<usize> {
    let end = end.map(timespec);
    let end = end
        .as_ref()
        .map_or(0, |end| std::ptr::from_ref(end) as usize);
    let args = [
        fd as usize,
        text.as_ptr() as usize,
        text.len(),
        priority as usize,
        end,
    ];
    call(libc::SYS_mq_timedsend, &args)
}

fn send(fd: i32, text: &[u8], priority: u32) -> Result<usize> {
    send_until(fd, text, priority, None)
}

fn receive_until(fd: i32, room: usize, end: Option<Duration>) -> Result<(Vec<u8>, u32)> {
    let end = end.map(timespec);
    let end = end
        .as_ref()
        .map_or(0, |end| std::ptr::from_ref(end) as usize);
    let (mut text, mut priority) = (vec![0_u8; room], 0_u32);
    let at = (text.as_mut_ptr() as usize, &raw mut priority as usize);
    let len = call(
        libc::SYS_mq_timedreceive,
        &[fd as usize, at.0, room, at.1, end],
    )?;
    text.truncate(len);
    Ok((text, priority))
}

fn receive(fd: i32) -> Result<(Vec<u8>, u32)> {
    receive_until(fd, 16, None)
}

fn get_attr(fd: i32) -> Attr {
    let mut attr: Attr = [0; 8];
    ok(call(
        libc::SYS_mq_getsetattr,
        &[fd as usize, 0, attr.as_mut_ptr() as usize],
    ));
    attr
}

/// `struct sigevent`: value, signal, kind.
fn notify(fd: i32, event: Option<(u64, i32, i32)>) -> Result<usize> {
    let words = event.map(|(value, signal, kind)| {
        let kinds = u64::from(signal as u32) | u64::from(kind as u32) << 32;
        [value, kinds, 0, 0, 0, 0, 0, 0_u64]
    });
    let at = words.as_ref().map_or(0, |words| words.as_ptr() as usize);
    call(libc::SYS_mq_notify, &[fd as usize, at])
}

const SIGNAL: i32 = 0;
const NONE: i32 = 1;

/// Waits until a child sleeps.
fn until_asleep(pid: i32) {
    let path = format!("/proc/{pid}/status");
    soon(|| proc_field(&path, "State").is_some_and(|state| state.starts_with('S')));
}

fn queues_are_opened_by_name() {
    assert_eq!(open_with("named", RDWR, 0, None), Err(libc::ENOENT));
    let fd = new("named");
    assert_eq!(
        open_with("named", RDWR | CREAT | EXCL, 0o600, None),
        Err(libc::EEXIST)
    );
    let again = ok(open_with("named", RDWR | CREAT, 0o600, None));
    ok(send(fd, b"through", 0));
    assert_eq!(receive(again), Ok((b"through".to_vec(), 0)));
    assert_eq!(ok(fcntl(fd, libc::F_GETFD, 0)), libc::FD_CLOEXEC);
    ok(unlink("named"));
    assert_eq!(unlink("named"), Err(libc::ENOENT));
    assert_eq!(open_with("named", RDWR, 0, None), Err(libc::ENOENT));
}

fn higher_priorities_come_first() {
    let fd = new("priorities");
    for (text, priority) in [(b"a", 1), (b"b", 32767), (b"c", 1), (b"d", 5)] {
        ok(send(fd, text, priority));
    }
    let come: Vec<_> = (0..4).map(|_| ok(receive(fd))).collect();
    let wanted = [(b'b', 32767), (b'd', 5), (b'a', 1), (b'c', 1)];
    assert_eq!(come, wanted.map(|(text, priority)| (vec![text], priority)));
    ok(unlink("priorities"));
}

fn attributes_are_told_and_set() {
    let fd = new("attributes");
    ok(send(fd, b"", 0));
    assert_eq!(get_attr(fd)[..4], [i64::from(NONBLOCK), 4, 16, 1]);
    let (plain, mut old): (Attr, Attr) = ([0, 9, 9, 9, 9, 9, 9, 9], [0; 8]);
    let set = |new: &Attr, old: usize| {
        call(
            libc::SYS_mq_getsetattr,
            &[fd as usize, new.as_ptr() as usize, old],
        )
    };
    ok(set(&plain, old.as_mut_ptr() as usize));
    assert_eq!(old[0], i64::from(NONBLOCK));
    assert_eq!(get_attr(fd)[..4], [0, 4, 16, 1]);
    assert_eq!(file_flags(fd) & NONBLOCK, 0);
    let bad: Attr = [i64::from(libc::O_APPEND), 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(set(&bad, 0), Err(libc::EINVAL));
    ok(unlink("attributes"));
    // What is not told is as the settings say.
    let fd = ok(open_with("plain", RDWR | CREAT, 0o600, None));
    let [max, size] = ["msg_default", "msgsize_default"].map(|name| {
        let text = std::fs::read_to_string(format!("/proc/sys/fs/mqueue/{name}"));
        text.expect("it is there")
            .trim()
            .parse::<i64>()
            .expect("a number")
    });
    assert_eq!(get_attr(fd)[..4], [0, max, size, 0]);
    ok(unlink("plain"));
}

fn attributes_have_bounds() {
    let open = |max, size| open_with("bounds", RDWR | CREAT, 0o600, Some(&attr(max, size)));
    for (max, size) in [
        (0, 1),
        (1, 0),
        (-1, 1),
        (1, -1),
        (65537, 1),
        (1, (16 << 20) + 1),
    ] {
        assert_eq!(open(max, size), Err(libc::EINVAL), "{max} {size}");
    }
    in_child(|| {
        become_user();
        assert_eq!(open(11, 1), Err(libc::EINVAL));
        assert_eq!(open(1, 8193), Err(libc::EINVAL));
        close(ok(open(10, 8192)));
        ok(unlink("bounds"));
    });
}

fn full_and_empty_queues() {
    let fd = new("full");
    assert_eq!(receive(fd), Err(libc::EAGAIN));
    for _ in 0..4 {
        ok(send(fd, &[7; 16], 3));
    }
    assert_eq!(send(fd, b"x", 9), Err(libc::EAGAIN));
    assert_eq!(send(fd, &[7; 17], 3), Err(libc::EMSGSIZE));
    assert_eq!(receive_until(fd, 15, None), Err(libc::EMSGSIZE));
    for _ in 0..4 {
        assert_eq!(receive_until(fd, 100, None), Ok((vec![7; 16], 3)));
    }
    assert_eq!(receive(fd), Err(libc::EAGAIN));
    ok(unlink("full"));
}

fn senders_and_receivers_wait() {
    let fd = new("waits");
    let slow = waiting("waits");
    let receiver = child(|| i32::from(receive(slow) != Ok((b"late".to_vec(), 2))));
    until_asleep(receiver);
    ok(send(fd, b"late", 2));
    assert_eq!(wait(receiver), Ended::Exit(0));
    for _ in 0..4 {
        ok(send(fd, b"early", 1));
    }
    let sender = child(|| send(slow, b"more", 9).map_or(1, |_| 0));
    until_asleep(sender);
    assert_eq!(receive(fd), Ok((b"early".to_vec(), 1)));
    assert_eq!(wait(sender), Ended::Exit(0));
    assert_eq!(receive(fd), Ok((b"more".to_vec(), 9)));
    ok(unlink("waits"));
}

fn waits_end_in_time_and_by_signals() {
    let fd = new("ends");
    let slow = waiting("ends");
    let end = now(libc::CLOCK_REALTIME) + Duration::from_millis(50);
    assert_eq!(receive_until(slow, 16, Some(end)), Err(libc::ETIMEDOUT));
    assert!(now(libc::CLOCK_REALTIME) >= end);
    assert_eq!(receive_until(slow, 16, Some(end)), Err(libc::ETIMEDOUT));
    for _ in 0..4 {
        // A time that is over hurts nobody who need not wait.
        ok(send_until(slow, b"x", 0, Some(end)));
    }
    let end = now(libc::CLOCK_REALTIME) + Duration::from_millis(50);
    assert_eq!(send_until(slow, b"x", 0, Some(end)), Err(libc::ETIMEDOUT));
    let sender = child(|| {
        catch_signal(libc::SIGUSR1);
        i32::from(send(slow, b"x", 0) != Err(libc::EINTR))
    });
    until_asleep(sender);
    ok(kill(sender, libc::SIGUSR1));
    assert_eq!(wait(sender), Ended::Exit(0));
    assert_eq!(get_attr(fd)[3], 4);
    ok(unlink("ends"));
}

fn a_process_is_told_of_a_message() {
    let fd = new("told");
    block(&[libc::SIGUSR1]);
    ok(notify(fd, Some((77, libc::SIGUSR1, SIGNAL))));
    let sender = child(|| send(fd, b"hello", 0).map_or(1, |_| 0));
    assert_eq!(wait(sender), Ended::Exit(0));
    let info = ok(sigtimedwait(
        SigSet::of(&[libc::SIGUSR1]),
        Duration::from_secs(20),
    ));
    assert_eq!(info.si_code, -3, "SI_MESGQ");
    // SAFETY: what a signal of this code has.
    let (pid, value) = unsafe { (info.si_pid(), info.si_value().sival_ptr as usize) };
    assert_eq!((pid, value), (sender, 77));
    // Once only, and only where the queue was empty.
    ok(send(fd, b"again", 0));
    ok(notify(fd, Some((78, libc::SIGUSR1, SIGNAL))));
    ok(send(fd, b"more", 0));
    assert!(!pending(libc::SIGUSR1));
    for _ in 0..3 {
        ok(receive(fd));
    }
    ok(send(fd, b"first", 0));
    assert!(pending(libc::SIGUSR1));
    ok(unlink("told"));
}

fn only_one_is_told() {
    let fd = new("one");
    ok(notify(fd, Some((0, 0, NONE))));
    assert_eq!(
        notify(fd, Some((0, libc::SIGUSR1, SIGNAL))),
        Err(libc::EBUSY)
    );
    in_child(|| {
        assert_eq!(notify(fd, Some((0, 0, NONE))), Err(libc::EBUSY));
        // It takes back nothing of another's.
        ok(notify(fd, None));
        assert_eq!(notify(fd, Some((0, 0, NONE))), Err(libc::EBUSY));
    });
    ok(notify(fd, None));
    in_child(|| {
        ok(notify(fd, Some((0, 0, NONE))));
    });
    // That ended with its process, and ends with closing, whichever descriptor.
    let other = waiting("one");
    ok(notify(fd, Some((0, 0, NONE))));
    close(other);
    ok(notify(fd, Some((0, 0, NONE))));
    ok(unlink("one"));
}

fn who_waits_comes_before_who_is_told() {
    let fd = new("before");
    let slow = waiting("before");
    block(&[libc::SIGUSR1]);
    ok(notify(fd, Some((0, libc::SIGUSR1, SIGNAL))));
    let receiver = child(|| receive(slow).map_or(1, |_| 0));
    until_asleep(receiver);
    ok(send(fd, b"x", 0));
    assert_eq!(wait(receiver), Ended::Exit(0));
    assert!(!pending(libc::SIGUSR1));
    ok(send(fd, b"x", 0));
    assert!(pending(libc::SIGUSR1));
    ok(unlink("before"));
}

fn a_queue_outlives_its_name() {
    let fd = new("outlives");
    ok(send(fd, b"kept", 0));
    ok(unlink("outlives"));
    let other = new("outlives");
    assert_eq!(receive(other), Err(libc::EAGAIN));
    assert_eq!(receive(fd), Ok((b"kept".to_vec(), 0)));
    ok(unlink("outlives"));
}

fn queues_count_against_a_limit() {
    in_child(|| {
        become_user();
        limit(libc::RLIMIT_MSGQUEUE, 3000);
        let open = |name| open_with(name, RDWR | CREAT, 0o600, Some(&attr(10, 100)));
        let first = ok(open("limit-a"));
        assert_eq!(open("limit-b"), Err(libc::EMFILE));
        ok(unlink("limit-a"));
        assert_eq!(open("limit-b"), Err(libc::EMFILE));
        // Gone with its last descriptor.
        close(first);
        ok(open("limit-b"));
        ok(unlink("limit-b"));
    });
}

fn rights_of_message_queues() {
    umask(0o022);
    let fd = ok(open_with("rights", RDWR | CREAT | EXCL, 0o666, None));
    assert_eq!(ok(fstat(fd)).st_mode, libc::S_IFREG | 0o644);
    in_child(|| {
        become_user();
        assert_eq!(open_with("rights", RDWR, 0, None), Err(libc::EACCES));
        let reader = ok(open_with("rights", libc::O_RDONLY | NONBLOCK, 0, None));
        assert_eq!(send(reader, b"x", 0), Err(libc::EBADF));
        assert_eq!(receive_until(reader, 8192, None), Err(libc::EAGAIN));
        assert_eq!(unlink("rights"), Err(libc::EPERM));
    });
    let writer = ok(open_with("rights", libc::O_WRONLY, 0, None));
    assert_eq!(receive_until(writer, 8192, None), Err(libc::EBADF));
    ok(unlink("rights"));
}

fn queues_are_files() {
    let fd = new("files");
    ok(send(fd, b"seven b", 0));
    let dir = "/tmp/mqueues";
    std::fs::create_dir_all(dir).expect("it can be made");
    ok(mount("none", dir, "mqueue", 0, ""));
    let path = format!("{dir}/files");
    let shown = std::fs::read_to_string(&path).expect("it is there");
    let words: Vec<_> = shown.split_whitespace().collect();
    assert_eq!(words, ["QSIZE:7", "NOTIFY:0", "SIGNO:0", "NOTIFY_PID:0"]);
    assert_eq!(std::fs::metadata(&path).expect("it is there").len(), 80);
    let names = |dir: &str| -> Vec<_> {
        let entries = std::fs::read_dir(dir).expect("a directory");
        entries
            .map(|entry| entry.expect("an entry").file_name())
            .collect()
    };
    assert!(names(dir).contains(&"files".into()));
    // A file that is made and removed there is a queue as well.
    std::fs::write(format!("{dir}/made"), "").expect("it can be made");
    close(ok(open_with("made", RDWR, 0, None)));
    std::fs::remove_file(format!("{dir}/made")).expect("it can be removed");
    assert_eq!(open_with("made", RDWR, 0, None), Err(libc::ENOENT));
    ok(unlink("files"));
    assert!(!names(dir).contains(&"files".into()));
    ok(umount(dir));
}

fn queues_are_polled() {
    let fd = new("polled");
    let both = libc::POLLIN | libc::POLLOUT;
    assert_eq!(poll_one(fd, both, 0), libc::POLLOUT);
    ok(send(fd, b"x", 0));
    assert_eq!(poll_one(fd, both, 0), both);
    for _ in 0..3 {
        ok(send(fd, b"x", 0));
    }
    assert_eq!(poll_one(fd, both, 0), libc::POLLIN);
    let receiver = child(|| {
        sleep_ms(20);
        receive(fd).map_or(1, |_| 0)
    });
    assert_eq!(poll_one(fd, libc::POLLOUT, 20_000), libc::POLLOUT);
    assert_eq!(wait(receiver), Ended::Exit(0));
    ok(unlink("polled"));
}

fn bad_message_queue_calls() {
    let fd = new("bad");
    assert_eq!(open_with("", RDWR | CREAT, 0o600, None), Err(libc::ENOENT));
    for name in ["/bad", "a/b", ".", ".."] {
        assert_eq!(
            open_with(name, RDWR | CREAT, 0o600, None),
            Err(libc::EACCES),
            "{name}"
        );
    }
    let long = "x".repeat(256);
    assert_eq!(
        open_with(&long, RDWR | CREAT, 0o600, None),
        Err(libc::ENAMETOOLONG)
    );
    assert_eq!(call(libc::SYS_mq_open, &[8, 0, 0, 0]), Err(libc::EFAULT));
    let name = c("bad-attr");
    let args = [name.as_ptr() as usize, (RDWR | CREAT) as usize, 0o600, 8];
    assert_eq!(call(libc::SYS_mq_open, &args), Err(libc::EFAULT));
    assert_eq!(send(fd, b"x", 32768), Err(libc::EINVAL));
    assert_eq!(send(-1, b"x", 0), Err(libc::EBADF));
    let (other, _) = pipe();
    assert_eq!(send(other, b"x", 0), Err(libc::EBADF));
    assert_eq!(receive(other), Err(libc::EBADF));
    assert_eq!(notify(other, None), Err(libc::EBADF));
    assert_eq!(
        call(libc::SYS_mq_timedsend, &[fd as usize, 8, 1, 0, 0]),
        Err(libc::EFAULT)
    );
    let far = Duration::from_secs(1);
    let mut end = timespec(far);
    end.tv_nsec = 2_000_000_000;
    let args = [fd as usize, 8, 1, 0, &raw const end as usize];
    assert_eq!(call(libc::SYS_mq_timedsend, &args), Err(libc::EINVAL));
    assert_eq!(notify(fd, Some((0, 99, SIGNAL))), Err(libc::EINVAL));
    assert_eq!(notify(fd, Some((0, libc::SIGUSR1, 9))), Err(libc::EINVAL));
    assert_eq!(get_attr(fd)[3], 0);
    ok(unlink("bad"));
}
