//! A set under its lock: counters, the queue, and what is to be taken back.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use fs::{Errno, Result};

use crate::ipc::limits::SEMVMX;
use crate::ipc::operation::{self, Attempt, Op, Sem};
use crate::process::Thread;

/// Operations that a thread does, or waits to do.
pub(super) struct Pending {
    ops: Vec<Op>,
    alters: bool,
    /// Whose account what is to be taken back goes to.
    owner: Option<u64>,
    pid: i32,
    thread: Arc<Thread>,
    /// The place of the operation that keeps the others waiting.
    blocking: AtomicUsize,
    /// [`WAITING`], or 0, or an error.
    result: AtomicI32,
}

const WAITING: i32 = -1;

impl Pending {
    pub fn new(thread: &Arc<Thread>, ops: Vec<Op>, owner: Option<u64>) -> Pending {
        Pending {
            alters: ops.iter().any(|op| op.change != 0),
            ops,
            owner,
            pid: thread.process().pid,
            thread: thread.clone(),
            blocking: AtomicUsize::new(0),
            result: AtomicI32::new(WAITING),
        }
    }

    /// What became of it, if it does not wait any more.
    pub fn result(&self) -> Option<Result<()>> {
        match self.result.load(Ordering::Acquire) {
            WAITING => None,
            0 => Some(Ok(())),
            errno => Some(Err(Errno::from_raw(errno).unwrap_or(Errno::EIDRM))),
        }
    }

    /// Ends the wait. The thread is there until it has seen this, so waking it under the set's lock ends no life.
    fn finish(&self, result: Result<()>) {
        let word = result.err().map_or(0, Errno::raw);
        self.result.store(word, Ordering::Release);
        self.thread.wake();
    }
}

/// What `owner` is to have taken back.
struct Adjustment {
    owner: u64,
    by: Vec<i16>,
}

/// What a set's lock guards.
pub(super) struct State {
    pub sems: Vec<Sem>,
    pub otime: i64,
    pub ctime: i64,
    removed: bool,
    /// First come first.
    pending: Vec<Arc<Pending>>,
    adjustments: Vec<Adjustment>,
}

impl State {
    pub fn new(count: usize, now: i64) -> Result<State> {
        let mut sems = Vec::new();
        sems.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
        sems.resize(count, Sem::default());
        Ok(State {
            sems,
            otime: 0,
            ctime: now,
            removed: false,
            pending: Vec::new(),
            adjustments: Vec::new(),
        })
    }

    /// Whether it is still there.
    pub fn check(&self) -> Result<()> {
        if self.removed {
            Err(Errno::EIDRM)
        } else {
            Ok(())
        }
    }

    pub fn attempt(&mut self, pending: &Pending) -> Attempt {
        let adjust = pending.owner.and_then(|owner| {
            let found = self.adjustments.iter_mut().find(|a| a.owner == owner);
            found.map(|a| &mut a.by[..])
        });
        match operation::perform(&mut self.sems, &pending.ops, adjust, pending.pid) {
            Ok(()) => Attempt::Done,
            Err((at, failed)) => {
                pending.blocking.store(at, Ordering::Relaxed);
                failed
            }
        }
    }

    pub fn enqueue(&mut self, pending: Arc<Pending>) -> Result<()> {
        self.pending.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.pending.push(pending);
        Ok(())
    }

    pub fn dequeue(&mut self, pending: &Arc<Pending>) {
        self.pending.retain(|other| !Arc::ptr_eq(other, pending));
    }

    /// Does what can be done for those that wait: for zeros first, which changes nothing, then for others, until none can.
    pub fn update(&mut self, now: i64) {
        while self.settle(false, now) || self.settle(true, now) {}
    }

    /// Ends the waits that can end. True if a counter was changed, and others are to be looked at.
    fn settle(&mut self, altering: bool, now: i64) -> bool {
        let mut at = 0;
        while let Some(pending) = self.pending.get(at).cloned() {
            if pending.alters != altering {
                at += 1;
                continue;
            }
            let result = match self.attempt(&pending) {
                Attempt::Blocked => {
                    at += 1;
                    continue;
                }
                Attempt::Done => Ok(()),
                Attempt::Refused(e) => Err(e),
            };
            self.pending.remove(at);
            pending.finish(result);
            if result.is_ok() {
                self.otime = now;
                if altering {
                    return true;
                }
            }
        }
        false
    }

    /// Who waits for semaphore `number`, for its zero or for more.
    pub fn waiters(&self, number: usize, for_zero: bool) -> usize {
        let waits = |pending: &&Arc<Pending>| {
            let op = &pending.ops[pending.blocking.load(Ordering::Relaxed)];
            usize::from(op.number) == number && (op.change == 0) == for_zero
        };
        self.pending.iter().filter(waits).count()
    }

    /// Sets semaphores from `first` on.
    pub fn set(&mut self, first: usize, values: &[u16], pid: i32) {
        let range = first..(first + values.len()).min(self.sems.len());
        for (sem, value) in self.sems[range.clone()].iter_mut().zip(values) {
            *sem = Sem { value: *value, pid };
        }
        for adjustment in &mut self.adjustments {
            adjustment.by[range.clone()].fill(0);
        }
    }

    /// Makes room for what `owner` is to have taken back. False if there was.
    pub fn open_account(&mut self, owner: u64) -> Result<bool> {
        if self.adjustments.iter().any(|a| a.owner == owner) {
            return Ok(false);
        }
        let mut by = Vec::new();
        by.try_reserve_exact(self.sems.len())
            .map_err(|_| Errno::ENOMEM)?;
        by.resize(self.sems.len(), 0);
        self.adjustments.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.adjustments.push(Adjustment { owner, by });
        Ok(true)
    }

    /// Takes back what `owner` has done.
    pub fn close_account(&mut self, owner: u64, pid: i32, now: i64) {
        let Some(at) = self.adjustments.iter().position(|a| a.owner == owner) else {
            return;
        };
        let adjustment = self.adjustments.swap_remove(at);
        for (sem, by) in self.sems.iter_mut().zip(&adjustment.by) {
            if *by != 0 {
                sem.value = (i32::from(sem.value) + i32::from(*by)).clamp(0, SEMVMX) as u16;
                sem.pid = pid;
            }
        }
        self.update(now);
    }

    /// The set is gone.
    pub fn remove(&mut self) {
        self.removed = true;
        self.adjustments = Vec::new();
        for pending in self.pending.drain(..) {
            pending.finish(Err(Errno::EIDRM));
        }
    }
}
