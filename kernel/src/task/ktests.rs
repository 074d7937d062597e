//! In-kernel tests of the async core: crate `executor` on this machine, with its interrupts and its CPUs.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use executor::cpu;
use executor::irq::IrqEvent;
use executor::softirq::{self, Tasklet, Vector};
use executor::sync::{Mutex, SpinLockBh, channel};
use executor::time::{HrTimer, Instant, sleep, timeout};
use executor::{Scope, Spawner, spawn_on, yield_now};
use test_macros::kernel_test;

use crate::arch::{apic, irq, percpu, smp};

/// How long what should come at once may take on a busy host.
const PATIENCE: Duration = Duration::from_secs(20);

#[kernel_test(cpus = 2)]
async fn no_wake_between_cpus_that_go_idle_is_lost() {
    const ROUNDS: u64 = 2000;
    let (there, from_here) = channel(1);
    let (here, from_there) = channel(1);
    let echo = spawn_on(1, "echo", async move {
        while let Some(n) = from_here.recv().await {
            assert_eq!(cpu::id(), 1);
            if here.send(n).await.is_err() {
                break;
            }
        }
    });
    for n in 0..ROUNDS {
        assert!(there.send(n).await.is_ok());
        assert_eq!(
            timeout(PATIENCE, from_there.recv()).await,
            Ok(Some(n)),
            "round {n}"
        );
    }
    drop(there);
    assert_eq!(echo.await, Ok(()));
}

#[kernel_test]
async fn a_mutex_goes_round_the_cpus() {
    const ROUNDS: u64 = 300;
    let total = Arc::new(Mutex::new(0));
    let scope = Scope::new();
    let tasks = 2 * u64::from(smp::cpu_count());
    for i in 0..tasks {
        let total = total.clone();
        let spawner = Spawner::new("adder").cpu((i % u64::from(smp::cpu_count())) as u32);
        let adder = scope.try_spawn(spawner, async move {
            for _ in 0..ROUNDS {
                let mut guard = total.lock().await;
                let was = *guard;
                yield_now().await;
                *guard = was + 1;
            }
        });
        assert!(adder.is_ok());
    }
    scope.join().await;
    assert_eq!(*total.lock().await, tasks * ROUNDS);
}

#[kernel_test(cpus = 2)]
async fn a_task_goes_where_it_is_asked_to() {
    let Some(me) = executor::current() else {
        panic!("a test runs in a task");
    };
    let home = cpu::id();
    for round in 0..200 {
        let to = round % smp::cpu_count();
        me.migrate(to);
        yield_now().await;
        assert_eq!((cpu::id(), me.cpu()), (to, to));
    }
    me.migrate(home);
    yield_now().await;
}

#[kernel_test]
async fn a_storm_of_timer_interrupts_loses_no_event() {
    const EVENTS: u64 = 500;
    let scope = Scope::new();
    for there in 0..smp::cpu_count() {
        let storm = async move {
            let event = Arc::new(IrqEvent::new());
            let (raised, left) = (event.clone(), AtomicU64::new(EVENTS));
            let timer = HrTimer::new(move |now| {
                assert!(cpu::in_hardirq() && !cpu::irqs_enabled());
                raised.raise();
                let left = left.fetch_sub(1, Ordering::Relaxed) - 1;
                (left > 0).then(|| now.add_ns(20_000))
            });
            timer.arm(Instant::now().add_ns(20_000));
            let mut seen = 0;
            while seen < EVENTS {
                let new = timeout(PATIENCE, event.wait()).await;
                seen += new.expect("events keep coming") as u64;
            }
            assert_eq!((seen, event.take()), (EVENTS, 0));
        };
        assert!(
            scope
                .try_spawn(Spawner::new("storm").cpu(there), storm)
                .is_ok()
        );
    }
    scope.join().await;
}

#[kernel_test(cpus = 2)]
async fn timers_are_cancelled_from_another_cpu_while_they_fire() {
    for round in 0..300_u64 {
        let alive = Arc::new(AtomicU64::new(1));
        let seen = alive.clone();
        let timer = HrTimer::new(move |now| {
            assert_eq!(seen.load(Ordering::Acquire), 1, "after its end");
            Some(now.add_ns(1_000))
        });
        timer.arm(Instant::now().add_ns(1_000 + round * 100));
        let cancel = spawn_on(1, "cancels", async move {
            timer.cancel();
            alive.store(0, Ordering::Release);
            timer
        });
        assert!(cancel.await.is_ok());
    }
}

/// Raised by the vector that [`a_softirq_runs_on_the_way_out_of_an_interrupt`] sends itself.
static BOTTOM_HALF: IrqEvent = IrqEvent::new();

#[kernel_test]
async fn a_softirq_runs_on_the_way_out_of_an_interrupt() {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let Some(vector) = irq::allocate_vector() else {
        panic!("vectors are free at boot");
    };
    irq::register(vector, irq::Action::Raise(&BOTTOM_HALF));
    let here = cpu::id();
    let before = softirq::counts(here)[Vector::Block as usize];
    let half = softirq::spawn(Vector::Block, "bottom half", async {
        loop {
            BOTTOM_HALF.wait().await;
            assert!(cpu::in_softirq() && !cpu::in_hardirq() && cpu::irqs_enabled());
            RUNS.fetch_add(1, Ordering::Relaxed);
        }
    })
    .expect("there is memory at boot");
    sleep(Duration::from_millis(1)).await;
    let Some(area) = percpu::of(here) else {
        panic!("this CPU is there");
    };
    for n in 1..=20 {
        apic::send_ipi(area.apic_id.load(Ordering::Relaxed) as u32, vector);
        let start = Instant::now();
        // No await: it comes in the midst of this poll.
        while RUNS.load(Ordering::Relaxed) < n && start.elapsed() < PATIENCE {
            core::hint::spin_loop();
        }
        assert_eq!(RUNS.load(Ordering::Relaxed), n);
    }
    assert!(softirq::counts(here)[Vector::Block as usize] >= before + 20);
    half.abort();
    assert!(half.await.is_err());
    irq::unregister(vector);
    irq::free_vector(vector);
}

#[kernel_test(cpus = 2)]
async fn a_tasklet_asked_for_by_all_cpus_runs_on_one_at_a_time() {
    static RUNNING: AtomicU64 = AtomicU64::new(0);
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let tasklet = Tasklet::new("test", || {
        assert_eq!(RUNNING.fetch_add(1, Ordering::AcqRel), 0);
        RUNS.fetch_add(1, Ordering::Relaxed);
        RUNNING.fetch_sub(1, Ordering::AcqRel);
    });
    let tasklet = Arc::new(tasklet.expect("there is memory at boot"));
    let callers: Vec<_> = (0..smp::cpu_count())
        .map(|there| {
            let tasklet = tasklet.clone();
            spawn_on(there, "asks", async move {
                for _ in 0..200 {
                    tasklet.schedule();
                    yield_now().await;
                }
            })
        })
        .collect();
    for caller in callers {
        assert!(caller.await.is_ok());
    }
    // The last request is met, too.
    let met = RUNS.load(Ordering::Relaxed);
    tasklet.schedule();
    let start = Instant::now();
    while RUNS.load(Ordering::Relaxed) == met {
        assert!(start.elapsed() < PATIENCE);
        yield_now().await;
    }
    match Arc::into_inner(tasklet) {
        Some(tasklet) => tasklet.kill().await,
        None => panic!("the callers have ended"),
    }
}

#[kernel_test(cpus = 2)]
async fn one_vector_runs_on_two_cpus_at_the_same_time() {
    static INSIDE: AtomicU64 = AtomicU64::new(0);
    static GO: [IrqEvent; 2] = [IrqEvent::new(), IrqEvent::new()];
    INSIDE.store(0, Ordering::Relaxed);
    let halves = [0, 1].map(|there| {
        let half = softirq::spawn_on(there, Vector::Block, "meets another", async move {
            GO[there as usize].wait().await;
            assert!(cpu::in_softirq());
            INSIDE.fetch_add(1, Ordering::AcqRel);
            let start = Instant::now();
            // One poll: the other is let in only if it runs beside this one.
            while INSIDE.load(Ordering::Acquire) < 2 {
                assert!(start.elapsed() < PATIENCE, "a vector waits for itself");
                core::hint::spin_loop();
            }
        });
        half.expect("there is memory at boot")
    });
    // This CPU's last: once it runs, this poll goes on only when it is through.
    let last = usize::from(cpu::id() != 0);
    GO[1 - last].raise();
    GO[last].raise();
    for half in halves {
        assert_eq!(half.await, Ok(()));
    }
}

#[kernel_test]
async fn a_bottom_half_lock_keeps_its_cpus_softirqs_out() {
    static LOCK: SpinLockBh<u64> = SpinLockBh::new(0);
    for there in 0..smp::cpu_count() {
        let wanted = Arc::new(IrqEvent::new());
        let waits = wanted.clone();
        let half = softirq::spawn_on(there, Vector::Block, "wants the lock", async move {
            loop {
                waits.wait().await;
                *LOCK.lock() += 1;
            }
        });
        let half = half.expect("there is memory at boot");
        let holder = spawn_on(there, "holds the lock", async move {
            let fired = Arc::new(AtomicU64::new(0));
            let tells = fired.clone();
            let timer = HrTimer::new(move |_| {
                wanted.raise();
                tells.fetch_add(1, Ordering::AcqRel);
                None
            });
            for n in 1..=20 {
                let start = Instant::now();
                let before = {
                    let mut held = LOCK.lock();
                    let before = *held;
                    timer.arm(Instant::now() + Duration::from_micros(100));
                    // Hard interrupts are let in, and so the softirq is raised here; it would wait for ever for this CPU.
                    while fired.load(Ordering::Acquire) < n {
                        assert!(start.elapsed() < PATIENCE, "the timer did not fire");
                        core::hint::spin_loop();
                    }
                    *held += 1;
                    assert_eq!(*held, before + 1);
                    before
                };
                // The lock's end is where it runs, or else in ksoftirqd.
                while *LOCK.lock() != before + 2 {
                    assert!(start.elapsed() < PATIENCE, "the softirq did not run");
                    sleep(Duration::from_millis(1)).await;
                }
            }
        });
        assert_eq!(holder.await, Ok(()));
        half.abort();
        assert!(half.await.is_err());
    }
}
