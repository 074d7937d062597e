//! Tasks of the kernel's own that are asked to stop, and to pause, and say when they have.
//!
//! An aborted task ends at whatever await it stands at. A kernel thread is one that wants to end at a place of its own
//! choosing: it looks whether it should stop, tidies up, and gives a result. Linux: `kthread_run`, `kthread_stop`,
//! `kthread_should_stop`, `kthread_park`, `kthread_parkme`, `kthread_unpark`.
//!
//! ```
//! use executor::{kthread, platform::host, time};
//! # use core::time::Duration;
//!
//! host::block_on(async {
//!     let flusher = kthread::run("flusher", |me| async move {
//!         let mut rounds = 0;
//!         while !me.should_stop() {
//!             me.park_if_asked().await;
//!             rounds += 1;
//!             // Sleeps, but not through a request to stop or to pause.
//!             me.unless_asked(time::sleep(Duration::from_secs(3600))).await;
//!         }
//!         rounds
//!     });
//!     flusher.park().await;
//!     flusher.unpark();
//!     assert!(flusher.stop().await > 0);
//! });
//! ```

use alloc::sync::Arc;
use core::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::Ordering,
    task::Poll,
};

use crate::{
    facade::AtomicU32,
    join::JoinHandle,
    spawn::{SpawnError, Spawner},
    sync::WaitQueue,
};

const STOP: u32 = 1;
const PARK: u32 = 1 << 1;
const PARKED: u32 = 1 << 2;
const ENDED: u32 = 1 << 3;

/// What a kernel thread and its owner share.
struct Shared {
    word: AtomicU32,
    /// Woken when the thread is asked for something.
    asked: WaitQueue,
    /// Woken when the thread has parked or ended.
    answered: WaitQueue,
}

impl Shared {
    fn has(&self, bits: u32) -> bool {
        self.word.load(Ordering::Acquire) & bits != 0
    }

    fn set(&self, bits: u32) {
        self.word.fetch_or(bits, Ordering::AcqRel);
    }

    fn clear(&self, bits: u32) {
        self.word.fetch_and(!bits, Ordering::AcqRel);
    }
}

/// A kernel thread as it sees itself.
pub struct Me(Arc<Shared>);

impl Me {
    /// Whether it was asked to stop.
    pub fn should_stop(&self) -> bool {
        self.0.has(STOP)
    }

    /// Whether it was asked to park.
    pub fn should_park(&self) -> bool {
        self.0.has(PARK)
    }

    /// If it was asked to park, says that it has, and waits until it may go on or should stop.
    pub async fn park_if_asked(&self) {
        if !self.should_park() || self.should_stop() {
            return;
        }
        self.0.set(PARKED);
        self.0.answered.wake_all();
        let shared = &self.0;
        shared
            .asked
            .wait_until(|| (!shared.has(PARK) || shared.has(STOP)).then_some(()))
            .await;
        shared.clear(PARKED);
    }

    /// Waits until it is asked to stop.
    pub async fn stop_asked(&self) {
        self.0
            .asked
            .wait_until(|| self.should_stop().then_some(()))
            .await;
    }

    /// Waits for `future`, but gives up, and gives `None`, when the thread is asked to stop or to park.
    ///
    /// # Cancel safety
    /// That of `future`.
    pub async fn unless_asked<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut asked = pin!(
            self.0
                .asked
                .wait_until(|| self.0.has(STOP | PARK).then_some(()))
        );
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            asked.as_mut().poll(cx).map(|()| None)
        })
        .await
    }
}

impl Drop for Me {
    fn drop(&mut self) {
        self.0.set(ENDED);
        self.0.answered.wake_all();
    }
}

/// A kernel thread as its owner sees it. Dropping it asks the thread to stop, and does not wait.
#[must_use = "a kernel thread stops when its owner goes"]
pub struct KernelThread<T> {
    shared: Arc<Shared>,
    handle: Option<JoinHandle<T>>,
}

/// Starts a kernel thread on this CPU.
///
/// # Panics
/// As [`spawn`](crate::spawn).
#[track_caller]
pub fn run<M, F>(name: &'static str, body: M) -> KernelThread<F::Output>
where
    M: FnOnce(Me) -> F,
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let thread = try_run(Spawner::new(name), body);
    thread.expect("a task of fixed size is spawned by a running executor")
}

/// Starts a kernel thread as `spawner` says.
///
/// # Errors
/// As [`Spawner::try_spawn`].
pub fn try_run<M, F>(spawner: Spawner, body: M) -> Result<KernelThread<F::Output>, SpawnError<F>>
where
    M: FnOnce(Me) -> F,
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let word = AtomicU32::new(0);
    let shared = Arc::new(Shared {
        word,
        asked: WaitQueue::new(),
        answered: WaitQueue::new(),
    });
    let handle = spawner.try_spawn(body(Me(Arc::clone(&shared))))?;
    Ok(KernelThread {
        shared,
        handle: Some(handle),
    })
}

impl<T> KernelThread<T> {
    /// Asks the thread to stop, waits until it has, and gives its result.
    ///
    /// # Panics
    /// If the thread's task was aborted.
    pub async fn stop(mut self) -> T {
        self.ask(STOP);
        let handle = self.handle.take().expect("it is taken here only");
        handle.await.expect("a kernel thread stops by itself")
    }

    /// Asks the thread to park, and waits until it has, or has ended.
    pub async fn park(&self) {
        self.ask(PARK);
        self.shared
            .answered
            .wait_until(|| self.shared.has(PARKED | ENDED).then_some(()))
            .await;
    }

    /// Lets the thread go on.
    pub fn unpark(&self) {
        self.shared.clear(PARK);
        self.shared.asked.wake_all();
    }

    /// Whether the thread has ended.
    pub fn is_finished(&self) -> bool {
        self.handle.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// The thread's task.
    pub fn task(&self) -> Option<&crate::TaskRef> {
        self.handle.as_ref().map(JoinHandle::task)
    }

    fn ask(&self, what: u32) {
        self.shared.set(what);
        self.shared.asked.wake_all();
    }
}

impl<T> Drop for KernelThread<T> {
    fn drop(&mut self) {
        self.ask(STOP);
    }
}

impl<T> fmt::Debug for KernelThread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelThread")
            .field("handle", &self.handle)
            .finish()
    }
}

impl fmt::Debug for Me {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Me")
            .field("should_stop", &self.should_stop())
            .finish()
    }
}
