//! Futures that wait for a moment.

use core::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::{
    Instant,
    queue::{Action, TimerNode},
};

/// Waits until a moment; made by [`sleep_until`].
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    deadline: Instant,
    node: TimerNode,
}

impl Sleep {
    /// When it ends.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Waits for another moment instead.
    pub fn reset(self: Pin<&mut Self>, deadline: Instant) {
        self.node.cancel();
        // SAFETY: the node stays where it is.
        unsafe { self.get_unchecked_mut() }.deadline = deadline;
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.node.fired(cx.waker()) {
            Some(true) => Poll::Ready(()),
            Some(false) => Poll::Pending,
            None if self.deadline <= Instant::now() => Poll::Ready(()),
            None => {
                let action = Action::Wake(cx.waker().clone());
                // SAFETY: pinned with this future, whose drop cancels.
                unsafe { self.node.arm(self.deadline, Some(action)) };
                Poll::Pending
            }
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.node.cancel();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline", &self.deadline)
            .finish()
    }
}

/// Waits until `deadline`; [`Instant::MAX`] is never.
///
/// # Cancel safety
/// Dropping it disarms the timer.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep {
        deadline,
        node: TimerNode::new(),
    }
}

/// Waits for `duration` from now.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now() + duration)
}

/// The time was up first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time was up first")
    }
}

impl core::error::Error for Elapsed {}

/// A future with a deadline; made by [`timeout`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Timeout<F> {
    future: F,
    sleep: Sleep,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: both fields are pinned with the whole and moved nowhere.
        let (future, sleep) = unsafe {
            let this = self.get_unchecked_mut();
            (
                Pin::new_unchecked(&mut this.future),
                Pin::new_unchecked(&mut this.sleep),
            )
        };
        if let Poll::Ready(output) = future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        ready!(sleep.poll(cx));
        Poll::Ready(Err(Elapsed))
    }
}

/// Waits for `future`, for `duration` at most. The future comes first: it is asked even when no time is left.
///
/// # Cancel safety
/// That of `future`, which is dropped when the time is up.
pub fn timeout<F: Future>(duration: Duration, future: F) -> Timeout<F> {
    timeout_at(Instant::now() + duration, future)
}

/// Waits for `future`, until `deadline` at most.
///
/// # Cancel safety
/// As [`timeout`].
pub fn timeout_at<F: Future>(deadline: Instant, future: F) -> Timeout<F> {
    Timeout {
        future,
        sleep: sleep_until(deadline),
    }
}

/// A moment that comes again and again.
#[derive(Debug)]
pub struct Interval {
    next: Instant,
    period: Duration,
}

impl Interval {
    /// Ticks every `period`, first at once.
    pub fn new(period: Duration) -> Self {
        Self::starting_at(Instant::now(), period)
    }

    /// Ticks every `period`, first at `start`.
    ///
    /// # Panics
    /// If the period is zero.
    pub fn starting_at(start: Instant, period: Duration) -> Self {
        assert!(!period.is_zero(), "an interval has a period");
        Self {
            next: start,
            period,
        }
    }

    /// Waits for the next tick, and gives when it was due. Ticks that are late are not left out: they come at once.
    ///
    /// # Cancel safety
    /// A tick that was not given is given next time.
    pub async fn tick(&mut self) -> Instant {
        let due = self.next;
        sleep_until(due).await;
        self.next = due + self.period;
        due
    }
}
