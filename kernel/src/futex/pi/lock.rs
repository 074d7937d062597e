//! Taking and releasing one.

use alloc::sync::Arc;

use executor::time::Instant;
use fs::Errno;

use super::graph::LockId;
use super::thread::{Locks, graph, is_used, make_room};
use crate::arch::uaccess;
use crate::futex::bucket::{self, Bucket, Key};
use crate::futex::robust::{OWNER_DIED, TID_MASK, WAITERS};
use crate::futex::wait::until;
use crate::process::{Thread, table};
use crate::usermem;

/// What came of an attempt with bucket and graph locked.
pub(super) enum Step<T> {
    /// It has come to its end.
    Done(T),
    /// The word is not there, or cannot be written yet.
    Fault,
    /// Something has changed under our eyes.
    Again,
    /// There is not enough room for so many to wait.
    NoRoom(usize),
}

/// How a thread stands to a lock after an attempt to take it.
pub(super) enum Taken {
    /// It has it.
    Owned,
    /// It is another's, who may have ended.
    Others(LockId),
}

/// Attempts `step` until it comes to an end, and does in between, with nothing locked, what it asks for.
///
/// # Errors
/// Those of `step`; `EFAULT` if the word at `addr` cannot be written; `ENOMEM`; `EINTR` if the thread is to end.
pub(super) fn retry<T>(
    thread: &Thread,
    addr: u64,
    mut step: impl FnMut() -> Result<Step<T>, Errno>,
) -> Result<T, Errno> {
    loop {
        match step()? {
            Step::Done(value) => return Ok(value),
            Step::Again => {}
            Step::NoRoom(waiters) => make_room(waiters)?,
            Step::Fault => {
                let space = thread.mm().ok_or(Errno::EFAULT)?;
                space.fault_in(addr, 4, true).map_err(|_| Errno::EFAULT)?;
            }
        }
        if thread.fatal_signal_pending() {
            return Err(Errno::EINTR);
        }
    }
}

/// Replaces `old` by `new` in the word at `addr`; the step that is to be taken if that fails.
pub(super) fn replace<T>(addr: u64, old: u32, new: u32) -> Option<Step<T>> {
    match uaccess::compare_exchange_u32(addr, old, new) {
        None => Some(Step::Fault),
        Some(found) if found != old => Some(Step::Again),
        Some(_) => None,
    }
}

/// The owner that the word names, as it was looked up with nothing locked.
pub(super) struct Named {
    tid: u32,
    owner: Option<Arc<Thread>>,
}

impl Named {
    /// Reads the word at `addr`, and looks its owner up.
    ///
    /// # Errors
    /// `EFAULT`.
    pub(super) fn read(addr: u64) -> Result<Self, Errno> {
        let tid = usermem::read::<u32>(addr)? & TID_MASK;
        let owner = match tid {
            0 => None,
            tid => table::lock().thread(tid as i32).cloned(),
        };
        Ok(Self { tid, owner })
    }
}

/// Takes the lock whose word is at `addr` on behalf of `thread`, or finds out whose it is. With `marked`, the word says
/// in any case that somebody waits. The bucket of `key` is locked.
///
/// # Errors
/// `EDEADLK` if it is the thread's own; `ESRCH` if the owner is not there; `EINVAL` if word and graph do not agree, or
/// somebody waits for it who does not know that it is a lock.
pub(super) fn take(
    bucket: &Bucket,
    graph: &mut Locks,
    thread: &Arc<Thread>,
    (key, addr): (Key, u64),
    named: &Named,
    marked: bool,
) -> Result<Step<Taken>, Errno> {
    let Some(value) = uaccess::load_u32(addr) else {
        return Ok(Step::Fault);
    };
    let (tid, died) = (value & TID_MASK, value & OWNER_DIED != 0);
    if tid != named.tid {
        return Ok(Step::Again);
    }
    if tid == thread.tid() as u32 {
        return Err(Errno::EDEADLK);
    }
    if bucket.has(key) {
        return Err(Errno::EINVAL);
    }
    if let Some(lock) = graph.find(key, key.hash()) {
        // Between an owner's end and the next one's taking over the word names nobody.
        let agrees = match graph.owner(lock) {
            None => died && tid == 0,
            Some(owner) => (died && tid == 0) || owner.tid() as u32 == tid,
        };
        return match agrees {
            true => Ok(Step::Done(Taken::Others(lock))),
            false => Err(Errno::EINVAL),
        };
    }
    if tid == 0 {
        let mark = if marked { WAITERS } else { 0 };
        let new = value & OWNER_DIED | thread.tid() as u32 | mark;
        return Ok(replace(addr, value, new).unwrap_or(Step::Done(Taken::Owned)));
    }
    if graph.need(1).is_some() {
        return Ok(Step::NoRoom(1));
    }
    if let Some(other) = replace(addr, value, value | WAITERS) {
        return Ok(other);
    }
    let owner = named.owner.as_ref().ok_or(Errno::ESRCH)?;
    let lock = graph.open(key, key.hash(), owner);
    if owner.pi.is_there() {
        return Ok(Step::Done(Taken::Others(lock)));
    }
    graph.close_unused(lock);
    // What an owner leaves behind in the word is written before it says that it has ended.
    match uaccess::load_u32(addr) {
        Some(now) if now == value | WAITERS => Err(Errno::ESRCH),
        _ => Ok(Step::Again),
    }
}

/// Puts `thread` into the queue of `lock`. There is room.
///
/// # Errors
/// `EDEADLK`.
pub(super) fn enqueue(graph: &mut Locks, thread: &Arc<Thread>, lock: LockId) -> Result<(), Errno> {
    graph.wait(thread, lock).map_err(|_| Errno::EDEADLK)?;
    // A lock whose owner has ended is for the first in the queue to take over.
    let sleeps = graph.owner(lock).is_some() || !graph.is_first(thread, lock);
    thread.pi.set_sleeps(sleeps);
    Ok(())
}

/// `FUTEX_TRYLOCK_PI`: takes the lock if nobody has it.
///
/// # Errors
/// Those of `take`, `EFAULT`, `ENOMEM`; `EAGAIN` if another has it.
pub fn try_lock(thread: &Arc<Thread>, key: Key, addr: u64) -> Result<(), Errno> {
    retry(thread, addr, || {
        let named = Named::read(addr)?;
        let bucket = bucket::lock(key);
        let mut graph = graph();
        Ok(
            match take(&bucket, &mut graph, thread, (key, addr), &named, false)? {
                Step::Done(Taken::Owned) => Step::Done(()),
                Step::Done(Taken::Others(lock)) => {
                    graph.close_unused(lock);
                    return Err(Errno::EAGAIN);
                }
                Step::Fault => Step::Fault,
                Step::Again => Step::Again,
                Step::NoRoom(waiters) => Step::NoRoom(waiters),
            },
        )
    })
}

/// Takes the lock, or stands in its queue. Whether it was taken.
fn lock_or_enqueue(thread: &Arc<Thread>, key: Key, addr: u64) -> Result<bool, Errno> {
    retry(thread, addr, || {
        let named = Named::read(addr)?;
        let bucket = bucket::lock(key);
        let mut graph = graph();
        if graph.need(1).is_some() {
            return Ok(Step::NoRoom(1));
        }
        Ok(
            match take(&bucket, &mut graph, thread, (key, addr), &named, false)? {
                Step::Done(Taken::Owned) => Step::Done(true),
                Step::Done(Taken::Others(lock)) => {
                    let outcome = enqueue(&mut graph, thread, lock);
                    graph.close_unused(lock);
                    Step::Done(outcome.map(|()| false)?)
                }
                Step::Fault => Step::Fault,
                Step::Again => Step::Again,
                Step::NoRoom(waiters) => Step::NoRoom(waiters),
            },
        )
    })
}

/// `FUTEX_LOCK_PI`: takes the lock at `addr`, waiting for it until `deadline`.
///
/// # Errors
/// Those of [`try_lock`] but `EAGAIN`; `EDEADLK` also if the thread would wait for itself by way of other locks; `ETIMEDOUT`;
/// `ERESTARTNOINTR` if a signal came first.
/// # Cancel safety
/// As that of [`wait`](crate::futex::wait).
pub async fn lock(
    thread: &Arc<Thread>,
    key: Key,
    addr: u64,
    deadline: Option<Instant>,
) -> Result<(), Errno> {
    if lock_or_enqueue(thread, key, addr)? {
        return Ok(());
    }
    match wait_in_queue(thread, addr, deadline).await {
        Err(Errno::ERESTARTSYS) => Err(Errno::ERESTARTNOINTR),
        outcome => outcome,
    }
}

/// Waits in the queue of the lock at `addr`, where the thread stands, until it owns it.
///
/// # Errors
/// `ETIMEDOUT`, `ERESTARTSYS`; `EFAULT` if the word has gone when the thread was to take over. It does not wait then.
pub(super) async fn wait_in_queue(
    thread: &Arc<Thread>,
    addr: u64,
    deadline: Option<Instant>,
) -> Result<(), Errno> {
    loop {
        let outcome = until(thread, deadline, || !thread.pi.sleeps()).await;
        let settled = retry(thread, addr, || settle(thread, addr));
        match (settled, outcome) {
            // Whoever handed it over meant this thread, whatever else came at the same time.
            (Ok(true), _) => return Ok(()),
            (Ok(false), Ok(())) => {}
            (Ok(false), Err(e)) | (Err(e), _) => {
                // Between the two looks it may have been handed over.
                if give_up(thread) {
                    return Err(e);
                }
                return Ok(());
            }
        }
    }
}

/// Takes over a lock whose owner has ended, if it is this thread's turn. Whether it owns what it waited for.
fn settle(thread: &Arc<Thread>, addr: u64) -> Result<Step<bool>, Errno> {
    let mut graph = graph();
    let Some(lock) = graph.waits_for(thread) else {
        return Ok(Step::Done(true));
    };
    if graph.owner(lock).is_some() || !graph.is_first(thread, lock) {
        thread.pi.set_sleeps(true);
        return Ok(Step::Done(false));
    }
    let Some(value) = uaccess::load_u32(addr) else {
        return Ok(Step::Fault);
    };
    if let Some(other) = replace(addr, value, thread.tid() as u32 | WAITERS | OWNER_DIED) {
        return Ok(other);
    }
    let _ = graph.hand_over(lock);
    Ok(Step::Done(true))
}

/// Takes `thread` out of the queue where it stands. False if it is in none: it owns the lock.
fn give_up(thread: &Arc<Thread>) -> bool {
    let mut graph = graph();
    if graph.waits_for(thread).is_none() {
        return false;
    }
    thread.pi.set_sleeps(false);
    if let Some(heir) = graph.leave(thread) {
        heir.pi.set_sleeps(false);
        heir.wake();
    }
    true
}

/// `FUTEX_UNLOCK_PI`: hands the lock at `addr` over to the first who waits for it.
///
/// # Errors
/// `EPERM` if it is not the thread's; `EINVAL` if the word and the graph do not agree; `EAGAIN` if the word was changed
/// meanwhile; `EFAULT`.
pub fn unlock(
    thread: &Arc<Thread>,
    addr: u64,
    key: impl Fn() -> Result<Key, Errno>,
) -> Result<(), Errno> {
    let tid = thread.tid() as u32;
    retry(thread, addr, || {
        let value = usermem::read::<u32>(addr)?;
        if value & TID_MASK != tid {
            return Err(Errno::EPERM);
        }
        let key = key()?;
        let bucket = bucket::lock(key);
        let mut graph = graph();
        let lock = graph.find(key, key.hash());
        if bucket.has(key) {
            return Err(Errno::EINVAL);
        }
        let Some(lock) = lock else {
            return match replace(addr, value, 0) {
                Some(Step::Again) => Err(Errno::EAGAIN),
                Some(other) => Ok(other),
                None => Ok(Step::Done(())),
            };
        };
        let owned = graph
            .owner(lock)
            .is_some_and(|owner| Arc::ptr_eq(owner, thread));
        let heir = graph.first(lock).filter(|_| owned).cloned();
        let Some(heir) = heir else {
            return Err(Errno::EINVAL);
        };
        match uaccess::compare_exchange_u32(addr, value, heir.tid() as u32 | WAITERS) {
            None => return Ok(Step::Fault),
            // The mark came between the two looks.
            Some(found) if found != value && found & TID_MASK == value => return Ok(Step::Again),
            Some(found) if found != value => return Err(Errno::EINVAL),
            Some(_) => {}
        }
        let _ = graph.hand_over(lock);
        heir.pi.set_sleeps(false);
        // While the graph is locked: from then on this thread is as urgent as before it had the lock, and would be preempted
        // by those that the heir has the right to go before.
        heir.wake();
        Ok(Step::Done(()))
    })
}

/// Whether somebody waits for the futex as for a lock; the bucket of `key` is locked.
pub fn has_waiters(key: Key) -> bool {
    is_used() && graph().find(key, key.hash()).is_some()
}
