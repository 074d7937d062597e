//! Waits that end early: the interruptible and killable forms of every wait in this crate.

use core::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// Waits for `future`, but gives up with an error when `cut` gives one: asked at each poll that leaves the future waiting.
///
/// It is the interruptible or killable form of whatever the future waits for, as Linux's `mutex_lock_interruptible` is of
/// `mutex_lock`: `cut` looks whether a signal is pending, and whoever makes one pending wakes the task. What has come is
/// given even if a signal came as well. Wrap leaf waits, not whole operations (rule 21).
///
/// ```
/// use executor::sync::{Semaphore, unless};
/// use std::sync::atomic::{AtomicBool, Ordering};
///
/// /// Stands for `EINTR`.
/// #[derive(Debug, PartialEq)]
/// struct Interrupted;
///
/// let signal = AtomicBool::new(true);
/// let down = Semaphore::new(1);
/// let interrupted = || signal.load(Ordering::Relaxed).then_some(Interrupted);
/// executor::platform::host::block_on(async {
///     let first = unless(down.acquire(1), interrupted).await;
///     assert!(first.is_ok(), "it was free");
///     assert_eq!(unless(down.acquire(1), interrupted).await.err(), Some(Interrupted));
/// });
/// ```
///
/// # Cancel safety
/// That of `future`, which is dropped with this one, and so hands on what it was granted.
pub fn unless<F: Future, E, C: FnMut() -> Option<E>>(future: F, cut: C) -> Unless<F, C> {
    Unless { future, cut }
}

/// A wait that may end early; made by [`unless`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Unless<F, C> {
    future: F,
    cut: C,
}

impl<F: Future, E, C: FnMut() -> Option<E>> Future for Unless<F, C> {
    type Output = Result<F::Output, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `future` is pinned with the whole; `cut` is never pinned.
        let (future, cut) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.future), &mut this.cut)
        };
        if let Poll::Ready(output) = future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        match cut() {
            Some(error) => Poll::Ready(Err(error)),
            None => Poll::Pending,
        }
    }
}
