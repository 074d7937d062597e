//! The periodic tick: while a CPU polls user threads, it looks every 4 ms whether a slice is over and who used the time.
//!
//! An idle CPU has none, without `nohz=off`: the tick stops by itself when it finds the CPU idle, and the loop starts it again with the
//! first thread that it polls.

use core::sync::atomic::{AtomicBool, Ordering};

use executor::cpu;
use executor::time::{HrTimer, Instant};

use crate::arch::{event, percpu};
use crate::process;

/// Ticks in a second. `times(2)` and `/proc` count in hundredths whatever this is.
pub const HZ: u64 = 250;
/// Time between two ticks, in ns.
pub const TICK_NS: u64 = 1_000_000_000 / HZ;

/// One CPU's tick.
pub struct Tick {
    timer: HrTimer,
    /// Written by the owner CPU only.
    running: AtomicBool,
}

impl Default for Tick {
    fn default() -> Self {
        Self::new()
    }
}

impl Tick {
    /// A tick that does not run yet. Context: boot.
    pub fn new() -> Self {
        Self {
            timer: HrTimer::new(on_tick),
            running: AtomicBool::new(false),
        }
    }

    /// Starts it unless it runs. Context: the CPU's own loop.
    #[inline]
    pub fn keep_running(&self) {
        if !self.running.load(Ordering::Relaxed) {
            self.start();
        }
    }

    #[cold]
    fn start(&self) {
        self.running.store(true, Ordering::Relaxed);
        self.timer.arm(event::next_tick(Instant::now()));
    }
}

/// Whether CPU `cpu` ticks.
pub fn is_running(cpu: u32) -> bool {
    let tasks = super::of(cpu);
    tasks.is_some_and(|tasks| tasks.tick.running.load(Ordering::Relaxed))
}

/// Context: timer interrupt, on the CPU whose tick it is.
fn on_tick(now: Instant) -> Option<Instant> {
    let here = percpu::this();
    if here.idle.load(Ordering::Relaxed) && event::is_tickless() {
        super::this().tick.running.store(false, Ordering::Relaxed);
        return None;
    }
    let user = here.interrupted_user.load(Ordering::Relaxed);
    let nice = process::current::with_current(|thread| {
        let usage = &thread.usage;
        let time = if user {
            &usage.user_ns
        } else {
            &usage.system_ns
        };
        time.fetch_add(TICK_NS, Ordering::Relaxed);
        thread.process().timers.tick();
        thread.attributes().nice > 0
    });
    super::load::tick(TICK_NS, user, nice == Some(true));
    super::place::ticked();
    cpu::set_need_resched();
    Some(event::next_tick(now))
}
