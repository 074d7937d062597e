//! How a work queue is to be.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use super::{Freezer, WorkQueue};
use crate::policy::Urgency;

/// The most works of a queue that are under way, on each CPU, where none is said.
pub const DEFAULT_MAX_ACTIVE: usize = 256;

/// Whether queues that [save power](Config::power_efficient) are unbound.
static POWER_EFFICIENT: AtomicBool = AtomicBool::new(false);

/// Has queues that [save power](Config::power_efficient), and are made from now on, be unbound: Linux's boot option
/// `workqueue.power_efficient`.
///
/// # Context
/// Boot.
pub fn set_power_efficient(on: bool) {
    POWER_EFFICIENT.store(on, Ordering::Relaxed);
}

/// Says how a [`WorkQueue`] is to be.
///
/// ```
/// use executor::work::Config;
///
/// let queue = Config::new("writeback").unbound().high_priority().max_active(4).build();
/// assert_eq!(queue.name(), "writeback");
/// ```
#[derive(Clone, Debug)]
#[must_use = "a queue is made by `build`"]
pub struct Config {
    pub(super) name: &'static str,
    pub(super) bound: bool,
    pub(super) urgency: Urgency,
    pub(super) max_active: usize,
    pub(super) freezer: Option<Arc<Freezer>>,
}

impl Config {
    /// A queue whose works run on the CPU that queues them, up to [`DEFAULT_MAX_ACTIVE`] of them at a time on each.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            bound: true,
            urgency: Urgency::Normal,
            max_active: DEFAULT_MAX_ACTIVE,
            freezer: None,
        }
    }

    /// Its works run on any CPU, and the bound on how many are under way is for all CPUs together. Linux: `WQ_UNBOUND`.
    pub const fn unbound(mut self) -> Self {
        self.bound = false;
        self
    }

    /// Its works run one after the other, in the order in which they were queued, wherever that was. Linux:
    /// `alloc_ordered_workqueue`.
    pub const fn ordered(self) -> Self {
        self.unbound().max_active(1)
    }

    /// Its works run on the CPU that queues them, unless the machine is to save power and rather wakes no CPU that sleeps.
    /// Linux: `WQ_POWER_EFFICIENT`.
    pub fn power_efficient(mut self) -> Self {
        self.bound &= !POWER_EFFICIENT.load(Ordering::Relaxed);
        self
    }

    /// Its works go before ordinary tasks. Linux: `WQ_HIGHPRI`.
    pub const fn high_priority(mut self) -> Self {
        self.urgency = Urgency::High;
        self
    }

    /// Its works compute for long, and preempt nobody. Linux: `WQ_CPU_INTENSIVE`.
    pub const fn cpu_intensive(mut self) -> Self {
        self.urgency = Urgency::Bulk;
        self
    }

    /// Its works do not start while `freezer` is frozen. Linux: `WQ_FREEZABLE`.
    pub fn freezable(mut self, freezer: &Arc<Freezer>) -> Self {
        self.freezer = Some(Arc::clone(freezer));
        self
    }

    /// Up to `max_active` of its works are under way at a time, on each CPU or, if it is unbound, on all together; 0 for
    /// [`DEFAULT_MAX_ACTIVE`].
    pub const fn max_active(mut self, max_active: usize) -> Self {
        self.max_active = match max_active {
            0 => DEFAULT_MAX_ACTIVE,
            some => some,
        };
        self
    }

    /// Makes the queue.
    ///
    /// # Context
    /// Task or boot.
    pub fn build(self) -> WorkQueue {
        WorkQueue::new(self)
    }
}
