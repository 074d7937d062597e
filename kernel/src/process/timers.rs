//! Timers that send signals: setitimer(2), alarm(2), timer_create(2), and the limit on processor time.
//!
//! A process that uses any has a task of its own, which sleeps until the first of them expires and sends what is due. So
//! signals are generated in task context only. Timers on processor time are looked at when the process could have used up
//! what is left, and at least every tick while it runs.
//!
//! Lock order: timers, then the signal lock.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::task::Poll;

use conquer_once::spin::OnceCell;
use executor::TaskRef;
use executor::sync::SpinLock;
use executor::time::{Instant, sleep_until};
use fs::Errno;

use super::{Pid, Process, Thread};
use crate::process::rlimit::{RLIM_INFINITY, Resource};
use crate::signal::send::{self, Target};
use crate::signal::{SigInfo, Signal};
use crate::timekeeping;

/// How often timers on processor time are looked at.
const TICK_NS: u64 = 4_000_000;
/// Setting the time of day is noticed after at most this.
const REALTIME_STEP_NS: u64 = 60_000_000_000;
const NS: u64 = 1_000_000_000;

/// What a timer counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Base {
    /// Monotonic time.
    Monotonic,
    /// Time of day; setting the clock moves the end.
    Realtime,
    /// Time in user mode.
    User,
    /// Processor time of the process.
    Process,
    /// Processor time of a thread.
    Thread(Pid),
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
}

/// What the three interval timers count and send.
pub const INTERVAL: [(Base, Signal); 3] = [
    (Base::Monotonic, Signal::SIGALRM),
    (Base::User, Signal::SIGVTALRM),
    (Base::Process, Signal::SIGPROF),
];

/// The timers of one process.
#[derive(Debug)]
pub struct Timers {
    inner: SpinLock<Inner>,
    task: OnceCell<TaskRef>,
    started: AtomicBool,
    /// Changes whenever the task should look again.
    changes: AtomicU64,
    ended: AtomicBool,
    /// Seconds of processor time for which `SIGXCPU` has been sent.
    warned: AtomicU64,
}

impl Default for Timers {
    fn default() -> Self {
        Timers {
            inner: SpinLock::new(Inner::default()),
            task: OnceCell::uninit(),
            started: AtomicBool::new(false),
            changes: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            warned: AtomicU64::new(0),
        }
    }
}

/// Most timers of one process.
const TIMERS_MAX: usize = 4096;

impl Process {
    /// Nanoseconds on what a timer counts.
    pub fn base_now(&self, base: Base) -> u64 {
        match base {
            Base::Monotonic => timekeeping::monotonic_ns(),
            Base::Realtime => timekeeping::realtime_ns() as u64,
            Base::User => self.usage().user_ns,
            Base::Process => {
                let usage = self.usage();
                usage.user_ns + usage.system_ns
            }
            Base::Thread(tid) => self
                .threads()
                .iter()
                .find(|thread| thread.tid() == tid)
                .map_or(0, |thread| {
                    thread.usage.user_ns.load(Ordering::Relaxed)
                        + thread.usage.system_ns.load(Ordering::Relaxed)
                }),
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
        self.timers.inner.lock().interval[which] = Setting { end, interval };
        if end.is_some() {
            self.start_timers()?;
        }
        self.timers.changed();
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

    /// Calls `f` with a POSIX timer, then has all timers looked at again.
    ///
    /// # Errors
    /// `EINVAL` if there is none with that number.
    pub fn with_timer<R>(&self, id: i32, f: impl FnOnce(&mut PosixTimer) -> R) -> Result<R, Errno> {
        let result = f(self
            .timers
            .inner
            .lock()
            .posix
            .get_mut(&id)
            .ok_or(Errno::EINVAL)?);
        self.timers.changed();
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
        if !self.timers.started.load(Ordering::Acquire) {
            return;
        }
        loop {
            let Some(id) = self.timers.inner.lock().posix.keys().next().copied() else {
                return;
            };
            let _ = self.delete_timer(id);
        }
    }

    /// Lets the task of the timers run, if it does not.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn start_timers(self: &Arc<Self>) -> Result<(), Errno> {
        if self.timers.started.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let task = executor::try_spawn("timers", run(Arc::downgrade(self)));
        if task.is_err() {
            self.timers.started.store(false, Ordering::Release);
        }
        task.map(drop).map_err(|_| Errno::ENOMEM)
    }

    /// Sends what is due; gives when to look again, if ever.
    fn expire_timers(self: &Arc<Self>) -> Option<u64> {
        let monotonic = timekeeping::monotonic_ns();
        let mut next: Option<u64> = None;
        let mut consider = |base: Base, end: Option<u64>, now: u64| {
            let Some(end) = end else { return };
            let left = end.saturating_sub(now);
            let wait = match base {
                Base::Monotonic => left,
                Base::Realtime => left.min(REALTIME_STEP_NS),
                // Several threads use it up at once.
                Base::User | Base::Process | Base::Thread(_) => {
                    (left / crate::arch::smp::cpu_count() as u64).max(TICK_NS)
                }
            };
            let at = monotonic.saturating_add(wait);
            next = Some(next.map_or(at, |next: u64| next.min(at)));
        };
        for (which, (base, signal)) in INTERVAL.into_iter().enumerate() {
            if self.timers.inner.lock().interval[which].end.is_none() {
                continue;
            }
            let now = self.base_now(base);
            let (passed, end) = {
                let setting = &mut self.timers.inner.lock().interval[which];
                (setting.expire(now), setting.end)
            };
            if passed > 0 {
                send::send_kernel(self, signal);
            }
            consider(base, end, now);
        }
        let mut id = 0;
        loop {
            let found = self
                .timers
                .inner
                .lock()
                .posix
                .range(id..)
                .next()
                .map(|(id, timer)| (*id, timer.base));
            let Some((found, base)) = found else { break };
            let now = self.base_now(base);
            let mut inner = self.timers.inner.lock();
            if let Some(timer) = inner.posix.get_mut(&found) {
                let passed = timer.setting.expire(now);
                let end = timer.setting.end;
                let notify = timer.notify.clone();
                drop(inner);
                if passed > 0 {
                    self.notify(found, &notify, passed);
                }
                consider(base, end, now);
            }
            id = found + 1;
        }
        if let Some(end) = self.check_cpu_limit() {
            consider(Base::Process, Some(end), self.base_now(Base::Process));
        }
        next
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

    /// Enforces `RLIMIT_CPU`; gives the processor time at which to look again.
    fn check_cpu_limit(self: &Arc<Self>) -> Option<u64> {
        let limit = self.rlimits.lock().get(Resource::Cpu);
        if limit.cur == RLIM_INFINITY && limit.max == RLIM_INFINITY {
            return None;
        }
        let seconds = self.base_now(Base::Process) / NS;
        if seconds >= limit.max {
            send::send_kernel(self, Signal::SIGKILL);
            return None;
        }
        if seconds >= limit.cur {
            // Once when the limit is reached, and every second after that.
            if self.timers.warned.swap(seconds, Ordering::Relaxed) != seconds {
                send::send_kernel(self, Signal::SIGXCPU);
            }
            return Some((seconds + 1).saturating_mul(NS));
        }
        Some(limit.cur.min(limit.max).saturating_mul(NS))
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
    /// Lets the task look again.
    pub fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
        if let Ok(task) = self.task.try_get() {
            task.wake();
        }
    }

    /// The process has ended: the task ends, too.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.changed();
    }
}

/// The task of a process's timers.
async fn run(process: Weak<Process>) {
    loop {
        let Some(process) = process.upgrade() else {
            return;
        };
        if let Some(task) = executor::current() {
            let _ = process.timers.task.try_init_once(|| task);
        }
        if process.timers.ended.load(Ordering::Acquire) {
            return;
        }
        let seen = process.timers.changes.load(Ordering::Acquire);
        let next = process.expire_timers();
        let mut timer = pin!(sleep_until(next.map_or(Instant::MAX, Instant::from_ns)));
        poll_fn(|cx| {
            if process.timers.changes.load(Ordering::Acquire) != seen {
                return Poll::Ready(());
            }
            timer.as_mut().poll(cx)
        })
        .await;
    }
}
