//! Holding queues up, all at once.

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};
use core::mem;

use super::queue::Shared;
use crate::sync::SpinLock;

/// Holds up the works of all queues that were made [freezable](super::Config::freezable) by it, as a machine does that is about
/// to sleep: what runs is waited for, and what is queued stays queued until they are thawed.
#[derive(Debug, Default)]
pub struct Freezer {
    held: SpinLock<Held>,
}

#[derive(Default)]
struct Held {
    frozen: bool,
    queues: Vec<Weak<Shared>>,
}

impl Freezer {
    /// One that holds nothing up.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Lets no work start any more, and returns when those that had started have ended.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queues frozen.
    pub async fn freeze(&self) {
        for queue in self.set_frozen(true) {
            queue.settle_running().await;
        }
    }

    /// Lets the works start again.
    ///
    /// # Context
    /// Task.
    pub fn thaw(&self) {
        for queue in self.set_frozen(false) {
            queue.start();
        }
    }

    /// Whether queues are held up.
    pub fn is_frozen(&self) -> bool {
        self.held.with(|held| held.frozen)
    }

    /// Tells all queues, and gives them.
    fn set_frozen(&self, frozen: bool) -> Vec<Arc<Shared>> {
        let mut queues = Vec::new();
        // Collected beforehand: nothing is allocated under the lock.
        while !self.held.with(|held| {
            let room = queues.capacity() >= held.queues.len();
            if room {
                held.frozen = frozen;
                let live = held.queues.iter().filter_map(Weak::upgrade);
                queues.extend(live.inspect(|queue| queue.set_frozen(frozen)));
            }
            room
        }) {
            queues.reserve(self.held.with(|held| held.queues.len()));
        }
        queues
    }

    /// Takes a new queue in.
    pub(super) fn adopt(&self, queue: &Arc<Shared>) {
        let mut weak = Some(Arc::downgrade(queue));
        let mut room = Vec::new();
        loop {
            let done = self.held.with(|held| {
                held.queues.retain(|queue| queue.strong_count() > 0);
                if held.queues.len() == held.queues.capacity() {
                    if room.capacity() <= held.queues.len() {
                        return false;
                    }
                    room.append(&mut held.queues);
                    mem::swap(&mut held.queues, &mut room);
                }
                held.queues.extend(weak.take());
                queue.set_frozen(held.frozen);
                true
            });
            if done {
                break;
            }
            room.reserve(2 * self.held.with(|held| held.queues.len()) + 4);
        }
    }
}

impl core::fmt::Debug for Held {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Held")
            .field("frozen", &self.frozen)
            .field("queues", &self.queues.len())
            .finish()
    }
}
