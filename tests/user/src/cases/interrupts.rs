//! Interrupts as `/proc` shows them, and moves them.

use super::cases;
use crate::sys::*;
use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;

cases![
    lines_are_listed,
    lines_have_directories,
    affinity_is_checked,
    a_line_moves_to_another_cpu,
    counts_agree,
    softirqs_are_counted,
];

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn cpus() -> usize {
    text("/proc/stat").matches("\ncpu").count()
}

/// A row of `/proc/interrupts`: label, count on each CPU, the rest.
fn rows() -> Vec<(String, Vec<u64>, String)> {
    let cpus = cpus();
    let text = text("/proc/interrupts");
    let (header, rows) = text.split_once('\n').expect("there is a header");
    let names: Vec<_> = header.split_whitespace().collect();
    let want: Vec<_> = (0..cpus).map(|cpu| format!("CPU{cpu}")).collect();
    assert_eq!(names, want);
    let parse = |row: &str| {
        let (label, rest) = row
            .split_once(':')
            .unwrap_or_else(|| panic!("no label: {row}"));
        let mut words = rest.split_whitespace().peekable();
        let mut counts = Vec::new();
        while counts.len() < cpus
            && let Some(count) = words.peek().and_then(|word| word.parse().ok())
        {
            counts.push(count);
            words.next();
        }
        let rest: Vec<_> = words.collect();
        (label.trim().to_owned(), counts, rest.join(" "))
    };
    rows.lines().map(parse).collect()
}

fn row(label: &str) -> (Vec<u64>, String) {
    let found = rows().into_iter().find(|row| row.0 == label);
    let (_, counts, rest) = found.unwrap_or_else(|| panic!("no {label}"));
    (counts, rest)
}

/// The line of the serial port, which the tests talk through.
const SERIAL: &str = "4";

fn lines_are_listed() {
    talk();
    let (counts, what) = row(SERIAL);
    assert_eq!(what, "IO-APIC 4-edge ttyS0");
    assert!(counts.iter().sum::<u64>() > 0);
    for (label, what) in [
        ("LOC", "Local timer interrupts"),
        ("RES", "Rescheduling interrupts"),
        ("CAL", "Function call interrupts"),
        ("SPU", "Spurious interrupts"),
    ] {
        let (counts, name) = row(label);
        assert_eq!((counts.len(), name.as_str()), (cpus(), what));
    }
    assert!(row("LOC").0.iter().sum::<u64>() > 0, "no timer");
    assert_eq!(row("ERR").0, [0]);
}

fn lines_have_directories() {
    let dir = format!("/proc/irq/{SERIAL}");
    assert!(
        fs::metadata(format!("{dir}/ttyS0"))
            .expect("who answers")
            .is_dir()
    );
    let spurious = text(&format!("{dir}/spurious"));
    let fields: Vec<_> = spurious.split_whitespace().collect();
    assert_eq!(
        (fields[0], fields[2], fields[4]),
        ("count", "unhandled", "last_unhandled")
    );
    assert!(fields[1].parse::<u32>().is_ok() && fields[3].parse::<u32>().is_ok());
    let list = text(&format!("{dir}/smp_affinity_list"));
    let all = if cpus() == 1 {
        "0\n".into()
    } else {
        format!("0-{}\n", cpus() - 1)
    };
    assert_eq!(list, all);
    let mask = text(&format!("{dir}/smp_affinity"));
    assert_eq!(u64::from_str_radix(mask.trim(), 16), Ok((1 << cpus()) - 1));
    let effective = text(&format!("{dir}/effective_affinity_list"));
    assert!(effective.trim().parse::<usize>().expect("one CPU") < cpus());
    let number = text(&format!("{dir}/node"));
    assert!(number.trim().parse::<i32>().is_ok());
    assert!(fs::metadata("/proc/irq/04").is_err());
}

fn write(path: &str, text: &str) -> Result<(), i32> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("it can be opened");
    let written = file.write_all(text.as_bytes());
    written.map_err(|error| error.raw_os_error().expect("an errno"))
}

fn affinity_is_checked() {
    let path = format!("/proc/irq/{SERIAL}/smp_affinity");
    let before = text(&path);
    assert_eq!(write(&path, "x"), Err(libc::EINVAL));
    assert_eq!(write(&path, "0"), Err(libc::EINVAL));
    assert_eq!(
        write("/proc/irq/default_smp_affinity", "0"),
        Err(libc::EINVAL)
    );
    assert_eq!(write(&format!("{path}_list"), "1-0"), Err(libc::EINVAL));
    assert_eq!(text(&path), before);
    assert_eq!(write(&path, &before), Ok(()));
    let default = text("/proc/irq/default_smp_affinity");
    assert_eq!(write("/proc/irq/default_smp_affinity", &default), Ok(()));
}

/// Makes the serial port interrupt, if only to say that there is room for more.
fn talk() {
    const TCSBRK: usize = 0x5409;
    let mut port = fs::OpenOptions::new()
        .write(true)
        .open("/dev/ttyS0")
        .expect("the port is there");
    for _ in 0..64 {
        port.write_all(b" ").expect("the port takes it");
        let drained = call(libc::SYS_ioctl, &[port.as_raw_fd() as usize, TCSBRK, 1]);
        drained.expect("the port sends");
    }
}

fn a_line_moves_to_another_cpu() {
    let list = format!("/proc/irq/{SERIAL}/smp_affinity_list");
    for cpu in (0..cpus()).rev() {
        write(&list, &cpu.to_string()).expect("the CPU is there");
        assert_eq!(text(&list).trim(), cpu.to_string());
        // What was on its way may still arrive elsewhere.
        talk();
        let before = row(SERIAL).0;
        talk();
        let after = row(SERIAL).0;
        for other in 0..cpus() {
            let grew = after[other] > before[other];
            assert_eq!(grew, other == cpu, "aimed at {cpu}: {before:?} {after:?}");
        }
        let effective = text(&format!("/proc/irq/{SERIAL}/effective_affinity_list"));
        assert_eq!(effective.trim(), cpu.to_string());
    }
    let mask = format!("/proc/irq/{SERIAL}/smp_affinity");
    write(&mask, &format!("{:x}", (1u64 << cpus()) - 1)).expect("all CPUs");
}

/// The words of the line of `/proc/stat` that begins with `name`.
fn stat(name: &str) -> Vec<u64> {
    let text = text("/proc/stat");
    let line = text
        .lines()
        .find(|line| line.split(' ').next() == Some(name));
    let words = line
        .unwrap_or_else(|| panic!("no {name}"))
        .split_whitespace();
    words
        .skip(1)
        .map(|word| word.parse().expect("a number"))
        .collect()
}

fn counts_agree() {
    let intr = stat("intr");
    assert!(intr[0] >= intr[1..].iter().sum());
    let serial = intr[5];
    let shown: u64 = row(SERIAL).0.iter().sum();
    assert!(serial > 0 && shown >= serial, "{serial} {shown}");
    let local: u64 = row("LOC").0.iter().sum();
    assert!(stat("intr")[0] >= local, "local timers count");
    assert_eq!(stat("cpu0").len(), 10);
}

fn softirqs_are_counted() {
    let text = text("/proc/softirqs");
    let names: Vec<_> = text
        .lines()
        .skip(1)
        .map(|line| line.split(':').next().unwrap_or_default().trim())
        .collect();
    let want = [
        "HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER",
        "RCU",
    ];
    assert_eq!(names, want);
    for line in text.lines().skip(1) {
        assert_eq!(line.split_whitespace().count(), 1 + cpus(), "{line}");
    }
    let sums = stat("softirq");
    assert_eq!(sums.len(), 11);
    assert_eq!(sums[0], sums[1..].iter().sum());
}
