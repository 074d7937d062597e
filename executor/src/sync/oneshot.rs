//! A channel for one value.

use alloc::sync::Arc;
use core::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use super::spin::SpinLockIrq;

enum Slot<T> {
    Waiting(Option<Waker>),
    Sent(T),
    Closed,
}

/// Makes a channel for one value.
pub fn oneshot<T>() -> (OneshotSender<T>, OneshotReceiver<T>) {
    let slot = Arc::new(SpinLockIrq::new(Slot::Waiting(None)));
    (
        OneshotSender {
            slot: Some(slot.clone()),
        },
        OneshotReceiver { slot },
    )
}

/// Sends one value; dropped unused, it lets the receiver know.
pub struct OneshotSender<T> {
    slot: Option<Arc<SpinLockIrq<Slot<T>>>>,
}

/// Waits for one value: `None` if the sender was dropped without sending.
#[must_use = "futures do nothing unless polled"]
pub struct OneshotReceiver<T> {
    slot: Arc<SpinLockIrq<Slot<T>>>,
}

fn settle<T>(slot: &SpinLockIrq<Slot<T>>, value: Slot<T>) -> Result<(), Slot<T>> {
    let waker = {
        let mut slot = slot.lock();
        match &mut *slot {
            Slot::Waiting(waker) => {
                let waker = waker.take();
                *slot = value;
                waker
            }
            Slot::Sent(_) | Slot::Closed => return Err(value),
        }
    };
    if let Some(waker) = waker {
        waker.wake();
    }
    Ok(())
}

impl<T> OneshotSender<T> {
    /// Sends the value.
    ///
    /// # Errors
    /// The value comes back if the receiver is gone.
    pub fn send(mut self, value: T) -> Result<(), T> {
        let slot = self
            .slot
            .take()
            .expect("a sender has its slot until it has sent");
        match settle(&slot, Slot::Sent(value)) {
            Err(Slot::Sent(value)) => Err(value),
            _ => Ok(()),
        }
    }
}

impl<T> Drop for OneshotSender<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            // A receiver that is gone need not know.
            let _ = settle(&slot, Slot::Closed);
        }
    }
}

impl<T> Future for OneshotReceiver<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let waker = cx.waker().clone();
        let mut slot = self.slot.lock();
        match mem::replace(&mut *slot, Slot::Closed) {
            Slot::Sent(value) => Poll::Ready(Some(value)),
            Slot::Closed => Poll::Ready(None),
            Slot::Waiting(old) => {
                *slot = Slot::Waiting(Some(waker));
                drop(slot);
                drop(old);
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for OneshotReceiver<T> {
    fn drop(&mut self) {
        let old = mem::replace(&mut *self.slot.lock(), Slot::Closed);
        drop(old);
    }
}

impl<T> fmt::Debug for OneshotSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneshotSender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for OneshotReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneshotReceiver").finish_non_exhaustive()
    }
}
