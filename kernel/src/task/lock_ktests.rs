//! In-kernel tests of locks and RCU: with this machine's interrupts, and its CPUs at the same time.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use core::time::Duration;

use executor::cpu;
use executor::rcu::{self, RcuBox, RcuCell};
use executor::sync::{
    Completion, Mutex, PerCpuCounter, RwSpinLockIrq, Semaphore, SpinLockIrq, WwClass, WwContext,
    WwMutex,
};
use executor::time::{HrTimer, Instant, sleep, timeout};
use executor::{spawn_on, yield_now};
use test_macros::kernel_test;

use crate::arch::smp;

/// How long what should come at once may take on a busy host.
const PATIENCE: Duration = Duration::from_secs(20);

/// Spins until `done`, which is expected soon.
fn spin_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        core::hint::spin_loop();
    }
}

/// Runs `f` as a task of each CPU, and waits for all.
async fn on_every_cpu<F>(f: impl Fn(u32) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let tasks: Vec<_> = (0..smp::cpu_count())
        .map(|there| spawn_on(there, "everywhere", f(there)))
        .collect();
    for task in tasks {
        assert_eq!(task.await, Ok(()));
    }
}

#[kernel_test(cpus = 2)]
async fn who_waits_for_a_spin_lock_takes_interrupts() {
    static LOCK: SpinLockIrq<()> = SpinLockIrq::new(());
    static HELD: AtomicBool = AtomicBool::new(false);
    static FIRED: AtomicBool = AtomicBool::new(false);
    // It gives the lock back when the waiter's CPU has had its timer interrupt, and not before.
    let holder = spawn_on(1, "holder", async {
        let held = LOCK.lock();
        HELD.store(true, Ordering::Release);
        spin_until("the waiter takes its interrupt", || {
            FIRED.load(Ordering::Acquire)
        });
        drop(held);
    });
    let waiter = spawn_on(0, "waiter", async {
        spin_until("the lock is taken", || HELD.load(Ordering::Acquire));
        let timer = HrTimer::new(|_| {
            FIRED.store(true, Ordering::Release);
            None
        });
        timer.arm(Instant::now() + Duration::from_millis(2));
        drop(LOCK.lock());
        assert!(FIRED.load(Ordering::Acquire));
    });
    assert_eq!((holder.await, waiter.await), (Ok(()), Ok(())));
}

#[kernel_test]
async fn a_lock_is_shared_with_an_interrupt_of_the_same_cpu() {
    static LOCK: SpinLockIrq<u64> = SpinLockIrq::new(0);
    static TABLE: RwSpinLockIrq<u64> = RwSpinLockIrq::new(0);
    const INTERRUPTS: u64 = 50;
    let timer = HrTimer::new(|now| {
        *LOCK.lock() += 1;
        *TABLE.write() += 1;
        (*LOCK.lock() < INTERRUPTS).then(|| now + Duration::from_micros(200))
    });
    timer.arm(Instant::now());
    let mut last = 0;
    let start = Instant::now();
    while last < INTERRUPTS {
        assert!(start.elapsed() < PATIENCE);
        // Held often, and for long: most interrupts come while it is.
        let (count, table) = (LOCK.lock(), TABLE.read());
        assert!(!cpu::irqs_enabled());
        (0..100).for_each(|_| core::hint::spin_loop());
        assert!(*count >= last && *table == *count);
        last = *count;
        drop((table, count));
        assert!(cpu::irqs_enabled());
    }
}

#[kernel_test]
async fn completions_and_permits_come_from_interrupts() {
    static DONE: Completion = Completion::new();
    static DOWN: Semaphore = Semaphore::new(0);
    let timer = HrTimer::new(|now| {
        DONE.complete();
        DOWN.release(1);
        Some(now + Duration::from_millis(1))
    });
    timer.arm(Instant::now());
    for _ in 0..20 {
        assert_eq!(timeout(PATIENCE, DONE.wait()).await, Ok(()));
        let permit = timeout(PATIENCE, DOWN.acquire(1)).await;
        permit.expect("raised as often").forget();
    }
    timer.cancel();
}

#[kernel_test(cpus = 2)]
async fn a_mutex_whose_owner_sleeps_is_waited_for() {
    let mutex = Arc::new(Mutex::new(()));
    let held = mutex.lock().await;
    let other = mutex.clone();
    let wants = spawn_on(1, "wants", async move { drop(other.lock().await) });
    let start = Instant::now();
    // Its CPU may be late; what spins stays runnable.
    while wants.task().polls() == 0 || wants.task().is_runnable() {
        assert!(
            start.elapsed() < PATIENCE,
            "it spins though the owner sleeps"
        );
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(wants.task().polls(), 1);
    drop(held);
    assert_eq!(timeout(PATIENCE, wants).await, Ok(Ok(())));
}

#[kernel_test(cpus = 2)]
async fn wait_wound_transactions_all_get_through() {
    static CLASS: WwClass = WwClass::new();
    let pair = Arc::new([WwMutex::new(0_u64), WwMutex::new(0_u64)]);
    on_every_cpu(|there| {
        let pair = pair.clone();
        async move {
            for round in 0..100 {
                let context = WwContext::new(&CLASS);
                // Each CPU begins at the other end.
                let (mut first, mut second) =
                    (&pair[there as usize % 2], &pair[(there as usize + 1) % 2]);
                loop {
                    let mut a = first.lock_slow(&context).await;
                    if round % 4 == 0 {
                        yield_now().await;
                    }
                    if let Ok(mut b) = second.lock(&context).await {
                        *a += 1;
                        *b += 1;
                        break;
                    }
                    drop(a);
                    core::mem::swap(&mut first, &mut second);
                }
            }
        }
    })
    .await;
    let context = WwContext::new(&CLASS);
    for mutex in pair.iter() {
        let count = mutex.try_lock(&context).expect("all are through");
        assert_eq!(*count, 100 * u64::from(smp::cpu_count()));
    }
}

#[kernel_test(cpus = 2)]
async fn rcu_readers_never_see_what_was_freed() {
    static GONE: AtomicU64 = AtomicU64::new(0);
    struct Canary(AtomicU64);
    impl Drop for Canary {
        fn drop(&mut self) {
            self.0.store(0, Ordering::Relaxed);
            GONE.fetch_add(1, Ordering::Relaxed);
        }
    }
    let fresh = || Canary(AtomicU64::new(1));
    let cell = Arc::new(RcuCell::new(fresh()));
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..smp::cpu_count())
        .map(|there| {
            let (cell, stop) = (cell.clone(), stop.clone());
            spawn_on(there, "reader", async move {
                while !stop.load(Ordering::Acquire) {
                    // Interrupts come in the middle, and must not count as the reader's end.
                    cell.with(|canary| {
                        for _ in 0..500 {
                            assert_eq!(canary.0.load(Ordering::Relaxed), 1, "read after free");
                        }
                    });
                    yield_now().await;
                }
            })
        })
        .collect();
    const ROUNDS: u64 = 200;
    for round in 0..ROUNDS {
        match round % 2 {
            0 => cell.replace(RcuBox::new(fresh())),
            _ => drop(cell.exchange(fresh()).await),
        }
    }
    stop.store(true, Ordering::Release);
    for reader in readers {
        assert_eq!(reader.await, Ok(()));
    }
    assert_eq!(timeout(PATIENCE, rcu::barrier()).await, Ok(()));
    assert_eq!(GONE.load(Ordering::Relaxed), ROUNDS);
}

#[kernel_test(cpus = 2)]
async fn sleeping_cpus_do_not_hold_grace_periods_up() {
    for _ in 0..20 {
        assert_eq!(timeout(PATIENCE, rcu::synchronize()).await, Ok(()));
        sleep(Duration::from_millis(1)).await;
    }
}

#[kernel_test(cpus = 2)]
async fn a_per_cpu_counter_counts_every_cpus_part() {
    const EACH: i64 = 1000;
    const BATCH: i64 = 32;
    let cpus = smp::cpu_count();
    let counter = Arc::new(PerCpuCounter::new(cpus as usize, BATCH));
    on_every_cpu(|_| {
        let counter = counter.clone();
        async move { (0..EACH).for_each(|_| counter.add(1)) }
    })
    .await;
    let all = EACH * i64::from(cpus);
    assert_eq!(counter.sum(), all);
    assert!((counter.read() - all).abs() < BATCH * i64::from(cpus));
}

#[kernel_test(cpus = 2)]
async fn fences_keep_two_cpus_from_missing_each_other() {
    static WORDS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
    static SEEN: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
    static ROUND: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
    // Store buffering: of two CPUs that write their own word and read the other's, one sees the other.
    let side = |me: usize| async move {
        for round in 1..=2000 {
            WORDS[me].store(round, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            SEEN[me].store(WORDS[1 - me].load(Ordering::Relaxed), Ordering::Relaxed);
            ROUND[me].store(round, Ordering::Release);
            spin_until("the other side", || {
                ROUND[1 - me].load(Ordering::Acquire) >= round
            });
            let both = SEEN.each_ref().map(|s| s.load(Ordering::Relaxed));
            assert!(
                both.contains(&round) || both.iter().any(|s| *s > round),
                "round {round}: {both:?}"
            );
            // Message passing: what was written before the round's number is seen with it.
            assert!(WORDS[1 - me].load(Ordering::Relaxed) >= round);
            ROUND[me].store(round, Ordering::Release);
        }
    };
    let other = spawn_on(1, "other side", side(1));
    let this = spawn_on(0, "this side", side(0));
    assert_eq!((this.await, other.await), (Ok(()), Ok(())));
}
