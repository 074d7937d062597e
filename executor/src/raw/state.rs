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

    /// Sets SCHEDULED. True if the caller must push the task on its home's wake queue.
    #[inline(always)]
    pub(super) fn wake(&self) -> bool {
        let prev = Snapshot(self.0.fetch_or(SCHEDULED, Ordering::AcqRel));
        !prev.has(SCHEDULED | RUNNING | COMPLETE)
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
        let prev = Snapshot(self.0.fetch_add(COMPLETE - RUNNING, Ordering::AcqRel));
        debug_assert!(prev.has(RUNNING) && !prev.has(COMPLETE));
        prev.has(JOIN)
    }

    /// Gives the handle's claim up. True if the task is complete, and so the output the caller's to drop.
    pub(super) fn unjoin(&self) -> bool {
        let prev = Snapshot(self.0.fetch_and(!JOIN, Ordering::AcqRel));
        prev.has(COMPLETE)
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
}
