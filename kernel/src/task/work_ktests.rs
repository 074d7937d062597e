//! In-kernel tests of work that is put off: from interrupts, on every CPU, and with all memory taken.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;

use executor::time::{HrTimer, Instant, sleep, timeout};
use executor::work::{Config, DelayedWork, Freezer};
use executor::{cpu, spawn_on};
use test_macros::kernel_test;

use crate::arch::smp;
use crate::mm::frame::{self, Gfp};
use crate::work;

/// How long what should come at once may take on a busy host.
const PATIENCE: Duration = Duration::from_secs(20);

#[kernel_test(cpus = 2)]
async fn works_run_on_the_cpu_they_are_queued_for() {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    let seen = || async { SEEN.store(u64::from(cpu::id()) + 1, Ordering::Release) };
    let work = work::system().work("work", seen);
    let work = Arc::new(work.expect("there is memory at boot"));
    for round in 0..50 {
        let to = round % smp::cpu_count();
        if round % 3 == 0 {
            assert!(work.queue_on(to));
        } else {
            // Without a word of where, it is where it is queued.
            let queued = work.clone();
            assert_eq!(
                spawn_on(to, "queues", async move { queued.queue() }).await,
                Ok(true)
            );
        }
        assert_eq!(timeout(PATIENCE, work.flush()).await, Ok(()));
        assert_eq!(SEEN.load(Ordering::Acquire), u64::from(to) + 1);
    }
}

#[kernel_test]
async fn works_are_queued_by_interrupts_and_may_sleep() {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    RUNS.store(0, Ordering::Relaxed);
    let queue = Config::new("test").build();
    let runs = || async {
        assert!(!cpu::in_interrupt());
        sleep(Duration::from_micros(100)).await;
        RUNS.fetch_add(1, Ordering::Relaxed);
    };
    let work = Arc::new(queue.work("work", runs).expect("there is memory at boot"));
    let queued = work.clone();
    let timer = HrTimer::new(move |_| {
        assert!(cpu::in_hardirq());
        assert!(queued.queue());
        None
    });
    for round in 1..=20 {
        timer.arm(Instant::now() + Duration::from_micros(300));
        let start = Instant::now();
        while RUNS.load(Ordering::Relaxed) < round {
            assert!(start.elapsed() < PATIENCE);
            sleep(Duration::from_micros(200)).await;
        }
        assert_eq!(timeout(PATIENCE, work.flush()).await, Ok(()));
    }
    drop((timer, work));
    queue.destroy().await;
}

#[kernel_test]
async fn delayed_work_is_not_early() {
    const DELAY: Duration = Duration::from_millis(3);
    static RAN_AT: AtomicU64 = AtomicU64::new(0);
    let note = || async { RAN_AT.store(Instant::now().as_ns(), Ordering::Release) };
    let work = work::system().work("delayed", note);
    let work = DelayedWork::new(work.expect("there is memory at boot"));
    for there in 0..smp::cpu_count() {
        RAN_AT.store(0, Ordering::Relaxed);
        assert!(work.queue_after_on(there, PATIENCE));
        assert!(!work.queue_after(DELAY), "its time is set");
        assert!(work.try_cancel(), "its time was set");
        let asked = Instant::now();
        assert!(work.queue_after_on(there, DELAY));
        let start = Instant::now();
        while RAN_AT.load(Ordering::Acquire) == 0 {
            assert!(start.elapsed() < PATIENCE);
            sleep(Duration::from_millis(1)).await;
        }
        let ran = Instant::from_ns(RAN_AT.load(Ordering::Acquire));
        assert!(ran >= asked + DELAY);
        assert_eq!(timeout(PATIENCE, work.work().flush()).await, Ok(()));
    }
}

#[kernel_test]
async fn a_work_that_computes_keeps_no_other_from_starting() {
    static STARTED: AtomicBool = AtomicBool::new(false);
    STARTED.store(false, Ordering::Relaxed);
    let queue = Config::new("computes").cpu_intensive().build();
    let long = queue.work("long", || async {
        let start = Instant::now();
        // One poll, which gives the CPU up nowhere.
        while !STARTED.load(Ordering::Acquire) {
            assert!(start.elapsed() < PATIENCE, "the other does not start");
            core::hint::spin_loop();
        }
    });
    let short = queue.work("short", || async { STARTED.store(true, Ordering::Release) });
    let (long, short) = (long.expect("memory"), short.expect("memory"));
    let here = cpu::id();
    assert!(long.queue_on(here) && short.queue_on(here));
    assert_eq!(timeout(PATIENCE, queue.flush()).await, Ok(()));
    drop((long, short));
    queue.destroy().await;
}

#[kernel_test(cpus = 2)]
async fn an_unbound_work_runs_elsewhere_while_its_cpu_is_busy() {
    static RAN_ON: AtomicU32 = AtomicU32::new(u32::MAX);
    let queue = Config::new("unbound").unbound().build();
    let work = queue.work("work", || async {
        RAN_ON.store(cpu::id(), Ordering::Release)
    });
    let work = Arc::new(work.expect("there is memory at boot"));
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < PATIENCE, "it never ran elsewhere");
        RAN_ON.store(u32::MAX, Ordering::Relaxed);
        // The others go to sleep meanwhile.
        sleep(Duration::from_millis(2)).await;
        let queued = work.clone();
        let busy = spawn_on(0, "busy", async move {
            assert!(queued.queue());
            while RAN_ON.load(Ordering::Acquire) == u32::MAX {
                assert!(start.elapsed() < PATIENCE, "it does not run");
                core::hint::spin_loop();
            }
        });
        assert_eq!(busy.await, Ok(()));
        assert_eq!(timeout(PATIENCE, work.flush()).await, Ok(()));
        if RAN_ON.load(Ordering::Acquire) != 0 {
            break;
        }
    }
    drop(work);
    queue.destroy().await;
}

#[kernel_test]
async fn works_make_progress_with_all_memory_taken() {
    const ROUNDS: u32 = 50;
    static RUNS: AtomicU32 = AtomicU32::new(0);
    RUNS.store(0, Ordering::Relaxed);
    let queue = Config::new("reclaim").build();
    let works: Vec<_> = (0..smp::cpu_count())
        .map(|_| {
            let work = queue.work("work", || async {
                sleep(Duration::from_micros(50)).await;
                RUNS.fetch_add(1, Ordering::Relaxed);
            });
            work.expect("there is memory at boot")
        })
        .collect();
    let mut taken = Vec::new();
    taken.reserve_exact(frame::limit().0 as usize);
    let mut progress = Ok(());
    for _ in 0..ROUNDS {
        // Also what others gave back since.
        while let Some(pfn) = frame::alloc_frames(0, Gfp::KERNEL) {
            taken.push(pfn);
        }
        for (there, work) in works.iter().enumerate() {
            work.queue_on(there as u32);
        }
        progress = progress.and(timeout(PATIENCE, queue.flush()).await);
    }
    let count = taken.len();
    taken.drain(..).for_each(frame::put);
    assert!(count > 1000, "{count} frames taken");
    assert_eq!(progress, Ok(()));
    assert_eq!(
        RUNS.load(Ordering::Relaxed),
        ROUNDS * smp::cpu_count(),
        "each request is met"
    );
    drop(works);
    queue.destroy().await;
}

#[kernel_test]
async fn a_frozen_queue_waits_for_its_thaw() {
    let freezer = Freezer::new();
    let queue = Config::new("freezes").freezable(&freezer).build();
    let ran = Arc::new(AtomicBool::new(false));
    let tell = ran.clone();
    let work = queue.work("work", move || {
        let tell = tell.clone();
        async move { tell.store(true, Ordering::Release) }
    });
    let work = work.expect("there is memory at boot");
    assert_eq!(timeout(PATIENCE, freezer.freeze()).await, Ok(()));
    assert!(work.queue());
    sleep(Duration::from_millis(2)).await;
    assert!(work.is_queued() && !ran.load(Ordering::Acquire));
    freezer.thaw();
    assert_eq!(timeout(PATIENCE, work.flush()).await, Ok(()));
    assert!(ran.load(Ordering::Acquire));
    drop(work);
    queue.destroy().await;
}
