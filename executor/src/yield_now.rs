//! Giving the CPU up.

use core::{future::poll_fn, task::Poll};

use crate::{
    policy::EnqueueKind,
    raw::{TaskRef, mark_requeue},
};

/// Lets other runnable tasks run first.
pub async fn yield_now() {
    requeue(EnqueueKind::Yield).await;
}

/// Comes back to the policy because it wants another task to run; the policy treats this one as preempted, not as one
/// that gave up its turn.
pub async fn preempted() {
    requeue(EnqueueKind::Preempted).await;
}

async fn requeue(kind: EnqueueKind) {
    let mut yielded = false;
    poll_fn(|cx| {
        if core::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        if let Some(task) = TaskRef::of_waker(cx.waker()) {
            mark_requeue(&task, kind);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
