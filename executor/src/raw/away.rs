//! An executor whose CPU has gone, for a while or for good: what is pushed there goes to another.
//!
//! A CPU that leaves hands over its queue, marks itself away, and looks a last time. Whoever pushes a task afterwards is the
//! first to find the queue empty, sees the mark, and takes everything out again by the swap that the owner would have used: so
//! a waiting task needs no message when its CPU goes, and a waker no lock. Tasks that are pinned are put aside until the CPU is
//! back, by wakers that look afterwards whether it is.

use core::{
    ptr::{self, NonNull},
    sync::atomic::Ordering,
};

use super::{
    header::{Header, WANT_NOTHING, WANT_REFRESH},
    runnable::drain_messages,
    shared::{AWAY, CpuShared, LevelKind},
    state::PINNED,
};
use crate::{
    cpu,
    facade::{fence, mutant},
    policy::EnqueueKind,
};

impl CpuShared {
    /// Notes that the CPU is about to leave, or is not: what is bound to it may run elsewhere from then on.
    ///
    /// # Context
    /// Any.
    pub fn set_leaving(&self, leaving: bool) {
        self.leaving.store(leaving, Ordering::Release);
    }

    /// Whether the CPU is about to leave, or has left.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// Marks the CPU away: what is pushed from now on is sent on by who pushes it. False, and not marked, if something was
    /// pushed before.
    ///
    /// # Context
    /// The owner, interrupts masked, preemption off, outside any poll, its policy empty.
    pub(crate) fn go_away(&'static self) -> bool {
        // First, since it may wake somebody here.
        self.retract();
        if self.set_mode_and_look(AWAY) && !mutant!(LeaveWithoutLook) {
            // Who saw the mark for this moment may have put something aside.
            self.come_back();
            return false;
        }
        true
    }

    /// The CPU is back: it is pushed to again, and gets back what was put aside for it.
    ///
    /// # Context
    /// As [`CpuShared::go_away`].
    pub(crate) fn come_back(&'static self) {
        self.publish();
        self.set_looking();
        // Pairs with the fence in `park`.
        fence(Ordering::SeqCst);
        self.unpark();
    }

    /// Puts a pinned task aside, unless the CPU is back.
    fn park(&'static self, task: NonNull<Header>) {
        // SAFETY: the caller took it from the wake queue: it lives, and is in no other queue.
        unsafe { self.parked.push(task) };
        // Either the CPU that comes back sees the task, or this one that it is back.
        fence(Ordering::SeqCst);
        if !self.is_away() && !mutant!(ParkWithoutLook) {
            self.unpark();
        }
    }

    /// Queues again what was put aside.
    fn unpark(&'static self) {
        for task in self.parked.take() {
            self.push_woken(task);
        }
    }

    /// Sends on what was pushed to a CPU that is away.
    ///
    /// # Context
    /// Any.
    #[cold]
    pub(crate) fn send_on(&'static self) {
        for task in self.take_woken() {
            // SAFETY: a task in the wake queue lives, and the swap has made it ours to queue.
            let header = unsafe { task.as_ref() };
            if header.state.load().has(PINNED) {
                self.park(task);
                continue;
            }
            let heir = self.heir().expect("one CPU stays");
            send(header, heir);
            heir.push_woken(task);
        }
        drain_messages(self, |task| {
            task.want_refresh();
            task.follow(self);
        });
    }

    /// An executor of the same level that is not away: that of the first CPU, which never goes.
    pub(super) fn heir(&self) -> Option<&'static CpuShared> {
        (0..cpu::MAX_CPUS as u32)
            .filter(|cpu| *cpu != self.cpu())
            .find_map(|cpu| Self::of_level(self.kind(), cpu))
    }
}

/// Makes `heir` the home of a task that is ours to queue, which is looked at anew there.
fn send(header: &Header, heir: &'static CpuShared) {
    // Ours until it is queued, as it was the owner's.
    if header.requeue.load(Ordering::Relaxed) != EnqueueKind::New as u8 {
        let kind = EnqueueKind::Migrated as u8;
        header.requeue.store(kind, Ordering::Relaxed);
    }
    if heir.kind() == LevelKind::Task {
        // A move that was asked for does it as well.
        let _ = header.want.compare_exchange(
            WANT_NOTHING,
            WANT_REFRESH,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }
    header
        .home
        .store(ptr::from_ref(heir).cast_mut(), Ordering::Release);
    // Pairs with the fence in `follow`: either that sees the new home, or the task's next queueing what is wanted.
    fence(Ordering::SeqCst);
}
