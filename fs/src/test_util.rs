//! What the tests of this crate share.

use alloc::sync::Arc;
use alloc::task::Wake;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::Waker;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A waker that counts how often it is woken.
pub(crate) struct CountingWaker {
    count: Arc<Count>,
    waker: Waker,
}

impl CountingWaker {
    pub(crate) fn new() -> Self {
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        CountingWaker { count, waker }
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    pub(crate) fn count(&self) -> usize {
        self.count.0.load(Ordering::Relaxed)
    }
}
