//! Pseudo-terminals: their two sides.

use super::{change, pair, quiet};
use crate::cases::cases;
use crate::sys::*;

cases![
    pair_opens,
    master_sees_the_end,
    terminal_errors,
    packet_mode,
    peer_without_a_name,
];

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
