//! A work that is queued when its time comes.

use alloc::sync::Arc;
use core::time::Duration;

use super::queue::Work;
use crate::time::{HrTimer, Instant};

/// A [`Work`] with a timer.
#[derive(Debug)]
pub struct DelayedWork {
    timer: HrTimer,
    work: Arc<Work>,
}

impl DelayedWork {
    /// Gives `work` a timer.
    pub fn new(work: Work) -> Self {
        let work = Arc::new(work);
        let queued = Arc::clone(&work);
        let timer = HrTimer::new(move |_| {
            queued.queue();
            None
        });
        Self { timer, work }
    }

    /// Queues the work after `delay`, in place of any time set before. False if there was one.
    ///
    /// # Context
    /// Any.
    pub fn queue_after(&self, delay: Duration) -> bool {
        if delay.is_zero() {
            return !self.timer.cancel() & self.work.queue();
        }
        !self.timer.arm(Instant::now() + delay)
    }

    /// Takes back the time set, and a run that has not started; waits until one under way is over. True if there was
    /// anything to take back.
    pub async fn cancel(&self) -> bool {
        let armed = self.timer.cancel();
        self.work.cancel().await | armed
    }

    /// Queues the work now if its time is set, and waits until it has run.
    pub async fn flush(&self) {
        if self.timer.cancel() {
            self.work.queue();
        }
        self.work.flush().await;
    }

    /// The work itself.
    pub fn work(&self) -> &Work {
        &self.work
    }
}
