//! Mistakes made on purpose, so that the models show that they would find them: tests of the tests.

use core::cell::Cell;

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A pusher does not order its push before its look at the CPU's mode.
    NoFenceAfterPush,
    /// The CPU marks itself idle after its last look at the queue (rule 6).
    IdleAfterLook,
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
    /// A wait/wound context waits for an older one while it holds what that wants.
    LetTheYoungerWait,
    /// A grace period waits for the CPU that began it only.
    RcuForgetsOthers,
    /// A reader does not order its reading behind its being counted.
    SrcuReadsUncounted,
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
