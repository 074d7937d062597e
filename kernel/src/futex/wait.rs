//! Waiting for a futex.

use alloc::sync::Arc;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

use executor::time::{Instant, sleep_until};
use fs::Errno;

use super::bucket::{self, Key};
use crate::arch::uaccess;
use crate::process::Thread;

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// Address of the word.
    pub addr: u64,
    /// Its value, as the caller saw it.
    pub value: u32,
    /// Whether only threads of this address space wake it.
    pub private: bool,
    /// Bits that it is woken by.
    pub bitset: u32,
    /// When the waiting ends.
    pub deadline: Option<Instant>,
}

/// Takes the thread out of its queue, also when the future is dropped.
struct Queued<'a>(&'a Arc<Thread>);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        bucket::cancel(self.0);
    }
}

/// Waits until the futex is woken.
///
/// # Errors
/// `EAGAIN` if the word has another value; `EFAULT`; `EINVAL`; `ETIMEDOUT`; `ERESTARTSYS` if a signal came first.
/// # Cancel safety
/// Dropping it takes the thread out of the queue. A wake-up that was for it is then lost, so only an ending thread is
/// dropped in the middle, whose robust list wakes others.
pub async fn wait(thread: &Arc<Thread>, wait: Wait) -> Result<(), Errno> {
    let space = thread.mm().ok_or(Errno::EFAULT)?;
    let key = Key::new(&space, wait.addr, wait.private)?;
    drop(space);
    loop {
        let mut queue = bucket::lock(key);
        match uaccess::load_u32(wait.addr) {
            Some(value) if value != wait.value => return Err(Errno::EAGAIN),
            Some(_) => {
                queue.push(thread, key, wait.bitset);
                break;
            }
            None => drop(queue),
        }
        crate::usermem::read::<u32>(wait.addr)?;
    }
    let _queued = Queued(thread);
    let woken = thread.interruptible(poll_fn(|_| {
        if thread.futex.is_woken() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }));
    let outcome = match wait.deadline {
        None => woken.await,
        Some(deadline) => {
            let mut woken = pin!(woken);
            let mut timer = pin!(sleep_until(deadline));
            poll_fn(|cx| {
                if let Poll::Ready(outcome) = woken.as_mut().poll(cx) {
                    return Poll::Ready(outcome);
                }
                timer.as_mut().poll(cx).map(|()| Err(Errno::ETIMEDOUT))
            })
            .await
        }
    };
    // Whoever took it out of the queue meant to wake it, whatever else came at the same time.
    if bucket::cancel(thread) {
        outcome
    } else {
        Ok(())
    }
}
