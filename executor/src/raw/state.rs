//! The state word: flags, two of them fixed, and a count of references, changed by single atomic steps.

use core::sync::atomic::Ordering;

use super::cell::Mobility;
use crate::facade::{AtomicU64, mutant};

/// Woken: in a queue, or to be put into one when the poll ends.
pub(super) const SCHEDULED: u64 = 1;
/// Being polled, or suspended in the middle of a poll.
pub(super) const RUNNING: u64 = 1 << 1;
/// The future is gone; the output, if anybody wants it, is in its place.
pub(super) const COMPLETE: u64 = 1 << 2;
/// To be dropped instead of polled.
pub(super) const ABORT: u64 = 1 << 3;
/// A join handle exists and owns the output.
pub(super) const JOIN: u64 = 1 << 4;
/// A message to the owner CPU is queued.
pub(super) const MESSAGE: u64 = 1 << 5;
/// The future is not `Send`: it stays on its CPU, and is polled with preemption off.
pub(super) const PINNED: u64 = 1 << 6;
/// It may be woken on any CPU.
pub(super) const ROAMS: u64 = 1 << 7;
/// One reference.
pub(super) const REF: u64 = 1 << 8;

/// A task's state word.
pub(super) struct State(AtomicU64);

/// What the word was before a step.
#[derive(Clone, Copy)]
pub(super) struct Snapshot(u64);

impl Snapshot {
    #[inline(always)]
    pub(super) fn has(self, bits: u64) -> bool {
        self.0 & bits != 0
    }

    /// With these bits as well.
    pub(super) fn with(self, bits: u64) -> Self {
        Self(self.0 | bits)
    }

    #[inline(always)]
    fn refs(self) -> u64 {
        self.0 / REF
    }
}

/// What is left to do after [`State::wake_and_release`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WakeAndRelease {
    /// Push the task on its home's wake queue: it lives until it is polled.
    Push,
    /// Free the task: it was complete, and the reference the last.
    Free,
    /// Nothing: it was woken already, or is complete and referred to.
    Nothing,
}

/// Whether it is looked for tasks that nobody else refers to, as those are that were spawned and left alone, to spare them
/// atomic steps. The threads of a kernel are referred to by their processes: the look would be in vain.
pub(super) const LOOKS_FOR_SOLE: bool = !cfg!(target_os = "none");

impl State {
    /// A task about to be queued for the first time: scheduled, with the reference of its own life and, if `join`, one
    /// for the handle.
    pub(super) fn new(join: bool, mobility: Mobility) -> Self {
        let fixed = match mobility {
            Mobility::Asked => 0,
            Mobility::Roams => ROAMS,
            Mobility::Pinned => PINNED,
        };
        let claims = if join { JOIN + 2 * REF } else { REF };
        Self(AtomicU64::new(SCHEDULED + fixed + claims))
    }

    #[inline(always)]
    pub(super) fn load(&self) -> Snapshot {
        Snapshot(self.0.load(Ordering::Acquire))
    }

    /// The word, if there is one reference: its holder's, who calls. Then nobody else can get at the word, since whoever could
    /// would need a reference, or make one of another; and no step that changes it need be an atomic one.
    #[inline(always)]
    fn sole(&self) -> Option<Snapshot> {
        if mutant!(NeverSole) {
            return None;
        }
        let now = self.load();
        (now.refs() == 1).then_some(now)
    }

    /// Sets SCHEDULED. True if the caller must push the task on its home's wake queue.
    #[inline(always)]
    pub(super) fn wake(&self) -> bool {
        let prev = Snapshot(self.0.fetch_or(SCHEDULED, Ordering::AcqRel));
        !prev.has(SCHEDULED | RUNNING | COMPLETE)
    }

    /// As [`State::wake`], and gives a reference back in the same step.
    #[inline(always)]
    pub(super) fn wake_and_release(&self) -> WakeAndRelease {
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            let next = (now | SCHEDULED) - REF;
            match self
                .0
                .compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => break,
                Err(other) => now = other,
            }
        }
        let prev = Snapshot(now);
        debug_assert!(prev.refs() > 0, "a task's reference is given back twice");
        if !prev.has(SCHEDULED | RUNNING | COMPLETE) {
            WakeAndRelease::Push
        } else if prev.refs() == 1 {
            WakeAndRelease::Free
        } else {
            WakeAndRelease::Nothing
        }
    }

    /// As [`State::wake`], from within the task's own poll, whose end sees to it.
    #[inline(always)]
    pub(super) fn wake_running(&self) {
        self.0.fetch_or(SCHEDULED, Ordering::AcqRel);
    }

    /// Asks for the future to be dropped. True if the caller must push the task on its home's wake queue.
    pub(super) fn abort(&self) -> bool {
        let prev = Snapshot(self.0.fetch_or(ABORT | SCHEDULED, Ordering::AcqRel));
        !prev.has(SCHEDULED | RUNNING | COMPLETE)
    }

    /// From SCHEDULED to RUNNING, by the owner that took the task out of a queue.
    #[inline(always)]
    pub(super) fn start(&self) -> Snapshot {
        if LOOKS_FOR_SOLE && let Some(prev) = self.sole() {
            debug_assert!(prev.has(SCHEDULED) && !prev.has(RUNNING | COMPLETE));
            self.0
                .store(prev.0 + RUNNING - SCHEDULED, Ordering::Relaxed);
            return prev;
        }
        // Both bits are known, so one addition clears the one and sets the other.
        let prev = Snapshot(self.0.fetch_add(RUNNING - SCHEDULED, Ordering::AcqRel));
        debug_assert!(prev.has(SCHEDULED) && !prev.has(RUNNING | COMPLETE));
        prev
    }

    /// Whether the task was woken, which from within its own poll stays so.
    #[inline(always)]
    pub(super) fn is_woken(&self) -> bool {
        self.load().has(SCHEDULED) && !mutant!(ForgetWakeInPoll)
    }

    /// Ends a poll that is to go on, of a task that was seen to be woken: it is the caller's to queue again.
    #[inline(always)]
    pub(super) fn suspend_woken(&self) {
        let prev = Snapshot(self.0.fetch_sub(RUNNING, Ordering::AcqRel));
        debug_assert!(prev.has(RUNNING) && prev.has(SCHEDULED));
    }

    /// Ends a poll that is to go on. True if the task was woken meanwhile, and is the caller's to queue again.
    #[inline(always)]
    pub(super) fn suspend(&self) -> bool {
        // RUNNING is known to be set, so a subtraction clears it, in one instruction.
        let prev = Snapshot(self.0.fetch_sub(RUNNING, Ordering::AcqRel));
        debug_assert!(prev.has(RUNNING));
        prev.has(SCHEDULED) && !mutant!(ForgetWakeInPoll)
    }

    /// Ends the last poll: the future is gone and the output in its place. True if a join handle owns the output.
    pub(super) fn complete(&self) -> bool {
        if let Some(prev) = self.sole() {
            debug_assert!(prev.has(RUNNING) && !prev.has(COMPLETE | JOIN));
            self.0.store(prev.0 + COMPLETE - RUNNING, Ordering::Relaxed);
            return false;
        }
        let prev = Snapshot(self.0.fetch_add(COMPLETE - RUNNING, Ordering::AcqRel));
        debug_assert!(prev.has(RUNNING) && !prev.has(COMPLETE));
        prev.has(JOIN)
    }

    /// Gives the handle's claim up. True if the task is complete, and so the output the caller's to drop.
    pub(super) fn unjoin(&self) -> bool {
        let prev = Snapshot(self.0.fetch_and(!JOIN, Ordering::AcqRel));
        prev.has(COMPLETE)
    }

    /// As [`State::unjoin_early`], on the CPU that polls the task. False, and nothing given up, if others refer to it.
    ///
    /// # Context
    /// The task's home, preemption off, outside the task's own poll: so that nobody polls it meanwhile.
    #[inline(always)]
    pub(super) fn unjoin_at_home(&self) -> bool {
        let now = self.load();
        // The two are the handle's and the task's own, by which only its home changes the word.
        let alone = now.refs() == 2 && !now.has(COMPLETE | RUNNING);
        if alone {
            self.0.store(now.0 - JOIN - REF, Ordering::Relaxed);
        }
        alone
    }

    /// Gives the handle's claim and its reference up in one step. False, and neither given up, if the task is complete, or
    /// others change the word at this very moment.
    pub(super) fn unjoin_early(&self) -> bool {
        let now = self.load();
        // The reference is not the last: a task that is not complete has that of its own life.
        !now.has(COMPLETE)
            && self
                .0
                .compare_exchange(
                    now.0,
                    now.0 - JOIN - REF,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    /// Notes a message. True if there was none, so that the caller queues it.
    pub(super) fn message(&self) -> bool {
        !Snapshot(self.0.fetch_or(MESSAGE, Ordering::AcqRel)).has(MESSAGE)
    }

    /// Forgets the message, by the CPU that took it from its queue.
    pub(super) fn message_taken(&self) {
        self.0.fetch_and(!MESSAGE, Ordering::AcqRel);
    }

    #[inline(always)]
    pub(super) fn ref_inc(&self) {
        let prev = Snapshot(self.0.fetch_add(REF, Ordering::Relaxed));
        debug_assert!(prev.refs() > 0, "a task without references is referred to");
    }

    /// Gives a reference back. True if it was the last, and the caller must free the task.
    #[inline(always)]
    pub(super) fn ref_dec(&self) -> bool {
        let prev = Snapshot(self.0.fetch_sub(REF, Ordering::AcqRel));
        debug_assert!(prev.refs() > 0, "a task's reference is given back twice");
        prev.refs() == 1
    }

    /// As [`State::ref_dec`], where the reference is probably the last.
    #[inline(always)]
    pub(super) fn ref_dec_last(&self) -> bool {
        self.sole().is_some() || self.ref_dec()
    }
}
