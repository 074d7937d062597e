//! The line discipline: editing, echo, modes, what is read when.

use super::{change, pair, quiet};
use crate::cases::cases;
use crate::sys::*;

cases![
    lines_are_edited,
    echo_and_output,
    raw_mode,
    end_of_file,
    minimum_and_time,
    long_lines,
    packet_of_settings,
    stopped_output_waits,
    switching_modes_keeps_input,
    queue_sizes,
    locked_settings_stay,
];

const TIOCGLCKTRMIOS: libc::Ioctl = 0x5456;
const TIOCSLCKTRMIOS: libc::Ioctl = 0x5457;

fn waiting(fd: i32) -> bool {
    poll_one(fd, libc::POLLIN, 50) != 0
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

fn stopped_output_waits() {
    let (master, slave) = pair();
    put(master, b"\x13");
    let flags = file_flags(slave);
    ok(fcntl(slave, libc::F_SETFL, flags | libc::O_NONBLOCK));
    // The character is taken in by and by; what was written until then, arrives.
    while write(slave, b"x") != Err(libc::EAGAIN) {
        sleep_ms(1);
    }
    ok(fcntl(slave, libc::F_SETFL, flags));
    while waiting(master) {
        assert!(get(master, 100).iter().all(|byte| *byte == b'x'));
    }
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
    soon(|| waiting(slave));
    change(slave, |now| now.c_lflag |= libc::ICANON);
    assert_eq!(get(slave, 100), b"more");
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
    soon(|| queued(slave, libc::FIONREAD) == 4);
    assert_eq!(queued(slave, libc::TIOCOUTQ), 0);
    put(slave, b"12345");
    soon(|| queued(master, libc::FIONREAD) == 5);
    ok(tcflush(slave, libc::TCIFLUSH));
    assert_eq!(queued(slave, libc::FIONREAD), 0);
}

fn locked_settings_stay() {
    let (_master, slave) = pair();
    // The kernel's structure: four words of flags, the line discipline, 19 characters.
    let mut locked = [0_u32; 9];
    ok(ioctl_at(slave, TIOCGLCKTRMIOS, &mut locked));
    assert_eq!(locked, [0; 9]);
    locked[3] = libc::ECHO;
    ok(ioctl_at(slave, TIOCSLCKTRMIOS, &mut locked));
    let before = ok(tcgetattr(slave));
    change(slave, |now| now.c_lflag &= !(libc::ECHO | libc::ICANON));
    let after = ok(tcgetattr(slave));
    assert_eq!(after.c_lflag, before.c_lflag & !libc::ICANON);
    in_child(|| {
        become_user();
        ok(ioctl_at(slave, TIOCGLCKTRMIOS, &mut locked));
        assert_eq!(locked[3], libc::ECHO);
        fails(
            ioctl_at(slave, TIOCSLCKTRMIOS, &mut [0_u32; 9]),
            libc::EPERM,
        );
    });
    ok(ioctl_at(slave, TIOCSLCKTRMIOS, &mut [0_u32; 9]));
    quiet(slave);
    assert_eq!(ok(tcgetattr(slave)).c_lflag & libc::ECHO, 0);
}
