//! The kernel's monotonic clock: a counter, a rate, and where both stood when the rate last changed.
//!
//! Time is `ns + ((counter - ticks) * mult >> 32)` with a 128-bit product: exact to the resolution of `mult` (a few parts
//! in 10^10), and it cannot overflow (a 64-bit difference times a 64-bit factor). A change of rate or of counter takes the
//! time of that moment as the new start, so the clock never jumps.
//!
//! Contexts: [`now_ns`] is called anywhere, NMI included: readers take no lock, but look whether a writer was at work
//! (a number that is odd then, and another one afterwards). Writers hold [`WRITER`]. A counter of few bits must be read at least once in half its
//! period; [`watch`] does, and also compares the time-stamp counter with another one.

use super::source::Source;
use super::tsc;
use crate::boot;
use crate::boot::list::List;
use crate::clockwatch::{Moment, Verdict, Watch};
use crate::counter::scale;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use core::time::Duration;
use executor::sync::SpinLockIrq;

/// Nanoseconds of the clock in one of the counter's own, times 2^32, when it is not adjusted.
pub const RATE_ONE: u64 = 1 << 32;
/// As many counters as there are kinds.
const MAX_SOURCES: usize = 3;
/// How often the counters are compared. The narrowest one wraps after 4.7 s.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);
/// A reader that finds a writer at work this often has interrupted it, and makes do.
const MAX_ATTEMPTS: u32 = 1 << 16;

/// What readers see.
struct Keeper {
    /// [`WRITING`] while the rest is being written, [`OTHER`] where the counter is not the time-stamp counter, and above that
    /// how often the rest has changed. One number, so that a reader that finds neither bit is on its way at once.
    sequence: AtomicU32,
    /// Index of the counter.
    source: AtomicUsize,
    /// The counter at the start.
    ticks: AtomicU64,
    /// Nanoseconds per tick, times 2^32; 0 until the calibration, so that time stands still.
    mult: AtomicU64,
    /// Nanoseconds since boot at the start.
    ns: AtomicU64,
    /// As `mult` and `ns`, for the clock that is never adjusted.
    raw_mult: AtomicU64,
    raw_ns: AtomicU64,
}

/// A bit of [`Keeper::sequence`].
const WRITING: u32 = 1;
/// A bit of [`Keeper::sequence`].
const OTHER: u32 = 2;
/// One more change, in [`Keeper::sequence`].
const CHANGE: u32 = 4;

static KEEPER: Keeper = Keeper {
    sequence: AtomicU32::new(0),
    source: AtomicUsize::new(0),
    ticks: AtomicU64::new(0),
    mult: AtomicU64::new(0),
    ns: AtomicU64::new(0),
    raw_mult: AtomicU64::new(0),
    raw_ns: AtomicU64::new(0),
};

/// What writers keep.
struct State {
    /// The counters; the first is the time-stamp counter.
    sources: List<Source, MAX_SOURCES>,
    current: usize,
    /// One that was asked for by name.
    wanted: Option<usize>,
    tsc_unstable: bool,
    /// Nanoseconds of the clock per nanosecond of the counter, times 2^32.
    rate: u64,
}

static WRITER: SpinLockIrq<State> = SpinLockIrq::new(State {
    sources: List::new(),
    current: 0,
    wanted: None,
    tsc_unstable: false,
    rate: RATE_ONE,
});
/// The counters, for readers: set at boot and never changed.
static SOURCES: conquer_once::noblock::OnceCell<List<Source, MAX_SOURCES>> =
    conquer_once::noblock::OnceCell::uninit();

/// Ticks of the time-stamp counter since it showed `start`.
#[inline(always)]
fn since(start: u64) -> u64 {
    // Another CPU's may be behind by a little.
    tsc::read().saturating_sub(start)
}

/// Ticks of counter `source` since it showed `start`.
fn since_of(source: usize, start: u64) -> u64 {
    if source == 0 {
        return since(start);
    }
    let Some(source) = SOURCES
        .try_get()
        .ok()
        .and_then(|all| all.iter().nth(source))
    else {
        return 0;
    };
    let now = crate::counter::extend(start, source.read(), source.mask());
    now.saturating_sub(start)
}

/// Reads `start + ticks * rate` consistently: here at the first attempt, by the time-stamp counter.
#[inline(always)]
fn read(ns: &AtomicU64, mult: &AtomicU64) -> u64 {
    let before = KEEPER.sequence.load(Ordering::Acquire);
    if before & (WRITING | OTHER) == 0 {
        let ticks = since(KEEPER.ticks.load(Ordering::Relaxed));
        let now = ns.load(Ordering::Relaxed) + scale(ticks, mult.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        if KEEPER.sequence.load(Ordering::Relaxed) == before {
            return now;
        }
    }
    read_slow(ns, mult)
}

/// As [`read`], by any counter, until no writer is in the way.
#[cold]
#[inline(never)]
fn read_slow(ns: &AtomicU64, mult: &AtomicU64) -> u64 {
    for attempt in 0.. {
        let before = KEEPER.sequence.load(Ordering::Acquire);
        let ticks = since_of(
            KEEPER.source.load(Ordering::Relaxed),
            KEEPER.ticks.load(Ordering::Relaxed),
        );
        let now = ns.load(Ordering::Relaxed) + scale(ticks, mult.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let same = KEEPER.sequence.load(Ordering::Relaxed) == before;
        if same && before & WRITING == 0 || attempt > MAX_ATTEMPTS {
            return now;
        }
        core::hint::spin_loop();
    }
    unreachable!("the loop is left by returning")
}

/// Nanoseconds since boot, never going back on any CPU.
///
/// # Context
/// Any.
#[inline]
pub fn now_ns() -> u64 {
    read(&KEEPER.ns, &KEEPER.mult)
}

/// Nanoseconds since boot by the counter's own rate, which nobody adjusts.
///
/// # Context
/// Any.
pub fn raw_ns() -> u64 {
    read(&KEEPER.raw_ns, &KEEPER.raw_mult)
}

/// Whether time goes on: it stands still until the calibration.
pub fn is_running() -> bool {
    KEEPER.mult.load(Ordering::Relaxed) != 0
}

/// What user space needs to read the clock by itself (the vDSO): `ns + ((tsc - ticks) * mult >> 32)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockParams {
    /// The time-stamp counter at the start.
    pub ticks: u64,
    /// Nanoseconds per tick, times 2^32.
    pub mult: u64,
    /// Nanoseconds since boot at the start.
    pub ns: u64,
}

/// The parameters of the clock, unless it runs on something that programs cannot read.
pub fn params() -> Option<ClockParams> {
    WRITER.with(|state| {
        (state.current == 0).then(|| ClockParams {
            ticks: KEEPER.ticks.load(Ordering::Relaxed),
            mult: KEEPER.mult.load(Ordering::Relaxed),
            ns: KEEPER.ns.load(Ordering::Relaxed),
        })
    })
}

/// Starts the clock at 0, where it stays until [`calibrated`]. The first thing that the boot CPU does.
pub fn start() {
    KEEPER.ticks.store(tsc::read(), Ordering::Relaxed);
}

/// Lets time go on, by the time-stamp counter, whose rate is known now; `others` can take its place, and one does where the
/// command line says so (`clocksource=`, `tsc=unstable`).
///
/// # Context
/// Boot, before the other CPUs start.
pub fn calibrated(others: impl Iterator<Item = Source>) {
    let mut sources = List::new();
    for source in core::iter::once(Source::Tsc).chain(others) {
        // There is room for each kind.
        let _ = sources.push(source);
    }
    // Fails only if it was set before.
    let _ = SOURCES.try_init_once(|| sources);
    let mut state = WRITER.lock();
    state.sources = sources;
    let line = boot::info().cmdline();
    state.wanted = line.value("clocksource").and_then(|name| state.find(name));
    let alone = sources.iter().count() < 2;
    state.tsc_unstable = !alone && line.value("tsc") == Some("unstable");
    // From the start of the boot on.
    KEEPER.mult.store(Source::Tsc.mult(), Ordering::Relaxed);
    KEEPER.raw_mult.store(Source::Tsc.mult(), Ordering::Relaxed);
    // Another one only from here on: nobody has read it before.
    if state.select() {
        let name = state.sources.iter().nth(state.current).map(Source::name);
        log::info!("clocksource: {} instead of tsc", name.unwrap_or_default());
    }
}

/// Goes on from this moment with the counter and rate of `state`.
fn go_on(state: &State) {
    let Some(source) = state.sources.iter().nth(state.current) else {
        return;
    };
    let (ns, raw_ns) = (now_ns(), raw_ns());
    let ticks = source.read();
    let sequence = KEEPER.sequence.load(Ordering::Relaxed);
    KEEPER.sequence.store(sequence | WRITING, Ordering::Relaxed);
    fence(Ordering::Release);
    KEEPER.source.store(state.current, Ordering::Relaxed);
    KEEPER.ticks.store(ticks, Ordering::Relaxed);
    KEEPER.ns.store(ns, Ordering::Relaxed);
    KEEPER.raw_ns.store(raw_ns, Ordering::Relaxed);
    KEEPER.raw_mult.store(source.mult(), Ordering::Relaxed);
    KEEPER
        .mult
        .store(scale(source.mult(), state.rate), Ordering::Relaxed);
    let other = if state.current == 0 { 0 } else { OTHER };
    KEEPER.sequence.store(
        (sequence & !OTHER | other).wrapping_add(CHANGE),
        Ordering::Release,
    );
}

/// Has the clock make `rate` / 2^32 nanoseconds in each of the counter's. Who calls it tells the vDSO.
///
/// # Context
/// Any, NMI aside.
pub fn set_rate(rate: u64) {
    let mut state = WRITER.lock();
    if state.rate != rate {
        state.rate = rate;
        go_on(&state);
    }
}

impl State {
    /// The counter called `name`.
    fn find(&self, name: &str) -> Option<usize> {
        let mut names = self.sources.iter().map(Source::name);
        names.position(|own| own == name)
    }

    fn is_trusted(&self, index: usize) -> bool {
        index != 0 || !self.tsc_unstable
    }

    /// Goes over to the counter that was asked for, if it can be trusted, else to the best one. True if that is another.
    fn select(&mut self) -> bool {
        let wanted = self.wanted.filter(|&wanted| self.is_trusted(wanted));
        let trusted = self.sources.iter().enumerate();
        let trusted = trusted.filter(|(index, _)| self.is_trusted(*index));
        let best = trusted.max_by_key(|(_, source)| source.rating());
        let Some(next) = wanted.or(best.map(|(index, _)| index)) else {
            return false;
        };
        if next == self.current {
            return false;
        }
        self.current = next;
        go_on(self);
        true
    }
}

/// The counter that is the clock.
pub fn current() -> Option<Source> {
    WRITER.with(|state| state.sources.iter().nth(state.current))
}

/// Calls `f` with each counter that can be the clock, the best first.
pub fn each_available(mut f: impl FnMut(Source)) {
    let (sources, unstable) = WRITER.with(|state| (state.sources, state.tsc_unstable));
    // They are noted in this order.
    let trusted = sources.iter().enumerate();
    for (_, source) in trusted.filter(|(index, _)| *index != 0 || !unstable) {
        f(source);
    }
}

/// Makes the counter called `name` the clock; one that is not there, or not to be trusted, leaves it to the ratings.
///
/// # Context
/// Task.
pub fn select(name: &str) {
    let switched = WRITER.with(|state| {
        state.wanted = state.find(name);
        state.select()
    });
    if switched {
        tell_switched();
    }
}

fn tell_switched() {
    crate::vdso::update();
    if let Some(source) = current() {
        log::info!("clocksource: Switched to clocksource {}", source.name());
    }
}

/// Gives the time-stamp counter up for the next best, if there is one. Time goes on from where it is.
///
/// # Context
/// Boot or task.
pub fn mark_tsc_unstable(reason: &str) {
    let (first, switched) = WRITER.with(|state| {
        let alone = state.sources.iter().count() < 2;
        let first = !core::mem::replace(&mut state.tsc_unstable, !alone);
        (first, state.select())
    });
    if first {
        log::warn!("clocksource: Marking clocksource 'tsc' as unstable: {reason}");
    }
    if switched {
        tell_switched();
    }
}

/// A moment on the time-stamp counter and on another one.
fn moment(other: Source) -> Moment {
    let _masked = executor::cpu::irq_save();
    let ours = tsc::read();
    let theirs = other.read();
    Moment {
        ours,
        theirs,
        took: tsc::read().saturating_sub(ours),
    }
}

/// Compares the time-stamp counter with another one, unless it is to be relied on (`tsc=reliable`), and keeps narrow
/// counters read, for ever.
pub async fn watch() {
    let others = SOURCES.try_get().ok().copied().unwrap_or(List::new());
    let Some(other) = others.iter().nth(1) else {
        return;
    };
    let reliable = boot::info().cmdline().value("tsc") == Some("reliable");
    let first = moment(other);
    let mut watch = Watch::new(Source::Tsc.mult(), other.mult(), other.mask(), first);
    loop {
        executor::time::sleep(WATCH_INTERVAL).await;
        WRITER.with(|state| {
            if state.current != 0 {
                go_on(state);
            }
        });
        if reliable {
            continue;
        }
        if let Verdict::Skewed { ours_ns, theirs_ns } = watch.look(moment(other)) {
            mark_tsc_unstable("the skew is too large");
            let name = other.name();
            log::warn!("clocksource: {theirs_ns} ns by '{name}' were {ours_ns} by 'tsc'");
        }
    }
}

/// Lets `ns` nanoseconds pass by the clock, and returns how many went by on it and on another counter, if there is one.
#[cfg(feature = "ktest")]
pub fn compare(ns: u64) -> Option<(u64, u64)> {
    let other = SOURCES.try_get().ok()?.iter().nth(1)?;
    let (start, other_start) = (now_ns(), other.read());
    while now_ns() - start < ns {
        core::hint::spin_loop();
    }
    let passed = crate::counter::extend(other_start, other.read(), other.mask());
    let theirs = scale(passed.wrapping_sub(other_start), other.mult());
    Some((now_ns() - start, theirs))
}

/// Trusts the time-stamp counter again, after a test that did not.
#[cfg(feature = "ktest")]
pub fn trust_tsc() {
    let switched = WRITER.with(|state| {
        state.tsc_unstable = false;
        state.select()
    });
    if switched {
        tell_switched();
    }
}
