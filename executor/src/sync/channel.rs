//! A bounded channel: many senders, many receivers, allocated once.
//!
//! Everything that somebody waits for changes under the ring's lock, or is followed by taking it: so whoever waits, and looks
//! under that lock after joining a queue, is seen there or sees the change, and no other fence is needed.

use alloc::{collections::VecDeque, sync::Arc};
use core::{fmt, sync::atomic::Ordering};

use super::{spin::SpinLockIrq, wait_queue::WaitQueue};
use crate::facade::AtomicUsize;

struct Shared<T> {
    ring: SpinLockIrq<VecDeque<T>>,
    capacity: usize,
    senders: AtomicUsize,
    receivers: AtomicUsize,
    not_full: WaitQueue,
    not_empty: WaitQueue,
}

/// The value could not be sent, and comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError<T> {
    /// The channel is full.
    Full(T),
    /// No receiver is left.
    Closed(T),
}

/// Nothing was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvError {
    /// The channel is empty.
    Empty,
    /// The channel is empty and no sender is left.
    Closed,
}

/// Makes a channel that holds up to `capacity` values.
///
/// # Panics
/// If the capacity is zero.
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a channel holds something");
    let shared = Arc::new(Shared {
        ring: SpinLockIrq::new(VecDeque::with_capacity(capacity)),
        capacity,
        senders: AtomicUsize::new(1),
        receivers: AtomicUsize::new(1),
        not_full: WaitQueue::new(),
        not_empty: WaitQueue::new(),
    });
    (
        Sender {
            shared: shared.clone(),
        },
        Receiver { shared },
    )
}

/// The sending end.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// The receiving end.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Sends if there is room.
    ///
    /// # Context
    /// Any; it never allocates.
    /// # Errors
    /// The value comes back if the channel is full or no receiver is left.
    pub fn try_send(&self, value: T) -> Result<(), SendError<T>> {
        let shared = &*self.shared;
        let mut ring = shared.ring.lock();
        if shared.receivers.load(Ordering::Acquire) == 0 {
            return Err(SendError::Closed(value));
        }
        if ring.len() == shared.capacity {
            return Err(SendError::Full(value));
        }
        ring.push_back(value);
        drop(ring);
        shared.not_empty.wake_one_locked();
        Ok(())
    }

    /// Sends, waiting for room.
    ///
    /// # Errors
    /// The value comes back if no receiver is left.
    /// # Cancel safety
    /// Dropping the future drops the value, unsent.
    pub async fn send(&self, value: T) -> Result<(), SendError<T>> {
        let mut value = Some(value);
        let attempt = || match self.try_send(value.take()?) {
            Err(SendError::Full(back)) => {
                value = Some(back);
                None
            }
            done => Some(done),
        };
        self.shared.not_full.wait_until_locked(attempt).await
    }
}

impl<T> Receiver<T> {
    /// Receives if there is something.
    ///
    /// # Context
    /// Any.
    /// # Errors
    /// [`RecvError`] says why there is nothing.
    pub fn try_recv(&self) -> Result<T, RecvError> {
        let shared = &*self.shared;
        let mut ring = shared.ring.lock();
        match ring.pop_front() {
            Some(value) => {
                drop(ring);
                shared.not_full.wake_one_locked();
                Ok(value)
            }
            // Nobody sends meanwhile.
            None if shared.senders.load(Ordering::Acquire) == 0 => Err(RecvError::Closed),
            None => Err(RecvError::Empty),
        }
    }

    /// Receives, waiting for something; `None` when the channel is empty and no sender is left.
    ///
    /// # Cancel safety
    /// Nothing is received until the future is ready.
    pub async fn recv(&self) -> Option<T> {
        let attempt = || match self.try_recv() {
            Ok(value) => Some(Some(value)),
            Err(RecvError::Closed) => Some(None),
            Err(RecvError::Empty) => None,
        };
        self.shared.not_empty.wait_until_locked(attempt).await
    }

    /// How many values wait, at this moment.
    pub fn len(&self) -> usize {
        self.shared.ring.with(|ring| ring.len())
    }

    /// Whether no value waits, at this moment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.ring.with(|_| ());
            self.shared.not_empty.wake_all();
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.receivers.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if self.shared.receivers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.ring.with(|_| ());
            self.shared.not_full.wake_all();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("len", &self.len())
            .finish()
    }
}
