//! Sessions, groups in the foreground and background, keys that signal.

use super::{change, pair, pty};
use crate::cases::cases;
use crate::sys::*;

cases![
    interrupt_key,
    suspend_key,
    window_size,
    controlling_terminal,
    hang_up,
    background_read_stops,
    foreground_group,
    sessions_do_not_steal,
    foreground_hears_of_the_leaders_end,
];

/// Runs `body` as the leader of a new session with this terminal.
fn session(path: &str, body: impl FnOnce(i32) -> i32) -> i32 {
    child(|| {
        ok(setsid());
        let fd = ok(open(path, libc::O_RDWR));
        body(fd)
    })
}

fn interrupt_key() {
    let (master, path) = pty();
    for (key, signal) in [(b"\x03", libc::SIGINT), (b"\x1c", libc::SIGQUIT)] {
        let (reader, writer) = pipe();
        let pid = session(&path, |_| {
            put(writer, b"x");
            sleep_for_ever()
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
            sleep_for_ever()
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
        sleep_for_ever()
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

fn sessions_do_not_steal() {
    let (_master, path) = pty();
    let (reader, writer) = pipe();
    let owner = session(&path, |_| {
        put(writer, b"x");
        sleep_for_ever()
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
