//! Where a woken task goes while its own CPU is busy. One test, since the set of CPUs that sleep is the whole process's.
#![cfg(not(loom))]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use executor::{
    CpuShared, Executor, Fifo, NoHooks, Platform, Spawner, claim_idle, cpu, platform, time::Instant,
};

/// CPU numbers that this test takes for its own.
const BUSY: u32 = 3;
const SLEEPS: u32 = 5;

static ALLOWED: AtomicU64 = AtomicU64::new(u64::MAX);
/// Whether the second look at the choice finds it forbidden.
static FICKLE: AtomicBool = AtomicBool::new(false);

struct Machine;

impl Platform for Machine {
    fn now(&self) -> Instant {
        Instant::ZERO
    }
    fn pend(&self, _: u32) {}
    fn set_timer(&self, _: Instant) {}
    fn place(&self, _: *mut (), idle: u64) -> Option<u32> {
        let allowed = ALLOWED.load(Ordering::Relaxed) & idle;
        if FICKLE.load(Ordering::Relaxed) {
            ALLOWED.store(0, Ordering::Relaxed);
        }
        (allowed != 0).then(|| allowed.trailing_zeros())
    }
}

static MACHINE: &dyn Platform = &Machine;

#[test]
fn a_woken_task_goes_to_a_cpu_that_sleeps_and_may_have_it() {
    platform::register(&MACHINE);
    cpu::set_cpu(SLEEPS);
    let sleeper = Executor::new(Fifo::new());
    cpu::set_cpu(BUSY);
    let busy = Executor::new(Fifo::new());
    let task = |tag| {
        let task = Spawner::new("waits")
            .tag(std::ptr::without_provenance_mut(tag))
            .try_spawn(std::future::pending::<()>())
            .unwrap();
        busy.run_until_idle(&NoHooks);
        task
    };
    let (user, kernel) = (task(1), task(0));
    let spawned = Spawner::new("roams")
        .anywhere()
        .try_spawn(std::future::pending::<()>());
    let roams = spawned.unwrap();
    let spawned = Spawner::new("stays")
        .tag(std::ptr::without_provenance_mut(1))
        .try_spawn_local(std::future::pending::<()>);
    let pinned = spawned.unwrap();
    busy.run_until_idle(&NoHooks);
    let sleep = || assert!(sleeper.prepare_idle());

    user.task().wake();
    assert_eq!(user.task().cpu(), BUSY, "nobody sleeps");
    busy.run_until_idle(&NoHooks);

    sleep();
    kernel.task().wake();
    assert_eq!(kernel.task().cpu(), BUSY, "without tag, it stays");
    user.task().wake();
    assert_eq!(user.task().cpu(), SLEEPS);
    assert!(sleeper.has_work());
    assert_eq!(claim_idle(|_| Some(SLEEPS)), None, "claimed already");

    // Back again, since the CPU that it is on does not sleep now, and another does.
    let shared = CpuShared::of(BUSY).expect("made above");
    assert_eq!(shared.cpu(), BUSY);
    busy.run_until_idle(&NoHooks);
    sleeper.run_until_idle(&NoHooks);
    assert!(busy.prepare_idle());
    user.task().wake();
    assert_eq!(user.task().cpu(), BUSY);
    busy.end_idle();
    busy.run_until_idle(&NoHooks);

    // What forbids the choice between the two looks is met.
    sleep();
    FICKLE.store(true, Ordering::Relaxed);
    user.task().wake();
    assert_eq!(user.task().cpu(), BUSY);
    FICKLE.store(false, Ordering::Relaxed);
    busy.run_until_idle(&NoHooks);

    // Pinned is pinned, and one that roams needs no tag, but goes first where it was asked to.
    ALLOWED.store(u64::MAX, Ordering::Relaxed);
    sleeper.end_idle();
    sleep();
    pinned.task().wake();
    assert_eq!(pinned.task().cpu(), BUSY);
    roams.task().migrate(BUSY);
    roams.task().wake();
    assert_eq!(roams.task().cpu(), BUSY);
    busy.run_until_idle(&NoHooks);
    roams.task().wake();
    assert_eq!(roams.task().cpu(), SLEEPS);
    sleeper.run_until_idle(&NoHooks);

    ALLOWED.store(1 << BUSY, Ordering::Relaxed);
    sleeper.end_idle();
    sleep();
    user.task().wake();
    assert_eq!(user.task().cpu(), BUSY, "not allowed elsewhere");
}
