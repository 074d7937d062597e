//! In-kernel tests of what `/proc/wake/latency` shows.

use core::time::Duration;

use executor::time::{Instant, sleep};
use executor::{CpuShared, PollLatency, Stretch, cpu, spawn_on};
use test_macros::kernel_test;

use crate::arch::{sites, smp};
use crate::panic::symbols;

/// Measures until dropped.
struct Measured;

impl Measured {
    fn new() -> Self {
        sites::set_telling(true).expect("there is memory at boot");
        Self
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        sites::set_telling(false).expect("it needs no memory");
    }
}

fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        core::hint::spin_loop();
    }
}

fn latency(cpu: u32) -> PollLatency {
    CpuShared::of(cpu).expect("it runs").latency()
}

/// The name of the function that the instruction in front of `at` is part of.
fn function(at: u64) -> &'static str {
    let table = symbols().expect("the runner wrote the symbols");
    table.lookup(at - 1).expect("it is in the text").0
}

#[inline(never)]
fn hold_preemption(time: Duration) -> u32 {
    let _held = cpu::preempt_disable();
    spin(time);
    cpu::id()
}

#[inline(never)]
fn hold_interrupts(time: Duration) -> u32 {
    let _masked = cpu::irq_save();
    spin(time);
    cpu::id()
}

#[kernel_test]
async fn long_sections_are_seen_and_named() {
    let _measured = Measured::new();
    longest_is_seen(hold_preemption, "hold_preemption", |l| l.preempt_off);
    longest_is_seen(hold_interrupts, "hold_interrupts", |l| l.irqs_off);
}

/// Calls `hold`, of that `name`, for longer than anything before, and looks that it becomes what `longest` gives.
fn longest_is_seen(
    hold: fn(Duration) -> u32,
    name: &str,
    longest: impl Fn(&PollLatency) -> Stretch,
) {
    const TIME: Duration = Duration::from_millis(20);
    // A busy host makes any section long: then another one is the longest, until this is longer than that.
    let mut before = Duration::ZERO;
    let start = Instant::now();
    loop {
        let here = hold(before + TIME);
        let Stretch { ns, from, to } = longest(&latency(here));
        let seen = Duration::from_nanos(ns);
        assert!(seen >= before + TIME, "{seen:?} in {name}");
        let names = [from, to].map(function);
        if names.iter().all(|seen| seen.contains(name)) {
            return;
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{seen:?} in {names:?}, not in {name}"
        );
        before = seen;
    }
}

#[kernel_test]
async fn a_long_poll_is_seen_and_the_wait_after_it_is_not() {
    const TIME: Duration = Duration::from_millis(30);
    let _measured = Measured::new();
    let here = cpu::id();
    let task = spawn_on(here, "long poll", async {
        // The poll is one, whatever else is to be done here.
        let held = cpu::preempt_disable();
        spin(TIME);
        drop(held);
        sleep(100 * TIME).await;
    });
    let start = Instant::now();
    while latency(here).longest_ns < TIME.as_nanos() as u64 {
        assert!(start.elapsed() < 90 * TIME, "the poll was not seen");
        sleep(TIME).await;
    }
    let name = function(latency(here).longest_poll + 1);
    assert!(name.contains("poll"), "{name}");
    task.abort();
    assert!(task.await.is_err());
}

#[kernel_test]
async fn nothing_is_measured_where_nobody_asks() {
    drop(Measured::new());
    hold_preemption(Duration::from_millis(2));
    hold_interrupts(Duration::from_millis(2));
    sleep(Duration::from_millis(1)).await;
    for cpu in 0..smp::cpu_count() {
        let seen = latency(cpu);
        assert_eq!(seen.longest_ns, 0);
        assert_eq!((seen.irqs_off, seen.preempt_off), Default::default());
    }
}

#[kernel_test]
async fn measuring_begins_and_ends_under_load_and_breaks_nothing() {
    let workers: [_; 4] = core::array::from_fn(|i| {
        spawn_on(i as u32 % smp::cpu_count(), "load", async {
            for _ in 0..200 {
                hold_preemption(Duration::from_micros(20));
                hold_interrupts(Duration::from_micros(20));
                sleep(Duration::from_micros(50)).await;
            }
        })
    });
    while workers.iter().any(|worker| !worker.task().is_finished()) {
        drop(Measured::new());
        sleep(Duration::from_micros(500)).await;
    }
    for worker in workers {
        assert_eq!(worker.await, Ok(()));
    }
}
