//! Tasklets: a function to be run soon, once, however often it was asked for.

use alloc::sync::Arc;
use core::{fmt, future::poll_fn, sync::atomic::Ordering, task::Poll};

use super::{level, vectors::Vector};
use crate::{
    cpu,
    facade::{AtomicBool, AtomicUsize},
    join::JoinHandle,
    raw::TaskRef,
    spawn::SpawnError,
    sync::WaitQueue,
};

struct Inner {
    /// Asked for and not begun.
    due: AtomicBool,
    running: AtomicBool,
    /// How many have disabled it.
    disabled: AtomicUsize,
    /// Woken when a run ends.
    settled: WaitQueue,
}

/// A function that runs on the softirq level: soon after it was asked for, on the CPU that asked, on one CPU at a time.
///
/// Dropping it takes back a run that has not begun. [`Tasklet::kill`] also waits for one that has.
pub struct Tasklet {
    inner: Arc<Inner>,
    task: TaskRef,
    handle: Option<JoinHandle<()>>,
}

impl Tasklet {
    /// A tasklet among the others, made on this CPU.
    ///
    /// # Context
    /// Task.
    /// # Errors
    /// As [`Spawner::try_spawn`](crate::Spawner::try_spawn).
    pub fn new(
        name: &'static str,
        run: impl FnMut() + Send + 'static,
    ) -> Result<Self, SpawnError<()>> {
        Self::of(Vector::Tasklet, name, run)
    }

    /// A tasklet that runs before the other vectors.
    ///
    /// # Errors
    /// As [`Tasklet::new`].
    pub fn urgent(
        name: &'static str,
        run: impl FnMut() + Send + 'static,
    ) -> Result<Self, SpawnError<()>> {
        Self::of(Vector::Hi, name, run)
    }

    /// A tasklet that runs with the futures of vector `vector`.
    ///
    /// # Errors
    /// As [`Tasklet::new`].
    pub fn of(
        vector: Vector,
        name: &'static str,
        mut run: impl FnMut() + Send + 'static,
    ) -> Result<Self, SpawnError<()>> {
        let inner = Arc::new(Inner {
            due: AtomicBool::new(false),
            running: AtomicBool::new(false),
            disabled: AtomicUsize::new(0),
            settled: WaitQueue::new(),
        });
        let own = Arc::clone(&inner);
        let future = poll_fn(move |_| {
            // Marked first, so that who disables it either is seen here or sees the mark.
            own.running.store(true, Ordering::SeqCst);
            if own.disabled.load(Ordering::SeqCst) == 0 && own.due.swap(false, Ordering::AcqRel) {
                run();
            }
            own.running.store(false, Ordering::Release);
            own.settled.wake_all();
            Poll::<()>::Pending
        });
        let spawned = level::spawn(vector, name, future);
        let handle = spawned.map_err(|e| SpawnError {
            future: (),
            kind: e.kind,
        })?;
        Ok(Self {
            inner,
            task: handle.task().clone(),
            handle: Some(handle),
        })
    }

    /// Asks for a run, on this CPU. False if one was asked for already and has not begun.
    ///
    /// # Context
    /// Any.
    pub fn schedule(&self) -> bool {
        if self.inner.due.swap(true, Ordering::AcqRel) {
            return false;
        }
        self.task.set_wanted_cpu(cpu::id());
        self.task.wake();
        true
    }

    /// Holds runs off until [`Tasklet::enable`], as often as it was called; waits for one under way.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the tasklet disabled.
    pub async fn disable(&self) {
        self.disable_nosync();
        self.settle().await;
    }

    /// As [`Tasklet::disable`], without waiting for a run under way.
    ///
    /// # Context
    /// Any.
    pub fn disable_nosync(&self) {
        self.inner.disabled.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes a [`Tasklet::disable`] back; with the last one, a run that was asked for meanwhile begins.
    ///
    /// # Context
    /// Any.
    pub fn enable(&self) {
        let before = self.inner.disabled.fetch_sub(1, Ordering::SeqCst);
        debug_assert!(before > 0, "a tasklet is enabled that was not disabled");
        if before == 1 && self.inner.due.load(Ordering::Acquire) {
            self.task.wake();
        }
    }

    /// Takes back a run that has not begun, waits for one that has, and ends the tasklet.
    pub async fn kill(mut self) {
        self.task.abort();
        if let Some(handle) = self.handle.take() {
            // It was aborted, and never ends by itself.
            let _ = handle.await;
        }
    }

    async fn settle(&self) {
        let settled = || (!self.inner.running.load(Ordering::SeqCst)).then_some(());
        self.inner.settled.wait_until(settled).await;
    }
}

impl Drop for Tasklet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Tasklet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasklet")
            .field("task", &self.task)
            .finish_non_exhaustive()
    }
}
