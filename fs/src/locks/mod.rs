//! Advisory locks: `flock`, and record locks by process (POSIX) or by open description (OFD).
//!
//! Every call is an attempt: `EAGAIN` means that somebody else has the lock. Who wants to wait registers on [`wait_queue`] and
//! tries again; for record locks by process through [`set_blocking`], which keeps track of who waits for whom, so that a
//! circle is refused. The locks of an inode hang on the inode and cost nothing before the first.

mod range;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::file::File;
use crate::inode::Inode;
use crate::sync::{SpinLock, WaitQueue};
use crate::{Errno, Result};

pub use range::{Range, from_flock};

/// Whose a record lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A process, by the identity of its descriptor table ([`FdTable::id`](crate::FdTable::id)).
    Process(u64),
    /// An open description, by [`file_id`].
    File(u64),
}

/// Shared or exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Many may have it (`F_RDLCK`, `LOCK_SH`).
    Read,
    /// One alone may have it (`F_WRLCK`, `LOCK_EX`).
    Write,
}

/// A record lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Whose it is.
    pub owner: Owner,
    /// The process to name in `F_GETLK`; -1 for one by open description.
    pub pid: i32,
    /// Shared or exclusive.
    pub kind: LockKind,
    /// The bytes it covers.
    pub range: Range,
}

impl Lock {
    fn conflicts(&self, other: &Lock) -> bool {
        self.owner != other.owner
            && (self.kind == LockKind::Write || other.kind == LockKind::Write)
            && self.range.overlaps(other.range)
    }
}

/// The locks of an inode.
pub(crate) struct Lists {
    records: Vec<Lock>,
    flocks: Vec<(u64, LockKind)>,
    wait: Arc<WaitQueue>,
}

/// The place of an inode's locks.
pub(crate) struct Slot {
    /// Set with the first lock, so that a close need not look further for most files.
    any: AtomicBool,
    lists: SpinLock<Option<Box<Lists>>>,
}

impl Slot {
    pub(crate) const fn new() -> Slot {
        Slot {
            any: AtomicBool::new(false),
            lists: SpinLock::new(None),
        }
    }

    /// Runs `f` on the lists and, if it asks for it, wakes who waits.
    fn with<R>(&self, f: impl FnOnce(&mut Lists) -> (R, bool)) -> R {
        let mut slot = self.lists.lock();
        let lists = slot.get_or_insert_with(|| {
            self.any.store(true, Ordering::Relaxed);
            Box::new(Lists {
                records: Vec::new(),
                flocks: Vec::new(),
                wait: Arc::new(WaitQueue::new()),
            })
        });
        let (result, wake) = f(lists);
        let wait = wake.then(|| lists.wait.clone());
        drop(slot);
        if let Some(wait) = wait {
            wait.wake_all();
        }
        result
    }

    fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }
}

/// Returns the identity of an open description.
pub fn file_id(file: &File) -> u64 {
    (&raw const *file).addr() as u64
}

/// Returns where to wait for a lock of `inode` to be given up.
pub fn wait_queue(inode: &Inode) -> Arc<WaitQueue> {
    inode.locks().with(|lists| (lists.wait.clone(), false))
}

/// Returns a lock that stands in the way of `wanted` (`F_GETLK`).
pub fn get(inode: &Inode, wanted: &Lock) -> Option<Lock> {
    if !inode.locks().any() {
        return None;
    }
    inode.locks().with(|lists| {
        (
            lists
                .records
                .iter()
                .find(|lock| lock.conflicts(wanted))
                .copied(),
            false,
        )
    })
}

/// Takes a lock, or changes or splits those the owner has in its range (`F_SETLK`).
///
/// # Errors
/// `EAGAIN` if somebody else has it, `ENOLCK` for want of memory.
pub fn set(inode: &Inode, wanted: &Lock) -> Result<()> {
    try_set(inode, wanted).map_err(|blocked| match blocked {
        Blocker::Owner(_) => Errno::EAGAIN,
        Blocker::Memory => Errno::ENOLCK,
    })
}

/// What keeps a lock from being taken.
enum Blocker {
    Owner(Owner),
    Memory,
}

fn try_set(inode: &Inode, wanted: &Lock) -> core::result::Result<(), Blocker> {
    inode.locks().with(|lists| {
        if let Some(other) = lists.records.iter().find(|lock| lock.conflicts(wanted)) {
            return (Err(Blocker::Owner(other.owner)), false);
        }
        match change(&mut lists.records, wanted.owner, wanted.range, Some(wanted)) {
            Ok(given_up) => (Ok(()), given_up),
            Err(_) => (Err(Blocker::Memory), false),
        }
    })
}

/// Gives up what the owner has in a range (`F_UNLCK`).
///
/// # Errors
/// `ENOLCK` for want of memory, when a lock would have to be split.
pub fn unset(inode: &Inode, owner: Owner, range: Range) -> Result<()> {
    if !inode.locks().any() {
        return Ok(());
    }
    inode.locks().with(
        |lists| match change(&mut lists.records, owner, range, None) {
            Ok(given_up) => (Ok(()), given_up),
            Err(error) => (Err(error), false),
        },
    )
}

/// Makes `range` of `owner` what `new` says, or free; tells whether anything was given up.
fn change(records: &mut Vec<Lock>, owner: Owner, range: Range, new: Option<&Lock>) -> Result<bool> {
    // One lock may become two around the range, and the new one comes.
    records.try_reserve(2).map_err(|_| Errno::ENOLCK)?;
    let mut whole = range;
    let mut pieces = [None, None];
    let mut given_up = false;
    records.retain(|lock| {
        if lock.owner != owner {
            return true;
        }
        if new.is_some_and(|new| new.kind == lock.kind) {
            if !lock.range.touches(range) {
                return true;
            }
            whole = whole.join(lock.range);
            return false;
        }
        if !lock.range.overlaps(range) {
            return true;
        }
        given_up |= new.is_none_or(|new| new.kind == LockKind::Read);
        let (before, after) = lock.range.without(range);
        for (piece, rest) in pieces.iter_mut().zip([before, after]) {
            if let Some(rest) = rest {
                *piece = Some(Lock {
                    range: rest,
                    ..*lock
                });
            }
        }
        false
    });
    records.extend(pieces.into_iter().flatten());
    records.extend(new.map(|new| Lock {
        range: whole,
        ..*new
    }));
    Ok(given_up)
}

/// An edge of the graph of who waits for whom.
struct Edge {
    id: u64,
    waiter: Owner,
    holder: Owner,
}

static EDGES: SpinLock<Vec<Edge>> = SpinLock::new(Vec::new());

/// A request that waits; dropping it takes it out of the graph.
#[derive(Debug, Default)]
pub struct Waiting(Option<u64>);

impl Waiting {
    /// Makes a request that does not wait yet.
    pub const fn new() -> Waiting {
        Waiting(None)
    }

    /// Notes that `waiter` waits for `holder`, unless `holder` waits, by some way, for `waiter`.
    fn wait_for(&mut self, waiter: Owner, holder: Owner) -> Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        self.stop();
        if matches!((waiter, holder), (Owner::File(_), _)) {
            // Nobody can tell what threads an open description stands for.
            return Ok(());
        }
        let mut edges = EDGES.lock();
        let mut reached = Vec::from([holder]);
        let mut at = 0;
        while at < reached.len() {
            let from = reached[at];
            if from == waiter {
                return Err(Errno::EDEADLK);
            }
            for edge in edges.iter().filter(|e| e.waiter == from) {
                if !reached.contains(&edge.holder) {
                    reached.push(edge.holder);
                }
            }
            at += 1;
        }
        edges.try_reserve(1).map_err(|_| Errno::ENOLCK)?;
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        edges.push(Edge { id, waiter, holder });
        self.0 = Some(id);
        Ok(())
    }

    fn stop(&mut self) {
        if let Some(id) = self.0.take() {
            EDGES.lock().retain(|edge| edge.id != id);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Does what [`set`] does for one who waits (`F_SETLKW`): after `EAGAIN`, wait and call again with the same `waiting`.
///
/// # Errors
/// `EAGAIN`; `EDEADLK` if to wait would close a circle; `ENOLCK`.
pub fn set_blocking(inode: &Inode, wanted: &Lock, waiting: &mut Waiting) -> Result<()> {
    match try_set(inode, wanted) {
        Ok(()) => {
            waiting.stop();
            Ok(())
        }
        Err(Blocker::Memory) => Err(Errno::ENOLCK),
        Err(Blocker::Owner(holder)) => {
            waiting.wait_for(wanted.owner, holder)?;
            Err(Errno::EAGAIN)
        }
    }
}

/// Takes, changes or (with `None`) gives up the `flock` of an open description.
///
/// A change is no single step: the old lock is gone even if the new one cannot be had.
///
/// # Errors
/// `EAGAIN` if somebody else has it, `ENOLCK` for want of memory.
pub fn flock(file: &File, kind: Option<LockKind>) -> Result<()> {
    let inode = file.inode();
    if kind.is_none() && !inode.locks().any() {
        return Ok(());
    }
    let id = file_id(file);
    inode.locks().with(|lists| {
        let flocks = &mut lists.flocks;
        let mut given_up = false;
        if let Some(at) = flocks.iter().position(|(owner, _)| *owner == id) {
            if Some(flocks[at].1) == kind {
                return (Ok(()), false);
            }
            flocks.swap_remove(at);
            given_up = true;
        }
        let Some(kind) = kind else {
            return (Ok(()), given_up);
        };
        let exclusive = |k: LockKind| k == LockKind::Write;
        if flocks
            .iter()
            .any(|(_, other)| exclusive(*other) || exclusive(kind))
        {
            return (Err(Errno::EAGAIN), given_up);
        }
        if flocks.try_reserve(1).is_err() {
            return (Err(Errno::ENOLCK), given_up);
        }
        flocks.push((id, kind));
        (Ok(()), given_up)
    })
}

/// Gives up every record lock of a process on `inode`: what each close of any descriptor of the file does.
#[inline]
pub fn release_process(inode: &Inode, table: u64) {
    if inode.locks().any() {
        release(inode, Owner::Process(table));
    }
}

/// Gives up every lock of an open description that is no more.
#[inline]
pub(crate) fn release_file(file: &File) {
    if file.inode().locks().any() {
        let _ = flock(file, None);
        release(file.inode(), Owner::File(file_id(file)));
    }
}

#[cold]
fn release(inode: &Inode, owner: Owner) {
    inode.locks().with(|lists| {
        let before = lists.records.len();
        lists.records.retain(|lock| lock.owner != owner);
        ((), lists.records.len() < before)
    });
}

#[cfg(test)]
mod tests;
