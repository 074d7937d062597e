//! Waiting for whichever of several futexes is woken first.
//!
//! Source: Linux's `Documentation/userspace-api/futex2.rst`.

use alloc::sync::Arc;
use alloc::vec::Vec;

use executor::time::Instant;
use fs::Errno;

use super::bucket::{Item, Key, Link, Node};
use super::wait::{Queued, Wait, until};
use crate::process::Thread;

/// The queues that a thread stands in.
struct Queues(Vec<Queued>);

impl Queues {
    /// Leaves them all. Gives the last of those that it was woken in.
    fn leave(&self) -> Option<usize> {
        let mut woken = None;
        for (n, queued) in self.0.iter().enumerate() {
            if !queued.leave() {
                woken = Some(n);
            }
        }
        woken
    }
}

/// Waits until one of the futexes is woken, and gives its number; each has a value to compare with, and no time.
///
/// # Errors
/// `EAGAIN` if one of the words has another value; `EFAULT`; `EINVAL`; `ENOMEM`; `ETIMEDOUT`; `ERESTARTSYS` if a signal came
/// first.
/// # Cancel safety
/// As that of [`wait`](super::wait).
pub async fn wait_several(
    thread: &Arc<Thread>,
    waits: &[Wait],
    deadline: Option<Instant>,
) -> Result<usize, Errno> {
    let mut keys: Vec<Key> = Vec::new();
    let mut queues = Queues(Vec::new());
    keys.try_reserve_exact(waits.len())
        .map_err(|_| Errno::ENOMEM)?;
    queues
        .0
        .try_reserve_exact(waits.len())
        .map_err(|_| Errno::ENOMEM)?;
    // All of them first: a bad one is an error whatever the words say.
    for wait in waits {
        keys.push(wait.key(thread)?);
    }
    for (wait, key) in waits.iter().zip(keys) {
        let link = Link::Item(Arc::new(Item {
            thread: thread.clone(),
            node: Node::default(),
        }));
        match Queued::new(link, (key, wait.addr), wait.value, wait.bitset, None) {
            Ok(queued) => queues.0.push(queued),
            // One of the others may have been woken meanwhile, and told so.
            Err(e) => return queues.leave().ok_or(e),
        }
    }
    let woken = || queues.0.iter().any(Queued::is_woken);
    let outcome = until(thread, deadline, woken).await;
    match (queues.leave(), outcome) {
        (Some(n), _) => Ok(n),
        (None, Err(e)) => Err(e),
        (None, Ok(())) => unreachable!("who was woken has left a queue"),
    }
}
