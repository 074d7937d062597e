//! A work that is queued when its time comes.

use alloc::sync::Arc;
use core::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use super::queue::Work;
use crate::{
    sync::SpinLockIrq,
    time::{HrTimer, Instant},
};

/// Where no CPU was named.
const ANYWHERE: u32 = u32::MAX;

/// A [`Work`] with a timer.
#[derive(Debug)]
pub struct DelayedWork {
    timer: HrTimer,
    timed: Arc<Timed>,
    /// Held while the timer is set, and not by what runs when it expires.
    setting: SpinLockIrq<()>,
}

/// What the timer queues.
#[derive(Debug)]
struct Timed {
    work: Work,
    cpu: AtomicU32,
}

impl Timed {
    fn queue(&self) -> bool {
        match self.cpu.load(Ordering::Relaxed) {
            ANYWHERE => self.work.queue(),
            cpu => self.work.queue_on(cpu),
        }
    }
}

impl DelayedWork {
    /// Gives `work` a timer.
    pub fn new(work: Work) -> Self {
        let timed = Arc::new(Timed {
            work,
            cpu: AtomicU32::new(ANYWHERE),
        });
        let queued = Arc::clone(&timed);
        let timer = HrTimer::new(move |_| {
            queued.queue();
            None
        });
        Self {
            timer,
            timed,
            setting: SpinLockIrq::new(()),
        }
    }

    /// Queues the work after `delay`, at once if that is zero. False, and nothing is changed, if its time is set or it is queued
    /// already.
    ///
    /// # Context
    /// Any.
    pub fn queue_after(&self, delay: Duration) -> bool {
        self.set_if_free(ANYWHERE, delay)
    }

    /// As [`DelayedWork::queue_after`], to run on CPU `cpu`.
    ///
    /// # Context
    /// Any.
    pub fn queue_after_on(&self, cpu: u32, delay: Duration) -> bool {
        self.set_if_free(cpu, delay)
    }

    /// Queues the work after `delay`, in place of any time set, and any run queued, before. True if there was one.
    ///
    /// # Context
    /// Any. Spins: while the timer expires on another CPU.
    pub fn modify(&self, delay: Duration) -> bool {
        let _setting = self.setting.lock();
        let was_pending = self.timer.cancel() | self.timed.work.try_cancel();
        self.set(delay);
        was_pending
    }

    fn set_if_free(&self, cpu: u32, delay: Duration) -> bool {
        let _setting = self.setting.lock();
        if self.is_pending() {
            return false;
        }
        self.timed.cpu.store(cpu, Ordering::Relaxed);
        self.set(delay)
    }

    /// Sets a timer that is not set, or queues the work if there is nothing to wait for. True unless it was queued already.
    fn set(&self, delay: Duration) -> bool {
        if delay.is_zero() {
            self.timed.queue()
        } else {
            !self.timer.arm(Instant::now() + delay)
        }
    }

    /// Whether its time is set, or it is queued.
    pub fn is_pending(&self) -> bool {
        self.timer.deadline().is_some() || self.timed.work.is_queued()
    }

    /// Takes back the time set, and a run that has not started; waits until one under way is over. True if there was
    /// anything to take back.
    pub async fn cancel(&self) -> bool {
        let armed = self.timer.cancel();
        self.timed.work.cancel().await | armed
    }

    /// As [`DelayedWork::cancel`], and does not wait for a run under way.
    ///
    /// # Context
    /// Any.
    pub fn try_cancel(&self) -> bool {
        let armed = self.timer.cancel();
        self.timed.work.try_cancel() | armed
    }

    /// Queues the work now if its time is set, and waits until it has run.
    pub async fn flush(&self) {
        if self.timer.cancel() {
            self.timed.queue();
        }
        self.timed.work.flush().await;
    }

    /// The work itself.
    pub fn work(&self) -> &Work {
        &self.timed.work
    }
}
