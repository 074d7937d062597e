//! The waiting part of system calls.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};

use executor::time::{Instant, Sleep, sleep_until};
use fs::poll::{PollTable, Waiters};
use fs::{Errno, PollEvents, Result};

use super::{
    Call, Stop, attempt, clone, epoll, exec, futex, ipc, lock, mq, poll, reap, signal, slow,
    socket, sysinfo, time,
};

/// Brings a call to its end that a plain attempt left with `stop`.
///
/// # Cancel safety
/// Polled by the thread's own future only, which is never dropped in the middle (rule 21).
pub async fn finish(call: &mut Call<'_>, stop: Stop) -> Result<u64> {
    match stop {
        Stop::Error(e) => Err(e),
        Stop::NotReady(..) => when_ready(call, stop).await,
        Stop::Wait => own(call).await,
        Stop::Yield => {
            executor::yield_now().await;
            Ok(0)
        }
    }
}

/// The calls that wait for something other than a file.
async fn own(call: &mut Call<'_>) -> Result<u64> {
    match call.number() {
        0 | 1 | 17..=20 | 295 | 296 | 327 | 328 => Box::pin(slow::transfer(call)).await,
        74 | 75 => Box::pin(slow::sync(call)).await,
        7 => poll::poll_wait(call).await,
        23 => poll::select_wait(call).await,
        35 => time::nanosleep_wait(call).await,
        34 | 130 => signal::suspend(call).await,
        42 | 44 | 46 | 307 => socket::wait(call).await,
        56 | 57 | 58 | 435 => clone::vfork_wait(call).await,
        59 | 322 => Box::pin(exec::wait(call)).await,
        61 => reap::wait4_wait(call).await,
        65 | 220 => Box::pin(ipc::sem_wait(call)).await,
        69 => Box::pin(ipc::msg_send_wait(call)).await,
        70 => Box::pin(ipc::msg_receive_wait(call)).await,
        72 | 73 => Box::pin(lock::wait(call)).await,
        103 => super::log::read_wait(call).await,
        128 => signal::timedwait(call).await,
        169 => Box::pin(sysinfo::reboot_wait(call)).await,
        202 => futex::wait(call).await,
        219 => time::restart(call).await,
        230 => time::clock_nanosleep_wait(call).await,
        232 => epoll::wait(call).await,
        242 => Box::pin(mq::send_wait(call)).await,
        243 => Box::pin(mq::receive_wait(call)).await,
        247 => reap::waitid_wait(call).await,
        270 => poll::pselect_wait(call).await,
        271 => poll::ppoll_wait(call).await,
        281 | 441 => epoll::pwait(call).await,
        449 => Box::pin(futex::waitv(call)).await,
        _ => Err(Errno::ENOSYS),
    }
}

/// Attempts the call again whenever the file it waits for may be ready.
///
/// Register first, then attempt: an event between the two wakes the thread.
async fn when_ready(call: &mut Call<'_>, stop: Stop) -> Result<u64> {
    let mut stop = stop;
    let mut waiters = pin!(Waiters::new());
    let deadline = call.deadline;
    let mut sleep = pin!(sleep_until(deadline.unwrap_or(Instant::MAX)));
    let mut registered = false;
    let started = Instant::now();
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        loop {
            let Stop::NotReady(file, events) = &stop else {
                unreachable!("only files are waited for here");
            };
            // A file says at once whether there is something to read: without, there is nothing to attempt.
            let mut nothing = false;
            if !registered {
                waiters.as_mut().clear();
                let mut table = PollTable::new(waiters.as_mut(), cx.waker(), *events);
                if call.opening.is_some() {
                    file.ops().open_complete(file, Some(&mut table));
                } else {
                    let ready = file.poll(Some(&mut table));
                    nothing = *events == PollEvents::IN && ready.is_empty();
                }
                if table.failed() {
                    return Poll::Ready(Err(Errno::ENOMEM));
                }
                registered = true;
            }
            if !nothing {
                match attempt(call) {
                Ok(value) => return Poll::Ready(Ok(value)),
                Err(Stop::Error(_)) if call.done > 0 => return Poll::Ready(Ok(call.done as u64)),
                Err(Stop::Error(e)) => return Poll::Ready(Err(e)),
                Err(Stop::Wait | Stop::Yield) => unreachable!("a call that waits for files has no other way to wait"),
                Err(again) => {
                    // A copy between two files waits for now the one, now the other.
                    let same = matches!((&again, &stop), (Stop::NotReady(a, x), Stop::NotReady(b, y))
                        if Arc::ptr_eq(a, b) && x == y);
                    stop = again;
                    if !same {
                        registered = false;
                        continue;
                    }
                }
                }
            }
            if let Stop::NotReady(file, PollEvents::IN) = &stop
                && let Some(deadline) = file.ops().read_deadline(file, started)
            {
                if timer.is_none() || call.deadline != Some(deadline) {
                    timer = Some(Box::pin(sleep_until(deadline)));
                    call.deadline = Some(deadline);
                }
                if let Some(timer) = &mut timer
                    && timer.as_mut().poll(cx).is_ready()
                {
                    // The next attempt takes what there is.
                    call.deadline = Some(Instant::ZERO);
                    continue;
                }
            }
            return match given_up(call, deadline, sleep.as_mut(), cx) {
                Some(result) => Poll::Ready(result),
                None => Poll::Pending,
            };
        }
    })
    .await
}

/// What a wait for a file comes to that ends before the file is ready: by a signal, or by `sleep` where there is a deadline.
pub(super) fn given_up(
    call: &Call<'_>,
    deadline: Option<Instant>,
    sleep: Pin<&mut Sleep>,
    cx: &mut Context<'_>,
) -> Option<Result<u64>> {
    let error = if call.thread.signal_pending() {
        match deadline {
            // Repeated, it would have its whole time again.
            Some(_) => Errno::EINTR,
            None => Errno::ERESTARTSYS,
        }
    } else if deadline.is_some() && sleep.poll(cx).is_ready() {
        Errno::EAGAIN
    } else {
        return None;
    };
    Some(match call.done {
        0 => Err(error),
        done => Ok(done as u64),
    })
}
