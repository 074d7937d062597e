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
    ok(unsafe { libc::ioctl(master, libc::TIOCGPTN, &raw mut number) });
    let unlock = 0_i32;
    ok(unsafe { libc::ioctl(master, libc::TIOCSPTLCK, &raw const unlock) });
    (master, format!("/dev/pts/{number}"))
}

fn pair() -> (i32, i32) {
    let (master, path) = pty();
    (master, ok(open(&path, libc::O_RDWR | libc::O_NOCTTY)))
}

fn change(fd: i32, with: impl FnOnce(&mut libc::termios)) {
    let mut now: libc::termios = unsafe { std::mem::zeroed() };
    ok(unsafe { libc::tcgetattr(fd, &raw mut now) });
    with(&mut now);
    ok(unsafe { libc::tcsetattr(fd, libc::TCSANOW, &raw const now) });
}

fn quiet(fd: i32) {
    change(fd, |now| now.c_lflag &= !libc::ECHO);
}

fn waiting(fd: i32) -> bool {
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    ok(unsafe { libc::poll(&raw mut poll, 1, 50) }) == 1
}

/// Runs `body` as the leader of a new session with this terminal.
fn session(path: &str, body: impl FnOnce(i32) -> i32) -> i32 {
    child(|| {
        ok(unsafe { libc::setsid() });
        let fd = ok(open(path, libc::O_RDWR));
        body(fd)
    })
}

fn pair_opens() {
    let (master, slave) = pair();
    assert_eq!(
        (unsafe { libc::isatty(master) }, unsafe {
            libc::isatty(slave)
        }),
        (1, 1)
    );
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
    change(slave, |now| unsafe { libc::cfmakeraw(now) });
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
            ok(unsafe { libc::setpgid(0, 0) });
            put(writer, b"x");
            loop {
                sleep_ms(100);
            }
        });
        let _ = unsafe { libc::setpgid(job, job) };
        unsafe { libc::signal(libc::SIGTTOU, libc::SIG_IGN) };
        ok(unsafe { libc::tcsetpgrp(fd, job) });
        put(writer, b"y");
        let mut status = 0;
        assert_eq!(
            ok(unsafe { libc::waitpid(job, &raw mut status, libc::WUNTRACED) }),
            job
        );
        assert!(libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == libc::SIGTSTP);
        ok(unsafe { libc::kill(-job, libc::SIGKILL) });
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
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    ok(unsafe { libc::ioctl(slave, libc::TIOCGWINSZ, &raw mut size) });
    assert_eq!((size.ws_row, size.ws_col), (0, 0));
    size.ws_row = 33;
    size.ws_col = 101;
    ok(unsafe { libc::ioctl(master, libc::TIOCSWINSZ, &raw const size) });
    let mut seen: libc::winsize = unsafe { std::mem::zeroed() };
    ok(unsafe { libc::ioctl(slave, libc::TIOCGWINSZ, &raw mut seen) });
    assert_eq!((seen.ws_row, seen.ws_col), (33, 101));
    // The foreground group hears of it.
    let (master, path) = pty();
    let (reader, writer) = pipe();
    let pid = session(&path, |_| {
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        unsafe { libc::sigaddset(&raw mut set, libc::SIGWINCH) };
        unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        put(writer, b"x");
        let mut got = 0;
        unsafe { libc::sigwait(&raw const set, &raw mut got) };
        got
    });
    get(reader, 1);
    ok(unsafe { libc::ioctl(master, libc::TIOCSWINSZ, &raw const size) });
    assert_eq!(wait(pid), Ended::Exit(libc::SIGWINCH));
}

fn controlling_terminal() {
    let (_master, path) = pty();
    fails(open("/dev/tty", libc::O_RDWR), libc::ENXIO);
    let pid = session(&path, |fd| {
        let me = unsafe { libc::getpid() };
        let tty = ok(open("/dev/tty", libc::O_RDWR));
        assert_eq!(ok(unsafe { libc::tcgetpgrp(tty) }), me);
        assert_eq!(ok(unsafe { libc::tcgetsid(fd) }), me);
        let stat = std::fs::read_to_string("/proc/self/stat").expect("procfs");
        let number: u64 = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(4))
            .expect("tty_nr")
            .parse()
            .expect("a number");
        assert_ne!(number, 0);
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
        ok(unsafe { libc::ioctl(fd, libc::TIOCNOTTY) });
        fails(open("/dev/tty", libc::O_RDWR), libc::ENXIO);
        ok(unsafe { libc::ioctl(fd, libc::TIOCSCTTY, 0) });
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
            ok(unsafe { libc::setpgid(0, 0) });
            let mut byte = 0_u8;
            unsafe { libc::read(fd, (&raw mut byte).cast(), 1) };
            0
        });
        let mut status = 0;
        assert_eq!(
            ok(unsafe { libc::waitpid(job, &raw mut status, libc::WUNTRACED) }),
            job
        );
        assert!(libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == libc::SIGTTIN);
        ok(unsafe { libc::kill(job, libc::SIGKILL) });
        wait(job);
        // Where nobody could continue it, it gets an error instead.
        in_child(|| {
            ok(unsafe { libc::setpgid(0, 0) });
            unsafe { libc::signal(libc::SIGTTIN, libc::SIG_IGN) };
            let mut byte = 0_u8;
            fails(
                unsafe { libc::read(fd, (&raw mut byte).cast(), 1) },
                libc::EIO,
            );
        });
        // Writing is fine unless TOSTOP is set.
        change(fd, |now| now.c_lflag |= libc::TOSTOP);
        let job = child(|| {
            ok(unsafe { libc::setpgid(0, 0) });
            put(fd, b"x");
            0
        });
        assert_eq!(
            ok(unsafe { libc::waitpid(job, &raw mut status, libc::WUNTRACED) }),
            job
        );
        assert!(libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == libc::SIGTTOU);
        ok(unsafe { libc::kill(job, libc::SIGKILL) });
        0
    });
    assert_eq!(wait(pid), Ended::Exit(0));
}

fn foreground_group() {
    let (_master, path) = pty();
    let pid = session(&path, |fd| {
        let me = unsafe { libc::getpid() };
        assert_eq!(ok(unsafe { libc::tcgetpgrp(fd) }), me);
        fails(unsafe { libc::tcsetpgrp(fd, 999_999) }, libc::ESRCH);
        fails(unsafe { libc::tcsetpgrp(fd, 1) }, libc::EPERM);
        0
    });
    assert_eq!(wait(pid), Ended::Exit(0));
    let (_m, slave) = pair();
    fails(unsafe { libc::tcgetpgrp(slave) }, libc::ENOTTY);
}

fn master_sees_the_end() {
    let (master, slave) = pair();
    put(slave, b"last");
    close(slave);
    assert_eq!(get(master, 100), b"last");
    let mut byte = 0_u8;
    fails(
        unsafe { libc::read(master, (&raw mut byte).cast(), 1) },
        libc::EIO,
    );
    let mut poll = libc::pollfd {
        fd: master,
        events: libc::POLLIN,
        revents: 0,
    };
    ok(unsafe { libc::poll(&raw mut poll, 1, 0) });
    assert_eq!(poll.revents & libc::POLLHUP, libc::POLLHUP);
    let (master, slave) = pair();
    close(master);
    assert_eq!(get(slave, 1), b"");
    fails(
        unsafe { libc::write(slave, c"x".as_ptr().cast(), 1) },
        libc::EIO,
    );
}

fn terminal_errors() {
    fails(open("/dev/pts/9999", libc::O_RDWR), libc::ENOENT);
    let master = ok(open("/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY));
    let mut number = 0_i32;
    ok(unsafe { libc::ioctl(master, libc::TIOCGPTN, &raw mut number) });
    // It is locked until somebody unlocks it.
    fails(
        open(&format!("/dev/pts/{number}"), libc::O_RDWR | libc::O_NOCTTY),
        libc::EIO,
    );
    fails(unsafe { libc::ioctl(master, 0x1234_5678) }, libc::ENOTTY);
    assert_eq!(
        call(
            libc::SYS_ioctl,
            &[master as usize, libc::TCGETS as usize, 8]
        ),
        Err(libc::EFAULT)
    );
    fails(
        unsafe { libc::lseek(master, 0, libc::SEEK_SET) },
        libc::ESPIPE,
    );
}

fn minimum_and_time() {
    let (master, slave) = pair();
    change(slave, |now| {
        unsafe { libc::cfmakeraw(now) };
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
        sent += ok(unsafe {
            libc::write(
                master,
                long[sent..].as_ptr().cast(),
                500.min(long.len() - sent),
            )
        }) as usize;
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
        ok(unsafe { libc::setsid() });
        let fd = ok(open(&path, libc::O_RDWR));
        // It belongs to another session: opening it does not make it ours, asking for it is refused.
        fails(open("/dev/tty", libc::O_RDWR), libc::ENXIO);
        become_user();
        fails(unsafe { libc::ioctl(fd, libc::TIOCSCTTY, 0) }, libc::EPERM);
    });
    ok(unsafe { libc::kill(owner, libc::SIGKILL) });
    wait(owner);
}

fn packet_of_settings() {
    let (_master, slave) = pair();
    let mut now: libc::termios = unsafe { std::mem::zeroed() };
    ok(unsafe { libc::tcgetattr(slave, &raw mut now) });
    assert_eq!(
        now.c_lflag & (libc::ICANON | libc::ECHO | libc::ISIG),
        libc::ICANON | libc::ECHO | libc::ISIG
    );
    assert_eq!(now.c_iflag & libc::ICRNL, libc::ICRNL);
    assert_eq!(
        now.c_oflag & (libc::OPOST | libc::ONLCR),
        libc::OPOST | libc::ONLCR
    );
    assert_eq!(unsafe { libc::cfgetospeed(&raw const now) }, libc::B38400);
    assert_eq!(
        (
            now.c_cc[libc::VINTR],
            now.c_cc[libc::VEOF],
            now.c_cc[libc::VSUSP]
        ),
        (3, 4, 26)
    );
    ok(unsafe { libc::tcflush(slave, libc::TCIOFLUSH) });
    ok(unsafe { libc::tcdrain(slave) });
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
    let on = 1_i32;
    ok(unsafe { libc::ioctl(master, libc::TIOCPKT, &raw const on) });
    put(slave, b"data");
    assert_eq!(get(master, 100), b"\0data");
    ok(unsafe { libc::tcflush(slave, libc::TCIFLUSH) });
    assert_eq!(get(master, 100), [TIOCPKT_FLUSHREAD]);
    ok(unsafe { libc::tcflow(slave, libc::TCOOFF) });
    assert_eq!(get(master, 100), [TIOCPKT_STOP]);
    ok(unsafe { libc::tcflow(slave, libc::TCOON) });
    assert_eq!(get(master, 100), [TIOCPKT_START]);
    change(slave, |now| now.c_iflag &= !libc::IXON);
    assert_eq!(get(master, 100), [TIOCPKT_NOSTOP]);
    let mut poll = libc::pollfd {
        fd: master,
        events: libc::POLLPRI,
        revents: 0,
    };
    change(slave, |now| now.c_iflag |= libc::IXON);
    assert_eq!(ok(unsafe { libc::poll(&raw mut poll, 1, 1000) }), 1);
    assert_eq!(get(master, 100), [TIOCPKT_DOSTOP]);
}

fn stopped_output_waits() {
    let (master, slave) = pair();
    put(master, b"\x13");
    let flags = ok(unsafe { libc::fcntl(slave, libc::F_GETFL) });
    ok(unsafe { libc::fcntl(slave, libc::F_SETFL, flags | libc::O_NONBLOCK) });
    fails(
        unsafe { libc::write(slave, c"x".as_ptr().cast(), 1) },
        libc::EAGAIN,
    );
    ok(unsafe { libc::fcntl(slave, libc::F_SETFL, flags) });
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
    let peer = || unsafe { libc::ioctl(master, TIOCGPTPEER, libc::O_RDWR | libc::O_NOCTTY) };
    fails(peer(), libc::EIO);
    let unlock = 0_i32;
    ok(unsafe { libc::ioctl(master, libc::TIOCSPTLCK, &raw const unlock) });
    let slave = ok(peer());
    quiet(slave);
    put(master, b"x\n");
    assert_eq!(get(slave, 10), b"x\n");
}

fn foreground_hears_of_the_leaders_end() {
    let (_master, path) = pty();
    let (reader, writer) = pipe();
    let pid = session(&path, |fd| {
        unsafe { libc::signal(libc::SIGTTOU, libc::SIG_IGN) };
        let job = child(|| {
            ok(unsafe { libc::setpgid(0, 0) });
            let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
            unsafe { libc::sigaddset(&raw mut set, libc::SIGHUP) };
            unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
            put(writer, b"r");
            let mut got = 0;
            unsafe { libc::sigwait(&raw const set, &raw mut got) };
            put(writer, &[got as u8]);
            0
        });
        let _ = unsafe { libc::setpgid(job, job) };
        ok(unsafe { libc::tcsetpgrp(fd, job) });
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
        ok(unsafe { libc::ioctl(fd, request, &raw mut count) });
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
    ok(unsafe { libc::tcflush(slave, libc::TCIFLUSH) });
    assert_eq!(queued(slave, libc::FIONREAD), 0);
}
