//! The battery-backed clock.

use super::cases;
use crate::sys::*;
use std::fs;
use std::time::{Duration, Instant};

cases![
    the_clock_is_read_and_set,
    the_alarm_interrupts_once,
    updates_come_every_second,
    the_periodic_interrupt_has_a_rate,
    only_one_may_have_it_open,
    the_clock_is_described,
];

const AIE_ON: usize = 0x7001;
const UIE_ON: usize = 0x7003;
const UIE_OFF: usize = 0x7004;
const PIE_ON: usize = 0x7005;
const PIE_OFF: usize = 0x7006;
const ALM_SET: usize = 0x4024_7007;
const RD_TIME: usize = 0x8024_7009;
const SET_TIME: usize = 0x4024_700a;
const IRQP_READ: usize = 0x8008_700b;
const IRQP_SET: usize = 0x4008_700c;

fn device() -> i32 {
    ok(open("/dev/rtc0", libc::O_RDWR))
}

fn control(fd: i32, request: usize, arg: usize) -> Result<usize, i32> {
    call(libc::SYS_ioctl, &[fd as usize, request, arg])
}

fn time(fd: i32) -> [i32; 9] {
    let mut time = [0; 9];
    control(fd, RD_TIME, &raw mut time as usize).expect("it answers");
    time
}

/// Seconds since 1970, by the C library.
fn seconds(fields: [i32; 9]) -> i64 {
    // SAFETY: a structure of numbers, and a pointer to a name that is not looked at.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    (tm.tm_sec, tm.tm_min, tm.tm_hour) = (fields[0], fields[1], fields[2]);
    (tm.tm_mday, tm.tm_mon, tm.tm_year) = (fields[3], fields[4], fields[5]);
    // SAFETY: reads and normalises it, and nothing else.
    unsafe { libc::timegm(&mut tm) }
}

/// The other way round.
fn fields(seconds: i64) -> [i32; 9] {
    // SAFETY: as above.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: fills the structure, and nothing else.
    unsafe { libc::gmtime_r(&seconds, &mut tm) };
    let (time, day) = (
        [tm.tm_sec, tm.tm_min, tm.tm_hour],
        [tm.tm_mday, tm.tm_mon, tm.tm_year],
    );
    [time, day, [0; 3]]
        .concat()
        .try_into()
        .expect("nine of them")
}

fn the_clock_is_read_and_set() {
    let fd = device();
    let before = time(fd);
    let start = Instant::now();
    // 29 February 2024, 23:59:58.
    let leap = [58, 59, 23, 29, 1, 124, 0, 0, 0];
    control(fd, SET_TIME, &raw const leap as usize).expect("root may");
    let set = seconds(time(fd)) - seconds(leap);
    assert!((0..=5).contains(&set), "{set}");
    let wrong = [0, 0, 0, 30, 1, 124, 0, 0, 0];
    assert_eq!(
        control(fd, SET_TIME, &raw const wrong as usize),
        Err(libc::EINVAL)
    );
    let back = fields(seconds(before) + start.elapsed().as_secs() as i64);
    control(fd, SET_TIME, &raw const back as usize).expect("root may");
    assert_eq!(control(fd, 0x7099, 0), Err(libc::ENOTTY));
    assert_eq!(control(fd, RD_TIME, 8), Err(libc::EFAULT));
}

/// What is read: how often, and what.
fn events(fd: i32) -> (u64, u64) {
    let mut data = 0_u64;
    let read = call(libc::SYS_read, &[fd as usize, &raw mut data as usize, 8]);
    assert_eq!(read, Ok(8));
    (data >> 8, data & 0xff)
}

fn the_alarm_interrupts_once() {
    let fd = device();
    let mut at = time(fd);
    let then = fields(seconds(at) + 2);
    at[..3].copy_from_slice(&then[..3]);
    control(fd, ALM_SET, &raw const at as usize).expect("it is set");
    control(fd, AIE_ON, 0).expect("it is let in");
    let start = Instant::now();
    let (_, what) = events(fd);
    assert_eq!(what & 0xa0, 0xa0, "{what:#x}");
    assert!(start.elapsed() < Duration::from_secs(20));
}

fn updates_come_every_second() {
    let fd = device();
    let start = Instant::now();
    control(fd, UIE_ON, 0).expect("they are let in");
    for _ in 0..2 {
        let (count, what) = events(fd);
        assert!(count >= 1 && what & 0x90 == 0x90, "{count} {what:#x}");
    }
    control(fd, UIE_OFF, 0).expect("they are held off");
    assert!(start.elapsed() > Duration::from_millis(900));
}

fn the_periodic_interrupt_has_a_rate() {
    let fd = device();
    control(fd, IRQP_SET, 64).expect("a low rate");
    let mut rate = 0_u64;
    control(fd, IRQP_READ, &raw mut rate as usize).expect("it answers");
    assert_eq!(rate, 64);
    assert_eq!(control(fd, IRQP_SET, 0), Err(libc::EINVAL));
    assert_eq!(control(fd, IRQP_SET, 8193), Err(libc::EINVAL));
    let start = Instant::now();
    control(fd, PIE_ON, 0).expect("it is let in");
    let mut total = 0;
    while total < 16 {
        let (count, what) = events(fd);
        assert_eq!(what & 0xc0, 0xc0, "{what:#x}");
        total += count;
    }
    control(fd, PIE_OFF, 0).expect("it is held off");
    assert!(start.elapsed() > Duration::from_millis(200));
    in_child(move || {
        become_user();
        assert_eq!(control(fd, IRQP_SET, 128), Err(libc::EACCES));
        assert_eq!(control(fd, IRQP_SET, 32), Ok(0));
        let mut time = time(fd);
        assert_eq!(
            control(fd, SET_TIME, &raw mut time as usize),
            Err(libc::EACCES)
        );
    });
}

fn only_one_may_have_it_open() {
    let fd = device();
    let path = c("/dev/rtc0");
    let again = || {
        call(
            libc::SYS_open,
            &[path.as_ptr() as usize, libc::O_RDONLY as usize],
        )
    };
    assert_eq!(again(), Err(libc::EBUSY));
    close(fd);
    close(again().expect("it is free") as i32);
}

fn the_clock_is_described() {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let driver = text("/proc/driver/rtc");
    for name in [
        "rtc_time",
        "rtc_date",
        "alrm_time",
        "alarm_IRQ",
        "24hr",
        "batt_status",
    ] {
        assert!(
            driver
                .lines()
                .any(|line| line.split('\t').next() == Some(name)),
            "no {name}"
        );
    }
    let dir = "/sys/class/rtc/rtc0";
    let seconds: i64 = text(&format!("{dir}/since_epoch"))
        .trim()
        .parse()
        .expect("a number");
    assert!(seconds > 1_700_000_000);
    assert!(text(&format!("{dir}/name")).starts_with("rtc_cmos"));
    assert_eq!(
        text(&format!("{dir}/date")).trim().len(),
        "2026-01-01".len()
    );
    assert_eq!(text(&format!("{dir}/time")).trim().len(), "12:00:00".len());
}
