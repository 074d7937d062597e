//! Pseudo-terminals: the line discipline, job control, window size.

use super::cases;
use crate::sys::*;

cases![
    pair_opens,
    lines_are_edited,
    echo_and_output,
    raw_mode,
    end_of_file,
    interrupt_key,
    suspend_key,
    window_size,
    controlling_terminal,
    hang_up,
    background_read_stops,
    foreground_group,
    master_sees_the_end,
    terminal_errors,
    minimum_and_time,
    long_lines,
    sessions_do_not_steal,
    packet_of_settings,
    packet_mode,
    stopped_output_waits,
    switching_modes_keeps_input,
    peer_without_a_name,
    foreground_hears_of_the_leaders_end,
    queue_sizes,
];

/// A new pseudo-terminal: its master and its path.
fn pty() -> (i32, String) {
    let master = ok(open("/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY));
    let mut number = 0_i32;
    ok(ioctl_at(master, libc::TIOCGPTN, &mut number));
    ok(ioctl_at(master, libc::TIOCSPTLCK, &mut 0_i32));
    (master, format!("/dev/pts/{number}"))
}

fn pair() -> (i32, i32) {
    let (master, path) = pty();
    (master, ok(open(&path, libc::O_RDWR | libc::O_NOCTTY)))
}

fn change(fd: i32, with: impl FnOnce(&mut libc::termios)) {
    let mut now = ok(tcgetattr(fd));
    with(&mut now);
    ok(tcsetattr(fd, &mut now));
}

fn quiet(fd: i32) {
    change(fd, |now| now.c_lflag &= !libc::ECHO);
}

fn waiting(fd: i32) -> bool {
    poll_one(fd, libc::POLLIN, 50) != 0
}

/// Runs `body` as the leader of a new session with this terminal.
fn session(path: &str, body: impl FnOnce(i32) -> i32) -> i32 {
    child(|| {
        ok(setsid());
        let fd = ok(open(path, libc::O_RDWR));
        body(fd)
    })
}

fn pair_opens() {
    let (master, slave) = pair();
    assert!(tcgetattr(master).is_ok() && tcgetattr(slave).is_ok());
    quiet(slave);
    put(master, b"line\n");
    assert_eq!(get(slave, 100), b"line\n");
    put(slave, b"out");
    assert_eq!(get(master, 100), b"out");
    let (other, _) = pair();
    assert_ne!(master, other);
}

fn lines_are_edited() {
    let (master, slave) = pair();
    quiet(slave);
    put(master, b"abc\x7fd\x7f\x7fx");
    assert!(!waiting(slave), "there is no line yet");
    put(master, b"\n");
    assert_eq!(get(slave, 100), b"ax\n");
    put(master, b"gone\x15kept words\x17more\n");
    assert_eq!(get(slave, 100), b"kept more\n");
    put(master, b"a\x16\x03b\r");
    assert_eq!(get(slave, 100), b"a\x03b\n");
    put(master, b"one\ntwo\n");
    assert_eq!(
        (get(slave, 100), get(slave, 2)),
        (b"one\n".to_vec(), b"tw".to_vec())
    );
    assert_eq!(get(slave, 100), b"o\n");
}

fn echo_and_output() {
    let (master, slave) = pair();
    put(master, b"hi\n");
    assert_eq!(get(master, 100), b"hi\r\n");
    put(master, b"a\x01\x7f");
    assert_eq!(get(master, 100), b"a^A\x08 \x08\x08 \x08");
    put(slave, b"x\ny");
    assert_eq!(get(master, 100), b"x\r\ny");
    change(slave, |now| now.c_oflag &= !libc::OPOST);
    put(slave, b"x\ny");
    assert_eq!(get(master, 100), b"x\ny");
}

fn raw_mode() {
    let (master, slave) = pair();
    change(slave, make_raw);
    put(master, b"a\x03\r\x7f");
    assert_eq!(get(slave, 100), b"a\x03\r\x7f");
    assert!(!waiting(master), "nothing is echoed");
}

fn end_of_file() {
    let (master, slave) = pair();
    quiet(slave);
    put(master, b"\x04");
    assert_eq!(get(slave, 100), b"");
    put(master, b"part\x04");
    assert_eq!(get(slave, 100), b"part");
    put(master, b"x\n");
    assert_eq!(get(slave, 100), b"x\n");
}

fn interrupt_key() {
    let (master, path) = pty();
    for (key, signal) in [(b"\x03", libc::SIGINT), (b"\x1c", libc::SIGQUIT)] {
        let (reader, writer) = pipe();
        let pid = session(&path, |_| {
            put(writer, b"x");
            loop {
                sleep_ms(100);
            }
        });
        get(reader, 1);
        put(master, key);
        assert_eq!(wait(pid), Ended::Signal(signal));
    }
}

fn suspend_key() {
    let (master, path) = pty();
    let (reader, writer) = pipe();
    let pid = session(&path, |fd| {
        // The leader of a session has nobody to continue it: a group of its own stops instead.
        let job = child(|| {
            ok(setpgid(0, 0));
            put(writer, b"x");
            loop {
                sleep_ms(100);
            }
        });
        let _ = setpgid(job, job);
        ignore_signal(libc::SIGTTOU);
        ok(tcsetpgrp(fd, job));
        put(writer, b"y");
        assert_eq!(wait_stopped(job), libc::SIGTSTP);
        ok(kill(-job, libc::SIGKILL));
        0
    });
    let mut seen = 0;
    while seen < 2 {
        seen += get(reader, 2).len();
    }
    put(master, b"\x1a");
    assert_eq!(wait(pid), Ended::Exit(0));
}

fn window_size() {
    let (master, slave) = pair();
    let size = |fd| {
        let size = ok(crate::sys::window_size(fd));
        (size.ws_row, size.ws_col)
    };
    assert_eq!(size(slave), (0, 0));
    ok(set_window_size(master, 33, 101));
    assert_eq!(size(slave), (33, 101));
    // The foreground group hears of it.
    let (master, path) = pty();
    let (reader, writer) = pipe();
    let pid = session(&path, |_| {
        let set = block(&[libc::SIGWINCH]);
        put(writer, b"x");
        sigwait(set)
    });
    get(reader, 1);
    ok(set_window_size(master, 33, 101));
    assert_eq!(wait(pid), Ended::Exit(libc::SIGWINCH));
}

fn controlling_terminal() {
    let (_master, path) = pty();
    fails(open("/dev/tty", libc::O_RDWR), libc::ENXIO);
    let pid = session(&path, |fd| {
        let me = getpid();
        let tty = ok(open("/dev/tty", libc::O_RDWR));
        assert_eq!(ok(tcgetpgrp(tty)), me);
        assert_eq!(ok(tcgetsid(fd)), me);
        let stat = std::fs::read_to_string("/proc/self/stat").expect("procfs");
        let number: u64 = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(4))
            .expect("tty_nr")
            .parse()
            .expect("a number");
        assert_ne!(number, 0);
        ignore_signal(libc::SIGHUP);
        ok(ioctl(fd, libc::TIOCNOTTY, 0));
        fails(open("/dev/tty", libc::O_RDWR), libc::ENXIO);
        ok(ioctl(fd, libc::TIOCSCTTY, 0));
        0
    });
    assert_eq!(wait(pid), Ended::Exit(0));
}

fn hang_up() {
    let (master, path) = pty();
    let (reader, writer) = pipe();
    let pid = session(&path, |_| {
        close(master); // the copy that the fork has made
        put(writer, b"x");
        loop {
            sleep_ms(100);
        }
    });
    get(reader, 1);
    close(master);
    assert_eq!(wait(pid), Ended::Signal(libc::SIGHUP));
}

fn background_read_stops() {
    let (_master, path) = pty();
    let pid = session(&path, |fd| {
        let job = child(|| {
            ok(setpgid(0, 0));
            ignore(read(fd, &mut [0]));
            0
        });
        assert_eq!(wait_stopped(job), libc::SIGTTIN);
        ok(kill(job, libc::SIGKILL));
        wait(job);
        // Where nobody could continue it, it gets an error instead.
        in_child(|| {
            ok(setpgid(0, 0));
            ignore_signal(libc::SIGTTIN);
            fails(read(fd, &mut [0]), libc::EIO);
        });
        // Writing is fine unless TOSTOP is set.
        change(fd, |now| now.c_lflag |= libc::TOSTOP);
        let job = child(|| {
            ok(setpgid(0, 0));
            put(fd, b"x");
            0
        });
        assert_eq!(wait_stopped(job), libc::SIGTTOU);
        ok(kill(job, libc::SIGKILL));
        0
    });
    assert_eq!(wait(pid), Ended::Exit(0));
}

fn foreground_group() {
    let (_master, path) = pty();
    let pid = session(&path, |fd| {
        let me = getpid();
        assert_eq!(ok(tcgetpgrp(fd)), me);
        fails(tcsetpgrp(fd, 999_999), libc::ESRCH);
        fails(tcsetpgrp(fd, 1), libc::EPERM);
        0
    });
    assert_eq!(wait(pid), Ended::Exit(0));
    let (_m, slave) = pair();
    fails(tcgetpgrp(slave), libc::ENOTTY);
}

fn master_sees_the_end() {
    let (master, slave) = pair();
    put(slave, b"last");
    close(slave);
    assert_eq!(get(master, 100), b"last");
    fails(read(master, &mut [0]), libc::EIO);
    assert_eq!(
        poll_one(master, libc::POLLIN, 0) & libc::POLLHUP,
        libc::POLLHUP
    );
    let (master, slave) = pair();
    close(master);
    assert_eq!(get(slave, 1), b"");
    fails(write(slave, b"x"), libc::EIO);
}

fn terminal_errors() {
    fails(open("/dev/pts/9999", libc::O_RDWR), libc::ENOENT);
    let master = ok(open("/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY));
    let mut number = 0_i32;
    ok(ioctl_at(master, libc::TIOCGPTN, &mut number));
    // It is locked until somebody unlocks it.
    fails(
        open(&format!("/dev/pts/{number}"), libc::O_RDWR | libc::O_NOCTTY),
        libc::EIO,
    );
    fails(ioctl(master, 0x1234_5678, 0), libc::ENOTTY);
    assert_eq!(
        call(
            libc::SYS_ioctl,
            &[master as usize, libc::TCGETS as usize, 8]
        ),
        Err(libc::EFAULT)
    );
    fails(lseek(master, 0, libc::SEEK_SET), libc::ESPIPE);
}

fn minimum_and_time() {
    let (master, slave) = pair();
    change(slave, |now| {
        make_raw(now);
        now.c_cc[libc::VMIN] = 0;
        now.c_cc[libc::VTIME] = 1;
    });
    let start = std::time::Instant::now();
    assert_eq!(get(slave, 10), b"");
    assert!(start.elapsed().as_millis() >= 90);
    change(slave, |now| {
        now.c_cc[libc::VMIN] = 3;
        now.c_cc[libc::VTIME] = 0;
    });
    let pid = child(|| {
        for byte in [b"a", b"b", b"c"] {
            put(master, byte);
            sleep_ms(20);
        }
        0
    });
    assert_eq!(get(slave, 10), b"abc");
    assert_eq!(wait(pid), Ended::Exit(0));
}

fn long_lines() {
    let (master, slave) = pair();
    quiet(slave);
    // A line holds 4095 bytes and its end; what is too much is dropped.
    let long = vec![b'x'; 5000];
    let mut sent = 0;
    while sent < long.len() {
        sent += ok(write(master, &long[sent..][..500.min(long.len() - sent)]));
    }
    put(master, b"\n");
    let line = get(slave, 10_000);
    assert_eq!((line.len(), line.last()), (4096, Some(&b'\n')));
}

fn sessions_do_not_steal() {
    let (_master, path) = pty();
    let (reader, writer) = pipe();
    let owner = session(&path, |_| {
        put(writer, b"x");
        sleep_ms(500);
        0
    });
    get(reader, 1);
    in_child(|| {
        ok(setsid());
        let fd = ok(open(&path, libc::O_RDWR));
        // It belongs to another session: opening it does not make it ours, asking for it is refused.
        fails(open("/dev/tty", libc::O_RDWR), libc::ENXIO);
        become_user();
        fails(ioctl(fd, libc::TIOCSCTTY, 0), libc::EPERM);
    });
    ok(kill(owner, libc::SIGKILL));
    wait(owner);
}

fn packet_of_settings() {
    let (_master, slave) = pair();
    let now = ok(tcgetattr(slave));
    assert_eq!(
        now.c_lflag & (libc::ICANON | libc::ECHO | libc::ISIG),
        libc::ICANON | libc::ECHO | libc::ISIG
    );
    assert_eq!(now.c_iflag & libc::ICRNL, libc::ICRNL);
    assert_eq!(
        now.c_oflag & (libc::OPOST | libc::ONLCR),
        libc::OPOST | libc::ONLCR
    );
    assert_eq!(now.c_cflag & libc::CBAUD, libc::B38400);
    assert_eq!(
        (
            now.c_cc[libc::VINTR],
            now.c_cc[libc::VEOF],
            now.c_cc[libc::VSUSP]
        ),
        (3, 4, 26)
    );
    ok(tcflush(slave, libc::TCIOFLUSH));
    ok(tcdrain(slave));
}

/// Linux, asm-generic/ioctls.h.
const TIOCPKT_FLUSHREAD: u8 = 1;
const TIOCPKT_STOP: u8 = 4;
const TIOCPKT_START: u8 = 8;
const TIOCPKT_NOSTOP: u8 = 16;
const TIOCPKT_DOSTOP: u8 = 32;

fn packet_mode() {
    let (master, slave) = pair();
    quiet(slave);
    ok(ioctl_at(master, libc::TIOCPKT, &mut 1_i32));
    put(slave, b"data");
    assert_eq!(get(master, 100), b"\0data");
    ok(tcflush(slave, libc::TCIFLUSH));
    assert_eq!(get(master, 100), [TIOCPKT_FLUSHREAD]);
    ok(tcflow(slave, libc::TCOOFF));
    assert_eq!(get(master, 100), [TIOCPKT_STOP]);
    ok(tcflow(slave, libc::TCOON));
    assert_eq!(get(master, 100), [TIOCPKT_START]);
    change(slave, |now| now.c_iflag &= !libc::IXON);
    assert_eq!(get(master, 100), [TIOCPKT_NOSTOP]);
    change(slave, |now| now.c_iflag |= libc::IXON);
    assert_eq!(poll_one(master, libc::POLLPRI, 1000), libc::POLLPRI);
    assert_eq!(get(master, 100), [TIOCPKT_DOSTOP]);
}

fn stopped_output_waits() {
    let (master, slave) = pair();
    put(master, b"\x13");
    let flags = file_flags(slave);
    ok(fcntl(slave, libc::F_SETFL, flags | libc::O_NONBLOCK));
    fails(write(slave, b"x"), libc::EAGAIN);
    ok(fcntl(slave, libc::F_SETFL, flags));
    let pid = child(|| {
        put(slave, b"late");
        0
    });
    sleep_ms(50);
    assert!(!waiting(master));
    put(master, b"\x11");
    assert_eq!(get(master, 100), b"late");
    assert_eq!(wait(pid), Ended::Exit(0));
}

fn switching_modes_keeps_input() {
    let (master, slave) = pair();
    quiet(slave);
    put(master, b"half");
    sleep_ms(20);
    assert!(!waiting(slave));
    change(slave, |now| now.c_lflag &= !libc::ICANON);
    assert_eq!(get(slave, 100), b"half");
    put(master, b"more");
    sleep_ms(20);
    change(slave, |now| now.c_lflag |= libc::ICANON);
    assert_eq!(get(slave, 100), b"more");
}

fn peer_without_a_name() {
    const TIOCGPTPEER: libc::Ioctl = 0x5441;
    let master = ok(open("/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY));
    let peer = || ioctl(master, TIOCGPTPEER, libc::O_RDWR | libc::O_NOCTTY);
    fails(peer(), libc::EIO);
    ok(ioctl_at(master, libc::TIOCSPTLCK, &mut 0_i32));
    let slave = ok(peer());
    quiet(slave);
    put(master, b"x\n");
    assert_eq!(get(slave, 10), b"x\n");
}

fn foreground_hears_of_the_leaders_end() {
    let (_master, path) = pty();
    let (reader, writer) = pipe();
    let pid = session(&path, |fd| {
        ignore_signal(libc::SIGTTOU);
        let job = child(|| {
            ok(setpgid(0, 0));
            let set = block(&[libc::SIGHUP]);
            put(writer, b"r");
            put(writer, &[sigwait(set) as u8]);
            0
        });
        let _ = setpgid(job, job);
        ok(tcsetpgrp(fd, job));
        while get(reader, 1) != b"r" {}
        0
    });
    assert_eq!(wait(pid), Ended::Exit(0));
    assert_eq!(get(reader, 1), [libc::SIGHUP as u8]);
}

fn queue_sizes() {
    let (master, slave) = pair();
    quiet(slave);
    let queued = |fd: i32, request| {
        let mut count = -1_i32;
        ok(ioctl_at(fd, request, &mut count));
        count
    };
    put(master, b"abc");
    sleep_ms(20);
    assert_eq!(queued(slave, libc::FIONREAD), 0, "no line yet");
    put(master, b"\nde");
    sleep_ms(20);
    assert_eq!(queued(slave, libc::FIONREAD), 4);
    assert_eq!(queued(slave, libc::TIOCOUTQ), 0);
    put(slave, b"12345");
    sleep_ms(20);
    assert_eq!(queued(master, libc::FIONREAD), 5);
    ok(tcflush(slave, libc::TCIFLUSH));
    assert_eq!(queued(slave, libc::FIONREAD), 0);
}
