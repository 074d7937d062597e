//! Timers that send signals: setitimer(2), alarm(2), timer_create(2), and the limit on processor time.
//!
//! A process that uses any has one high-resolution timer, set to the first of their ends, and a tasklet: the timer's
//! interrupt asks for the tasklet, which on the interrupt's way out sends what is due. Timers on processor time are looked
//! at by the tick, while the process runs.
//!
//! Contexts: calls on timers are tasks'; what is due is sent in a softirq. Lock order: timers, then the signal lock.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use conquer_once::spin::OnceCell;
use executor::cpu;
use executor::softirq::{Tasklet, Vector};
use executor::sync::SpinLock;
use executor::time::{HrTimer, Instant};
use fs::Errno;

use super::{Pid, Process, Thread, table};
use crate::process::rlimit::{RLIM_INFINITY, Resource};
use crate::signal::send::{self, Target};
use crate::signal::{SigInfo, Signal};
use crate::timekeeping;

const NS: u64 = 1_000_000_000;

/// What a timer counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Base {
    /// Monotonic time.
    Monotonic,
    /// Time of day; setting the clock moves the end.
    Realtime,
    /// Atomic time, which follows it.
    Tai,
    /// Time in user mode.
    User,
    /// Processor time of the process.
    Process,
    /// Processor time of a thread.
    Thread(Pid),
}

impl Base {
    /// The monotonic time at which this shows `end`; none for processor time, which has its own pace.
    fn deadline(self, end: u64) -> Option<Instant> {
        match self {
            Self::Monotonic => Some(Instant::from_ns(end)),
            Self::Realtime => Some(Instant::from_ns(timekeeping::from_realtime(end))),
            Self::Tai => Some(Instant::from_ns(timekeeping::from_tai(end))),
            Self::User | Self::Process | Self::Thread(_) => None,
        }
    }
}

/// When a timer expires next, and how often after that. All in nanoseconds of its base.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Setting {
    /// The next end; `None` if it is not armed.
    pub end: Option<u64>,
    /// From one end to the next; 0 for once.
    pub interval: u64,
}

impl Setting {
    /// If the end has come at `now`: moves it on, and gives how many ends have been passed.
    pub fn expire(&mut self, now: u64) -> u64 {
        let Some(end) = self.end else { return 0 };
        if now < end {
            return 0;
        }
        if self.interval == 0 {
            self.end = None;
            return 1;
        }
        let passed = (now - end) / self.interval + 1;
        self.end = end.checked_add(passed.saturating_mul(self.interval));
        passed
    }
}

/// What a timer does when it expires.
#[derive(Clone, Debug)]
pub enum Notify {
    /// Nothing.
    None,
    /// A signal for the process.
    Process(Signal, u64),
    /// A signal for one thread.
    Thread(Signal, u64, Weak<Thread>),
}

/// A timer made by timer_create(2).
#[derive(Debug)]
pub struct PosixTimer {
    /// What it counts.
    pub base: Base,
    /// What it does.
    pub notify: Notify,
    /// When.
    pub setting: Setting,
    /// Expirations that were merged into the signal delivered last.
    pub overrun: i32,
}

#[derive(Debug, Default)]
struct Inner {
    /// `ITIMER_REAL`, `ITIMER_VIRTUAL`, `ITIMER_PROF`.
    interval: [Setting; 3],
    posix: BTreeMap<i32, PosixTimer>,
    next_id: i32,
    /// What the high-resolution timer is set to, if it is.
    armed: Option<Instant>,
}

impl Inner {
    /// All ends that are set, with what they are ends of.
    fn ends(&self) -> impl Iterator<Item = (Base, u64)> {
        let interval = INTERVAL.iter().zip(&self.interval);
        let interval = interval.map(|((base, _), setting)| (*base, setting.end));
        let posix = self
            .posix
            .values()
            .map(|timer| (timer.base, timer.setting.end));
        interval
            .chain(posix)
            .filter_map(|(base, end)| Some((base, end?)))
    }
}

/// What the three interval timers count and send.
pub const INTERVAL: [(Base, Signal); 3] = [
    (Base::Monotonic, Signal::SIGALRM),
    (Base::User, Signal::SIGVTALRM),
    (Base::Process, Signal::SIGPROF),
];

/// What acts when a timer's time has come; made when the first one is used.
#[derive(Debug)]
struct Engine {
    timer: HrTimer,
    tasklet: Arc<Tasklet>,
}

/// The timers of one process.
#[derive(Debug)]
pub struct Timers {
    inner: SpinLock<Inner>,
    engine: OnceCell<Engine>,
    /// Processor time is to be looked at by the tick.
    watches_cpu: AtomicBool,
    ended: AtomicBool,
    /// Seconds of processor time for which `SIGXCPU` has been sent.
    warned: AtomicU64,
}

impl Default for Timers {
    fn default() -> Self {
        Timers {
            inner: SpinLock::new(Inner::default()),
            engine: OnceCell::uninit(),
            watches_cpu: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            warned: AtomicU64::new(0),
        }
    }
}

/// As many timers are put in order when they are due at once.
const BATCH: usize = 32;
/// Most timers of one process.
const TIMERS_MAX: usize = 4096;

impl Process {
    /// Nanoseconds on what a timer counts.
    pub fn base_now(&self, base: Base) -> u64 {
        match base {
            Base::Monotonic => timekeeping::monotonic_ns(),
            Base::Realtime => timekeeping::realtime_ns() as u64,
            Base::Tai => (timekeeping::realtime_ns() + timekeeping::tai_ns()) as u64,
            Base::User => self.usage().user_ns,
            Base::Process => {
                let usage = self.usage();
                usage.user_ns + usage.system_ns
            }
            Base::Thread(tid) => self
                .threads()
                .iter()
                .find(|thread| thread.tid() == tid)
                .map_or(0, |thread| thread.cpu_time().total_ns()),
        }
    }

    /// An interval timer: what is left, and the interval.
    pub fn interval_timer(&self, which: usize) -> (u64, u64) {
        let now = self.base_now(INTERVAL[which].0);
        let setting = self.timers.inner.lock().interval[which];
        (
            setting.end.map_or(0, |end| end.saturating_sub(now).max(1)),
            setting.interval,
        )
    }

    /// Sets an interval timer to expire after `first` nanoseconds, 0 for never; gives what was left, and the old interval.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn set_interval_timer(
        self: &Arc<Self>,
        which: usize,
        first: u64,
        interval: u64,
    ) -> Result<(u64, u64), Errno> {
        let old = self.interval_timer(which);
        let now = self.base_now(INTERVAL[which].0);
        let end = (first != 0).then(|| now.saturating_add(first));
        if end.is_some() {
            self.start_timers()?;
        }
        let mut inner = self.timers.inner.lock();
        inner.interval[which] = Setting { end, interval };
        self.timers.sooner(&mut inner, INTERVAL[which].0, end);
        Ok(old)
    }

    /// Makes a POSIX timer; gives its number.
    ///
    /// # Errors
    /// `EAGAIN` if there are too many; `ENOMEM`.
    pub fn create_timer(self: &Arc<Self>, base: Base, notify: Notify) -> Result<i32, Errno> {
        self.start_timers()?;
        match &notify {
            Notify::None => {}
            Notify::Process(..) => send::reserve(Target::Process(self))?,
            Notify::Thread(_, _, thread) => match thread.upgrade() {
                Some(thread) => send::reserve(Target::Thread(&thread))?,
                None => return Err(Errno::EINVAL),
            },
        }
        let timer = PosixTimer {
            base,
            notify,
            setting: Setting::default(),
            overrun: 0,
        };
        let mut inner = self.timers.inner.lock();
        if inner.posix.len() >= TIMERS_MAX {
            return Err(Errno::EAGAIN);
        }
        while inner.posix.contains_key(&inner.next_id) {
            inner.next_id = inner.next_id.wrapping_add(1) & i32::MAX;
        }
        let id = inner.next_id;
        inner.next_id = id.wrapping_add(1) & i32::MAX;
        inner.posix.insert(id, timer);
        Ok(id)
    }

    /// Calls `f` with a POSIX timer, and sees to it that its end is noticed.
    ///
    /// # Errors
    /// `EINVAL` if there is none with that number.
    pub fn with_timer<R>(&self, id: i32, f: impl FnOnce(&mut PosixTimer) -> R) -> Result<R, Errno> {
        let mut inner = self.timers.inner.lock();
        let timer = inner.posix.get_mut(&id).ok_or(Errno::EINVAL)?;
        let result = f(timer);
        let (base, end) = (timer.base, timer.setting.end);
        self.timers.sooner(&mut inner, base, end);
        Ok(result)
    }

    /// Deletes a POSIX timer, with the signal that it may have queued.
    ///
    /// # Errors
    /// `EINVAL` if there is none with that number.
    pub fn delete_timer(self: &Arc<Self>, id: i32) -> Result<(), Errno> {
        let timer = self
            .timers
            .inner
            .lock()
            .posix
            .remove(&id)
            .ok_or(Errno::EINVAL)?;
        match timer.notify {
            Notify::None => {}
            Notify::Process(..) => send::unreserve(Target::Process(self), id),
            Notify::Thread(_, _, thread) => {
                if let Some(thread) = thread.upgrade() {
                    send::unreserve(Target::Thread(&thread), id);
                }
            }
        }
        Ok(())
    }

    /// Deletes all POSIX timers: execve(2) keeps none.
    pub fn delete_timers(self: &Arc<Self>) {
        loop {
            let Some(id) = self.timers.inner.lock().posix.keys().next().copied() else {
                return;
            };
            let _ = self.delete_timer(id);
        }
    }

    /// Makes what acts when a timer's time has come, if it is not there.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn start_timers(self: &Arc<Self>) -> Result<(), Errno> {
        if self.timers.engine.is_initialized() {
            return Ok(());
        }
        let process = Arc::downgrade(self);
        let expire = move || {
            if let Some(process) = process.upgrade() {
                process.expire_timers();
            }
        };
        let tasklet = Tasklet::of(Vector::Timer, "timers", expire).map_err(|_| Errno::ENOMEM)?;
        let tasklet = Arc::new(tasklet);
        let asked = tasklet.clone();
        let timer = HrTimer::new(move |_| {
            asked.schedule();
            None
        });
        let mut made = Some(Engine { timer, tasklet });
        {
            // The thread that is quicker is not left in the midst of it, so the other one waits for a moment only.
            let _stay = cpu::preempt_disable();
            let take = || made.take().expect("taken once");
            self.timers.engine.init_once(take);
        }
        // What the slower thread made is dropped unused.
        drop(made);
        Ok(())
    }

    /// Has the limit on processor time looked at from now on.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn watch_cpu_limit(self: &Arc<Self>) -> Result<(), Errno> {
        self.start_timers()?;
        self.timers.watches_cpu.store(true, Ordering::Release);
        Ok(())
    }

    /// Sends what is due, and sets the timer to what comes next.
    ///
    /// # Context
    /// Softirq; takes the signal lock, and the task list where a process goes on because of it.
    fn expire_timers(self: &Arc<Self>) {
        if self.timers.ended.load(Ordering::Acquire) {
            return;
        }
        // Before anything is looked at: what is set meanwhile sets it again.
        self.timers.watches_cpu.store(false, Ordering::Release);
        self.send_due();
        let limited = self.check_cpu_limit();
        let mut inner = self.timers.inner.lock();
        let on_cpu = inner.ends().any(|(base, end)| base.deadline(end).is_none());
        if limited || on_cpu {
            self.timers.watches_cpu.store(true, Ordering::Release);
        }
        self.timers.rearm(&mut inner);
    }

    /// Sends the signals of the timers whose ends have come.
    fn send_due(self: &Arc<Self>) {
        for (which, (base, signal)) in INTERVAL.into_iter().enumerate() {
            if self.timers.inner.lock().interval[which].end.is_none() {
                continue;
            }
            let now = self.base_now(base);
            let passed = self.timers.inner.lock().interval[which].expire(now);
            if passed > 0 {
                send::send_kernel(self, signal);
            }
        }
        let mut from = 0;
        while let Some(next) = self.send_batch(from) {
            from = next;
        }
    }

    /// Sends for up to [`BATCH`] of the POSIX timers from number `from` on whose ends have come, in the order of their
    /// ends. Gives the number to go on from, if there is more.
    fn send_batch(self: &Arc<Self>, mut from: i32) -> Option<i32> {
        let mut due = [(None, 0, Base::Monotonic); BATCH];
        let mut count = 0;
        while count < BATCH {
            let next = {
                let inner = self.timers.inner.lock();
                let next = inner.posix.range(from..).next();
                next.map(|(id, timer)| (*id, timer.base, timer.setting.end))
            };
            let Some((id, base, end)) = next else { break };
            from = id + 1;
            if let Some(end) = end.filter(|&end| end <= self.base_now(base)) {
                due[count] = (base.deadline(end), id, base);
                count += 1;
            }
        }
        // Those on processor time come first: they have no place among the others.
        due[..count].sort_unstable_by_key(|(deadline, id, _)| (*deadline, *id));
        for &(_, id, base) in &due[..count] {
            let now = self.base_now(base);
            let mut inner = self.timers.inner.lock();
            if let Some(timer) = inner.posix.get_mut(&id) {
                let passed = timer.setting.expire(now);
                if passed > 0 {
                    let notify = timer.notify.clone();
                    drop(inner);
                    self.notify(id, &notify, passed);
                }
            }
        }
        (count == BATCH).then_some(from)
    }

    fn notify(self: &Arc<Self>, id: i32, notify: &Notify, passed: u64) {
        match notify {
            Notify::None => {}
            Notify::Process(signal, value) => {
                send::send_timer(Target::Process(self), *signal, id, *value, passed)
            }
            Notify::Thread(signal, value, thread) => {
                if let Some(thread) = thread.upgrade() {
                    send::send_timer(Target::Thread(&thread), *signal, id, *value, passed);
                }
            }
        }
    }

    /// Enforces `RLIMIT_CPU`; gives whether there is such a limit to go on watching.
    fn check_cpu_limit(self: &Arc<Self>) -> bool {
        let limit = self.rlimits.lock().get(Resource::Cpu);
        if limit.cur == RLIM_INFINITY && limit.max == RLIM_INFINITY {
            return false;
        }
        let seconds = self.base_now(Base::Process) / NS;
        if seconds >= limit.max {
            send::send_kernel(self, Signal::SIGKILL);
            return false;
        }
        // Once when the limit is reached, and every second after that.
        if seconds >= limit.cur && self.timers.warned.swap(seconds, Ordering::Relaxed) != seconds {
            send::send_kernel(self, Signal::SIGXCPU);
        }
        true
    }

    /// Notes that the signal `info` of a timer was delivered.
    pub fn timer_delivered(&self, info: &SigInfo) {
        let overrun = (info.fields[0] >> 32) as i32;
        if let Some(timer) = self.timers.inner.lock().posix.get_mut(&info.pid()) {
            timer.overrun = overrun;
        }
    }
}

impl Timers {
    /// Sets the timer to `end` of `base`, if that is sooner than what it is set to. A later one, or none, is seen to when
    /// the timer expires.
    fn sooner(&self, inner: &mut Inner, base: Base, end: Option<u64>) {
        let Some(end) = end else { return };
        let Some(deadline) = base.deadline(end) else {
            self.watches_cpu.store(true, Ordering::Release);
            return;
        };
        if inner.armed.is_none_or(|armed| deadline < armed) {
            self.arm(inner, deadline);
        }
    }

    /// Sets the timer to the first end there is.
    fn rearm(&self, inner: &mut Inner) {
        let deadlines = inner.ends().filter_map(|(base, end)| base.deadline(end));
        match deadlines.min() {
            Some(deadline) => self.arm(inner, deadline),
            None => {
                inner.armed = None;
                if let Ok(engine) = self.engine.try_get() {
                    engine.timer.cancel();
                }
            }
        }
    }

    fn arm(&self, inner: &mut Inner, deadline: Instant) {
        if let Ok(engine) = self.engine.try_get()
            && !self.ended.load(Ordering::Acquire)
        {
            inner.armed = Some(deadline);
            engine.timer.arm(deadline);
        }
    }

    /// The tick has found a thread of this process running: has its processor time looked at, where it matters.
    ///
    /// # Context
    /// Timer interrupt.
    #[inline]
    pub fn tick(&self) {
        if self.watches_cpu.load(Ordering::Acquire)
            && let Ok(engine) = self.engine.try_get()
        {
            engine.tasklet.schedule();
        }
    }

    /// The process has ended: nothing is sent any more.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.watches_cpu.store(false, Ordering::Release);
        if let Ok(engine) = self.engine.try_get() {
            engine.timer.cancel();
        }
    }
}

/// The time of day was set: the timers that follow it are set anew.
///
/// # Context
/// Task; takes the task list.
pub fn clock_was_set() {
    for process in table::each_process() {
        let mut inner = process.timers.inner.lock();
        if inner
            .ends()
            .any(|(base, _)| matches!(base, Base::Realtime | Base::Tai))
        {
            process.timers.rearm(&mut inner);
        }
    }
}
