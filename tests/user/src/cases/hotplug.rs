//! Processors that are taken away and brought back through `/sys/devices/system/cpu`.

use super::cases;
use super::sched::{Spinner, mask, pin};
use crate::sys::*;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

cases![
    files_say_who_takes_part,
    what_runs_there_goes_elsewhere,
    a_mask_without_processors_is_given_up,
    a_mask_with_others_is_kept,
    sleepers_of_a_processor_that_left_wake,
    processors_come_and_go_under_load,
    interrupt_lines_go_elsewhere,
];

const DIR: &str = "/sys/devices/system/cpu";

fn text(name: &str) -> String {
    let text = fs::read_to_string(format!("{DIR}/{name}"));
    text.unwrap_or_else(|error| panic!("{name}: {error}"))
        .trim()
        .to_owned()
}

fn set_online(cpu: usize, online: bool) -> std::io::Result<()> {
    fs::write(
        format!("{DIR}/cpu{cpu}/online"),
        if online { "1\n" } else { "0\n" },
    )
}

/// A processor that is away until this is dropped.
struct Away(usize);

impl Away {
    fn new(cpu: usize) -> Self {
        set_online(cpu, false).expect("it leaves");
        Self(cpu)
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        set_online(self.0, true).expect("it comes back");
    }
}

/// The last processor, where there are several; the first cannot be taken away.
fn removable() -> Option<usize> {
    mask(0).into_iter().next_back().filter(|cpu| *cpu > 0)
}

fn list(all: &[usize]) -> String {
    match all {
        [one] => one.to_string(),
        [first, .., last] => format!("{first}-{last}"),
        [] => String::new(),
    }
}

fn files_say_who_takes_part() {
    let all = mask(0);
    assert!(!fs::exists(format!("{DIR}/cpu0/online")).expect("it can be asked"));
    assert_eq!(text("online"), list(&all));
    assert_eq!(text("present"), list(&all));
    let Some(cpu) = removable() else { return };
    let own = format!("cpu{cpu}/online");
    assert_eq!(text(&own), "1");
    let nonsense = fs::write(format!("{DIR}/{own}"), "x\n");
    assert_eq!(
        nonsense.expect_err("no answer").raw_os_error(),
        Some(libc::EINVAL)
    );
    set_online(cpu, true).expect("it is there already");
    {
        let _away = Away::new(cpu);
        set_online(cpu, false).expect("it is away already");
        assert_eq!(text(&own), "0");
        assert_eq!(text("online"), list(&all[..all.len() - 1]));
        assert_eq!(text("present"), list(&all));
        assert!(text("offline").starts_with(&cpu.to_string()));
        let stat = fs::read_to_string("/proc/stat").expect("it is there");
        assert!(!stat.contains(&format!("\ncpu{cpu} ")));
        assert_eq!(stat.matches("\ncpu").count(), all.len() - 1);
        let info = fs::read_to_string("/proc/cpuinfo").expect("it is there");
        assert_eq!(info.matches("processor\t:").count(), all.len() - 1);
        assert_eq!(mask(0), all[..all.len() - 1]);
    }
    assert_eq!(text(&own), "1");
    assert_eq!(text("online"), list(&all));
    assert_eq!(mask(0), all);
    let stat = fs::read_to_string("/proc/stat").expect("it is there");
    assert!(stat.contains(&format!("\ncpu{cpu} ")));
}

fn what_runs_there_goes_elsewhere() {
    let Some(cpu) = removable() else { return };
    let all = mask(0);
    let counts = shared::<[AtomicU64; 3]>();
    let spinners: Vec<_> = counts
        .iter()
        .map(|count| Spinner::new(count, || pin(0, &[0, cpu])))
        .collect();
    for count in counts {
        soon(|| count.load(Ordering::Relaxed) > 0);
    }
    // The caller, too.
    pin(0, &[cpu]);
    pin(0, &all);
    let _away = Away::new(cpu);
    assert_ne!(current_cpu(), cpu);
    for (spinner, count) in spinners.iter().zip(counts) {
        assert_ne!(spinner.cpu(), cpu);
        let before = count.load(Ordering::Relaxed);
        soon(|| count.load(Ordering::Relaxed) > before);
    }
}

fn a_mask_without_processors_is_given_up() {
    let Some(cpu) = removable() else { return };
    let all = mask(0);
    let count = shared::<AtomicU64>();
    let spinner = Spinner::new(count, || pin(0, &[cpu]));
    soon(|| count.load(Ordering::Relaxed) > 0 && spinner.cpu() == cpu);
    {
        let _away = Away::new(cpu);
        let before = count.load(Ordering::Relaxed);
        soon(|| count.load(Ordering::Relaxed) > before);
        fails(sched_setaffinity(0, &[cpu]), libc::EINVAL);
        // One of several that is away is left out for good.
        pin(0, &[0, cpu]);
        assert_eq!(mask(0), [0]);
    }
    assert_eq!(mask(0), [0]);
    pin(0, &all);
    assert_eq!(mask(spinner.id()), all);
    pin(spinner.id(), &[cpu]);
    soon(|| spinner.cpu() == cpu);
}

fn a_mask_with_others_is_kept() {
    let Some(cpu) = removable() else { return };
    let count = shared::<AtomicU64>();
    let spinner = Spinner::new(count, || pin(0, &[0, cpu]));
    // It counts when it has its mask.
    soon(|| count.load(Ordering::Relaxed) > 0);
    assert_eq!(mask(spinner.id()), [0, cpu]);
    {
        let _away = Away::new(cpu);
        assert_eq!(mask(spinner.id()), [0]);
        soon(|| spinner.cpu() == 0);
    }
    assert_eq!(mask(spinner.id()), [0, cpu]);
}

fn sleepers_of_a_processor_that_left_wake() {
    let Some(cpu) = removable() else { return };
    let (read, write) = pipe();
    let woken = child(|| {
        pin(0, &[cpu]);
        get(read, 1);
        0
    });
    let long = Duration::from_millis(300);
    let slept = child(|| {
        pin(0, &[cpu]);
        let began = Instant::now();
        std::thread::sleep(long);
        i32::from(began.elapsed() < long)
    });
    until_asleep(woken);
    until_asleep(slept);
    let _away = Away::new(cpu);
    put(write, b"x");
    assert_eq!(wait(woken), Ended::Exit(0));
    assert_eq!(wait(slept), Ended::Exit(0));
}

fn processors_come_and_go_under_load() {
    let Some(cpu) = removable() else { return };
    let counts = shared::<[AtomicU64; 4]>();
    let _spinners: Vec<_> = counts
        .iter()
        .map(|count| Spinner::new(count, || ()))
        .collect();
    // Two that wake each other all the time.
    let ((left, to_left), (right, to_right)) = (pipe(), pipe());
    let player = child(|| {
        loop {
            get(left, 1);
            put(to_right, b"x");
        }
    });
    for _ in 0..5 {
        let away = Away::new(cpu);
        for _ in 0..3 {
            put(to_left, b"x");
            get(right, 1);
        }
        drop(away);
        in_child(|| pin(0, &[cpu]));
    }
    ok(kill(player, libc::SIGKILL));
    ignore(wait(player));
    for count in counts {
        let before = count.load(Ordering::Relaxed);
        soon(|| count.load(Ordering::Relaxed) > before);
    }
}

fn interrupt_lines_go_elsewhere() {
    let Some(cpu) = removable() else { return };
    // That of the serial port, which the tests talk through.
    let file = "/proc/irq/4/smp_affinity_list";
    let before = fs::read_to_string(file).expect("it is there");
    fs::write(file, format!("{cpu}\n")).expect("it moves");
    {
        let _away = Away::new(cpu);
        let now = fs::read_to_string("/proc/irq/4/effective_affinity_list");
        assert_ne!(now.expect("it is there").trim(), cpu.to_string());
    }
    fs::write(file, before).expect("it moves back");
}
