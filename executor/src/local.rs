//! Tasks whose futures are not `Send`: they stay on one CPU.
//!
//! Such a task begins as a function that may cross CPUs and makes, on the task's own CPU, a future that may not
//! ([`Spawner::try_spawn_local`]). From within it others are spawned beside it ([`spawn_local`]), which may share with it
//! what is not `Send`, an `Rc` say.
//!
//! What such tasks share is touched by one of them at a time, since none is left in the middle of a poll: they are polled with
//! preemption off. So their polls are to be short; and what waits for nothing of the kind is better an ordinary task.
#![allow(
    unsafe_code,
    reason = "a join handle is paired with its task's output type here"
)]

use core::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    cpu,
    join::{Aborted, JoinHandle},
    raw::{TaskRef, allocate},
    spawn::{SpawnError, Spawner, current},
};

impl Spawner {
    /// Allocates a task that stays on its CPU and queues it: there `make` is called, once, and gives the task's future, which
    /// need not be `Send`.
    ///
    /// ```
    /// # use executor::{Spawner, platform::host, spawn_local, yield_now};
    /// use std::{cell::Cell, rc::Rc};
    ///
    /// let counted = host::block_on(async {
    ///     let counts = Spawner::new("counts").try_spawn_local(|| async {
    ///         let count = Rc::new(Cell::new(0));
    ///         let other = Rc::clone(&count);
    ///         let beside = spawn_local("beside", async move {
    ///             other.set(other.get() + 1);
    ///             yield_now().await;
    ///             other.set(other.get() + 1);
    ///         });
    ///         beside.await.map(|()| count.get())
    ///     });
    ///     counts.unwrap().await.flatten()
    /// });
    /// assert_eq!(counted, Ok(2));
    /// ```
    ///
    /// # Context
    /// Task.
    /// # Errors
    /// `make` comes back if there is no memory, or no executor on that CPU.
    pub fn try_spawn_local<M, F>(self, make: M) -> Result<JoinHandle<F::Output>, SpawnError<M>>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        let spawned = self
            .pinned()
            .spawn_by(Local::Unmade(Some(make)), allocate::<Local<M, F>>);
        spawned.map_err(|SpawnError { future, kind }| match future {
            Local::Unmade(Some(make)) => SpawnError { future: make, kind },
            _ => unreachable!("the future was not polled"),
        })
    }
}

/// Spawns `future`, which need not be `Send`, as a task of this CPU, for ever.
///
/// # Context
/// A task that is not `Send` itself.
/// # Panics
/// Anywhere else: what other tasks hold may get to another CPU. And as [`spawn`](crate::spawn()).
#[track_caller]
pub fn spawn_local<F>(name: &'static str, future: F) -> LocalJoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let is_local = !cpu::in_interrupt() && current().is_some_and(|task| task.is_pinned());
    assert!(is_local, "spawned beside a task that may leave its CPU");
    let spawned = Spawner::new(name).pinned().spawn_by(future, allocate::<F>);
    LocalJoinHandle {
        handle: spawned.expect("a task of fixed size is spawned by a running executor"),
        _not_send: PhantomData,
    }
}

/// Waits for a task that [`spawn_local`] made, and gives its output, on the CPU of both.
///
/// ```compile_fail,E0277
/// # use executor::{spawn, spawn_local};
/// let handle = spawn_local("here", async {});
/// // It may bring something that is not `Send`, so it cannot cross CPUs itself.
/// spawn("elsewhere", async move { handle.await }).detach();
/// ```
///
/// Dropping it lets the task go on by itself.
#[must_use = "dropping a handle detaches the task; say so with `detach`"]
pub struct LocalJoinHandle<T> {
    handle: JoinHandle<T>,
    _not_send: PhantomData<*mut ()>,
}

impl<T> LocalJoinHandle<T> {
    /// The task.
    pub fn task(&self) -> &TaskRef {
        self.handle.task()
    }

    /// Asks for the task's future to be dropped.
    pub fn abort(&self) {
        self.handle.abort();
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Lets the task go on by itself.
    pub fn detach(self) {
        self.handle.detach();
    }
}

impl<T> Future for LocalJoinHandle<T> {
    type Output = Result<T, Aborted>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.handle).poll(cx)
    }
}

impl<T> fmt::Debug for LocalJoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}

/// A future made where it is polled.
enum Local<M, F> {
    Unmade(Option<M>),
    Made(F),
}

impl<M: FnOnce() -> F, F: Future> Future for Local<M, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: nothing is moved out but `make`, which is never pinned; a future that was made stays in its place.
        let this = unsafe { self.get_unchecked_mut() };
        if let Self::Unmade(make) = this {
            let make = make.take().expect("a panic ends the task");
            *this = Self::Made(make());
        }
        match this {
            // SAFETY: pinned with the whole, and not moved since it was written here.
            Self::Made(future) => unsafe { Pin::new_unchecked(future) }.poll(cx),
            Self::Unmade(_) => unreachable!("it was made just now"),
        }
    }
}
