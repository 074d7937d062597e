//! Mistakes made on purpose, so that the models show that they would find them: tests of the tests.

use core::cell::Cell;

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A pusher does not order its push before its look at the CPU's mode.
    NoFenceAfterPush,
    /// The CPU marks itself idle after its last look at the queue (rule 6).
    IdleAfterLook,
    /// A CPU leaves although something was pushed before others could see that it is away.
    LeaveWithoutLook,
    /// What is pushed to a CPU that is away stays there.
    LeaveOnQueue,
    /// Who puts a pinned task aside does not look whether its CPU is back.
    ParkWithoutLook,
    /// A wake-up during a poll is forgotten at the poll's end.
    ForgetWakeInPoll,
    /// A waiter looks at what it waits for before others see that it waits.
    NoFenceAfterJoin,
    /// A waiter that is dropped keeps the wake-up it was granted.
    KeepGrantedWake,
    /// A request for permits that is dropped keeps what it was given.
    KeepGrantedPermits,
    /// A timer's cancellation does not wait for its callback.
    CancelDoesNotWait,
    /// A join handle looks for the end before it leaves its waker, and not after.
    JoinLooksFirst,
    /// A place for a task is free before what was in it is gone for others.
    FreePlaceTooSoon,
    /// No mistake: it is not looked for tasks that nobody else refers to, to spare large models steps.
    NeverSole,
    /// A wait/wound context waits for an older one while it holds what that wants.
    LetTheYoungerWait,
    /// A grace period waits for the CPU that began it only.
    RcuForgetsOthers,
    /// A reader does not order its reading behind its being counted.
    SrcuReadsUncounted,
    /// A task whose poll is suspended does not count as running (rule 2).
    SuspendedIsIdle,
    /// A poll makes way although a guard is held (rule 7).
    IgnoreGuards,
    /// A suspended poll that is to go on elsewhere is sent there before its stack is left (rule 9).
    SendBeforeSwitch,
    /// Who goes on with a suspended poll leaves its place in the task (rule 9).
    KeepPlace,
    /// A poll that is gone on with takes its CPU for the one that it was left on (rule 10).
    KeepExecutor,
    /// A loop gives its stack back while it stands on it (rule 11).
    GiveStackTooSoon,
    /// That there was no stack is forgotten (rule 12).
    ForgetRefusal,
    /// An abort drops the future of a poll that is suspended (rule 20).
    DropSuspended,
    /// What is woken while a poll is found to go on waits for the next interrupt.
    LookOnce,
    /// A poll that does not make way, or is gone on with, is not interrupted any more.
    StayLooking,
}

std::thread_local! {
    // The model's threads are coroutines of one thread of the host, so this reaches all of them.
    static MADE: Cell<Option<Mutant>> = const { Cell::new(None) };
}

impl Mutant {
    /// Makes this mistake in what the calling thread models from now on.
    pub fn make(self) {
        MADE.set(Some(self));
    }

    pub(crate) fn is_made(self) -> bool {
        MADE.get() == Some(self)
    }
}
