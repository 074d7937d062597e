//! Structured tasks: what a scope spawns ends with the scope.
//!
//! Ending a scope asks its children to stop, waits until the last one's future is gone, and only then goes on. A child
//! is asked at its next poll, by which it is woken at once: its own loop drops its future, at the await where it stands.
//! Dropping a scope asks the same and does not wait; its children then count as the parent scope's, which waits.

use alloc::sync::Arc;
use core::{
    future::Future,
    pin::Pin,
    sync::atomic::Ordering,
    task::{Context, Poll, ready},
};

use crate::{
    facade::{AtomicBool, AtomicUsize},
    join::{Aborted, JoinHandle},
    raw::TaskRef,
    spawn::{SpawnError, Spawner},
    sync::{WaitQueue, Waiter},
};

/// A set of tasks that end together.
#[derive(Debug)]
pub struct Scope {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    cancelled: AtomicBool,
    /// Children whose futures are not gone, and inner scopes that have such.
    live: AtomicUsize,
    /// Woken when `live` gets to zero.
    empty: WaitQueue,
    /// Woken when some scope of the tree is cancelled: shared by all of them.
    cancel: Arc<WaitQueue>,
    parent: Option<Member>,
}

impl Inner {
    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
            || self.parent.as_ref().is_some_and(|p| p.0.is_cancelled())
    }

    fn leave(&self) {
        if self.live.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.empty.wake_all();
        }
    }
}

/// Counts as live in a scope until it is dropped.
#[derive(Debug)]
struct Member(Arc<Inner>);

impl Member {
    fn new(inner: &Arc<Inner>) -> Self {
        inner.live.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(inner))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Scope {
    /// A scope of its own.
    pub fn new() -> Self {
        Self::build(Arc::new(WaitQueue::new()), None)
    }

    /// A scope within this one: cancelled with it, and waited for by it.
    pub fn child(&self) -> Self {
        Self::build(
            Arc::clone(&self.inner.cancel),
            Some(Member::new(&self.inner)),
        )
    }

    fn build(cancel: Arc<WaitQueue>, parent: Option<Member>) -> Self {
        let inner = Inner {
            cancelled: AtomicBool::new(false),
            live: AtomicUsize::new(0),
            empty: WaitQueue::new(),
            cancel,
            parent,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Spawns a child on this CPU.
    ///
    /// # Panics
    /// As [`spawn`](crate::spawn).
    #[track_caller]
    pub fn spawn<F>(&self, name: &'static str, future: F) -> ScopedHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let spawned = self.try_spawn(Spawner::new(name), future);
        spawned.expect("a task of fixed size is spawned by a running executor")
    }

    /// Spawns a child as `spawner` says.
    ///
    /// # Errors
    /// As [`Spawner::try_spawn`]; the future comes back.
    pub fn try_spawn<F>(
        &self,
        spawner: Spawner,
        future: F,
    ) -> Result<ScopedHandle<F::Output>, SpawnError<F>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let child = Child {
            future: Some(future),
            asked: Waiter::new(),
            member: Member::new(&self.inner),
        };
        match spawner.try_spawn(child) {
            Ok(handle) => Ok(ScopedHandle(handle)),
            Err(SpawnError { mut future, kind }) => {
                let future = future.future.take().expect("the future was not polled");
                Err(SpawnError { future, kind })
            }
        }
    }

    /// Asks all children to stop, those of inner scopes as well; new ones stop at once.
    ///
    /// # Context
    /// Any.
    pub fn cancel(&self) {
        self.inner.cancelled.store(true, Ordering::Release);
        self.inner.cancel.wake_all();
    }

    /// Whether this scope, or one around it, was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.inner.is_cancelled()
    }

    /// Counts a child as gone whose poll was abandoned, and whose future therefore never is.
    ///
    /// # Context
    /// Any. Once for each such child.
    pub fn bury(&self) {
        self.inner.leave();
    }

    /// How many children and inner scopes are not gone yet.
    pub fn live(&self) -> usize {
        self.inner.live.load(Ordering::Acquire)
    }

    /// Waits until all children have gone of their own.
    pub async fn join(&self) {
        self.inner
            .empty
            .wait_until(|| (self.live() == 0).then_some(()))
            .await;
    }

    /// Asks all children to stop and waits until their futures are gone.
    ///
    /// # Cancel safety
    /// Dropping this future drops the scope: the children stop, and the parent scope waits for them.
    pub async fn end(self) {
        self.cancel();
        self.join().await;
    }
}

impl Default for Scope {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        if self.live() > 0 {
            self.cancel();
        }
    }
}

/// A child's future. Fields are dropped in order: the scope counts it until its future is gone.
struct Child<F> {
    future: Option<F>,
    asked: Waiter,
    member: Member,
}

impl<F: Future> Future for Child<F> {
    type Output = Result<F::Output, Aborted>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (future, mut asked, scope) = self.as_mut().project();
        if !asked.is_enqueued() {
            asked.as_mut().enqueue(&scope.cancel, cx.waker(), false);
        }
        // After the waiter is in place: who cancels sets the mark before it wakes.
        if scope.is_cancelled() {
            self.project().0.set(None);
            return Poll::Ready(Err(Aborted));
        }
        let future = future.as_pin_mut().expect("a finished child is not polled");
        future.poll(cx).map(Ok)
    }
}

mod pin {
    #![allow(unsafe_code, reason = "pin projection of a child's fields")]

    use super::*;

    impl<F> Child<F> {
        /// The pinned fields, and the scope.
        pub(super) fn project(
            self: Pin<&mut Self>,
        ) -> (Pin<&mut Option<F>>, Pin<&mut Waiter>, &Inner) {
            // SAFETY: future and waiter are pinned with the whole, moved only before the first poll, and the struct has
            // no `Drop` of its own.
            unsafe {
                let this = self.get_unchecked_mut();
                (
                    Pin::new_unchecked(&mut this.future),
                    Pin::new_unchecked(&mut this.asked),
                    &this.member.0,
                )
            }
        }
    }
}

/// Waits for a child of a scope, and gives its output.
#[must_use = "dropping a handle leaves the child to its scope; say so with `detach`"]
#[derive(Debug)]
pub struct ScopedHandle<T>(JoinHandle<Result<T, Aborted>>);

impl<T> ScopedHandle<T> {
    /// The child's task.
    pub fn task(&self) -> &TaskRef {
        self.0.task()
    }

    /// Asks this child alone to stop.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Whether the child has ended.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Leaves the child to its scope.
    pub fn detach(self) {}
}

impl<T> Future for ScopedHandle<T> {
    type Output = Result<T, Aborted>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(cx)).flatten())
    }
}
