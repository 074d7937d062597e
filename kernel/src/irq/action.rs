//! Who answers a line.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::BitOr;
use core::sync::atomic::{AtomicBool, Ordering};

use bitflags::bitflags;
use executor::irq::IrqEvent;

/// What a handler says about an interrupt; values as Linux's `irqreturn_t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer(u8);

impl Answer {
    /// It was not from this device.
    pub const NONE: Self = Self(0);
    /// It was, and has been dealt with.
    pub const HANDLED: Self = Self(1);
    /// The action's event is to be raised: a task sees to the rest.
    pub const WAKE_THREAD: Self = Self(2);

    /// Whether `other` is among what was answered.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Answer {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

bitflags! {
    /// How an action wants its line; Linux's `IRQF_*`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Flags: u32 {
        /// Others may answer the same line.
        const SHARED = 1 << 0;
        /// The line stays masked until the action's task has answered ([`super::Irq::done`]).
        const ONESHOT = 1 << 1;
        /// The line is disabled until somebody enables it.
        const NO_AUTOEN = 1 << 2;
        /// Writing `smp_affinity` does not move the line.
        const NOBALANCING = 1 << 3;
        /// Every CPU has this line for itself; it is never freed.
        const PERCPU = 1 << 4;
        /// A timer's line; it cannot be shared with what is not one.
        const TIMER = 1 << 5;
    }
}

/// A function that answers, given the line's number. It runs in hard interrupts: it neither allocates nor waits.
pub type Handler = Box<dyn Fn(u32) -> Answer + Send + Sync>;

/// An event of a driver that lives for ever, or of one that comes and goes.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Static(&'static IrqEvent),
    Shared(Arc<IrqEvent>),
}

impl Event {
    pub(super) fn get(&self) -> &IrqEvent {
        match self {
            Self::Static(event) => event,
            Self::Shared(event) => event,
        }
    }
}

/// One who answers a line.
pub struct Action {
    pub(super) name: String,
    pub(super) flags: Flags,
    /// Asked first; one that is not there answers [`Answer::WAKE_THREAD`].
    pub(super) handler: Option<Handler>,
    pub(super) event: Option<Event>,
    /// Its bit among those of the line that hold it masked until they have answered; 0 if it does not.
    pub(super) oneshot_bit: u64,
    /// Freed: its event is not raised any more.
    pub(super) gone: AtomicBool,
}

impl Action {
    /// What `/proc/interrupts` calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn answer(&self, irq: u32) -> Answer {
        match &self.handler {
            Some(handler) => handler(irq),
            None => Answer::WAKE_THREAD,
        }
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Action")
            .field("name", &self.name)
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}

/// All who answer a line. Replaced whole, so that a handler goes on with the one it began with.
pub(super) type Chain = Vec<Arc<Action>>;

/// Asks all of `chain`. What they answered together, and the bits of those whose task is to be woken.
pub(super) fn ask(chain: &Chain, irq: u32) -> (Answer, u64) {
    let mut all = Answer::NONE;
    let mut waking = 0;
    for (at, action) in chain.iter().enumerate() {
        let answer = action.answer(irq);
        if answer.has(Answer::WAKE_THREAD) {
            waking |= 1 << at;
        }
        all = all | answer;
    }
    (all, waking)
}

/// Raises the events of those in `waking`, bits as [`ask`] gives them.
pub(super) fn wake(chain: &Chain, waking: u64) {
    let woken = chain
        .iter()
        .enumerate()
        .filter(|(at, _)| waking >> at & 1 != 0);
    for (_, action) in woken {
        if let Some(event) = &action.event
            && !action.gone.load(Ordering::Acquire)
        {
            event.get().raise();
        }
    }
}

/// The bits that hold the line masked of those in `waking`.
pub(super) fn oneshot_bits(chain: &Chain, waking: u64) -> u64 {
    let woken = chain
        .iter()
        .enumerate()
        .filter(|(at, _)| waking >> at & 1 != 0);
    woken.fold(0, |bits, (_, action)| bits | action.oneshot_bit)
}
