//! Giving the CPU up.

use core::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{policy::EnqueueKind, raw};

/// Lets other runnable tasks run first.
pub const fn yield_now() -> Requeue {
    Requeue(Some(EnqueueKind::Yield))
}

/// Comes back to the policy because it wants another task to run; the policy treats this one as preempted, not as one
/// that gave up its turn.
pub const fn preempted() -> Requeue {
    Requeue(Some(EnqueueKind::Preempted))
}

/// Leaves the CPU, runnable, once; made by [`yield_now`] and [`preempted`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Requeue(Option<EnqueueKind>);

impl Future for Requeue {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.0.take() {
            Some(kind) => {
                raw::requeue(cx.waker(), kind);
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }
}
