//! From a plain futex, such as a condition variable's, to a lock with priority inheritance.

use alloc::sync::Arc;

use fs::Errno;

use super::lock::{Named, Step, Taken, enqueue, retry, take, wait_in_queue};
use super::thread::graph;
use crate::futex::bucket::{self, Key, Pick};
use crate::futex::wait::{Wait, until};
use crate::process::Thread;

/// `FUTEX_WAIT_REQUEUE_PI`: waits as [`wait`](crate::futex::wait) does, until it was moved to the lock whose word is at `addr`
/// and owns that.
///
/// # Errors
/// `EAGAIN` if the word has another value, or a signal came in the queue of the lock; `EINVAL` if both are one;
/// `ETIMEDOUT`, `EFAULT`; `ERESTARTNOINTR` if a signal came before it was moved.
/// # Cancel safety
/// As that of [`wait`](crate::futex::wait).
pub async fn wait_requeue(
    thread: &Arc<Thread>,
    wait: Wait,
    lock: Key,
    addr: u64,
) -> Result<(), Errno> {
    let queued = wait.enqueue(thread, Some(lock))?;
    let ready = || thread.futex.is_woken() && !thread.pi.sleeps();
    let outcome = until(thread, wait.deadline, ready).await;
    if queued.leave() {
        return Err(match outcome {
            Ok(()) => Errno::EAGAIN,
            Err(Errno::ERESTARTSYS) => Errno::ERESTARTNOINTR,
            Err(e) => e,
        });
    }
    match wait_in_queue(thread, addr, wait.deadline).await {
        // The call cannot be made again: the word has changed by now.
        Err(Errno::ERESTARTSYS) => Err(Errno::EAGAIN),
        outcome => outcome,
    }
}

/// What is to be moved, and whereto.
#[derive(Clone, Copy, Debug)]
pub struct Requeue {
    /// Where they wait.
    pub from: Key,
    /// The lock.
    pub to: Key,
    /// Its word.
    pub addr: u64,
    /// How many, besides the one that gets the lock at once.
    pub limit: usize,
}

/// `FUTEX_CMP_REQUEUE_PI`: gives the first who waits the lock if it is free, and puts the others into its queue. `check` is
/// asked first, with both buckets locked. Gives how many have been woken or moved.
///
/// # Errors
/// What `check` says; `EINVAL` if they did not ask to be moved there; what taking the lock may give.
pub fn requeue(
    thread: &Thread,
    what: Requeue,
    check: impl Fn() -> Result<(), Errno>,
) -> Result<usize, Errno> {
    retry(thread, what.addr, || {
        let named = Named::read(what.addr)?;
        attempt(&what, &named, &check)
    })
}

fn attempt(
    what: &Requeue,
    named: &Named,
    check: &impl Fn() -> Result<(), Errno>,
) -> Result<Step<usize>, Errno> {
    let Requeue { from, to, addr, .. } = *what;
    bucket::with_two(from, to, |source, target| {
        check()?;
        let Some((link, waiter)) = source.first(from) else {
            return Ok(Step::Done(0));
        };
        if waiter.lock != Some(to) {
            return Err(Errno::EINVAL);
        }
        let first = link.thread();
        let mut graph = graph();
        // All that wait there could come; their number is known only once they are looked at.
        let mut waiting = 0;
        source.take(
            usize::MAX,
            |_, waiter| {
                waiting += usize::from(waiter.key == from);
                Pick::Leave
            },
            |_, _| {},
        );
        if graph.need(waiting).is_some() {
            return Ok(Step::NoRoom(waiting));
        }
        let queue = target.as_deref().unwrap_or(source);
        let marked = what.limit > 0;
        let mut done = 0;
        let lock = match take(queue, &mut graph, first, (to, addr), named, marked)? {
            Step::Done(Taken::Owned) => {
                source.take(
                    1,
                    |other, _| pick(other.thread(), first),
                    |link, _| link.thread().wake(),
                );
                done = 1;
                graph.open(to, to.hash(), first)
            }
            Step::Done(Taken::Others(lock)) => lock,
            Step::Fault => return Ok(Step::Fault),
            Step::Again => return Ok(Step::Again),
            Step::NoRoom(waiters) => return Ok(Step::NoRoom(waiters)),
        };
        let mut outcome = Ok(());
        // One is not counted among those that are moved, as if it had been woken.
        done += source.take(
            what.limit + 1 - done,
            |other, waiter| {
                if waiter.key != from {
                    return Pick::Leave;
                }
                outcome = match waiter.lock == Some(to) {
                    true => enqueue(&mut graph, other.thread(), lock),
                    false => Err(Errno::EINVAL),
                };
                if outcome.is_ok() {
                    Pick::Take
                } else {
                    Pick::Stop
                }
            },
            |link, _| {
                if !link.thread().pi.sleeps() {
                    link.thread().wake();
                }
            },
        );
        graph.close_unused(lock);
        outcome.map(|()| Step::Done(done))
    })
}

fn pick(other: &Arc<Thread>, wanted: &Arc<Thread>) -> Pick {
    match Arc::ptr_eq(other, wanted) {
        true => Pick::Take,
        false => Pick::Leave,
    }
}
