//! The periodic tick: while a CPU polls user threads, it looks every 4 ms whether a slice is over and who used the time.
//!
//! An idle CPU has none, without `nohz=off`: the tick stops by itself when it finds the CPU idle, and the loop starts it again with the
//! first thread that it polls.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use executor::cpu;
use executor::time::{HrTimer, Instant};

use crate::arch::{event, percpu};
use crate::process;

/// Ticks in a second, and nanoseconds between two. `times(2)` and `/proc` count in hundredths whatever this is.
pub use executor::time::jiffies::{HZ, TICK_NS};

/// One CPU's tick.
pub struct Tick {
    timer: HrTimer,
    /// Written by the owner CPU only.
    running: AtomicBool,
    /// How often it was stopped, and when last (ns). Written by the owner CPU only.
    stops: AtomicU64,
    stopped_at: AtomicU64,
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
            stops: AtomicU64::new(0),
            stopped_at: AtomicU64::new(0),
        }
    }

    /// Starts it unless it runs. Context: the CPU's own loop.
    #[inline]
    pub fn keep_running(&self) {
        if !self.running.load(Ordering::Relaxed) {
            self.start();
        }
    }

    /// Stops it: nothing is lost by that, since the time so far is read off the clock ([`executor::time::jiffies`]) and idle
    /// time is measured. Context: its own interrupt, which is not asked for again.
    fn stop(&self, now: Instant) {
        self.running.store(false, Ordering::Relaxed);
        self.stops.fetch_add(1, Ordering::Relaxed);
        self.stopped_at.store(now.as_ns(), Ordering::Relaxed);
    }

    /// Stops it where it may be asked for again, until it is to [keep running](Self::keep_running). Context: the CPU's own loop.
    pub fn leave(&self) {
        if self.timer.cancel() {
            self.stop(Instant::now());
        }
    }

    #[cold]
    fn start(&self) {
        self.running.store(true, Ordering::Relaxed);
        self.timer.arm(event::next_tick(Instant::now()));
    }
}

/// What there is to tell of a CPU's tick.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    /// Whether it runs.
    pub running: bool,
    /// How often it was stopped.
    pub stops: u64,
    /// When it was stopped last; boot if it never was.
    pub stopped_at: Instant,
}

/// The tick of CPU `cpu`.
pub fn snapshot(cpu: u32) -> Snapshot {
    let Some(tasks) = super::of(cpu) else {
        return Snapshot::default();
    };
    let tick = &tasks.tick;
    Snapshot {
        running: tick.running.load(Ordering::Relaxed),
        stops: tick.stops.load(Ordering::Relaxed),
        stopped_at: Instant::from_ns(tick.stopped_at.load(Ordering::Relaxed)),
    }
}

/// Context: timer interrupt, on the CPU whose tick it is.
fn on_tick(now: Instant) -> Option<Instant> {
    let here = percpu::this();
    if here.idle.load(Ordering::Relaxed) && event::is_tickless() {
        super::this().tick.stop(now);
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
