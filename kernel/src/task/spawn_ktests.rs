//! In-kernel tests of how tasks are made: where they stay, and who goes first.

use alloc::rc::Rc;
use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::time::Duration;

use executor::irq::IrqEvent;
use executor::time::{HrTimer, Instant, timeout};
use executor::{Spawner, Urgency, cpu, spawn_local, spawn_on, yield_now};
use test_macros::kernel_test;

use crate::arch::smp;

/// How long what should come at once may take on a busy host.
const PATIENCE: Duration = Duration::from_secs(20);

#[kernel_test]
async fn local_tasks_share_on_their_cpu_what_is_not_send() {
    for there in 0..smp::cpu_count() {
        let root = Spawner::new("root").cpu(there).try_spawn_local(move || {
            let count = Rc::new(Cell::new(0));
            async move {
                let beside = [0; 3].map(|_| {
                    let count = count.clone();
                    spawn_local("beside", async move {
                        for _ in 0..50 {
                            assert_eq!(cpu::id(), there);
                            let was = count.get();
                            // Were it preempted here, another would see the same.
                            core::hint::black_box(&count);
                            count.set(was + 1);
                            yield_now().await;
                        }
                    })
                });
                for task in beside {
                    assert_eq!(task.await, Ok(()));
                }
                count.get()
            }
        });
        let root = root.expect("there is memory at boot");
        assert_eq!(timeout(PATIENCE, root).await, Ok(Ok(150)));
    }
}

#[kernel_test]
async fn an_urgent_task_that_was_throttled_goes_on() {
    static EVENT: IrqEvent = IrqEvent::new();
    static SEEN: AtomicU32 = AtomicU32::new(0);
    const EVENTS: u32 = 3;
    let there = smp::cpu_count() - 1;
    SEEN.store(0, Ordering::Relaxed);
    let urgent = Spawner::new("urgent")
        .cpu(there)
        .urgency(Urgency::Interrupt);
    let urgent = urgent.try_spawn(async {
        for _ in 0..EVENTS {
            EVENT.wait().await;
            // All that real-time tasks have in a period.
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(960) {
                core::hint::spin_loop();
            }
            SEEN.fetch_add(1, Ordering::AcqRel);
        }
    });
    let urgent = urgent.expect("there is memory at boot");
    let spins = spawn_on(there, "spins", async {
        for n in 1..=EVENTS {
            EVENT.raise();
            let start = Instant::now();
            while SEEN.load(Ordering::Acquire) < n {
                assert!(start.elapsed() < PATIENCE, "nobody preempts this");
                core::hint::spin_loop();
            }
        }
    });
    assert_eq!(spins.await, Ok(()));
    assert_eq!(timeout(PATIENCE, urgent).await, Ok(Ok(())));
}

#[kernel_test]
async fn a_task_of_an_interrupts_urgency_preempts_an_ordinary_poll() {
    static EVENT: IrqEvent = IrqEvent::new();
    static SEEN: AtomicU32 = AtomicU32::new(0);
    static STOP: AtomicBool = AtomicBool::new(false);
    const EVENTS: u32 = 5;
    for there in 0..smp::cpu_count() {
        SEEN.store(0, Ordering::Relaxed);
        STOP.store(false, Ordering::Relaxed);
        let urgent = Spawner::new("urgent")
            .cpu(there)
            .urgency(Urgency::Interrupt);
        let urgent = urgent.try_spawn(async {
            while !STOP.load(Ordering::Acquire) {
                EVENT.wait().await;
                SEEN.fetch_add(1, Ordering::AcqRel);
            }
        });
        let urgent = urgent.expect("there is memory at boot");
        let spins = spawn_on(there, "spins", async {
            let timer = HrTimer::new(|_| {
                EVENT.raise();
                None
            });
            for n in 1..=EVENTS {
                timer.arm(Instant::now() + Duration::from_millis(1));
                let start = Instant::now();
                // One poll, which gives the CPU up nowhere.
                while SEEN.load(Ordering::Acquire) < n {
                    assert!(start.elapsed() < PATIENCE, "nobody preempts this");
                    core::hint::spin_loop();
                }
            }
            STOP.store(true, Ordering::Release);
            EVENT.raise();
        });
        assert_eq!(spins.await, Ok(()));
        assert_eq!(timeout(PATIENCE, urgent).await, Ok(Ok(())));
    }
}
