//! In-kernel tests of the devices that interrupt for timers.

use core::time::Duration;

use executor::time::sleep;
use test_macros::kernel_test;

use super::{serve, served};
use crate::arch::{apic, hpet, line, pit, smp, tsc};
use crate::clockevent;
use crate::irq::{Answer, CpuSet, Request};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

/// Sleeps on every CPU, several times, and checks that no sleep was too short.
async fn sleep_everywhere() {
    let sleeper = || async {
        for ms in [1, 3, 7] {
            let start = tsc::now_ns();
            sleep(Duration::from_millis(ms)).await;
            assert!(tsc::now_ns() - start >= ms * 1_000_000, "{ms} ms");
        }
    };
    let tasks: Vec<_> = (0..smp::cpu_count())
        .map(|cpu| executor::spawn_on(cpu, "sleeper", sleeper()))
        .collect();
    for task in tasks {
        assert!(task.await.is_ok(), "nobody aborts them");
    }
}

#[kernel_test]
async fn one_device_wakes_cpus_whose_own_has_stopped() {
    // Under way while the device changes, so that what was asked of one must come from the other.
    let before: Vec<_> = (0..smp::cpu_count())
        .map(|cpu| executor::spawn_on(cpu, "sleeper", sleep(Duration::from_millis(50))))
        .collect();
    serve(CpuSet::MAX).expect("there is a device for all");
    let device = served().expect("it serves");
    assert_eq!(
        device.device.name,
        if hpet::found().is_some() {
            "hpet"
        } else {
            "pit"
        }
    );
    sleep_everywhere().await;
    for task in before {
        assert!(task.await.is_ok(), "nobody aborts them");
    }
    let events = served().expect("it serves").events;
    assert!(events > 0, "nothing came from {}", device.device.name);
    // Only the first CPU keeps its own: both kinds side by side.
    serve(CpuSet::MAX - 1).expect("it serves already");
    sleep_everywhere().await;
    serve(0).expect("nothing is asked for");
    assert!(served().is_none());
    sleep_everywhere().await;
}

#[kernel_test]
async fn the_old_timer_interrupts_at_its_period() {
    // Its line is the first CPU's, as any that nobody has moved.
    let came = Arc::new(AtomicU64::new(0));
    let count = came.clone();
    let request = Request::new("8254").handler(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Answer::HANDLED
    });
    let irq = line::request(line::isa(0), request).expect("the line is free");
    came.store(0, Ordering::Relaxed);
    let start = tsc::now_ns();
    // 250 a second, exact to a tick of the chip.
    pit::fire_every((pit::HZ / 250) as u16);
    while came.load(Ordering::Relaxed) < 20 {
        sleep(Duration::from_millis(2)).await;
        assert!(tsc::now_ns() - start < 20_000_000_000, "it does not tick");
    }
    let (ticks, took) = (came.load(Ordering::Relaxed), tsc::now_ns() - start);
    pit::silence();
    irq.free();
    // A busy host loses ticks, and makes none: as many as went by, one for each end, and one
    // for being programmed.
    assert!(ticks <= took / 4_000_000 + 3, "{ticks} ticks in {took} ns");
}

#[kernel_test]
fn the_comparator_tells_a_moment_that_has_gone_by() {
    let Some(hpet) = hpet::found() else {
        return;
    };
    assert_ne!(hpet.routes(), 0);
    assert!(hpet.set_next(u32::MAX / 4));
    // Gone by as soon as it is written.
    assert!(!hpet.set_next(0));
    hpet.silence();
}

#[kernel_test]
fn the_local_timer_is_as_fast_as_was_measured() {
    let device = super::local();
    let rate = device.traits().rate;
    assert!(rate.min_ns() < 1_000_000 && rate.max_ns() > 1_000_000_000);
    let _masked = executor::cpu::irq_save();
    // What it is told it does: nothing here, as the next timer is set anew.
    assert_eq!(clockevent::program(device, 5_000_000_000), 0);
    if !apic::has_deadline() {
        let told = rate.ticks(5_000_000_000);
        let (before, after) = (apic::timer_left(), apic::timer_left());
        assert!(
            after <= before && before <= told,
            "{after}, {before} of {told}"
        );
    }
    executor::time::set_timer_again();
}
