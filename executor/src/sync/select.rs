//! The first of two.

use core::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// The output of the one that was first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The first future's.
    First(A),
    /// The second future's.
    Second(B),
}

/// Waits for two futures; made by [`select`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Select<A, B> {
    first: A,
    second: B,
}

/// Waits for `first` or `second`, whichever is ready first, and drops the other. `first` is asked first.
///
/// # Cancel safety
/// The one that loses is dropped: use it with futures that are safe to drop, and say which you rely on.
pub fn select<A: Future, B: Future>(first: A, second: B) -> Select<A, B> {
    Select { first, second }
}

impl<A: Future, B: Future> Future for Select<A, B> {
    type Output = Either<A::Output, B::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: both fields are pinned with the whole and moved nowhere.
        let (first, second) = unsafe {
            let this = self.get_unchecked_mut();
            (
                Pin::new_unchecked(&mut this.first),
                Pin::new_unchecked(&mut this.second),
            )
        };
        if let Poll::Ready(output) = first.poll(cx) {
            return Poll::Ready(Either::First(output));
        }
        second.poll(cx).map(Either::Second)
    }
}
