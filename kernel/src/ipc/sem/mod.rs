//! Semaphores: sets of counters that processes change several of at a time, all or none.
//!
//! An operation that cannot be done queues in its set; who changes the set does for the queue what can now be done, first
//! come first served, and wakes whose turn it was. So a waiter finds its operation done, refused or the set removed, and
//! never tries itself. What is to be taken back at a process's end ([`undo`]) is kept in the set, by owner.
//!
//! Source: semop(2), semctl(2).

mod set;
pub mod undo;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::task::Poll;

use executor::sync::SpinLock;
use fs::{Credentials, Errno, Result};

use super::perm::{self, Perm, with_perm};
use super::table::{Object, Table};
use super::{charge, limits, now};
use crate::process::Thread;
use crate::process::user::Charge;

use super::operation::Attempt;
pub use super::operation::Op;
use set::{Pending, State};

/// All sets.
pub static SETS: Table<Set> = Table::new();

/// A set of semaphores.
pub struct Set {
    perm: SpinLock<Perm>,
    /// Semaphores in it.
    pub count: usize,
    state: SpinLock<State>,
    _charge: Charge,
}

/// Bytes that a semaphore costs.
const COST: usize = 8;

impl Object for Set {
    fn perm(&self) -> &SpinLock<Perm> {
        &self.perm
    }
}

/// Words of `struct semid64_ds`.
pub const WORDS: usize = 13;

/// semget(2).
///
/// # Errors
/// Those of the man page.
pub fn get(thread: &Thread, key: i32, count: i32, flags: u32) -> Result<i32> {
    let cred = thread.cred();
    let wanted = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
    if wanted > limits::SEMMSL.count() {
        return Err(Errno::EINVAL);
    }
    let fits = |set: &Set| {
        if wanted > set.count {
            return Err(Errno::EINVAL);
        }
        Ok(())
    };
    SETS.find_or_make(key, flags, limits::SEMMNI.count(), &cred, fits, |perm| {
        if wanted == 0 {
            return Err(Errno::EINVAL);
        }
        if totals()?.1 + wanted > limits::SEMMNS.count() {
            return Err(Errno::ENOSPC);
        }
        Ok(Set {
            _charge: charge(thread, wanted * COST)?,
            perm: SpinLock::new(perm),
            count: wanted,
            state: SpinLock::new(State::new(wanted, now())?),
        })
    })
}

/// How many sets and semaphores there are.
fn totals() -> Result<(usize, usize)> {
    let (mut sets, mut all) = (0, 0);
    SETS.each(|set| {
        sets += 1;
        all += set.count;
        Ok(())
    })?;
    Ok((sets, all))
}

/// `struct seminfo`, as limits, or as what there is.
///
/// # Errors
/// None.
pub fn info(used: bool) -> Result<[i32; 10]> {
    let limit = |tunable: &fs::Tunable| tunable.get() as i32;
    let (sets, all) = if used {
        totals()?
    } else {
        (20, limits::SEMVMX as usize)
    };
    let (most, opm) = (limit(&limits::SEMMNS), limit(&limits::SEMOPM));
    Ok([
        most,
        limit(&limits::SEMMNI),
        most,
        most,
        limit(&limits::SEMMSL),
        opm,
        opm,
        sets as i32,
        limits::SEMVMX,
        all as i32,
    ])
}

/// How an attempt at operations went.
pub enum Outcome {
    /// They are done.
    Done,
    /// They have to wait, and do so if that was asked for.
    Waits(Option<Waiting>),
}

impl Set {
    /// Owner and rights.
    pub fn perm_now(&self) -> Perm {
        *self.perm.lock()
    }

    /// Does `ops` for `thread`, all or none. With `queue`, what has to wait is queued.
    ///
    /// # Errors
    /// `EFBIG`, `EACCES`, `EIDRM`, `EAGAIN`, `ERANGE`, `ENOMEM`.
    pub fn operate(
        self: &Arc<Set>,
        thread: &Arc<Thread>,
        ops: Vec<Op>,
        queue: bool,
    ) -> Result<Outcome> {
        if ops.iter().any(|op| usize::from(op.number) >= self.count) {
            return Err(Errno::EFBIG);
        }
        let alters = ops.iter().any(|op| op.change != 0);
        let wanted = if alters { perm::WRITE } else { perm::READ };
        self.perm_now().check(&thread.cred(), wanted)?;
        let owner = match ops.iter().any(Op::is_undone) {
            true => Some(undo::list(thread)?),
            false => None,
        };
        if let Some(owner) = &owner {
            owner.join(self)?;
        }
        let pending = Pending::new(thread, ops, owner.map(|list| list.id));
        let mut state = self.state.lock();
        state.check()?;
        match state.attempt(&pending) {
            Attempt::Done => {
                state.otime = now();
                if alters {
                    state.update(now());
                }
                Ok(Outcome::Done)
            }
            Attempt::Refused(e) => Err(e),
            Attempt::Blocked => {
                if !queue {
                    return Ok(Outcome::Waits(None));
                }
                let pending = Arc::new(pending);
                state.enqueue(pending.clone())?;
                drop(state);
                Ok(Outcome::Waits(Some(Waiting {
                    set: self.clone(),
                    pending,
                })))
            }
        }
    }

    /// Calls `f` with the set's state, unless it is removed.
    fn with<R>(&self, f: impl FnOnce(&mut State) -> Result<R>) -> Result<R> {
        let mut state = self.state.lock();
        state.check()?;
        f(&mut state)
    }

    fn index(&self, number: i32) -> Result<usize> {
        usize::try_from(number)
            .ok()
            .filter(|number| *number < self.count)
            .ok_or(Errno::EINVAL)
    }

    /// The values of all semaphores.
    ///
    /// # Errors
    /// `EIDRM`, `ENOMEM`.
    pub fn values(&self) -> Result<Vec<u16>> {
        let mut values = Vec::new();
        values
            .try_reserve_exact(self.count)
            .map_err(|_| Errno::ENOMEM)?;
        self.with(|state| {
            values.extend(state.sems.iter().map(|sem| sem.value));
            Ok(())
        })?;
        Ok(values)
    }

    /// A semaphore's value, and the process that was last to change it.
    ///
    /// # Errors
    /// `EINVAL`, `EIDRM`.
    pub fn value(&self, number: i32) -> Result<(u16, i32)> {
        let number = self.index(number)?;
        self.with(|state| Ok((state.sems[number].value, state.sems[number].pid)))
    }

    /// How many wait for a semaphore to become zero, or to grow.
    ///
    /// # Errors
    /// `EINVAL`, `EIDRM`.
    pub fn waiters(&self, number: i32, for_zero: bool) -> Result<usize> {
        let number = self.index(number)?;
        self.with(|state| Ok(state.waiters(number, for_zero)))
    }

    /// Sets semaphores from `first` on, and forgets what was to be taken back there.
    ///
    /// # Errors
    /// `EINVAL`, `ERANGE`, `EIDRM`.
    pub fn set_values(&self, first: i32, values: &[u16], pid: i32) -> Result<()> {
        let first = self.index(first)?;
        if values
            .iter()
            .any(|value| i32::from(*value) > limits::SEMVMX)
        {
            return Err(Errno::ERANGE);
        }
        self.with(|state| {
            state.set(first, values, pid);
            state.ctime = now();
            state.update(now());
            Ok(())
        })
    }

    /// As `struct semid64_ds`.
    ///
    /// # Errors
    /// `EIDRM`.
    pub fn words(&self) -> Result<[u64; WORDS]> {
        let (otime, ctime) = self.times()?;
        let rest = [otime as u64, 0, ctime as u64, 0, self.count as u64];
        Ok(with_perm(&self.perm_now(), &rest))
    }

    /// When it was last operated on, and changed.
    ///
    /// # Errors
    /// `EIDRM`.
    pub fn times(&self) -> Result<(i64, i64)> {
        self.with(|state| Ok((state.otime, state.ctime)))
    }

    /// Takes over owner and rights (`IPC_SET`).
    ///
    /// # Errors
    /// `EPERM`, `EINVAL`, `EIDRM`.
    pub fn change(&self, cred: &Credentials, words: &[u64; WORDS]) -> Result<()> {
        self.with(|state| {
            let mut perm = self.perm.lock();
            perm.check_owner(cred)?;
            perm.set(words)?;
            state.ctime = now();
            Ok(())
        })
    }

    /// Removes it. Who waits is told.
    ///
    /// # Errors
    /// `EPERM`, `EIDRM`.
    pub fn remove(self: &Arc<Set>, cred: &Credentials) -> Result<()> {
        self.perm_now().check_owner(cred)?;
        if !SETS.remove(self) {
            return Err(Errno::EIDRM);
        }
        self.state.lock().remove();
        Ok(())
    }
}

/// Operations that are queued, until this is dropped.
pub struct Waiting {
    set: Arc<Set>,
    pending: Arc<Pending>,
}

impl Waiting {
    /// Waits until they are done, refused, or the set is removed.
    ///
    /// # Context
    /// The task of the thread that operates.
    /// # Errors
    /// `EIDRM`, `ERANGE`, `EAGAIN`.
    /// # Cancel safety
    /// Dropped, the operations are not done, unless they were already: see [`Waiting::give_up`].
    pub async fn end(&self) -> Result<()> {
        poll_fn(|_| match self.pending.result() {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        })
        .await
    }

    /// Takes the operations out of the queue; what became of them if that was too late.
    pub fn give_up(&self) -> Option<Result<()>> {
        self.set.state.lock().dequeue(&self.pending);
        self.pending.result()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.set.state.lock().dequeue(&self.pending);
    }
}
