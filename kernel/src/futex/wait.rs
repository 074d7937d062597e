//! Waiting for a futex.

use alloc::sync::Arc;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

use executor::time::{Instant, sleep_until};
use fs::Errno;

use super::bucket::{self, Key, Link};
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

impl Wait {
    /// The futex in question.
    ///
    /// # Errors
    /// `EINVAL` if the word is not aligned.
    pub(super) fn key(&self, thread: &Thread) -> Result<Key, Errno> {
        let space = thread.mm().ok_or(Errno::EFAULT)?;
        Key::new(&space, self.addr, self.private)
    }

    /// Puts `thread` into the queue of its futex. With `lock` it lets itself be moved to that one's queue.
    ///
    /// # Errors
    /// `EAGAIN` if the word has another value; `EFAULT`; `EINVAL`.
    pub(super) fn enqueue(&self, thread: &Arc<Thread>, lock: Option<Key>) -> Result<Queued, Errno> {
        let key = self.key(thread)?;
        if lock == Some(key) {
            return Err(Errno::EINVAL);
        }
        let link = Link::Thread(thread.clone());
        Queued::new(link, (key, self.addr), self.value, self.bitset, lock)
    }
}

/// A waiter in a queue: it is taken out, also when the future is dropped.
pub(super) struct Queued(Link);

impl Queued {
    /// Puts `link` into the queue of the futex `key`, whose word is at `addr`, if that has still the value `value`. With
    /// `lock` it lets itself be moved to that one's queue.
    ///
    /// # Errors
    /// `EAGAIN` if the word has another value; `EFAULT`.
    pub(super) fn new(
        link: Link,
        (key, addr): (Key, u64),
        value: u32,
        bitset: u32,
        lock: Option<Key>,
    ) -> Result<Self, Errno> {
        loop {
            let mut queue = bucket::lock(key);
            match uaccess::load_u32(addr) {
                Some(now) if now != value => return Err(Errno::EAGAIN),
                Some(_) => {
                    queue.push(&link, key, bitset, lock);
                    return Ok(Self(link));
                }
                None => drop(queue),
            }
            crate::usermem::read::<u32>(addr)?;
        }
    }

    /// Whether somebody has taken it out.
    pub(super) fn is_woken(&self) -> bool {
        self.0.node().is_woken()
    }

    /// Takes it out. False if somebody did so before: it was meant to be woken.
    pub(super) fn leave(&self) -> bool {
        bucket::cancel(&self.0)
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Lets `thread` sleep until `ready`, whoever makes it so wakes the thread.
///
/// # Errors
/// `ETIMEDOUT` once `deadline` has passed; `ERESTARTSYS` if a signal came first.
pub(super) async fn until(
    thread: &Thread,
    deadline: Option<Instant>,
    ready: impl Fn() -> bool,
) -> Result<(), Errno> {
    let woken = thread.interruptible(poll_fn(|_| match ready() {
        true => Poll::Ready(()),
        false => Poll::Pending,
    }));
    let Some(deadline) = deadline else {
        return woken.await;
    };
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

/// Waits until the futex is woken.
///
/// # Errors
/// `EAGAIN` if the word has another value; `EFAULT`; `EINVAL`; `ETIMEDOUT`; `ERESTARTSYS` if a signal came first.
/// # Cancel safety
/// Dropping it takes the thread out of the queue. A wake-up that was for it is then lost, so only an ending thread is
/// dropped in the middle, whose robust list wakes others.
pub async fn wait(thread: &Arc<Thread>, wait: Wait) -> Result<(), Errno> {
    let queued = wait.enqueue(thread, None)?;
    let outcome = until(thread, wait.deadline, || thread.futex.is_woken()).await;
    // Whoever took it out of the queue meant to wake it, whatever else came at the same time.
    if queued.leave() { outcome } else { Ok(()) }
}
