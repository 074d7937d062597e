//! CPUs that leave and come back under load.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;

use executor::irq::IrqEvent;
use executor::time::sleep;
use executor::{Spawner, spawn, spawn_on, yield_now};
use fs::Errno;
use test_macros::kernel_test;

use super::hotplug::{is_removable, set_online};
use crate::arch::smp;
use crate::work;

/// The CPUs that can be taken away.
fn removable() -> impl Iterator<Item = u32> {
    (0..smp::cpu_count()).filter(|cpu| is_removable(*cpu))
}

/// Takes every CPU away but the first and brings them back, `rounds` times.
async fn churn(rounds: u32) {
    for _ in 0..rounds {
        for cpu in removable() {
            set_online(cpu, false).await.expect("nothing was promised");
            assert_eq!(smp::online() >> cpu & 1, 0);
            assert_eq!(smp::active() >> cpu & 1, 0);
        }
        for cpu in removable() {
            set_online(cpu, true).await.expect("it was there before");
            assert_ne!(smp::active() >> cpu & 1, 0);
        }
    }
}

#[kernel_test(cpus = 2)]
async fn the_first_cpu_and_those_that_are_not_there_stay_as_they_are() {
    assert_eq!(set_online(0, false).await, Err(Errno::EPERM));
    let none = smp::cpu_count();
    assert_eq!(set_online(none, true).await, Err(Errno::EINVAL));
    assert_eq!(set_online(none, false).await, Err(Errno::EINVAL));
    for cpu in removable() {
        assert_eq!(set_online(cpu, true).await, Ok(()));
    }
}

#[kernel_test(cpus = 2)]
async fn tasks_go_on_while_their_cpus_come_and_go() {
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for cpu in (0..smp::cpu_count()).flat_map(|cpu| [cpu; 3]) {
        let stop = stop.clone();
        tasks.push(spawn_on(cpu, "yields", async move {
            let mut turns = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                yield_now().await;
                turns += 1;
            }
            turns
        }));
    }
    churn(3).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        assert!(task.await.expect("it is not aborted") > 0);
    }
}

#[kernel_test(cpus = 2)]
async fn timers_wake_ups_and_works_of_a_cpu_that_left_come_all_the_same() {
    let stop = Arc::new(AtomicBool::new(false));
    let slept = Arc::new(AtomicU64::new(0));
    let sleepers: Vec<_> = (0..smp::cpu_count())
        .map(|cpu| {
            let (stop, slept) = (stop.clone(), slept.clone());
            spawn_on(cpu, "sleeps", async move {
                while !stop.load(Ordering::Relaxed) {
                    sleep(Duration::from_micros(300)).await;
                    slept.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    // Two that wake each other, on CPUs of which one leaves.
    let events = [Arc::new(IrqEvent::new()), Arc::new(IrqEvent::new())];
    let passed = Arc::new(AtomicU64::new(0));
    let players: Vec<_> = [0, smp::cpu_count() - 1]
        .into_iter()
        .enumerate()
        .map(|(at, cpu)| {
            let (mine, other) = (events[at].clone(), events[1 - at].clone());
            let (stop, passed) = (stop.clone(), passed.clone());
            spawn_on(cpu, "plays", async move {
                while !stop.load(Ordering::Relaxed) {
                    mine.wait().await;
                    passed.fetch_add(1, Ordering::Relaxed);
                    other.raise();
                }
                other.raise();
            })
        })
        .collect();
    events[0].raise();
    let worked = Arc::new(AtomicU64::new(0));
    let count = worked.clone();
    let work = work::system()
        .work("counts", move || {
            let count = count.clone();
            async move {
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
        .expect("there is memory");
    for _ in 0..3 {
        for cpu in removable() {
            set_online(cpu, false).await.expect("nothing was promised");
            let before = [&slept, &passed].map(|count| count.load(Ordering::Relaxed));
            work.queue_on(cpu);
            work.flush().await;
            // Both go on with the CPU away, or this never ends.
            while slept.load(Ordering::Relaxed) < before[0] + 2 * u64::from(smp::cpu_count())
                || passed.load(Ordering::Relaxed) < before[1] + 2
            {
                sleep(Duration::from_millis(1)).await;
            }
            set_online(cpu, true).await.expect("it was there before");
        }
    }
    assert_eq!(
        worked.load(Ordering::Relaxed),
        3 * removable().count() as u64
    );
    stop.store(true, Ordering::Relaxed);
    for task in sleepers.into_iter().chain(players) {
        task.await.expect("it is not aborted");
    }
}

#[kernel_test(cpus = 2)]
async fn calls_reach_the_cpus_that_are_there_and_wait_for_no_other() {
    let stop = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..smp::cpu_count())
        .map(|cpu| {
            let (stop, calls) = (stop.clone(), calls.clone());
            spawn_on(cpu, "calls", async move {
                while !stop.load(Ordering::Relaxed) {
                    smp::call(u64::MAX, &|| {
                        calls.fetch_add(1, Ordering::Relaxed);
                    });
                    yield_now().await;
                }
            })
        })
        .collect();
    churn(3).await;
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("it is not aborted");
    }
    assert!(calls.load(Ordering::Relaxed) > 0);
}

#[kernel_test(cpus = 2)]
async fn a_pinned_task_waits_for_its_cpu() {
    for cpu in removable() {
        let event = Arc::new(IrqEvent::new());
        let raised = event.clone();
        let pinned = Spawner::new("stays")
            .cpu(cpu)
            .try_spawn_local(move || async move {
                raised.wait().await;
                executor::cpu::id()
            });
        let pinned = pinned.expect("there is memory");
        // It is asleep when its CPU has nothing to do.
        set_online(cpu, false).await.expect("nothing was promised");
        event.raise();
        sleep(Duration::from_millis(2)).await;
        assert!(!pinned.is_finished());
        set_online(cpu, true).await.expect("it was there before");
        assert_eq!(pinned.await, Ok(cpu));
    }
}

#[kernel_test(cpus = 2)]
async fn grace_periods_end_without_the_cpus_that_have_left() {
    let stop = Arc::new(AtomicBool::new(false));
    let until = stop.clone();
    let waits = spawn("waits", async move {
        let mut periods = 0;
        while !until.load(Ordering::Relaxed) {
            executor::rcu::synchronize().await;
            periods += 1;
        }
        periods
    });
    churn(2).await;
    for cpu in removable() {
        set_online(cpu, false).await.expect("nothing was promised");
    }
    executor::rcu::synchronize().await;
    for cpu in removable() {
        set_online(cpu, true).await.expect("it was there before");
    }
    stop.store(true, Ordering::Relaxed);
    assert!(waits.await.expect("it is not aborted") > 0);
}
