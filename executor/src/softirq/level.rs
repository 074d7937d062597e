//! Each CPU's softirq executor: when it runs, and for how long.

use alloc::boxed::Box;
use core::{
    fmt,
    future::Future,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use super::vectors::{ByVector, Counts, VECTORS, Vector};
use crate::{
    cpu,
    executor::{Executor, NoHooks},
    irq::IrqEvent,
    join::JoinHandle,
    platform,
    raw::LevelKind,
    rcu,
    spawn::{self as spawn_task, SpawnError, Spawner},
    time::Instant,
    yield_now::yield_now,
};

/// Rounds before what is left is ksoftirqd's.
const ROUNDS: usize = 10;
/// Time before what is left is ksoftirqd's.
const TIME: Duration = Duration::from_millis(2);

/// How often futures were polled, by CPU and vector. Written by the CPU in question only.
static COUNTS: [Counts; cpu::MAX_CPUS] =
    [const { [const { AtomicU64::new(0) }; VECTORS] }; cpu::MAX_CPUS];

/// A CPU's softirq level.
pub(crate) struct Level {
    executor: Executor<ByVector>,
    /// Raised when ksoftirqd is to run.
    daemon: IrqEvent,
    /// A run ended with something left, which is ksoftirqd's: others leave all to it until it is through (this CPU only).
    left: AtomicBool,
}

/// Makes this CPU's softirq level, and its ksoftirqd.
///
/// # Context
/// Boot of that CPU, after its executor was made.
pub fn init() {
    let level: &'static Level = Box::leak(Box::new(Level {
        executor: Executor::of_level(
            LevelKind::Softirq,
            ByVector::new(&COUNTS[cpu::id() as usize]),
        ),
        daemon: IrqEvent::new(),
        left: AtomicBool::new(false),
    }));
    // Whoever wakes a future here interrupts this CPU for it, as it never looks by itself.
    level.executor.shared().set_busy();
    cpu::set_softirq_level(level);
    spawn_task::spawn("ksoftirqd", ksoftirqd(level)).detach();
}

/// Runs what the interrupts' way out could not.
async fn ksoftirqd(level: &'static Level) {
    let home = level.executor.shared();
    loop {
        level.daemon.wait().await;
        loop {
            if cpu::id() == home.cpu() {
                run_pending();
                if !level.left.load(Ordering::Relaxed) {
                    break;
                }
            } else if !level.left.load(Ordering::Relaxed) && !home.has_woken() {
                break;
            } else if let Some(me) = spawn_task::current() {
                // Its CPU was away, and it went on elsewhere.
                me.migrate(home.cpu());
            }
            yield_now().await;
        }
    }
}

/// Takes this CPU's level out of service: what is to run goes to other CPUs, and so does what is woken later. False, and
/// nothing has changed but that, if something was woken at this moment.
///
/// # Context
/// As [`Executor::go_away`].
#[must_use]
pub fn go_away() -> bool {
    let Some(level) = cpu::softirq_level() else {
        return true;
    };
    level.executor.take_in();
    level.executor.with_policy(ByVector::give_up);
    level.left.store(false, Ordering::Relaxed);
    let gone = level.executor.go_away();
    if !gone {
        level.executor.shared().set_busy();
    }
    gone
}

/// Puts this CPU's level into service again.
///
/// # Context
/// As [`Executor::come_back`].
pub fn come_back() {
    if let Some(level) = cpu::softirq_level() {
        level.executor.come_back();
        if level.executor.shared().set_busy() {
            level.daemon.raise();
        }
    }
}

/// Whether this CPU has softirqs to run that ksoftirqd does not see to.
#[inline]
pub(crate) fn is_pending() -> bool {
    let pending =
        |level: &Level| level.executor.shared().has_woken() && !level.left.load(Ordering::Relaxed);
    cpu::softirq_level().is_some_and(pending)
}

/// A future of this CPU's level was woken on this CPU.
#[cold]
pub(crate) fn raised() {
    // Within an interrupt its way out sees to it, and within a bottom-half lock that lock's end.
    if !cpu::in_interrupt()
        && let Some(level) = cpu::softirq_level()
    {
        level.daemon.raise();
    }
}

/// The way out of a hard interrupt, after [`cpu::hardirq_exit`]: runs this CPU's softirqs, if there are any and nothing
/// that forbids it was interrupted.
///
/// # Context
/// The end of a hard interrupt, interrupts masked, on a stack with room for a future's poll.
#[inline]
pub fn irq_exit() {
    rcu::irq_exit();
    if !is_pending() {
        return;
    }
    if cpu::preempt_word() == 0 {
        run_pending();
    } else if !cpu::in_interrupt()
        && let Some(level) = cpu::softirq_level()
    {
        // A section with preemption off was interrupted. It may end without a look here.
        level.daemon.raise();
    }
}

/// The last guard was given back, and softirqs are pending.
#[cold]
pub(crate) fn bh_exit() {
    if cpu::irqs_enabled() {
        run_pending();
    } else if let Some(level) = cpu::softirq_level() {
        level.daemon.raise();
    }
}

/// Runs this CPU's softirqs, up to ten rounds or two milliseconds; the rest is ksoftirqd's.
///
/// # Context
/// Nothing counted in the word of rule 7. Interrupts are let in meanwhile.
#[cold]
pub fn run_pending() {
    debug_assert_eq!(
        cpu::preempt_word(),
        0,
        "softirqs run where nothing forbids it"
    );
    // First, as what follows belongs to this CPU.
    cpu::softirq_enter();
    if let Some(level) = cpu::softirq_level() {
        cpu::with_irqs(|| {
            platform::get().on_softirq_stack(&mut || {
                let all_done = level.run();
                level.left.store(!all_done, Ordering::Relaxed);
                if !all_done {
                    level.daemon.raise();
                }
            });
        });
    }
    cpu::softirq_exit();
}

impl Level {
    /// True if nothing is left.
    fn run(&self) -> bool {
        let until = Instant::now() + TIME;
        for _ in 0..ROUNDS {
            self.executor.take_in();
            if self.executor.with_policy(ByVector::begin_round) {
                while let Some(started) = self.executor.begin(&NoHooks) {
                    self.executor.finish(started.poll(), &NoHooks);
                }
                if Instant::now() >= until {
                    break;
                }
            } else if !self.executor.shared().set_busy() {
                return true;
            }
        }
        self.executor.shared().set_busy();
        !self.executor.has_work()
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Level")
            .field("executor", &self.executor)
            .finish_non_exhaustive()
    }
}

/// Spawns a future of vector `vector` on this CPU.
///
/// # Context
/// Task.
/// # Errors
/// As [`Spawner::try_spawn`].
pub fn spawn<F>(
    vector: Vector,
    name: &'static str,
    future: F,
) -> Result<JoinHandle<F::Output>, SpawnError<F>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    spawn_on(cpu::id(), vector, name, future)
}

/// Spawns a future of vector `vector` on CPU `cpu`.
///
/// # Context
/// Task.
/// # Errors
/// As [`Spawner::try_spawn`].
pub fn spawn_on<F>(
    cpu: u32,
    vector: Vector,
    name: &'static str,
    future: F,
) -> Result<JoinHandle<F::Output>, SpawnError<F>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let spawner = Spawner::new(name).cpu(cpu).level(LevelKind::Softirq);
    spawner.try_spawn_with::<ByVector, F>(vector, future)
}

/// How often futures of each vector were polled on CPU `cpu`, in the order of [`Vector::ALL`]; zero for a CPU that is not
/// there.
pub fn counts(cpu: u32) -> [u64; VECTORS] {
    match COUNTS.get(cpu as usize) {
        Some(counts) => core::array::from_fn(|i| counts[i].load(Ordering::Relaxed)),
        None => [0; VECTORS],
    }
}
