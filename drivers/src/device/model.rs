//! What all buses share.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

use executor::sync::{SpinLock, WaitQueue};

use super::Upper;

/// A bus, as the others know it.
pub(super) trait Deferring: Send + Sync {
    /// Tries the deferred devices again.
    fn retry(&self);
}

/// The buses of a machine, and what is above them.
pub struct Model {
    buses: SpinLock<Vec<Weak<dyn Deferring>>>,
    /// How often some device was bound: who defers looks whether that changed meanwhile.
    binds: AtomicUsize,
    /// Woken when a probe has come to its end, the one way or the other.
    pub(super) probed: WaitQueue,
    upper: Box<dyn Upper>,
}

impl Model {
    /// A machine without buses, beneath `upper`.
    pub fn new(upper: impl Upper) -> Arc<Self> {
        Arc::new(Self {
            buses: SpinLock::new(Vec::new()),
            binds: AtomicUsize::new(0),
            probed: WaitQueue::new(),
            upper: Box::new(upper),
        })
    }

    /// What is above the drivers.
    pub fn upper(&self) -> &dyn Upper {
        &*self.upper
    }

    pub(super) fn add(&self, bus: Weak<dyn Deferring>) {
        self.buses.lock().push(bus);
    }

    pub(super) fn binds(&self) -> usize {
        self.binds.load(Ordering::SeqCst)
    }

    /// A device was bound: what others waited for may be there.
    pub(super) fn bound(&self) {
        self.binds.fetch_add(1, Ordering::SeqCst);
        let buses = self.buses.lock().clone();
        buses
            .iter()
            .filter_map(Weak::upgrade)
            .for_each(|bus| bus.retry());
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("binds", &self.binds())
            .finish_non_exhaustive()
    }
}
