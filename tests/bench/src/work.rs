//! What is the same for all: the load, without whatever carries it.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
    thread,
    time::{Duration, Instant},
};

/// Wakes itself `n` times.
pub async fn wake_itself(n: usize) -> Duration {
    let begun = Instant::now();
    for _ in 0..n {
        let mut woken = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut woken, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
    begun.elapsed()
}

/// Polls a future once, and drops it.
pub async fn touch(future: impl Future) {
    let mut future = pin!(future);
    poll_fn(|cx| {
        assert!(future.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

/// A task and a thread that wake each other.
#[derive(Default)]
pub struct Cross {
    waker: Mutex<Option<Waker>>,
    asked: AtomicUsize,
    answered: AtomicUsize,
}

impl Cross {
    /// The task's side: answers `n` times.
    pub async fn answer(self: Arc<Self>, n: usize) {
        for i in 1..=n {
            poll_fn(|cx| {
                if self.asked.load(Ordering::Acquire) >= i {
                    return Poll::Ready(());
                }
                let mut waker = self.waker.lock().unwrap();
                *waker = Some(cx.waker().clone());
                match self.asked.load(Ordering::Acquire) >= i {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            })
            .await;
            self.answered.store(i, Ordering::Release);
        }
    }

    /// The thread's side: asks `n` times, each time once the task waits, and says how long it was from the asking to the answer.
    pub fn ask(self: Arc<Self>, n: usize) -> thread::JoinHandle<Duration> {
        thread::spawn(move || {
            let mut total = Duration::ZERO;
            for i in 1..=n {
                let waker = loop {
                    if let Some(waker) = self.waker.lock().unwrap().take() {
                        break waker;
                    }
                    std::hint::spin_loop();
                };
                let begun = Instant::now();
                self.asked.store(i, Ordering::Release);
                waker.wake();
                while self.answered.load(Ordering::Acquire) < i {
                    std::hint::spin_loop();
                }
                total += begun.elapsed();
            }
            total
        })
    }
}
