//! A thread's part in the graph, and the graph itself.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering, fence};

use executor::sync::{SpinLock, SpinLockGuard};
use fs::Errno;
use sched::{Boost, Policy};

use super::graph::{Graph, Member, USUAL, Urgency};
use crate::futex::Key;
use crate::process::Thread;

/// What a thread has of its own.
#[derive(Debug)]
pub struct State {
    place: AtomicU32,
    inherited: AtomicU8,
    /// It waits, and there is nothing for it to do yet. Written with the graph locked.
    sleeps: AtomicBool,
    /// It has given up its locks for good.
    ended: AtomicBool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            place: AtomicU32::new(0),
            inherited: AtomicU8::new(USUAL),
            sleeps: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }
}

impl State {
    /// What the thread inherits at this time, as the scheduler takes it.
    #[inline]
    pub fn boost(&self) -> Option<Boost> {
        match self.inherited.load(Ordering::Acquire) {
            USUAL => None,
            urgency => Boost::from_parts(
                Policy::Fifo {
                    priority: 99 - urgency,
                },
                0,
            ),
        }
    }

    /// Whether the thread waits for a lock that is not for it yet.
    pub(in crate::futex) fn sleeps(&self) -> bool {
        self.sleeps.load(Ordering::Acquire)
    }

    /// Says whether it is to go on waiting. The graph is locked.
    pub(super) fn set_sleeps(&self, sleeps: bool) {
        self.sleeps.store(sleeps, Ordering::Release);
    }

    /// Takes note of a change of the thread's own priority.
    pub fn reorder(&self) {
        // Who enters the graph later finds the new one.
        if self.place.load(Ordering::Relaxed) != 0 {
            GRAPH.lock().reorder(&self.place);
        }
    }

    /// Whether the thread could still hand over a lock that was just opened on its behalf; the graph is locked.
    pub(super) fn is_there(&self) -> bool {
        // Pairs with the fence in `exit`: one of the two sees what the other wrote.
        fence(Ordering::SeqCst);
        !self.ended.load(Ordering::Relaxed)
    }
}

/// A thread counts by its own attributes; one with a deadline as the most urgent there is.
impl Member for Arc<Thread> {
    fn place(&self) -> &AtomicU32 {
        &self.pi.place
    }

    fn urgency(&self) -> Urgency {
        let priority = self.sched_policy().kernel_priority();
        priority.clamp(0, i32::from(USUAL)) as Urgency
    }

    fn inherit(&self, urgency: Urgency) {
        self.pi.inherited.store(urgency, Ordering::Release);
        if let Some(task) = self.task() {
            task.notify_owner();
        }
    }
}

pub(super) type Locks = Graph<Arc<Thread>, Key>;

static GRAPH: SpinLock<Locks> = SpinLock::new(Graph::new());

/// Somebody has waited for such a lock since the machine was started.
static USED: AtomicBool = AtomicBool::new(false);

/// Whether the graph can be anything but empty.
pub(super) fn is_used() -> bool {
    USED.load(Ordering::Relaxed)
}

/// Locks the graph.
pub(super) fn graph() -> SpinLockGuard<'static, Locks> {
    GRAPH.lock()
}

/// Makes room for `waiters` more, which may be used up by others before the graph is locked again.
///
/// # Errors
/// `ENOMEM`.
pub(super) fn make_room(waiters: usize) -> Result<(), Errno> {
    let Some(need) = graph().need(waiters) else {
        return Ok(());
    };
    crate::mm::admit()?;
    let room = need.meet().ok_or(Errno::ENOMEM)?;
    USED.store(true, Ordering::Relaxed);
    let old = graph().grow(room);
    drop(old);
    Ok(())
}

/// Leaves the locks that `thread` holds to those who wait for them. `ends` if it will never hold another.
///
/// # Context
/// The thread's own poll; nothing held.
pub(in crate::futex) fn exit(thread: &Arc<Thread>, ends: bool) {
    if ends {
        thread.pi.ended.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }
    if thread.pi.place.load(Ordering::Relaxed) == 0 {
        return;
    }
    graph().abandon(thread, |heir| {
        heir.pi.set_sleeps(false);
        heir.wake();
    });
}
