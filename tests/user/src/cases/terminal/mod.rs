//! Pseudo-terminals: the line discipline, job control, window size.

mod jobs;
mod lines;
mod pairs;

use crate::cases::parts;
use crate::sys::*;

parts![lines, jobs, pairs];

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
