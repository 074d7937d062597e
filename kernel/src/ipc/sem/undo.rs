//! What is taken back at the end of a process: `SEM_UNDO`.
//!
//! A list belongs to all threads that share it (`CLONE_SYSVSEM`); when the last of them ends, what they have done is taken
//! back in every set that the list names. The numbers are in the sets.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use executor::sync::SpinLock;
use fs::{Errno, Result};

use super::Set;
use crate::ipc::now;
use crate::process::Thread;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// The sets in which threads have something to be taken back.
pub struct List {
    /// Under which the sets know it.
    pub(super) id: u64,
    sets: SpinLock<Vec<Weak<Set>>>,
}

/// A thread's place for its list.
pub type Place = SpinLock<Option<Arc<List>>>;

/// The list of `thread`, made if it has none. A child that is made with `CLONE_SYSVSEM` gets the same one.
///
/// # Context
/// The thread's own poll.
/// # Errors
/// `ENOMEM`.
pub fn list(thread: &Thread) -> Result<Arc<List>> {
    let known = thread.undo.lock().clone();
    if let Some(list) = known {
        return Ok(list);
    }
    crate::mm::admit()?;
    let new = Arc::new(List {
        id: NEXT.fetch_add(1, Ordering::Relaxed),
        sets: SpinLock::new(Vec::new()),
    });
    // Only the thread itself gives itself a list.
    *thread.undo.lock() = Some(new.clone());
    Ok(new)
}

/// `thread` ends, or shares its list no more: what it and those who shared the list with it have done is taken back if it was
/// the last.
///
/// # Context
/// The thread's own poll; takes the locks of sets.
pub fn leave(thread: &Thread) {
    let list = thread.undo.lock().take();
    let Some(list) = list.and_then(Arc::into_inner) else {
        return;
    };
    for set in list.sets.into_inner() {
        if let Some(set) = set.upgrade() {
            let pid = thread.process().pid;
            set.state.lock().close_account(list.id, pid, now());
        }
    }
}

impl List {
    /// Has `set` keep an account for this list.
    ///
    /// # Errors
    /// `EIDRM`, `ENOMEM`.
    pub(super) fn join(&self, set: &Arc<Set>) -> Result<()> {
        let mut sets = self.sets.lock();
        if sets.len() == sets.capacity() {
            sets.retain(|set| set.strong_count() > 0);
            sets.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        }
        if set.with(|state| state.open_account(self.id))? {
            sets.push(Arc::downgrade(set));
        }
        Ok(())
    }
}
